use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{
    Action, Batch, Destination, Error, FailureKind, Output, Partition, Policy, Polled, Progress, Seams, Sink, Source,
    Story, Ticket,
};

use super::display::{Became, Display, Shown};
use crate::config::Pipeline;

/// Who is who in a pipeline: its topics, and what its stages' policies say.
pub(super) struct Cast {
    default: String,
    named: Vec<String>,
    dead_letter: Option<String>,
    policies: BTreeMap<String, Policy>,
}

impl Cast {
    pub(super) fn of(config: &Pipeline) -> Self {
        let dead_letter = config.dead_letter.as_ref().map(|dead_letter| dead_letter.topic.clone());
        let policy =
            |stage: &crate::config::Stage| (stage.name.clone(), stage.on_failure.policy(dead_letter.is_some()));
        Cast {
            default: config.sink.topic().to_owned(),
            named: config.sink.outputs().iter().map(|(_, topic)| topic.to_owned()).collect(),
            policies: config.stages.iter().map(policy).collect(),
            dead_letter,
        }
    }

    fn topic(&self, to: Destination) -> &str {
        match to {
            Destination::Default => &self.default,
            Destination::Named(index) => self.named.get(index as usize).map_or("?", String::as_str),
            Destination::DeadLetter | Destination::Replayed => self.dead_letter.as_deref().unwrap_or("?"),
        }
    }

    /// Whether the user wants a record skipped that failed so.
    fn skips(&self, stage: &str, failure: &str) -> bool {
        let kind = FailureKind::ALL.into_iter().find(|kind| kind.name() == failure);
        let policy = self.policies.get(stage);
        policy.zip(kind).is_some_and(|(policy, kind)| policy.action(kind) == Action::Skip)
    }
}

/// Sees what a worker reads and writes, and has it shown once a batch is done.
struct Scene {
    cast: Arc<Cast>,
    display: Arc<Display>,
    /// The batch that the worker has.
    now: Option<Act>,
    /// Batches that wait for another try.
    aside: HashMap<Partition, Act>,
    /// Dead letters that went no further, as their policy is to skip them, by batch.
    skipped: Vec<Ticket>,
}

/// A batch, as far as it is shown, and what became of each record.
struct Act {
    batch: Batch,
    became: Vec<Vec<Became>>,
}

/// The same seams, with somebody beside them.
pub(super) fn look_on(mut seams: Seams, cast: Arc<Cast>, display: Arc<Display>) -> Seams {
    let scene = Scene { cast, display, now: None, aside: HashMap::new(), skipped: Vec::new() };
    let scene = Rc::new(RefCell::new(scene));
    seams.source = Box::new(SeenSource { inner: seams.source, scene: Rc::clone(&scene) });
    seams.sink = Box::new(SeenSink { inner: seams.sink, scene });
    seams
}

impl Scene {
    fn begin(&mut self, batch: &Batch) {
        let shown = self.display.take(batch.len());
        let mut act = Act { batch: Batch::default(), became: Vec::new() };
        batch.slice(0..shown, &mut act.batch);
        act.became.resize_with(shown, Vec::new);
        self.now = Some(act);
    }

    fn hold(&mut self, partition: &Partition, held: bool) {
        if held {
            let act = self.now.take_if(|act| act.batch.partition == *partition);
            self.aside.extend(act.map(|act| (partition.clone(), act)));
        } else {
            self.now = self.aside.remove(partition);
        }
    }

    /// Notes an output; whether it is not to go any further.
    fn note(&mut self, output: &Output<'_>) -> bool {
        let story = Story::of(output);
        let skips = story.as_ref().is_some_and(|story| self.cast.skips(&story.stage, &story.failure));
        let Some(act) = &mut self.now else { return skips };
        let Ok(row) = act.batch.offsets.binary_search(&output.offset) else { return skips };
        let topic = self.cast.topic(output.to);
        let became = match story {
            Some(Story { stage, failure, reason, .. }) => {
                Became::failed(&stage, &failure, &reason, (!skips).then_some(topic))
            }
            None => {
                let passed = output.to == Destination::Default
                    && act.batch.rows().nth(row).is_some_and(|row| is_as_it_came(output, &row));
                Became::output(output, topic, passed)
            }
        };
        act.became[row].push(became);
        skips
    }

    /// The batch is done.
    fn end(&mut self) {
        if let Some(act) = self.now.take() {
            let shown = act.batch.rows().zip(&act.became);
            self.display.show(shown.map(|(row, became)| Shown { partition: &act.batch.partition, row, became }));
        }
        self.display.tell_hidden();
    }
}

fn is_as_it_came(output: &Output<'_>, row: &sluicegate_core::Row<'_>) -> bool {
    (output.timestamp, output.key, output.value) == (row.timestamp, row.key, row.value)
        && output.headers.eq(row.headers)
}

struct SeenSource {
    inner: Box<dyn Source>,
    scene: Rc<RefCell<Scene>>,
}

