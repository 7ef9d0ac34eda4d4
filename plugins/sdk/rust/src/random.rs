use std::cell::Cell;

/// Random numbers of a record's own, from [`Record::random`](crate::Record::random).
///
/// Whenever and wherever a stage draws for the same record, it draws the same: after a restart, in a retry, in another
/// batch, on another machine. Another record, or another stage, draws something else. Good for sampling, jitter and ids
/// of outputs; not for secrets, as whoever knows a record's offset can draw the same.
///
/// The generator is SplitMix64: Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014, in
/// the form of Sebastiano Vigna's <https://prng.di.unimi.it/splitmix64.c>, which is in the public domain. It passes
/// BigCrush, and costs about a nanosecond a number. Its numbers are part of the interface, and stay as they are.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

/// 2^64 divided by the golden ratio.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The generator of a record; `seed` is what [`batch_seed`] gives.
    #[inline]
    pub(crate) fn of_record(seed: u64, offset: u64) -> Self {
        Random { state: join(seed, offset) }
    }

    /// The next number, any of the 2^64.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// The next number below `bound`, each as likely as any other but for one part in 2^64 / `bound`; 0 where the bound
    /// is 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        // Lemire's multiplication instead of a division; the rejection that would even out the rest is left out.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// The next number from 0 up to, but never, 1: a multiple of 2^-53. `record.random().next_f64() < 0.01` is true of a
    /// hundredth of the records, and always of the same.
    #[inline]
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fills `bytes` with the next ones: 16 make an id.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }
}

/// SplitMix64's output function: each bit of the result hangs on each bit of `of`.
#[inline]
fn mix(of: u64) -> u64 {
    let of = (of ^ (of >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let of = (of ^ (of >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    of ^ (of >> 31)
}

#[inline]
fn join(seed: u64, with: u64) -> u64 {
    mix(seed.wrapping_add(GAMMA) ^ with)
}

/// What the records of a batch have in common: stage, topic and partition.
pub(crate) fn batch_seed(topic: &str, partition: u32) -> u64 {
    let topic = topic.as_bytes().chunks(8).fold(join(stage_seed(), topic.len() as u64), |seed, chunk| {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        join(seed, u64::from_le_bytes(bytes))
    });
    join(topic, u64::from(partition))
}

thread_local! {
    /// The stage's seed, once it was asked for.
    static STAGE: Cell<Option<u64>> = const { Cell::new(None) };
}

fn stage_seed() -> u64 {
    STAGE.get().unwrap_or_else(|| {
        let seed = ask_stage_seed();
        STAGE.set(Some(seed));
        seed
    })
}

#[cfg(target_family = "wasm")]
fn ask_stage_seed() -> u64 {
    crate::bindings::sluicegate::plugin::seed::stage()
}

/// Tests have no runtime: the seed of the stage `test` of the pipeline `test`, as `sluicegate test` gives it.
#[cfg(not(target_family = "wasm"))]
fn ask_stage_seed() -> u64 {
    0x0019_4182_447c_1357
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of Vigna's splitmix64.c for the state 1234567.
    #[test]
    fn the_generator_is_splitmix64() {
        let mut random = Random { state: 1_234_567 };
        let numbers = [(); 5].map(|()| random.next_u64());
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    #[test]
    fn bounds_hold_and_are_reached() {
        let mut random = Random { state: 0 };
        let mut seen = [0; 6];
        (0..6000).for_each(|_| seen[random.below(6) as usize] += 1);
        assert!(seen.iter().all(|times| (800..1200).contains(times)), "{seen:?}");
        assert_eq!((random.below(0), random.below(1)), (0, 0));
        assert!((0..6000).map(|_| random.next_f64()).all(|number| (0.0..1.0).contains(&number)));
    }

    #[test]
    fn seeds_tell_every_place_from_every_other() {
        let places =
            [("t", 0), ("t", 1), ("t\0", 0), ("", 0), ("topic-nine", 0), ("topic-nine\0", 0), ("topic-nin", 0)];
        let mut numbers: Vec<u64> = places
            .iter()
            .flat_map(|(topic, partition)| {
                let seed = batch_seed(topic, *partition);
                (0..100).map(move |offset| Random::of_record(seed, offset).next_u64())
            })
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), places.len() * 100);
    }

    #[test]
    fn bytes_are_the_numbers_in_order() {
        let (mut bytes, mut random) = ([0; 11], Random { state: 3 });
        Random { state: 3 }.fill(&mut bytes);
        assert_eq!(bytes[..8], random.next_u64().to_le_bytes());
        assert_eq!(bytes[8..], random.next_u64().to_le_bytes()[..3]);
    }
}
