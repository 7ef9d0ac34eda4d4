//! Trades: records like those of the examples, with everything odd that a record can be.

use serde_json::json;

use crate::random::Random;
use crate::record::{Record, UNKNOWN};

/// What is odd about a trade. In every hundred trades each kind comes once, tombstones twice; four
/// in a whole run are [`Kind::Large`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// The key is null.
    NullKey,
    /// The value is null.
    Tombstone,
    /// The value is there, and empty.
    EmptyValue,
    /// A header comes twice, with other values.
    DuplicateHeaders,
    /// A header's value is null.
    NullHeader,
    /// A header's value is empty.
    EmptyHeader,
    /// Key, value and a header's value are not UTF-8.
    NotUtf8,
    /// The value is 900 KB long.
    Large,
}

/// The length of a [`Kind::Large`] value, in bytes: under Kafka's default limit for a record.
pub const LARGE: usize = 900_000;
/// How many large values a run has, however long it is.
pub const LARGE_COUNT: usize = 4;

const SYMBOLS: [&str; 8] = ["ACME", "GLOBX", "INIT", "UMBR", "STRK", "WAYN", "HOOL", "SOYL"];
const ACCOUNTS: u64 = 500;
/// 2026-01-05, 14:30 UTC.
const OPENING: i64 = 1_767_623_400_000;

/// The kind of the trade at this place among `count`.
pub fn kind(index: usize, count: usize) -> Kind {
    let part = count.div_ceil(LARGE_COUNT).max(1);
    if index % part == part / 2 {
        return Kind::Large;
    }
    match index % 100 {
        7 => Kind::NullKey,
        19 | 20 => Kind::Tombstone,
        31 => Kind::EmptyValue,
        43 => Kind::DuplicateHeaders,
        55 => Kind::NullHeader,
        67 => Kind::EmptyHeader,
        79 => Kind::NotUtf8,
        _ => Kind::Plain,
    }
}

/// `count` trades for a topic of `partitions` partitions. An account's trades share a key and a
/// partition; timestamps rise; offsets are [`UNKNOWN`]. The same arguments give the same trades.
pub fn generate(seed: u64, count: usize, partitions: i32) -> Vec<Record> {
    let mut random = Random::new(seed);
    let mut timestamp = OPENING;
    let trade = |index| {
        timestamp += 1 + random.below(20) as i64;
        let account = random.below(ACCOUNTS);
        let mut record = Record {
            partition: (account % partitions as u64) as i32,
            offset: UNKNOWN,
            timestamp,
            key: Some(number(account).into_bytes()),
            value: Some(value(index, account, &mut random)),
            headers: vec![
                ("trace-id".into(), Some(format!("{:016x}", random.number()).into_bytes())),
                ("content-type".into(), Some(b"application/json".to_vec())),
            ],
        };
        make_odd(&mut record, kind(index, count), &mut random);
        record
    };
    (0..count).map(trade).collect()
}

/// What a pipeline should make of these records: the outputs that `pipeline` names for each, in
/// order, with the offset [`UNKNOWN`]. The partition is the input's unless `pipeline` sets another.
pub fn expected(inputs: &[Record], pipeline: impl Fn(&Record) -> Vec<Record>) -> Vec<Record> {
    let outputs = inputs.iter().flat_map(pipeline);
    outputs.map(|output| Record { offset: UNKNOWN, ..output }).collect()
}

fn value(index: usize, account: u64, random: &mut Random) -> Vec<u8> {
    let trade = json!({
        "id": index,
        "symbol": random.pick(&SYMBOLS),
        "side": random.pick(&["buy", "sell"]),
        "quantity": 100 * (1 + random.below(50)),
        "price": format!("{}.{:02}", 1 + random.below(900), random.below(100)),
        "account": number(account),
        "note": random.pick(&[
            "filled in four parts over the morning; see the desk's log for the time and price of each",
            "señal de compra confirmada por la mesa de operaciones; cliente avisado por teléfono – ✓",
            "limit order, good till cancelled, sent on by \"smart\" routing;\nno fee was charged",
        ]),
    });
    trade.to_string().into_bytes()
}

/// An account's number: sixteen digits that look like a card's.
fn number(account: u64) -> String {
    format!("4111{:012}", account * 7_919_311)
}

fn make_odd(record: &mut Record, kind: Kind, random: &mut Random) {
    match kind {
        Kind::Plain => {}
        Kind::NullKey => record.key = None,
        Kind::Tombstone => record.value = None,
        Kind::EmptyValue => record.value = Some(Vec::new()),
        Kind::DuplicateHeaders => {
            record.headers.insert(0, ("content-type".into(), Some(b"text/plain".to_vec())));
            record.headers.push(("trace-id".into(), Some(b"again".to_vec())));
        }
        Kind::NullHeader => record.headers.push(("reviewer".into(), None)),
        Kind::EmptyHeader => record.headers.push(("reviewer".into(), Some(Vec::new()))),
        Kind::NotUtf8 => {
            record.key = record.key.take().map(|key| [b"\xff\xfe", &key[..]].concat());
            record.value = Some([b"\x80\x00", &random.bytes(200)[..]].concat());
            record.headers.push(("raw".into(), Some(b"\xc3\x28".to_vec())));
        }
        Kind::Large => record.value = Some(random.bytes(LARGE)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    #[test]
    fn the_seed_decides() {
        assert_eq!(generate(1, 50, 4), generate(1, 50, 4));
        assert_ne!(generate(1, 50, 4), generate(2, 50, 4));
    }

    #[test]
    fn every_kind_comes_in_its_proportion() {
        for count in [400, 2_000, 12_345] {
            let mut counts = BTreeMap::new();
            for index in 0..count {
                *counts.entry(kind(index, count)).or_insert(0) += 1;
            }
            assert_eq!(counts.len(), 9, "{counts:?}");
            assert_eq!(counts[&Kind::Large], LARGE_COUNT, "{count} trades");
            assert!(counts[&Kind::NullKey].abs_diff(count / 100) <= LARGE_COUNT);
        }
    }

    #[test]
    fn trades_look_like_trades() {
        let trades = generate(3, 1_000, 4);
        assert!(trades.is_sorted_by(|a, b| a.timestamp < b.timestamp));
        assert_eq!(trades.iter().map(|trade| trade.partition).collect::<HashSet<_>>().len(), 4);
        let mut length = 0;
        for (index, trade) in trades.iter().enumerate() {
            if kind(index, trades.len()) == Kind::Plain {
                let value = trade.value.as_deref().expect("a value");
                let json: serde_json::Value = serde_json::from_slice(value).expect("JSON");
                assert_eq!(json["id"], index);
                assert_eq!(json["account"].as_str().map(str::as_bytes), trade.key.as_deref());
                length += value.len();
            }
        }
        assert!((180_000..220_000).contains(&length), "{length} bytes in 1,000 trades");
    }

    #[test]
    fn expected_outputs_follow_their_inputs() {
        let inputs = generate(4, 10, 2);
        let outputs = expected(&inputs, |input| match input.partition {
            0 => vec![],
            _ => vec![input.clone(), input.clone().in_partition(7)],
        });
        let kept = inputs.iter().filter(|input| input.partition == 1);
        assert_eq!(outputs.len(), 2 * kept.count());
        assert!(outputs.iter().all(|output| [1, 7].contains(&output.partition)));
    }
}
