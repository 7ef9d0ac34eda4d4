//! Which records are a canary's, and when it is found wanting.

use crate::batch::Partition;
use crate::findings::Conduct;

/// The part of the records that a canary is given: by their keys, or by their partitions.
///
/// Whether a key is among them depends on the key alone, in every worker, process and canary: its 64-bit FNV-1a hash, modulo
/// 10,000, is less than the share in hundredths of a percent. Where a record has no key its partition decides, by the same hash
/// of its topic's name and its number's four bytes, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Hundredths of a percent: 10,000 are all.
    pub points: u16,
    /// By keys; else by partitions.
    pub of_keys: bool,
}

/// All of the points.
const POINTS: u64 = 10_000;

impl Share {
    #[inline]
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        fnv_1a(key.iter()) % POINTS < u64::from(self.points)
    }

    pub(crate) fn has_partition(&self, partition: &Partition) -> bool {
        let number = partition.number.to_le_bytes();
        fnv_1a(partition.topic.as_bytes().iter().chain(&number)) % POINTS < u64::from(self.points)
    }
}

/// Fowler, Noll, Vo: a few lines in any language in which somebody wants to know a canary's keys.
#[inline]
fn fnv_1a<'a>(bytes: impl Iterator<Item = &'a u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Why a canary does worse than the live plugin; none if it does not.
///
/// The live plugin's rates say how many failures, and how many calls over the deadline, to expect of a canary in as many records
/// as it was given. By chance it may have more. While it runs: three standard deviations, that is, three times the root of one
/// more than is expected, so that the first failure ends nothing. At the end: two, of what is expected. Where nothing is
/// expected, three failures are allowed, and none at the end. What both fail on is not counted.
pub fn is_worse(live: &Conduct, canary: &Conduct, at_end: bool) -> Option<String> {
    let too_many = |what: &str, live_count: u64, count: u64| {
        let rate = if live.records == 0 { 0.0 } else { live_count as f64 / live.records as f64 };
        let expected = rate * canary.records as f64;
        let allowed = expected + if at_end { 2.0 * expected.sqrt() } else { 3.0 * (expected + 1.0).sqrt() };
        (count as f64 > allowed).then(|| {
            format!(
                "{what}: {count} in {} records, where {allowed:.0} is the most to be expected of the {live_count} in {} \
                 records of what runs",
                canary.records, live.records
            )
        })
    };
    too_many("failures", live.failed(), canary.failed())
        .or_else(|| too_many("calls over the deadline", live.overruns, canary.overruns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;

    #[test]
    fn a_share_is_as_large_as_it_says_and_grows_by_what_it_has() {
        let keys: Vec<String> = (0..20_000).map(|key| format!("key-{key}")).collect();
        let share = |points| Share { points, of_keys: true };
        let of = |points| keys.iter().filter(|key| share(points).has_key(key.as_bytes())).count();
        assert_eq!((of(0), of(10_000)), (0, keys.len()));
        for points in [100, 1_000, 5_000] {
            let expected = keys.len() * usize::from(points) / 10_000;
            assert!(of(points).abs_diff(expected) < 5 * (expected as f64).sqrt() as usize, "{points}: {}", of(points));
        }
        assert!(keys.iter().all(|key| !share(100).has_key(key.as_bytes()) || share(101).has_key(key.as_bytes())));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // Of the authors' own test vectors.
        assert_eq!(fnv_1a(b"foobar".iter()), 0x8594_4171_f739_67e8);
        assert_eq!(fnv_1a(b"".iter()), 0xcbf2_9ce4_8422_2325);
    }

    fn conduct(records: u64, failures: u64, overruns: u64) -> Conduct {
        let mut conduct = Conduct { records, overruns, ..Conduct::default() };
        conduct.failures[FailureKind::Trap as usize] = failures;
        conduct
    }

    #[test]
    fn a_canary_may_fail_as_often_as_what_runs_and_by_chance_a_little_more() {
        let live = conduct(9_000, 90, 0);
        for (failures, while_running, at_end) in
            [(0, false, false), (10, false, false), (16, false, false), (17, false, true), (20, true, true)]
        {
            let canary = conduct(1_000, failures, 0);
            let found = (is_worse(&live, &canary, false).is_some(), is_worse(&live, &canary, true).is_some());
            assert_eq!(found, (while_running, at_end), "{failures} failures");
        }
    }

    #[test]
    fn where_what_runs_never_fails_a_canary_does_not_either() {
        let live = conduct(0, 0, 0);
        assert_eq!(is_worse(&live, &conduct(0, 0, 0), true), None);
        assert_eq!(is_worse(&live, &conduct(50, 3, 0), false), None);
        let why = is_worse(&live, &conduct(50, 4, 0), false).unwrap();
        assert!(why.starts_with("failures: 4 in 50 records"), "{why}");
        assert!(is_worse(&live, &conduct(50, 1, 0), true).is_some());
        assert!(is_worse(&live, &conduct(50, 0, 1), true).unwrap().starts_with("calls over the deadline: 1"));
    }
}
