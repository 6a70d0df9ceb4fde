//! Chance that a seed repeats to the bit, on any machine: ChaCha with 8 rounds.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Random numbers of a seed.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// Those of a seed.
    pub fn new(seed: u64) -> Random {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Those of the `nth` thing under a seed, whatever else was drawn before: a run that was continued draws the same.
    pub fn of(seed: u64, nth: usize) -> Random {
        let mut random = Random::new(seed);
        random.0.set_stream(nth as u64 + 1);
        random
    }

    /// A seed for others.
    pub fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From 0 up to but not 1.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From `low` up to but not `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// A whole number below `n`, which is above 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n - 1)
    }

    /// Two normally distributed numbers (Box and Muller 1958).
    pub fn two_normal(&mut self) -> [f64; 2] {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sine, cosine) = (2.0 * std::f64::consts::PI * self.uniform()).sin_cos();
        [radius * cosine, radius * sine]
    }

    /// Adds normally distributed noise.
    pub fn add_noise(&mut self, numbers: &mut [f32], standard_deviation: f64) {
        for pair in numbers.chunks_mut(2) {
            let noise = self.two_normal();
            pair.iter_mut().zip(noise).for_each(|(number, noise)| *number += (noise * standard_deviation) as f32);
        }
    }

    /// Puts things in another order (Fisher and Yates 1938).
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_streams_differ() {
        let draw = |mut random: Random| (0..4).map(|_| random.uniform()).collect::<Vec<_>>();
        assert_eq!(draw(Random::of(5, 3)), draw(Random::of(5, 3)));
        assert_ne!(draw(Random::of(5, 3)), draw(Random::of(5, 4)));
        assert_ne!(draw(Random::of(5, 3)), draw(Random::of(6, 3)));
    }

    #[test]
    fn noise_has_the_deviation_asked_and_a_shuffle_keeps_all() {
        let mut noise = vec![0.0; 100_001];
        Random::new(1).add_noise(&mut noise, 0.5);
        let mean = noise.iter().sum::<f32>() / 1e5;
        let variance = noise.iter().map(|number| number * number).sum::<f32>() / 1e5;
        assert!(mean.abs() < 0.01 && (variance - 0.25).abs() < 0.005, "mean {mean}, variance {variance}");
        let mut order: Vec<usize> = (0..100).collect();
        Random::new(2).shuffle(&mut order);
        assert_ne!(order[..5], [0, 1, 2, 3, 4]);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..100));
    }
}
