use sluicegate_audit::{Expected, Fate, Record};
use sluicegate_core::{Action, Destination, FailureKind, Partition};

use crate::plan::Plan;
use crate::plugin::{Emission, Saying, fingerprint, say};

/// What must become of a record: the pipeline worked through for it alone, with no failure but its own.
pub(crate) fn fate(plan: &Plan, source: &Partition, record: &Record) -> Fate {
    let expected = |to: Destination, record: Record| {
        let place = &plan.places()[plan.place(to, source, record.key.as_deref())];
        Expected { topic: place.topic.clone(), partition: Some(place.number), record }
    };
    match outputs(plan, record) {
        Ok(outputs) => {
            let to = |named: Option<u32>| named.map_or(Destination::Default, Destination::Named);
            Fate::Produced(outputs.into_iter().map(|output| expected(to(output.to), output.record)).collect())
        }
        Err(failed) if failed.then == Action::DeadLetter => Fate::DeadLetter {
            letter: expected(Destination::DeadLetter, record.clone()),
            story: [("sluicegate-stage", failed.stage), ("sluicegate-failure", failed.kind.name())]
                .map(|(name, value)| (name.into(), Some(value.into())))
                .into(),
        },
        Err(_) => Fate::Produced(Vec::new()),
    }
}

/// The first failure of a record.
struct Failed<'a> {
    stage: &'a str,
    kind: FailureKind,
    then: Action,
}

/// The outputs of a record, in the order of their index: those that leave at an earlier stage come first. Or its first
/// failure.
fn outputs<'a>(plan: &'a Plan, record: &Record) -> Result<Vec<Emission>, Failed<'a>> {
    let mut leaving = Vec::new();
    let mut going = vec![Emission { to: None, record: record.clone() }];
    for number in 0..plan.stages.len() {
        let mut made = Vec::new();
        for Emission { record, .. } in going {
            made.extend(emissions(plan, number, record)?);
        }
        if number + 1 < plan.stages.len() {
            let (left, rest) = made.into_iter().partition(|emission| emission.to.is_some());
            leaving.extend::<Vec<_>>(left);
            going = rest;
        } else {
            going = made;
        }
    }
    leaving.extend(going);
    Ok(leaving)
}

fn emissions(plan: &Plan, number: usize, record: Record) -> Result<Vec<Emission>, Failed<'_>> {
    let stage = &plan.stages[number];
    let pass = |record| Ok(vec![Emission { to: None, record }]);
    match say(fingerprint(plan.salt, number, &record), &record, stage.failing, plan.named) {
        Saying::Emit(emissions) => Ok(emissions),
        Saying::Pass => pass(record),
        Saying::Fail(kind) => match stage.policy.action(kind) {
            // Whoever runs the pipeline mends the plugin, which then passes the record.
            Action::Stop => pass(record),
            then => Err(Failed { stage: &stage.name, kind, then }),
        },
    }
}