impl Source for SeenSource {
    fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
        let polled = self.inner.poll(batch, wait)?;
        if polled == Polled::Batch {
            self.scene.borrow_mut().begin(batch);
        }
        Ok(polled)
    }

    fn attend(&mut self) -> Result<Polled, Error> {
        self.inner.attend()
    }

    fn ready(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        let is_ready = self.inner.ready(batch)?;
        if is_ready {
            self.scene.borrow_mut().begin(batch);
        }
        Ok(is_ready)
    }

    fn release(&mut self) -> Result<Vec<Partition>, Error> {
        let gone = self.inner.release()?;
        self.scene.borrow_mut().aside.retain(|partition, _| !gone.contains(partition));
        Ok(gone)
    }

    fn rewind(&mut self, why: &Error) -> Result<(), Error> {
        let mut scene = self.scene.borrow_mut();
        scene.now = None;
        scene.aside.clear();
        self.inner.rewind(why)
    }

    fn hold(&mut self, partition: &Partition, held: bool) {
        self.scene.borrow_mut().hold(partition, held);
        self.inner.hold(partition, held);
    }

    fn close(&mut self) {
        self.inner.close();
    }
}

struct SeenSink {
    inner: Box<dyn Sink>,
    scene: Rc<RefCell<Scene>>,
}

impl Sink for SeenSink {
    fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error> {
        if self.scene.borrow_mut().note(output) {
            self.scene.borrow_mut().skipped.push(ticket);
            return Ok(());
        }
        self.inner.write(output, ticket)
    }

    fn send_now(&mut self) {
        self.inner.send_now();
    }

    fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
        let mut scene = self.scene.borrow_mut();
        scene.skipped.drain(..).for_each(|ticket| progress.acknowledge(ticket, 1));
        scene.end();
        self.inner.acknowledged(progress, wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluicegate_core::HeaderSlice;

    const TEXT: &str = "name: p\nsource: { local: { path: x, topics: [in] } }\nstages: []\n\
                        sink: { local: { path: x, topic: out, outputs: { large: out.large } } }\n";

    fn scene() -> Scene {
        let config = crate::config::parse(TEXT, std::path::Path::new("p.yaml"), &crate::config::Process).unwrap();
        Scene {
            cast: Arc::new(Cast::of(&config)),
            display: Arc::new(Display::new(2)),
            now: None,
            aside: HashMap::new(),
            skipped: Vec::new(),
        }
    }

    fn batch(number: u32, offsets: &[u64]) -> Batch {
        let mut batch = Batch { partition: Partition { topic: "in".into(), number }, ..Batch::default() };
        offsets.iter().for_each(|offset| batch.push(*offset, 5, Some(b"k"), Some(b"v")));
        batch
    }

    fn output<'a>(source: &'a Partition, offset: u64, value: &'a [u8]) -> Output<'a> {
        Output {
            to: Destination::Default,
            source,
            offset,
            index: 0,
            timestamp: 5,
            key: Some(b"k"),
            value: Some(value),
            headers: HeaderSlice::default(),
            added: &[],
        }
    }

    #[test]
    fn outputs_are_of_the_records_that_are_shown() {
        let (mut scene, batch) = (scene(), batch(0, &[3, 7, 9]));
        scene.begin(&batch);
        assert!(!scene.note(&output(&batch.partition, 3, b"v")) && !scene.note(&output(&batch.partition, 3, b"w")));
        scene.note(&output(&batch.partition, 9, b"v"));
        let act = scene.now.as_ref().unwrap();
        assert_eq!(act.batch.offsets, [3, 7], "two a second");
        let became: Vec<_> = act.became[0].iter().map(|became| became.line.contains("passed")).collect();
        assert_eq!((became, act.became[1].len()), (vec![true, false], 0));
    }

    #[test]
    fn a_batch_that_waits_is_shown_when_it_is_done() {
        let (mut scene, first, second) = (scene(), batch(0, &[1]), batch(1, &[2]));
        scene.begin(&first);
        scene.hold(&first.partition, true);
        scene.begin(&second);
        scene.hold(&first.partition, true);
        assert_eq!(scene.now.as_ref().map(|act| act.batch.offsets.clone()), Some(vec![2]), "another one is held");
        scene.end();
        assert!(scene.now.is_none());
        scene.hold(&first.partition, false);
        assert_eq!(scene.now.map(|act| act.batch.offsets), Some(vec![1]));
    }

    #[test]
    fn what_the_user_wants_skipped_goes_no_further() {
        let text = TEXT
            .replace("stages: []", "stages: [{ plugin: s.wasm, on-failure: { kinds: { rejected: { then: skip } } } }]");
        let config = crate::config::parse(&text, std::path::Path::new("p.yaml"), &crate::config::Process).unwrap();
        let mut scene = Scene { cast: Arc::new(Cast::of(&config)), ..scene() };
        let batch = batch(0, &[1]);
        scene.begin(&batch);
        for (failure, skips) in [("rejected", true), ("trap", false)] {
            let story = Story {
                pipeline: "p".into(),
                stage: "s".into(),
                plugin: "s".into(),
                plugin_version: "1".into(),
                plugin_digest: "d".into(),
                failure: failure.into(),
                reason: "no".into(),
                source: batch.partition.clone(),
                offset: 1,
                time_ms: 0,
            };
            let added = story.into_headers();
            let letter = Output { to: Destination::DeadLetter, added: &added, ..output(&batch.partition, 1, b"v") };
            assert_eq!(scene.note(&letter), skips, "{failure}");
        }
    }
}
