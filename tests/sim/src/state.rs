use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sluicegate_audit::{self as audit, Auditor, Terms};
use sluicegate_core::{Delivery, Ticket};

use crate::broker::{Broker, Entry, Status, TransactionId, Transit};
use crate::event::{Event, Events};
use crate::fate::fate;
use crate::faults::Faults;
use crate::group::{Group, Member};
use crate::life::Seat;
use crate::observer::Observer;
use crate::plan::{Plan, ms};
use crate::seed::Random;

/// All that changes in a world.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) now: Duration,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    pub(crate) broker: Broker,
    pub(crate) group: Group,
    pub(crate) observer: Observer,
    pub(crate) events: Events,
    /// Nothing becomes durable before.
    pub(crate) outage_until: Duration,
    /// How often a plugin failed alone with a record (stage, fingerprint) that it could do.
    pub(crate) stumbles: HashMap<(usize, u64), u32>,
    /// Records at which a policy stops, since the last stop; and those that were mended.
    pub(crate) stoppers: Vec<(usize, u64)>,
    pub(crate) mended: HashSet<(usize, u64)>,
    /// Whether a breaker tripped, upon which all were removed.
    pub(crate) tripped: bool,
    /// Lives of workers so far, steps of all of them, and what patches like to know.
    pub(crate) lives: usize,
    pub(crate) steps: usize,
    pub(crate) releases: usize,
    pub(crate) full_waits: usize,
    pub(crate) trace: Trace,
}

/// Prints what happens, if somebody wants to know.
#[derive(Debug)]
pub(crate) struct Trace(pub(crate) bool);

impl Trace {
    pub(crate) fn say(&self, now: Duration, who: Option<&Seat>, what: impl FnOnce() -> String) {
        if self.0 {
            let who = who.map_or_else(String::new, Seat::name);
            println!("{:>10.3} ms {who:<9} {}", now.as_secs_f64() * 1e3, what());
        }
    }
}

impl State {
    /// The workers of a group, counted from the bottom of the stack, have a transactional id each.
    pub(crate) const SLOTS: usize = 3;

    pub(crate) fn new(plan: &Plan, mut random: Random, trace: Trace) -> Self {
        let places = plan.places();
        let observer = Observer::new(auditor(plan), places.len());
        State {
            now: Duration::ZERO,
            faults: Faults::new(&mut random),
            random,
            broker: Broker::new(places, Self::SLOTS),
            group: Group::new(plan.inputs.len()),
            observer,
            events: Events::default(),
            outage_until: Duration::ZERO,
            stumbles: HashMap::new(),
            stoppers: Vec::new(),
            mended: HashSet::new(),
            tripped: false,
            lives: 0,
            steps: 0,
            releases: 0,
            full_waits: 0,
            trace,
        }
    }

    /// Lets time pass, and what is due happen.
    pub(crate) fn advance(&mut self, plan: &Plan, to: Duration) {
        while let Some((at, event)) = self.events.next(to) {
            self.now = self.now.max(at);
            self.happen(plan, event);
        }
        self.now = self.now.max(to);
    }

    fn happen(&mut self, plan: &Plan, event: Event) {
        match event {
            Event::Arrive { producer, place, number } => {
                let missed = self.broker.arrive(producer, place, number, self.now);
                if missed == Some(true) {
                    self.events.plan(self.now + plan.delivery_timeout, Event::GiveUp { producer });
                }
                self.observer.read(&self.broker);
            }
            Event::GiveUp { producer } => {
                self.broker.producers[producer].refused = Some("an output was not acknowledged in time".into());
            }
            Event::Expire(member) => self.expire(member),
            Event::TimeOut(transaction) => {
                if self.broker.fence(transaction) {
                    self.note(|| format!("transaction {transaction} was open for too long"));
                    self.end(plan, transaction, Status::Aborted);
                }
            }
            Event::LateOffsets { member, offsets } => {
                self.note(|| format!("offsets of member {member} come late: {offsets:?}"));
                if self.group.has(member) {
                    self.commit(plan, &offsets);
                }
            }
            Event::LateEnd { producer } => {
                self.note(|| format!("the end of a transaction of producer {producer} comes late"));
                let open = self.broker.producers[producer].transaction;
                if let Some(transaction) = open.filter(|open| self.broker.may_end(*open)) {
                    self.end(plan, transaction, Status::Committed);
                }
            }
        }
    }

    /// The group gives up a member that was silent for too long.
    pub(crate) fn expire(&mut self, member: Member) {
        if self.group.remove(member) {
            self.note(|| format!("member {member} is thrown out"));
        }
    }

    /// These are the group's offsets now.
    pub(crate) fn commit(&mut self, plan: &Plan, offsets: &[(usize, u64)]) {
        if !offsets.is_empty() {
            self.note(|| format!("committed: {offsets:?}"));
        }
        self.group.commit(offsets);
        for (input, offset) in offsets {
            let core = &plan.inputs[*input].partition;
            let source = audit::Partition { topic: core.topic.clone(), number: core.number };
            self.observer.committed(&self.broker, source, *offset);
        }
        self.observer.read(&self.broker);
    }

    /// Ends an open transaction.
    pub(crate) fn end(&mut self, plan: &Plan, transaction: TransactionId, status: Status) {
        self.note(|| format!("transaction {transaction} ends: {status:?}"));
        let offsets = self.broker.end(transaction, status);
        self.group.transaction_ended(transaction);
        self.commit(plan, &offsets);
    }

    /// Sends an output on its way.
    pub(crate) fn write(&mut self, plan: &Plan, producer: usize, place: usize, entry: Entry, ticket: Ticket) {
        let State { random, faults, .. } = self;
        if faults.outage(random) {
            self.outage_until = self.now + ms(random.between(10, 1500));
        }
        let within = |random: &mut Random, most: Duration| most.mul_f64(random.below(1001) as f64 / 1000.0);
        let there = within(random, plan.latencies[place]).max(self.outage_until.saturating_sub(self.now));
        let back = within(random, plan.acknowledgement);
        let transit = Transit { there, back: (!faults.mute(random)).then_some(back), refused: faults.refuse(random) };
        if let Some((number, due)) = self.broker.write(producer, place, entry, ticket, transit, self.now) {
            self.events.plan(due, Event::Arrive { producer, place, number });
        }
    }

    /// A fault strikes.
    pub(crate) fn fault(&mut self) {
        self.observer.auditor.fault();
    }

    /// Whether every record is below its partition's committed offset.
    pub(crate) fn is_done(&self, plan: &Plan) -> bool {
        plan.inputs.iter().enumerate().all(|(at, input)| input.is_done(self.group.committed(at)))
    }

    /// Says what the world does.
    fn note(&self, what: impl FnOnce() -> String) {
        self.trace.say(self.now, None, what);
    }
}

fn auditor(plan: &Plan) -> Auditor {
    let delivery = match plan.settings.delivery {
        Delivery::ExactlyOnce => audit::Delivery::ExactlyOnce,
        Delivery::AtLeastOnce => audit::Delivery::AtLeastOnce,
    };
    let mut auditor = Auditor::new(Terms {
        repeats_max: plan.uncommitted_records_max(),
        memory_max: plan.uncommitted_bytes_max() as u64,
        ..Terms::new(&plan.settings.pipeline, delivery)
    });
    for input in &plan.inputs {
        let source = audit::Partition { topic: input.partition.topic.clone(), number: input.partition.number };
        for record in &input.records {
            auditor.input(&source, record.offset, fate(plan, &input.partition, &record.record));
        }
    }
    auditor
}
