//! Finite differences, for tests of this folder.

use super::random::Random;

const STEP: f64 = 1e-5;

/// Holds a gradient to central differences of `Σ weights · forward(x)` at a random place with random weights.
#[track_caller]
pub(super) fn check_gradient(
    n_in: usize,
    forward: impl Fn(&[f64]) -> Vec<f64>,
    backward: impl Fn(&[f64], &[f64]) -> Vec<f64>,
) {
    let mut random = Random::new(n_in as u64);
    let mut at = random.normal(n_in, 1.0);
    let weights = random.normal(forward(&at).len(), 1.0);
    let found = backward(&at, &weights);
    let weighed = |at: &[f64]| forward(at).iter().zip(&weights).map(|(number, weight)| number * weight).sum::<f64>();
    check_against_differences(&mut at, &found, weighed);
}

/// Holds the gradient of a single number to central differences.
#[track_caller]
pub(super) fn check_against_differences(at: &mut [f64], found: &[f64], value: impl Fn(&[f64]) -> f64) {
    assert_eq!(found.len(), at.len());
    for index in 0..at.len() {
        let original = at[index];
        at[index] = original + STEP;
        let above = value(at);
        at[index] = original - STEP;
        let below = value(at);
        at[index] = original;
        let expected = (above - below) / (2.0 * STEP);
        let is_close = (found[index] - expected).abs() <= 1e-6 * (1.0 + expected.abs());
        assert!(is_close, "number {index}: gradient {} but differences {expected}", found[index]);
    }
}
