use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The pause, or up to a quarter less: workers that lost the same broker, of this process and of others, are not to come back to
/// it all at the same moment.
pub(super) fn jittered(pause: Duration) -> Duration {
    // Each has other keys, and they are random.
    let random = RandomState::new().hash_one(()) as u16;
    pause - pause / 4 * u32::from(random) / (1 << 16)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn pauses_differ_and_are_never_longer_nor_much_shorter() {
        let pause = Duration::from_secs(30);
        let pauses: BTreeSet<Duration> = (0..100).map(|_| jittered(pause)).collect();
        assert!(pauses.len() > 50, "{pauses:?}");
        assert!(pauses.iter().all(|jittered| (pause * 3 / 4..=pause).contains(jittered)), "{pauses:?}");
    }
}
