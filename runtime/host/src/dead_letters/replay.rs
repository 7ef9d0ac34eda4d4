use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use sluicegate_core::{Delivery, Error, Seams, SinkLimits, Stop};

use super::ledger::Ledger;
use super::source::LetterSource;
use super::writing::{Desk, LetterSink, LetterTransaction, Nothing, Preview};
use super::{Filter, Index, Report};
use crate::app::{App, Connected, LoadedPipeline, Outlet, Silence, dead_letter_topic};
use crate::config::{Pipeline, Then};

/// What to replay, and how.
pub(crate) struct Replay {
    /// Which letters.
    pub(crate) filter: Filter,
    /// At most so many records.
    pub(crate) limit: usize,
    /// Tell what would be produced, and write nothing.
    pub(crate) dry_run: bool,
}

/// What came of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Records that were to be replayed.
    pub(crate) open: u64,
    /// Records that came through.
    pub(crate) replayed: u64,
    /// Outputs made of them.
    pub(crate) outputs: u64,
    /// Records that failed again; their letters stay.
    pub(crate) failed: u64,
}

impl Replay {
    /// Runs the letters' records through the stages of the pipeline, until all are done or `stop` is requested. On this
    /// thread.
    ///
    /// # Errors
    /// What was committed is replayed and will not be again; the rest is as it was.
    pub(crate) fn run(
        &self,
        app: &App,
        pipeline: &LoadedPipeline,
        report: Report,
        stop: &Arc<Stop>,
    ) -> Result<Replayed, Error> {
        let desk = Desk {
            ledger: Rc::default(),
            report: Rc::new(report),
            topic: Arc::from(dead_letter_topic(&pipeline.config)?),
        };
        // Connected first: only then is whatever an earlier replay wrote there to be read, or will never be.
        let outlet =
            if self.dry_run { preview(&pipeline.config, &desk) } else { real(app, &pipeline.config, &desk, stop)? };
        let index = Index::read(&mut *app.letters(&pipeline.config, !self.dry_run)?, &self.filter)?;
        let letters = index.open(self.limit);
        let open = letters.len() as u64;
        desk.report.begin(open);
        let reader = app.letters(&pipeline.config, false)?;
        let batch = &pipeline.config.batch;
        let source = LetterSource::new(reader, batch, letters, Rc::clone(&desk.ledger), Arc::clone(stop));
        let Outlet { sink, transaction, limits } = outlet;
        let seams = Seams::new(Box::new(source), sink, transaction);
        let connected = Connected { seams, limits, silence: Silence::default() };
        let result = pipeline.worker(connected, Delivery::ExactlyOnce)?.run(stop);
        desk.report.end();
        let Ledger { replayed, outputs, failed, .. } = *desk.ledger.borrow();
        result.map(|_| Replayed { open, replayed, outputs, failed })
    }
}

fn real(app: &App, config: &Pipeline, desk: &Desk, stop: &Arc<Stop>) -> Result<Outlet, Error> {
    let Outlet { sink, transaction, limits } = app.outlet(config, stop)?;
    let sink = Rc::new(RefCell::new(sink));
    Ok(Outlet {
        transaction: Box::new(LetterTransaction { inner: transaction, sink: Rc::clone(&sink), desk: desk.clone() }),
        sink: Box::new(LetterSink { inner: sink, desk: desk.clone() }),
        limits,
    })
}

fn preview(config: &Pipeline, desk: &Desk) -> Outlet {
    let named = config.sink.outputs().iter().map(|(_, topic)| topic.to_owned()).collect();
    let sink = Preview { desk: desk.clone(), default: config.sink.topic().to_owned(), named };
    Outlet {
        sink: Box::new(sink),
        transaction: Box::new(Nothing { desk: desk.clone() }),
        // What the sink's topics take is not asked for.
        limits: SinkLimits::NONE,
    }
}

/// The pipeline as a replay runs it: what fails again is neither skipped nor a reason to stop.
pub(crate) fn for_replay(mut config: Pipeline) -> Pipeline {
    for stage in &mut config.stages {
        let on_failure = &mut stage.on_failure;
        on_failure.then = Some(Then::DeadLetter);
        on_failure.kinds.iter_mut().for_each(|exception| exception.then = None);
        on_failure.breaker = u32::MAX;
    }
    config
}
