//! The faults: what each does, and what must come of it.

mod brokers;
mod group;
mod processes;
mod topics;
mod traffic;

use anyhow::Result;

use crate::frame::Api;
use crate::network::Way;
use crate::scene::Scene;
use crate::setting::Delivery::{self, ExactlyOnce};
use crate::setting::{Setting, Tuning};

/// A fault.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// What it is called on the command line and in the table.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// The promise that it concerns; none: both.
    pub only: Option<Delivery>,
    /// How many processes run when it begins.
    pub processes: usize,
    /// What it needs of the pipeline file.
    pub tuning: Tuning,
    /// When it strikes.
    pub course: Course,
    /// What must come of it.
    pub end: End,
    /// Makes it, and ends it.
    pub make: fn(&mut Scene<'_>) -> Result<()>,
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// At moments that whoever makes it tells.
    Told,
    /// At moments that nobody sees, until outputs flow again.
    Unseen,
    /// The same; and whoever asks for committed offsets may be told older ones: a coordinator that has just taken over
    /// answers by what it knows to be replicated.
    Brokers,
}

/// What must come of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All is done in the end.
    Recovers,
    /// Every process ends by itself, and says why; nothing is passed over.
    Refuses,
}

impl Fault {
    const fn new(name: &'static str, what: &'static str, make: fn(&mut Scene<'_>) -> Result<()>) -> Self {
        let (only, end, tuning) = (None, End::Recovers, Tuning::USUAL);
        Self { name, what, only, processes: 2, tuning, course: Course::Told, end, make }
    }

    const fn only(self, delivery: Delivery) -> Self {
        Self { only: Some(delivery), ..self }
    }

    const fn processes(self, processes: usize) -> Self {
        Self { processes, ..self }
    }

    const fn course(self, course: Course) -> Self {
        Self { course, ..self }
    }

    /// Whether it is to be made in this setting.
    pub fn concerns(&self, setting: Setting) -> bool {
        self.only.is_none_or(|only| only == setting.delivery)
    }
}

/// All faults, in the order of the table.
pub const ALL: &[Fault] = &[
    Fault::new("kill", "kill -9 at random, three times", processes::kill),
    Fault::new("kill-after-write", "kill -9 when brokers have outputs, before the program knows", |scene| {
        processes::kill_at(scene, Api::Produce, Way::Answer)
    }),
    Fault::new("kill-before-offsets", "kill -9 when offsets are about to be sent", |scene| {
        processes::kill_at(scene, processes::offsets(scene), Way::Request)
    }),
    Fault::new("kill-after-offsets", "kill -9 when brokers have the offsets, before the program knows", |scene| {
        processes::kill_at(scene, processes::offsets(scene), Way::Answer)
    }),
    Fault::new("kill-before-commit", "kill -9 when a transaction is about to end", |scene| {
        processes::kill_at(scene, Api::EndTxn, Way::Request)
    })
    .only(ExactlyOnce),
    Fault::new("kill-after-commit", "kill -9 when a transaction has ended, before the program knows", |scene| {
        processes::kill_at(scene, Api::EndTxn, Way::Answer)
    })
    .only(ExactlyOnce),
    Fault::new("terminate", "SIGTERM under load: exit 0 within 10 seconds", processes::terminate),
    Fault::new("freeze-session", "SIGSTOP past the session time-out, then SIGCONT", processes::freeze_past_session),
    Fault {
        tuning: Tuning::TRANSACTION_FIRST,
        ..Fault::new(
            "freeze-transaction",
            "SIGSTOP in a transaction, past its time-out, then SIGCONT",
            processes::freeze_past_transaction,
        )
        .only(ExactlyOnce)
    },
    Fault::new("one-identity", "a second process with the identity of the first", group::one_identity).processes(1),
    Fault::new("rebalances", "from 1 process to 3 and back, three times", group::storm).processes(1),
    Fault::new("broker-kill", "kill -9 of a broker, then it comes back", brokers::kill).course(Course::Brokers),
    Fault::new("brokers-kill", "kill -9 of all brokers, then they come back", brokers::kill_all)
        .course(Course::Brokers),
    Fault::new("broker-restart", "a broker is stopped in good order, then it comes back", brokers::restart)
        .course(Course::Brokers),
    Fault::new("broker-freeze", "SIGSTOP of a broker past its session time-out, then SIGCONT", brokers::freeze)
        .course(Course::Brokers),
    Fault::new("terminate-frozen", "SIGTERM while a broker is stopped: exit 0 within 10 seconds", brokers::terminate)
        .course(Course::Brokers),
    Fault::new("latency", "each frame takes 20 to 100 milliseconds", traffic::latency).course(Course::Unseen),
    Fault::new("resets", "all connections are reset, six times", traffic::resets).course(Course::Unseen),
    Fault::new(
        "answers-lost",
        "outputs, offsets and a commit are with the brokers, and the answers are lost with their connections",
        traffic::lose_answers,
    )
    .course(Course::Unseen),
    Fault::new("black-hole", "nothing passes for some seconds, then all of it does", traffic::black_hole)
        .course(Course::Unseen),
    Fault::new("half-open", "requests pass, answers do not, then connections are reset", traffic::half_open)
        .course(Course::Unseen),
    Fault::new(
        "late-end",
        "a commit is lost on the way, and arrives in the next transaction; then kill -9",
        traffic::late_end,
    )
    .only(ExactlyOnce)
    .course(Course::Unseen),
    Fault::new("partitions-added", "the source gets more partitions", topics::grow),
    Fault { end: End::Refuses, ..Fault::new("topic-deleted", "the source is deleted", topics::delete) },
    Fault {
        end: End::Refuses,
        ..Fault::new("offset-gone", "retention passes the committed offset while nobody reads", topics::retain)
    },
    Fault {
        tuning: Tuning { source: "on-missing-offset: earliest", ..Tuning::USUAL },
        ..Fault::new("offset-gone-earliest", "the same, where the pipeline goes on from what is left", topics::skip)
    },
    Fault {
        tuning: Tuning { source: "on-missing-offset: latest", ..Tuning::USUAL },
        ..Fault::new("offset-gone-latest", "the same, where it goes on with what comes from then on", topics::skip)
    },
];
