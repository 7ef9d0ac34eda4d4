//! `sluicegate run --stdin --stdout`: a pipeline as a filter between pipes, with no broker.
//!
//! ```text
//! StdinSource (lines) → Worker (the stages) → StdoutSink (lines), and dead letters on standard error
//! ```
//!
//! It is the worker of every pipeline, at least once: what was made of one batch of lines is written and flushed before
//! more is read.

mod input;
mod stdin;
mod stdout;

use std::sync::Arc;

use sluicegate_core::{Delivery, Seams, SinkLimits, Stop};

use crate::app::{Connected, LoadedPipeline, Silence};
use crate::exit::Exit;
use crate::service::stop_on_signals;
use input::Input;
use stdin::StdinSource;
use stdout::{Nothing, StdoutSink};

/// Runs the pipeline's stages on standard input's lines, to their end. On this thread. With `raw`, lines are values as they
/// are, else JSON.
///
/// # Errors
/// A line is no record, a policy said stop, standard output takes no more, or not all records came through: what was made
/// of those before is written.
pub(crate) fn run(pipeline: &LoadedPipeline, raw: bool) -> Result<(), Exit> {
    let (stop, interrupted) = (Arc::new(Stop::default()), Arc::new(Stop::default()));
    let signals = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (asked, noted) = (Arc::clone(&stop), Arc::clone(&interrupted));
    stop_on_signals(&signals, move || {
        noted.request();
        asked.request();
    })?;
    let source = StdinSource::new(&pipeline.config, raw, Input::start(std::io::stdin())?, Arc::clone(&stop));
    let sink = StdoutSink::new(&pipeline.config, raw);
    let seams = Seams::new(Box::new(source), Box::new(sink), Box::new(Nothing));
    // A pipe takes any.
    let connected = Connected { seams, limits: SinkLimits::NONE, silence: Silence::default() };
    let done = pipeline.worker(connected, Delivery::AtLeastOnce)?.run(&stop);
    signals.shutdown_background();
    done?;
    let tally = pipeline.meters.tally();
    if interrupted.requested() {
        return Err(Exit::failed(format!("interrupted after {} records", tally.records_in)));
    }
    match tally.dead_letters {
        0 => Ok(()),
        failed => {
            Err(Exit::failed(format!("{failed} of {} records failed: they are dead letters above", tally.records_in)))
        }
    }
}
