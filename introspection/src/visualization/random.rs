//! Chance that a seed repeats to the bit: ChaCha with 8 rounds, whose numbers no version of the library may change.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Random numbers of a seed.
#[derive(Clone, Debug)]
pub(super) struct Random(ChaCha8Rng);

impl Random {
    /// Those of a seed.
    pub(super) fn new(seed: u64) -> Random {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    /// From 0 up to but not 1, in steps of 2⁻⁵³.
    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A whole number below `n`, which is above 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n - 1)
    }

    /// One of several.
    pub(super) fn choose(&mut self, from: &[f64]) -> Option<f64> {
        if from.is_empty() { None } else { Some(from[self.below(from.len())]) }
    }

    /// Normally distributed around 0 (Box and Muller 1958).
    pub(super) fn normal(&mut self, n: usize, standard_deviation: f64) -> Vec<f64> {
        let mut numbers = Vec::with_capacity(n + 1);
        while numbers.len() < n {
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * standard_deviation;
            let angle = 2.0 * std::f64::consts::PI * self.uniform();
            numbers.extend([radius * angle.cos(), radius * angle.sin()]);
        }
        numbers.truncate(n);
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_another_differs() {
        assert_eq!(Random::new(5).normal(9, 1.0), Random::new(5).normal(9, 1.0));
        assert_ne!(Random::new(5).normal(9, 1.0), Random::new(6).normal(9, 1.0));
    }

    #[test]
    fn numbers_have_the_mean_and_deviation_asked() {
        let numbers = Random::new(1).normal(100_000, 2.0);
        let mean = numbers.iter().sum::<f64>() / 1e5;
        let variance = numbers.iter().map(|number| number * number).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.03 && (variance - 4.0).abs() < 0.08, "mean {mean}, variance {variance}");
        let mut random = Random::new(2);
        let mut counts = [0; 3];
        (0..3000).for_each(|_| counts[random.below(3)] += 1);
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
