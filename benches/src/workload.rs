//! What is to be done: the records, the plugin that does it, and what a bare program does instead.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use anyhow::{Context as _, Result};
use regex::bytes::Regex;
use serde::Deserialize;

/// One kind of work on one kind of record. Those of the field: Nexmark's Q0 (pass), Q1 (map) and Q2 (filter), and what
/// pipelines are used for most: masking, and routing.
#[derive(Debug)]
pub struct Workload {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is called in a table.
    pub title: &'static str,
    /// How many bytes each value has.
    pub bytes: usize,
    /// Whether each record has a header.
    pub headers: bool,
    /// The plugin of `plugins/` that does it.
    pub plugin: &'static str,
    /// The plugin's configuration, as YAML in one line.
    pub config: &'static str,
    /// The limits of its stage, as YAML in one line.
    pub limits: &'static str,
    /// The file that the configuration names.
    pub table: Option<Table>,
    /// Topics beside the first, by the names that the plugin has for them.
    pub outputs: &'static [&'static str],
    native: fn() -> Native,
}

/// A file that a plugin's configuration reads.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name, in the folder of the pipeline.
    pub name: &'static str,
    /// What is in it.
    pub text: fn() -> String,
}

/// What a bare program does with a value.
pub type Native = Box<dyn Fn(&[u8]) -> Made<'_>>;

/// What becomes of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Made<'a> {
    /// It goes no further.
    Dropped,
    /// A value for the topic of this index; the first is 0.
    Value(Cow<'a, [u8]>, usize),
}

/// What an interpreter asks for beyond the defaults: it is large, and what a plugin in Python made stays with its instance.
pub(crate) const INTERPRETER: &str = "{ compile-time: 10m, memory: 256MiB }";

/// The header of records that have one.
pub const HEADER: (&str, &str) = ("origin", "bench");

/// All of them; the first is what contenders are compared by.
pub const ALL: &[Workload] = &[
    uppercase("uppercase", "map: upper-case 200 B", 200),
    uppercase("uppercase-100", "map: upper-case 100 B", 100),
    uppercase("uppercase-1k", "map: upper-case 1 KiB", 1 << 10),
    uppercase("uppercase-64k", "map: upper-case 64 KiB", 64 << 10),
    Workload {
        name: "pass",
        title: "pass 200 B as they came",
        plugin: "filter",
        config: "{ keep: { key: true, exists: true } }",
        native: || Box::new(|value| Made::Value(value.into(), 0)),
        ..BASE
    },
    Workload {
        name: "filter-half",
        title: "keep half, by a JSON field of 200 B",
        plugin: "filter",
        config: "{ keep: { field: quantity, less: 500 } }",
        native: || Box::new(|value| kept(value, |trade| trade.quantity < 500)),
        ..BASE
    },
    Workload {
        name: "filter-most",
        title: "keep 0.1 %, by a JSON field of 200 B",
        plugin: "filter",
        config: "{ keep: { field: quantity, equals: 7 } }",
        native: || Box::new(|value| kept(value, |trade| trade.quantity == 7)),
        ..BASE
    },
    Workload {
        name: "redact-1k",
        title: "mask what a regex finds in 1 KiB",
        bytes: 1 << 10,
        plugin: "redact",
        config: r"{ patterns: ['\b\d{16}\b'] }",
        native: redacting,
        ..BASE
    },
    Workload {
        name: "enrich",
        title: "add to 200 B one of 10,000 rows, by a JSON field; the plugin is in Python",
        plugin: "enrich",
        config: "{ table: { csv: '${file:accounts.csv}' }, match: account, field: account }",
        limits: INTERPRETER,
        table: Some(Table { name: "accounts.csv", text: accounts }),
        native: enriching,
        ..BASE
    },
    Workload {
        name: "route",
        title: "route 200 B with a header to 3 topics",
        headers: true,
        plugin: "route",
        config: "{ field: symbol, rules: [{ equals: bolt, to: bolt }, { equals: core, to: core }] }",
        outputs: &["bolt", "core"],
        native: || Box::new(routed),
        ..BASE
    },
];

