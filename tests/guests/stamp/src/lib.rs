//! Puts its number before each value. The number, and a mischief, stand in its own bytes, where a test writes others: one
//! build is as many versions as are wanted.

wit_bindgen::generate!({ path: "../../../wit", world: "batch-plugin" });

use std::hint::black_box;

use exports::sluicegate::plugin::batch_transform::{self, Batch, Column, Headers, Outcomes};
use exports::sluicegate::plugin::lifecycle::{self, Description};

/// Where the number begins.
const NUMBER: usize = 17;
/// Where the mischief does; `good` is none.
const MISCHIEF: usize = 24;

static MARK: [u8; 28] = *b"SLUICEGATE-STAMP:000000:good";

/// Read so that no compiler knows them.
fn byte(at: usize) -> u8 {
    // SAFETY: within a static array, whose bounds are checked.
    unsafe { core::ptr::read_volatile(&MARK[at]) }
}

fn is_up_to(mischief: &[u8; 4]) -> bool {
    mischief.iter().enumerate().all(|(at, wanted)| byte(MISCHIEF + at) == *wanted)
}

struct Stamp;

impl lifecycle::Guest for Stamp {
    fn describe() -> Description {
        if is_up_to(b"mute") {
            panic!("has nothing to say");
        }
        let number: String = (NUMBER..MISCHIEF - 1).map(|at| char::from(byte(at))).collect();
        let picky = r#"{ "type": "object", "required": ["fields"] }"#;
        Description {
            name: "stamp".into(),
            version: number,
            summary: "puts its number before each value".into(),
            config_schema: is_up_to(b"pick").then(|| picky.into()),
        }
    }

    fn configure(_: String, _: Vec<String>) -> Result<(), String> {
        if is_up_to(b"crsh") {
            panic!("crashes on its config");
        }
        while is_up_to(b"hang") {}
        if is_up_to(b"fill") {
            drop(black_box(Vec::<u8>::with_capacity(1 << 30)));
        }
        if is_up_to(b"deny") { Err("wants another".into()) } else { Ok(()) }
    }
}

impl batch_transform::Guest for Stamp {
    fn process(batch: Batch) -> Outcomes {
        if is_up_to(b"trap") {
            panic!("crashes on every record");
        }
        let (records, stamp) = (batch.offsets.len(), (NUMBER..MISCHIEF).map(byte).collect::<Vec<u8>>());
        let data = Vec::with_capacity(batch.values.data.len() + records * stamp.len());
        let mut values = Column { data, lengths: Vec::with_capacity(records) };
        let mut at = 0;
        for &length in &batch.values.lengths {
            let value = &batch.values.data[at..at + length.max(0) as usize];
            at += value.len();
            let before = values.data.len();
            values.data.extend_from_slice(&stamp);
            values.data.extend_from_slice(value);
            if value.ends_with(b"odd") {
                meet_odd(&mut values.data);
            }
            values.lengths.push((values.data.len() - before) as i32);
        }
        Outcomes {
            outcomes: vec![1; records],
            reasons: Vec::new(),
            to: Vec::new(),
            timestamps: Vec::new(),
            keys: Column { data: Vec::new(), lengths: vec![-2; records] },
            values,
            headers: Headers { counts: Vec::new(), keys: no_column(), values: no_column() },
        }
    }
}

/// Some mischief is about values that end so.
fn meet_odd(value: &mut Vec<u8>) {
    if is_up_to(b"poor") {
        panic!("crashes on what is odd");
    }
    if is_up_to(b"diff") {
        value.extend_from_slice(b"ly");
    }
}

fn no_column() -> Column {
    Column { data: Vec::new(), lengths: Vec::new() }
}

export!(Stamp);
