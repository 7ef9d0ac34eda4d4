//! Faults of what is between the program and the brokers.

use std::time::Duration;

use anyhow::Result;

use super::processes;
use crate::frame::Api;
use crate::network::{Way, Weather};
use crate::scene::Scene;
use crate::setting::Delivery;

const FAIR: Weather =
    Weather { delay: Duration::ZERO, jitter: Duration::ZERO, hold_requests: false, hold_answers: false };
const SLOW: Weather = Weather { delay: Duration::from_millis(20), jitter: Duration::from_millis(80), ..FAIR };
const SLOW_FOR: Duration = Duration::from_secs(5);
const RESETS: usize = 6;

pub(super) fn latency(scene: &mut Scene<'_>) -> Result<()> {
    scene.some_progress()?;
    change(scene, SLOW);
    scene.last(SLOW_FOR)?;
    change(scene, FAIR);
    Ok(())
}

pub(super) fn resets(scene: &mut Scene<'_>) -> Result<()> {
    for _ in 0..RESETS {
        scene.some_progress()?;
        scene.cluster.network().reset();
        scene.journal.note("all connections reset");
    }
    Ok(())
}

/// What was asked for is done, and is asked for again.
pub(super) fn lose_answers(scene: &mut Scene<'_>) -> Result<()> {
    let commit = match scene.setting.delivery {
        Delivery::ExactlyOnce => Some(Api::EndTxn),
        Delivery::AtLeastOnce => None,
    };
    for api in [Api::Produce, processes::offsets(scene)].into_iter().chain(commit) {
        scene.some_progress()?;
        let process = scene.any()?;
        drop(scene.catch(api, Way::Answer, process)?);
    }
    Ok(())
}

/// Shorter or longer than a session and a transaction may last.
pub(super) fn black_hole(scene: &mut Scene<'_>) -> Result<()> {
    scene.some_progress()?;
    change(scene, Weather { hold_requests: true, hold_answers: true, ..FAIR });
    let time = Duration::from_secs(2 + scene.random.below(12));
    scene.last(time)?;
    change(scene, FAIR);
    Ok(())
}

pub(super) fn half_open(scene: &mut Scene<'_>) -> Result<()> {
    scene.some_progress()?;
    change(scene, Weather { hold_answers: true, ..FAIR });
    let time = Duration::from_secs(2 + scene.random.below(12));
    scene.last(time)?;
    scene.cluster.network().reset();
    change(scene, FAIR);
    Ok(())
}

/// The end of a transaction does not arrive, and the program hears no answer. When it is past that and writes the outputs
/// of another transaction, the lost request arrives after all: if that still ends anything, it is the wrong transaction,
/// whose outputs then come again, as it never got as far as its offsets.
pub(super) fn late_end(scene: &mut Scene<'_>) -> Result<()> {
    scene.some_progress()?;
    let process = scene.any()?;
    let end = scene.catch(Api::EndTxn, Way::Request, process)?;
    end.cut_client()?;
    scene.wait_for_flow()?;
    let outputs = scene.catch(Api::Produce, Way::Answer, process)?;
    let answer = end.let_go_and_catch_answer(scene.cluster.network())?;
    let answer = scene.receive(&answer)?;
    scene.journal.note("the late request was answered");
    drop(answer);
    scene.kill(process)?;
    drop(outputs);
    Ok(())
}

fn change(scene: &mut Scene<'_>, weather: Weather) {
    scene.cluster.network().set(weather);
    scene.journal.note(&format!("{weather:?}"));
}
