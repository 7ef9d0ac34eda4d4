//! Makes of each record what the record's value asks for, and some of that is not the same when the record comes again.

wit_bindgen::generate!({ path: "../../../wit", world: "batch-plugin" });

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use exports::sluicegate::plugin::batch_transform::{self, Batch, Column, Headers, Outcomes};
use exports::sluicegate::plugin::lifecycle::{self, Description};
use sluicegate::plugin::seed;

thread_local! {
    /// The state that no plugin should keep.
    static SEEN: Cell<u64> = const { Cell::new(0) };
    /// A map made once: its order hangs on its seed alone.
    static TABLE: RefCell<HashMap<u32, ()>> = RefCell::default();
}

struct Fickle;

impl lifecycle::Guest for Fickle {
    fn describe() -> Description {
        let version = env!("CARGO_PKG_VERSION").into();
        Description { name: "fickle".into(), version, summary: "changes its mind".into(), config_schema: None }
    }

    fn configure(_: String, _: Vec<String>) -> Result<(), String> {
        TABLE.set(numbers());
        Ok(())
    }
}

impl batch_transform::Guest for Fickle {
    fn process(batch: Batch) -> Outcomes {
        let records = batch.offsets.len();
        let column = || Column { data: Vec::new(), lengths: vec![-2; records] };
        let mut values = Column { data: Vec::new(), lengths: Vec::new() };
        let mut at = 0;
        for &length in &batch.values.lengths {
            let value = &batch.values.data[at..at + length.max(0) as usize];
            at += value.len();
            SEEN.set(SEEN.get() + 1);
            let made = answer(value, records);
            values.lengths.push(made.len() as i32);
            values.data.extend_from_slice(made.as_bytes());
        }
        Outcomes {
            outcomes: vec![1; records],
            reasons: Vec::new(),
            to: Vec::new(),
            timestamps: Vec::new(),
            keys: column(),
            values,
            headers: Headers { counts: Vec::new(), keys: no_column(), values: no_column() },
        }
    }
}

fn answer(value: &[u8], records: usize) -> String {
    match value {
        b"count" => format!("number {}", SEEN.get()),
        b"batch" => format!("one of {records}"),
        b"table" => TABLE.with_borrow(order),
        b"map" => order(&numbers()),
        b"time" => format!("{}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()),
        b"elapsed" => {
            let start = Instant::now();
            format!("{:?}", start.elapsed())
        }
        // Slept in pieces, as runtimes do that watch the clock for the end of it.
        b"sleep" => {
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(3600) {
                std::thread::sleep(Duration::from_secs(60));
            }
            "rested".into()
        }
        b"random" => format!("{:x?}", random()),
        b"seed" => format!("{:x}", seed::stage()),
        steady => String::from_utf8_lossy(steady).to_uppercase(),
    }
}

fn numbers() -> HashMap<u32, ()> {
    (0..16).map(|number| (number, ())).collect()
}

fn order(map: &HashMap<u32, ()>) -> String {
    format!("{:?}", map.keys().collect::<Vec<_>>())
}

/// What crates that need random bytes ask for them by.
fn random() -> [u8; 8] {
    unsafe extern "C" {
        fn getentropy(bytes: *mut u8, length: usize) -> i32;
    }
    let mut bytes = [0; 8];
    // SAFETY: the C library fills as many bytes as there are.
    assert_eq!(unsafe { getentropy(bytes.as_mut_ptr(), bytes.len()) }, 0);
    bytes
}

fn no_column() -> Column {
    Column { data: Vec::new(), lengths: Vec::new() }
}

export!(Fickle);
