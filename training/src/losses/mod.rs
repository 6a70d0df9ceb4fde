//! Losses, each with its derivative by what it is computed of.

mod cross_entropy;
mod ctc;
mod mean_squares;

pub use cross_entropy::{cross_entropy, cross_entropy_of_frames, cross_entropy_of_steps};
pub use ctc::{NoPath, ctc, ctc_of_batch};
pub use mean_squares::mean_squares;

/// `log Σ exp`, safe for numbers of any size.
fn log_sum_exp(numbers: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = numbers.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + numbers.map(|number| (number - largest).exp()).sum::<f64>().ln()
}
