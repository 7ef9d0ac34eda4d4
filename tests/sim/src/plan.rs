use std::fmt;
use std::time::Duration;

use sluicegate_audit as audit;
use sluicegate_core::{
    Action, CommitEvery, Delivery, Destination, FailureKind, OutputLimits, Partition, Policy, Rule, SinkLimits,
    WorkerSettings,
};

use crate::seed::Random;

/// What a seed decides before anything happens: the pipeline, its records, and how slow the world is.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: WorkerSettings,
    pub(crate) inputs: Vec<Input>,
    pub(crate) stages: Vec<StagePlan>,
    /// Named outputs.
    pub(crate) named: usize,
    /// Partitions of each output topic.
    pub(crate) output_partitions: usize,
    /// Whether an output goes to the partition of its key's hash, or to that of its input's number.
    pub(crate) by_key: bool,
    pub(crate) batch_records: usize,
    /// Outputs that a producer keeps before it is full.
    pub(crate) queue_records: usize,
    /// How long a write may wait for room.
    pub(crate) full_wait: Duration,
    /// The longest time from a write until it is durable, for each output partition.
    pub(crate) latencies: Vec<Duration>,
    /// The longest time from there until the producer knows.
    pub(crate) acknowledgement: Duration,
    /// How long an output may go without acknowledgement before its producer gives it up.
    pub(crate) delivery_timeout: Duration,
    /// How long a member may be silent.
    pub(crate) session: Duration,
    pub(crate) transaction_timeout: Duration,
    /// Mixed into what plugins make of records.
    pub(crate) salt: u64,
    /// Steps of a worker from one handover of its seams to the next; none in most worlds.
    pub(crate) handover_every: Option<usize>,
    /// Steps of a worker from one change by whoever runs it to the next; none in most worlds.
    pub(crate) changes_every: Option<usize>,
}

/// One input partition and its log.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) partition: Partition,
    pub(crate) records: Vec<InputRecord>,
}

#[derive(Debug)]
pub(crate) struct InputRecord {
    pub(crate) offset: u64,
    /// When it is there to be read.
    pub(crate) at: Duration,
    pub(crate) record: audit::Record,
}

#[derive(Debug)]
pub(crate) struct StagePlan {
    pub(crate) name: String,
    pub(crate) policy: Policy,
    pub(crate) retries: u32,
    pub(crate) limits: OutputLimits,
    pub(crate) deadline: Duration,
    /// The time a plugin takes for one record.
    pub(crate) cost: Duration,
    /// The records in a row that may fail.
    pub(crate) breaker: Option<u32>,
    /// Of a hundred records, those that fail each time.
    pub(crate) failing: u64,
}

/// The longest time that a broker in good health takes for an output.
const LATENCY_MAX: Duration = ms(60);

/// The time that a slow plugin takes for one record.
const SLOW: Duration = ms(60);

impl Plan {
    pub(crate) fn new(random: &mut Random) -> Self {
        let latency = random.pick(&[0, 1, 5, 30]);
        let (named, output_partitions) = (random.below(3) as usize, random.between(1, 3) as usize);
        let places = (named + 2) * output_partitions;
        let (settings, batch_records) = (settings(random), random.pick(&[1, 2, 5, 16, 40]));
        let mut plan = Plan {
            // Long enough for what a worker does between two commits when nothing fails.
            transaction_timeout: settings.commit.interval + LATENCY_MAX * 10 * batch_records as u32,
            settings,
            inputs: inputs(random),
            stages: (0..random.below(4)).map(|number| stage(random, number)).collect(),
            named,
            output_partitions,
            by_key: random.chance(500),
            batch_records,
            queue_records: random.pick(&[2, 8, 50, 1000]),
            full_wait: LATENCY_MAX * random.pick(&[2, 10]),
            latencies: (0..places).map(|_| if random.chance(200) { LATENCY_MAX } else { ms(latency) }).collect(),
            acknowledgement: ms(random.pick(&[0, 0, 3, 40])),
            delivery_timeout: ms(random.pick(&[100, 1000])),
            session: ms(random.between(50, 400)),
            salt: random.number(),
            handover_every: None,
            changes_every: None,
        };
        // Of what is drawn already, so that no other world becomes another.
        plan.changes_every = (plan.salt >> 18).is_multiple_of(4).then(|| 3 + (plan.salt >> 24) as usize % 60);
        if (plan.salt >> 32).is_multiple_of(8) {
            plan.slow_down();
        }
        plan.handover_every = plan.salt.is_multiple_of(4).then(|| 5 + (plan.salt >> 8) as usize % 60);
        plan
    }

    /// Plugins take longer for a batch than a worker may spend at a time.
    fn slow_down(&mut self) {
        let calls = (self.batch_records * self.stages.len()) as u32;
        self.transaction_timeout += SLOW * 2 * calls;
        self.stages.iter_mut().for_each(|stage| (stage.cost, stage.deadline) = (SLOW, SLOW * 4));
    }

    /// The records that a worker may have written and not committed: one commit interval's worth.
    pub(crate) fn uncommitted_records_max(&self) -> usize {
        self.settings.commit.records + self.batch_records - 1
    }

    /// The bytes that a worker may have read and not committed, and a batch that waits for each partition.
    pub(crate) fn uncommitted_bytes_max(&self) -> usize {
        let written = match self.settings.delivery {
            Delivery::ExactlyOnce => self.settings.budget,
            Delivery::AtLeastOnce => self.settings.commit.bytes,
        };
        written + self.batch_bytes_max() * (1 + self.inputs.len())
    }

    fn batch_bytes_max(&self) -> usize {
        let records = self.inputs.iter().flat_map(|input| &input.records);
        self.batch_records * records.map(InputRecord::bytes).max().unwrap_or(0)
    }

