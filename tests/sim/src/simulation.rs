use std::rc::Rc;

use sluicegate_audit::Report;

use crate::life;
use crate::patch::Patch;
use crate::plan::{Plan, ms};
use crate::seed::Random;
use crate::state::{State, Trace};
use crate::world::World;

/// How one world came out.
#[derive(Debug)]
pub struct Outcome {
    /// What the auditor says.
    pub report: Report,
    /// Workers that lived.
    pub lives: usize,
    /// The faults that struck, and the changes that were made, by name.
    pub faults: Vec<String>,
    /// Calls that they made through their seams.
    pub steps: usize,
}

/// Lives that a world may take at most until it is calm.
const TROUBLED_LIVES_MAX: usize = 60;
/// And from then on.
const CALM_LIVES_MAX: usize = 200;

/// Runs the world of this seed to its end. With `trace`, prints what happens in it.
pub fn simulate(seed: u64, patch: Box<dyn Patch>, trace: bool) -> Outcome {
    let mut random = Random::new(seed);
    let plan = Plan::new(&mut random);
    if trace {
        print!("{plan}");
    }
    let state = State::new(&plan, random, Trace(trace));
    let world = Rc::new(World::new(plan, patch, state));
    while !world.is_calm() && !world.is_done() && world.state().lives < TROUBLED_LIVES_MAX {
        let steps = world.state().random.between(10, 1000) as usize;
        life::live(&world, 0, 0, Some(steps));
    }
    world.state().faults.end();
    for _ in 0..CALM_LIVES_MAX {
        if world.is_done() || world.is_endless() {
            break;
        }
        life::live(&world, 0, 0, None);
    }
    // Whatever is still on its way arrives.
    world.pass(ms(60_000));
    let Ok(world) = Rc::try_unwrap(world) else { unreachable!("every worker has ended") };
    let State { mut observer, broker, faults, lives, steps, .. } = world.into_state();
    observer.read_again(&broker);
    let faults = faults.struck.iter().map(ToString::to_string).collect();
    Outcome { report: observer.auditor.verdict(), lives, steps, faults }
}
