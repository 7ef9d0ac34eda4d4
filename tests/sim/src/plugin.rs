use sluicegate_audit::Record;
use sluicegate_core::FailureKind;

use crate::seed::mix;

/// What a plugin says of one record: a function of the record alone.
#[derive(Debug)]
pub(crate) enum Saying {
    Pass,
    /// In order; none drops the record.
    Emit(Vec<Emission>),
    Fail(FailureKind),
}

#[derive(Debug)]
pub(crate) struct Emission {
    /// A named output, or the default.
    pub(crate) to: Option<u32>,
    pub(crate) record: Record,
}

/// What a record is to a stage: the same number for the same content.
pub(crate) fn fingerprint(salt: u64, stage: usize, record: &Record) -> u64 {
    let mut hash = mix(salt ^ stage as u64);
    let mut eat = |part: Option<&[u8]>| {
        let bytes = part.unwrap_or(b"\0null");
        hash = bytes.iter().fold(mix(hash), |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    };
    eat(record.key.as_deref());
    eat(record.value.as_deref());
    for (name, value) in &record.headers {
        eat(Some(name));
        eat(value.as_deref());
    }
    mix(hash)
}

/// What the plugin says of the record with this fingerprint. `failing` of a hundred fail; there are `named` outputs.
pub(crate) fn say(fingerprint: u64, record: &Record, failing: u64, named: usize) -> Saying {
    if fingerprint % 100 < failing {
        return Saying::Fail(FailureKind::ALL[(fingerprint >> 8) as usize % FailureKind::ALL.len()]);
    }
    let to = (named > 0).then(|| (fingerprint >> 24) as u32 % named as u32);
    let other = |to, change: &dyn Fn(&mut Record)| {
        let mut record = record.clone();
        change(&mut record);
        Emission { to, record }
    };
    let tagged = |to, tag: u8| other(to, &|record: &mut Record| record.value.get_or_insert_default().push(tag));
    Saying::Emit(match (fingerprint >> 16) % 12 {
        0..=3 => return Saying::Pass,
        4 => vec![tagged(None, b'!')],
        5 => vec![],
        6 => vec![tagged(None, b'1'), tagged(None, b'2')],
        7 => vec![tagged(None, b'1'), tagged(to, b'2'), tagged(None, b'3')],
        8 => vec![other(to, &|_| {})],
        9 => vec![other(None, &|record| record.value = None)],
        10 => vec![other(None, &|record| {
            record.headers.push((b"seen".to_vec(), None));
            record.timestamp = Some(7);
        })],
        _ => vec![other(to, &|record| {
            record.key = None;
            record.headers.clear();
        })],
    })
}