    /// The output partition for an output with this key, as an index among all of them.
    pub(crate) fn place(&self, to: Destination, source: &Partition, key: Option<&[u8]>) -> usize {
        let topic = match to {
            Destination::Default => 0,
            Destination::Named(index) => 1 + index as usize,
            Destination::DeadLetter | Destination::Replayed => 1 + self.named,
        };
        let number = if self.by_key || to == Destination::DeadLetter {
            key.unwrap_or_default().iter().map(|byte| u64::from(*byte)).sum::<u64>()
        } else {
            u64::from(source.number)
        };
        topic * self.output_partitions + number as usize % self.output_partitions
    }

    /// All output partitions, in the order of their index.
    pub(crate) fn places(&self) -> Vec<audit::Partition> {
        let named = (0..self.named).map(|index| format!("side.{index}"));
        let topics = std::iter::once("out".to_owned()).chain(named).chain(std::iter::once("dead".to_owned()));
        topics
            .flat_map(|topic| {
                (0..self.output_partitions).map(move |number| audit::Partition::new(&topic, number as u32))
            })
            .collect()
    }

    pub(crate) fn input(&self, partition: &Partition) -> usize {
        self.inputs.iter().position(|input| input.partition == *partition).expect("a partition of this world")
    }
}

/// For the trace, without the records.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.settings)?;
        for Input { partition, records } in &self.inputs {
            writeln!(f, "{partition}: {} records", records.len())?;
        }
        self.stages.iter().try_for_each(|stage| writeln!(f, "{stage:?}"))
    }
}

impl Input {
    /// The first record at or after this offset.
    pub(crate) fn from(&self, offset: u64) -> usize {
        self.records.partition_point(|record| record.offset < offset)
    }

    pub(crate) fn is_done(&self, committed: u64) -> bool {
        self.from(committed) == self.records.len()
    }
}

impl InputRecord {
    /// What the budget counts.
    pub(crate) fn bytes(&self) -> usize {
        let length = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let headers = self.record.headers.iter().map(|(name, value)| name.len() + length(value));
        length(&self.record.key) + length(&self.record.value) + headers.sum::<usize>()
    }
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn settings(random: &mut Random) -> WorkerSettings {
    WorkerSettings {
        pipeline: "p".into(),
        delivery: random.pick(&[Delivery::ExactlyOnce, Delivery::AtLeastOnce]),
        commit: CommitEvery {
            interval: ms(random.pick(&[1, 10, 100, 1000])),
            records: random.pick(&[1, 4, 10, 30]),
            bytes: random.pick(&[200, 1 << 20]),
        },
        budget: random.pick(&[1, 150, 600, 4000]),
        drain: ms(random.pick(&[50, 1000])),
    }
}

fn inputs(random: &mut Random) -> Vec<Input> {
    let topics = random.between(1, 2);
    let partitions = random.between(1, 3);
    let pause = random.pick(&[0, 0, 1, 4]);
    let records = random.pick(&[5, 20, 60]);
    let each = (0..topics).flat_map(|topic| (0..partitions).map(move |number| (topic, number)));
    each.map(|(topic, number)| {
        let partition = Partition { topic: format!("in.{topic}").into(), number: number as u32 };
        let mut offset = random.below(3);
        let records = (0..random.below(records + 1)).map(|at| {
            offset += 1 + if random.chance(100) { random.below(4) } else { 0 };
            InputRecord { offset, at: ms(at * pause), record: record(random) }
        });
        Input { partition, records: records.collect() }
    })
    .collect()
}

/// A record with nulls, empty strings, tombstones and headers where the seed wants them.
fn record(random: &mut Random) -> audit::Record {
    let text = |random: &mut Random, least: usize| -> Vec<u8> {
        (0..least as u64 + random.pick(&[0, 1, 9, 24])).map(|_| b'a' + random.below(26) as u8).collect()
    };
    let key = match random.below(4) {
        0 => None,
        1 => Some(Vec::new()),
        _ => Some(text(random, 1)),
    };
    let value = (!random.chance(60)).then(|| text(random, 0));
    let header = |random: &mut Random| {
        let value = random.pick(&[None, Some(&b""[..]), Some(&b"v"[..])]);
        (random.pick(&[&b"h"[..], b"", b"\xff"]).to_vec(), value.map(<[u8]>::to_vec))
    };
    let headers = if random.chance(200) { random.between(1, 3) } else { 0 };
    audit::Record {
        key,
        value,
        headers: (0..headers).map(|_| header(random)).collect(),
        timestamp: (!random.chance(50)).then(|| random.between(0, 1 << 40) as i64 - 1000),
    }
}

fn stage(random: &mut Random, number: u64) -> StagePlan {
    let retries = random.below(4) as u32;
    let backoff = ms(random.pick(&[0, 1, 20]));
    let then = random.pick(&[Action::DeadLetter, Action::DeadLetter, Action::Skip, Action::Stop]);
    let mut policy = Policy::uniform(Rule { retries, backoff, then });
    for kind in FailureKind::ALL {
        if random.chance(200) {
            let then = random.pick(&[Action::DeadLetter, Action::Skip, Action::Stop]);
            policy = policy.with(kind, Rule { retries, backoff, then });
        }
    }
    StagePlan {
        name: format!("s{number}"),
        policy,
        retries,
        limits: OutputLimits {
            outputs_per_record: 4,
            bytes_per_record: 1 << 16,
            sink: SinkLimits { bytes: 1 << 16, ..SinkLimits::NONE },
        },
        deadline: ms(random.pick(&[5, 50])),
        cost: Duration::from_micros(random.pick(&[1, 50, 1000])),
        breaker: random.pick(&[None, None, Some(1), Some(3)]),
        failing: random.pick(&[0, 2, 10]),
    }
}
