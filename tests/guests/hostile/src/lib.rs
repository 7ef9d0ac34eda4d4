//! Does to each record what the record's value asks for, the worst included; upper-cases it if it asks for nothing.

wit_bindgen::generate!({ path: "../../../wit", world: "batch-plugin" });

use std::hint::black_box;

use exports::sluicegate::plugin::batch_transform::{self, Batch, Column, Headers, Outcomes};
use exports::sluicegate::plugin::lifecycle::{self, Description};
use sluicegate::plugin::{log, metrics};

struct Hostile;

impl lifecycle::Guest for Hostile {
    fn describe() -> Description {
        Description {
            name: "hostile".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "does\nwhat records ask for".into(),
            config_schema: None,
        }
    }

    fn configure(config: String, outputs: Vec<String>) -> Result<(), String> {
        match config.as_str() {
            "\"refuse\"" => Err(format!("no\nway with {outputs:?}")),
            "\"panic\"" => panic!("cannot be configured"),
            "\"loop\"" => spin(),
            "\"nap\"" => Ok(std::thread::sleep(std::time::Duration::from_millis(150))),
            "\"greedy\"" => Ok(drop(black_box(Vec::<u8>::with_capacity(256 << 20)))),
            _ => Ok(()),
        }
    }
}

impl batch_transform::Guest for Hostile {
    fn process(batch: Batch) -> Outcomes {
        let mut outcomes = Outcomes {
            outcomes: Vec::new(),
            reasons: Vec::new(),
            to: Vec::new(),
            timestamps: Vec::new(),
            keys: column(),
            values: column(),
            headers: Headers { counts: Vec::new(), keys: column(), values: column() },
        };
        let mut at = 0;
        for &length in &batch.values.lengths {
            let value = &batch.values.data[at..at + length.max(0) as usize];
            at += value.len();
            record(value, &mut outcomes);
        }
        outcomes
    }
}

fn record(value: &[u8], outcomes: &mut Outcomes) {
    match value.split(|byte| *byte == b' ').next().unwrap_or_default() {
        b"trap" => core::arch::wasm32::unreachable(),
        b"panic" => panic!("boom\non two lines"),
        b"last-words" => {
            log::log(log::Level::Error, "these are my last words");
            core::arch::wasm32::unreachable();
        }
        b"exit" => std::process::exit(3),
        b"loop" => spin(),
        b"sleep" => std::thread::sleep(std::time::Duration::from_secs(3600)),
        b"grow" => loop {
            std::mem::forget(black_box(Vec::<u8>::with_capacity(1 << 20)));
        },
        b"deep" => drop(black_box(deepen(value.len() as u64))),
        b"stack" => drop(black_box(recurse(1))),
        b"malformed" => outcomes.keys.lengths.push(7),
        b"short" => {
            outcomes.outcomes.clear();
            return;
        }
        b"million" => return emit(outcomes, 1_000_000, b""),
        b"large" => return emit(outcomes, 1, &vec![b'x'; 5 << 20]),
        b"future" => outcomes.timestamps.push(i64::MAX),
        b"past" => outcomes.timestamps.push(1),
        b"headers" => {
            let lengths = vec![0; 200_000];
            outcomes.headers.counts.push(lengths.len() as i32);
            outcomes.headers.keys.lengths.extend(&lengths);
            outcomes.headers.values.lengths.extend(&lengths);
        }
        b"reasons" => outcomes.reasons = vec!["a reason".repeat(1000); 1000],
        b"drop" => return outcomes.outcomes.push(0),
        b"pass" => return outcomes.outcomes.push(-1),
        b"reject" => {
            outcomes.outcomes.push(-2);
            return outcomes.reasons.push("not\nthis one".into());
        }
        b"talk" => {
            (0..1000).for_each(|i| log::log(log::Level::Info, &format!("line {i}")));
            eprintln!("to standard error");
            println!("to standard output");
        }
        b"count" => {
            metrics::count("seen", 2);
            metrics::count("Not A Name", 1);
        }
        b"random" => assert_ne!(std::collections::hash_map::RandomState::new().hash(1), 0),
        _ => {}
    }
    emit(outcomes, 1, &value.to_ascii_uppercase());
}

trait Hash {
    fn hash(&self, of: u64) -> u64;
}

impl Hash for std::collections::hash_map::RandomState {
    fn hash(&self, of: u64) -> u64 {
        std::hash::BuildHasher::hash_one(self, of) | 1
    }
}

fn emit(outcomes: &mut Outcomes, times: usize, value: &[u8]) {
    outcomes.outcomes.push(times as i32);
    for _ in 0..times {
        outcomes.keys.lengths.push(-2);
        outcomes.values.lengths.push(value.len() as i32);
        outcomes.values.data.extend_from_slice(value);
    }
}

fn column() -> Column {
    Column { data: Vec::new(), lengths: Vec::new() }
}

fn spin() -> ! {
    loop {
        black_box(1);
    }
}

/// Recursion whose frames are wasm's own alone.
#[inline(never)]
fn deepen(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { deepen(depth + 1).rotate_left(1) + depth }
}

/// Recursion whose frames lie in the guest's memory.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { recurse(depth + 1) + frame[(depth % 64) as usize] }
}

export!(Hostile);
