//! What a plugin sees of time and chance: nothing real, unless the stage's `allow` says so.

use std::time::Duration;

use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostWallClock, WasiCtxBuilder};

/// What a stage's `allow` may name. Log, counters and a seed are always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// The machine's clocks.
    Clock,
    /// The machine's random numbers.
    Random,
}

impl Capability {
    /// Its name in `allow`.
    pub fn name(self) -> &'static str {
        match self {
            Capability::Clock => "clock",
            Capability::Random => "random",
        }
    }
}

/// An import that is real only where the stage allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The interface, without its version.
    pub interface: &'static str,
    /// What allows it.
    pub capability: Capability,
    /// What the plugin gets otherwise.
    pub otherwise: &'static str,
}

/// The seed of hash maps, the same in both fixed worlds: an order of entries that depends on it does no harm.
const HASH_SEED: u128 = 0x736c_7569_6365_6761_7465_2d68_6173_6865;

/// Every import that is real only where it is allowed.
pub(crate) const ASKS: [Ask; 7] = [
    ask("wasi:clocks/wall-clock", Capability::Clock, "a clock that stands at 2000-01-01T00:00:00Z"),
    ask("wasi:clocks/monotonic-clock", Capability::Clock, "a clock that moves only when it is read or waited for"),
    ask("wasi:random/random", Capability::Random, "the same byte over and over"),
    ask("wasi:random/insecure", Capability::Random, "the same byte over and over"),
    ask("wasi:random/insecure-seed", Capability::Random, "the same seed in every instance, for its hash maps"),
    ask("wasi_snapshot_preview1.clock_time_get", Capability::Clock, "clocks that this machine's do not move"),
    ask("wasi_snapshot_preview1.random_get", Capability::Random, "the same byte over and over"),
];

const fn ask(interface: &'static str, capability: Capability, otherwise: &'static str) -> Ask {
    Ask { interface, capability, otherwise }
}

/// What an instance sees of time and chance: real where its stage's `allow` says so, and fixed elsewhere.
///
/// What is fixed makes the same outputs of the same record, however often and in whatever batches it is processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Whether the clocks are the machine's.
    pub clock: bool,
    /// Whether random numbers are the machine's.
    pub random: bool,
    /// What stands in for whichever is not real.
    pub fixed: Fixed,
}

/// Two worlds that stand still. A plugin whose outputs differ between them looks at its clock or its random numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fixed {
    /// What plugins live in.
    #[default]
    Usual,
    /// Another one, for tests.
    Other,
}

impl Allow {
    /// What a stage with these in its `allow` gives.
    pub fn of(capabilities: impl IntoIterator<Item = Capability>) -> Self {
        capabilities.into_iter().fold(Allow::default(), |given, capability| match capability {
            Capability::Clock => Allow { clock: true, ..given },
            Capability::Random => Allow { random: true, ..given },
        })
    }

    /// Sets what WASI answers with.
    pub(crate) fn arrange(self, wasi: &mut WasiCtxBuilder) {
        if let Some(time) = self.standing_time() {
            wasi.wall_clock(Standing(time));
        }
        if !self.random {
            let byte = self.fixed.random_byte();
            // Always the same byte, not a sequence: what a record gets must not depend on the records before it.
            let constant = || Deterministic::new(vec![byte]);
            wasi.secure_random(constant()).insecure_random(constant());
            wasi.insecure_random_seed(HASH_SEED);
        }
    }

    /// The time of day as an instance starts, if it is not the machine's.
    pub(crate) fn standing_time(self) -> Option<Duration> {
        (!self.clock).then(|| self.fixed.unix_time())
    }

    /// The monotonic clock as an instance starts, if it is not the machine's.
    pub(crate) fn counted_time(self) -> Option<CountedTime> {
        (!self.clock).then(|| CountedTime::starting_at(self.fixed.monotonic_start()))
    }
}

impl Fixed {
    fn unix_time(self) -> Duration {
        match self {
            Fixed::Usual => Duration::from_secs(946_684_800),
            Fixed::Other => Duration::from_secs(2_000_000_000),
        }
    }

    /// In nanoseconds. Not zero, which some runtimes take for a clock that does not work.
    fn monotonic_start(self) -> u64 {
        match self {
            Fixed::Usual => 1_000_000_000,
            Fixed::Other => 77_000_000_000,
        }
    }

    /// Not zero, on which some generators stay stuck.
    fn random_byte(self) -> u8 {
        match self {
            Fixed::Usual => 0x2a,
            Fixed::Other => 0xd5,
        }
    }
}

/// A wall clock that stands.
struct Standing(Duration);

impl HostWallClock for Standing {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

/// Time that passes only as it is read or waited for, so that a loop that waits for a moment comes to its end.
#[derive(Debug)]
pub(crate) struct CountedTime {
    now_ns: u64,
}

impl CountedTime {
    /// How far reading the clock moves it, and its resolution.
    pub(crate) const TICK_NS: u64 = 1_000;

    fn starting_at(now_ns: u64) -> Self {
        CountedTime { now_ns }
    }

    pub(crate) fn read(&mut self) -> u64 {
        let now = self.now_ns;
        self.now_ns = now.saturating_add(CountedTime::TICK_NS);
        now
    }

    /// It is now this moment, unless it is later already.
    pub(crate) fn jump_to(&mut self, when_ns: u64) {
        self.now_ns = self.now_ns.max(when_ns);
    }

    pub(crate) fn jump_by(&mut self, duration_ns: u64) {
        self.now_ns = self.now_ns.saturating_add(duration_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_time_comes_to_any_moment_that_is_waited_for() {
        let mut time = Allow::default().counted_time().unwrap();
        let start = time.read();
        assert_eq!(time.read(), start + CountedTime::TICK_NS);
        time.jump_by(5_000_000_000);
        time.jump_to(start);
        assert_eq!(time.read(), start + 2 * CountedTime::TICK_NS + 5_000_000_000);
        time.jump_by(u64::MAX);
        assert_eq!((time.read(), time.read()), (u64::MAX, u64::MAX));
    }

    #[test]
    fn only_what_is_allowed_is_real() {
        let given = Allow::of([Capability::Clock]);
        assert_eq!(given, Allow { clock: true, random: false, fixed: Fixed::Usual });
        assert!(given.counted_time().is_none());
        assert!(Allow::of([Capability::Random]).counted_time().is_some());
    }
}