const BASE: Workload = uppercase("", "", 200);

const fn uppercase(name: &'static str, title: &'static str, bytes: usize) -> Workload {
    Workload {
        name,
        title,
        bytes,
        headers: false,
        plugin: "uppercase",
        config: "{}",
        limits: "{}",
        table: None,
        outputs: &[],
        native: || Box::new(|value| Made::Value(value.to_ascii_uppercase().into(), 0)),
    }
}

/// What a program without a plugin reads of a trade: the rest is skipped.
#[derive(Deserialize)]
struct Trade<'a> {
    symbol: &'a str,
    quantity: u64,
    #[serde(default)]
    account: u64,
}

fn kept(value: &[u8], keep: impl Fn(&Trade<'_>) -> bool) -> Made<'_> {
    match serde_json::from_slice::<Trade<'_>>(value) {
        Ok(trade) if keep(&trade) => Made::Value(value.into(), 0),
        _ => Made::Dropped,
    }
}

fn routed(value: &[u8]) -> Made<'_> {
    let to = match serde_json::from_slice::<Trade<'_>>(value).map(|trade| trade.symbol) {
        Ok("bolt") => 1,
        Ok("core") => 2,
        _ => 0,
    };
    Made::Value(value.into(), to)
}

fn redacting() -> Native {
    let card = Regex::new(r"(?-u:\b)[0-9]{16}(?-u:\b)").expect("a pattern that was tried");
    Box::new(move |value| Made::Value(card.replace_all(value, &b"***"[..]), 0))
}

/// What accounts there are in [`Workload::value`].
const ACCOUNTS: u64 = 10_000;

fn accounts() -> String {
    let row = |account| format!("{account},{}\n", account_row(account).join(","));
    format!("account,owner,tier\n{}", (0..ACCOUNTS).map(row).collect::<String>())
}

fn account_row(account: u64) -> [String; 2] {
    [format!("Owner {account}"), ["basic", "silver", "gold"][(account % 3) as usize].to_owned()]
}

fn enriching() -> Native {
    let members = |account| {
        let [owner, tier] = account_row(account);
        format!(r#","owner":"{owner}","tier":"{tier}"}}"#).into_bytes()
    };
    let table: HashMap<u64, Vec<u8>> = (0..ACCOUNTS).map(|account| (account, members(account))).collect();
    Box::new(move |value| match serde_json::from_slice::<Trade<'_>>(value) {
        Ok(trade) => {
            let members = table.get(&trade.account).map_or(&b"}"[..], Vec::as_slice);
            Made::Value([&value[..value.len() - 1], members].concat().into(), 0)
        }
        Err(_) => Made::Value(value.into(), 0),
    })
}

