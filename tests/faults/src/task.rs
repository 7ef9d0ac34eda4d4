//! What records ask of the plugin, and what must become of them: most pass, some are split, routed aside, dropped or
//! rejected.

use anyhow::{Result, bail};
use sluicegate_audit::{Expected, Fate};
use sluicegate_tests::record::Record;

use crate::judge::said;
use crate::setting::{aside, dead, output};

/// The header in which a record asks, as `tests/conformance/README.md` has it.
const HEADER: &str = "do";
const PASS: &[u8] = b"pass";
const DROP: &[u8] = b"drop";
const REJECT: &[u8] = b"reject not this one";
const ASIDE: &[u8] = b"emit\nto aside";
const SPLIT: &[u8] = b"emit\nvalue first\nemit\nto aside\nemit\nnull value";

/// Gives each record its task, by its place among them.
pub fn assign(records: &mut [Record]) {
    for (place, record) in records.iter_mut().enumerate() {
        let task = match place % 20 {
            1 => DROP,
            // None of them lacks a key, by which dead letters are partitioned: a repeat comes to the same place.
            5 => REJECT,
            9 => ASIDE,
            13 | 14 => SPLIT,
            _ => PASS,
        };
        record.headers.push((HEADER.to_owned(), Some(task.to_vec())));
    }
}

/// What must become of a record in the run of this name.
pub fn fate(run: &str, input: &Record) -> Result<Fate> {
    let partition = Some(u32::try_from(input.partition)?);
    let upper = input.value.as_ref().map(|value| value.to_ascii_uppercase());
    let out = |topic: String, value: Option<&[u8]>| {
        let record = said(&Record { value: value.map(<[u8]>::to_vec), ..input.clone() });
        Expected { topic: topic.into(), partition, record }
    };
    let (upper, first) = (upper.as_deref(), Some(&b"first"[..]));
    Ok(match input.header(HEADER).flatten() {
        Some(PASS) => Fate::Produced(vec![out(output(run), upper)]),
        Some(DROP) => Fate::Produced(Vec::new()),
        // By its key, and as it came in.
        Some(REJECT) => Fate::DeadLetter {
            letter: Expected { partition: None, ..out(dead(run), input.value.as_deref()) },
            story: vec![(b"sluicegate-failure".to_vec(), Some(b"rejected".to_vec()))],
        },
        Some(ASIDE) => Fate::Produced(vec![out(aside(run), upper)]),
        Some(SPLIT) => Fate::Produced(vec![out(output(run), first), out(aside(run), upper), out(output(run), None)]),
        other => bail!("a record asks for {other:?}: {input:?}"),
    })
}

#[cfg(test)]
mod tests {
    use sluicegate_tests::trades;

    use super::*;

    #[test]
    fn every_step_of_the_load_has_every_task() -> Result<()> {
        let mut records = trades::generate(1, 100, 6);
        assign(&mut records);
        assert!(records.iter().all(|record| record.key.is_some() || record.header(HEADER) != Some(Some(REJECT))));
        let fates = records.iter().map(|record| fate("run", record)).collect::<Result<Vec<_>>>()?;
        let dead = fates.iter().filter(|fate| matches!(fate, Fate::DeadLetter { .. })).count();
        let of = |outputs: usize| {
            fates.iter().filter(|fate| matches!(fate, Fate::Produced(all) if all.len() == outputs)).count()
        };
        assert_eq!((of(0), of(1), of(3), dead), (5, 80, 10, 5));
        Ok(())
    }
}