impl Workload {
    /// The one of this name.
    ///
    /// # Errors
    /// There is none: those that there are.
    pub fn find(name: &str) -> Result<&'static Workload> {
        let names = || ALL.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ");
        let found = ALL.iter().find(|workload| workload.name == name);
        found.with_context(|| format!("no workload '{name}'; there are {}", names()))
    }

    /// The first workload on values of another size.
    pub const fn of_bytes(bytes: usize) -> Workload {
        uppercase("uppercase", "map: upper-case values", bytes)
    }

    /// What a bare program does with each value. Made once a program.
    pub fn native(&self) -> Native {
        (self.native)()
    }

    /// All topics that it writes, the first of which has this name.
    pub fn topics(&self, first: &str) -> Vec<String> {
        let others = self.outputs.iter().map(|output| format!("{first}-{output}"));
        std::iter::once(first.to_owned()).chain(others).collect()
    }

    /// The key of a record.
    pub fn key(id: u64) -> String {
        id.to_string()
    }

    /// The value of a record: a trade as JSON, of just so many bytes; or the number alone where that has no room.
    pub fn value(&self, id: u64) -> Vec<u8> {
        if self.bytes < 100 {
            return format!("{id:0bytes$x}", bytes = self.bytes).into_bytes();
        }
        let symbol = ["acme", "bolt", "core"][(id % 3) as usize];
        let mut value = format!(r#"{{"id":{id},"symbol":"{symbol}","quantity":{},"#, id % 1000).into_bytes();
        if self.bytes >= 200 {
            let account = id % ACCOUNTS;
            value.extend_from_slice(format!(r#""card":"4111111111111111","account":{account},"#).as_bytes());
        }
        value.extend_from_slice(br#""note":""#);
        value.resize((self.bytes - 2).max(value.len()), b'x');
        value.extend_from_slice(br#""}"#);
        value
    }
}

/// Records regardless of their order: how many, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many.
    pub records: u64,
    /// The wrapping sum of the hashes of where each record is, and of all that it consists of.
    pub sum: u64,
}

impl Digest {
    /// Takes a record of the topic of this index into account.
    pub fn add<'a>(
        &mut self,
        topic: usize,
        key: Option<&[u8]>,
        value: &[u8],
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) {
        let mut hasher = DefaultHasher::new();
        (topic, key, value).hash(&mut hasher);
        headers.for_each(|header| header.hash(&mut hasher));
        self.records += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_bytes_that_their_workload_says() {
        for workload in ALL {
            for id in [0, 999, 99_999_999] {
                assert_eq!(workload.value(id).len(), workload.bytes, "{}", workload.name);
            }
        }
    }

    #[test]
    fn a_bare_program_does_the_same_work() -> Result<()> {
        let made = |name: &str, id: u64| -> Result<(usize, Option<(String, usize)>)> {
            let workload = Workload::find(name)?;
            let value = workload.value(id);
            let made = match workload.native()(&value) {
                Made::Dropped => None,
                Made::Value(value, to) => Some((String::from_utf8(value.into_owned())?, to)),
            };
            Ok((value.len(), made))
        };
        assert!(made("uppercase", 1)?.1.is_some_and(|(value, _)| value.starts_with(r#"{"ID":1,"SYMBOL":"BOLT""#)));
        assert_eq!(made("filter-most", 8)?.1, None);
        assert!(made("filter-most", 1007)?.1.is_some() && made("filter-half", 499)?.1.is_some());
        assert_eq!(made("filter-half", 500)?.1, None);
        let (bytes, masked) = made("redact-1k", 5)?;
        assert!(masked.is_some_and(|(value, _)| value.contains(r#""card":"***""#) && value.len() == bytes - 13));
        let enriched = made("enrich", 10_007)?.1.map(|(value, _)| value);
        assert!(enriched.is_some_and(|value| value.ends_with(r#"x","owner":"Owner 7","tier":"silver"}"#)));
        let topics: Vec<_> = (0..3).map(|id| Ok(made("route", id)?.1.map(|(_, to)| to))).collect::<Result<_>>()?;
        assert_eq!(topics, [Some(0), Some(1), Some(2)]);
        Ok(())
    }

    #[test]
    fn a_digest_depends_on_every_part_but_not_on_the_order() {
        let digest = |records: &[(usize, &str, &str)]| {
            let mut digest = Digest::default();
            for (topic, key, value) in records {
                digest.add(*topic, Some(key.as_bytes()), value.as_bytes(), std::iter::empty());
            }
            digest
        };
        let one = digest(&[(0, "a", "b"), (1, "c", "d")]);
        assert_eq!(one, digest(&[(1, "c", "d"), (0, "a", "b")]));
        for other in [[(0, "a", "b"), (0, "c", "d")], [(0, "a", "b"), (1, "c", "e")], [(0, "ab", ""), (1, "c", "d")]] {
            assert_ne!(one, digest(&other));
        }
    }
}
