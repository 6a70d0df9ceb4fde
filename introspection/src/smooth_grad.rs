//! SmoothGrad and VarGrad: what gradients have in common, and how they differ, under noise on the input.

use models::{Layout, Value};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use crate::attribution::Question;
use crate::error::{IntrospectionError, Result};
use crate::rules::PlainGradient;

/// What is kept of the gradients under noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoiseStatistic {
    /// SmoothGrad: their mean (Smilkov et al. 2017, equation 3).
    #[default]
    Mean,
    /// The mean of their squares (Hooker et al. 2019, section 3).
    MeanSquare,
    /// VarGrad: their variance (Adebayo et al. 2018).
    Variance,
}

/// A statistic of the gradients at noisy copies of the input; the noise is normal, `noise` times the input's range wide.
///
/// # Shapes
/// - returns `[target, …]`, the input's shape behind the targets
pub fn smooth_grad(
    question: &Question<'_>,
    samples: usize,
    noise: f64,
    seed: u64,
    statistic: NoiseStatistic,
) -> Result<Value> {
    let input = question.varied_input("SmoothGrad")?;
    let given = question.trace.value(input)?.row(question.only_row("SmoothGrad")?)?;
    if samples == 0 || noise < 0.0 || !noise.is_finite() {
        let message = format!("SmoothGrad needs one sample or more and noise of 0 or more, not {samples} and {noise}");
        return Err(IntrospectionError::Unfit(message));
    }
    let x = given.to_f64_vec()?;
    let range = x.iter().copied().fold(f64::NEG_INFINITY, f64::max) - x.iter().copied().fold(f64::INFINITY, f64::min);
    let normal =
        Normal::new(0.0, noise * range).map_err(|error| IntrospectionError::Unfit(format!("noise: {error}")))?;
    let variation = |nth: usize| -> Result<Value> {
        // A stream for each sample, so that how they are batched changes nothing.
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(nth as u64);
        let numbers: Vec<f64> = x.iter().map(|x| x + normal.sample(&mut random)).collect();
        Ok(Value::from_vec(numbers, given.shape(), Layout::Logical)?.to_dtype(given.dtype())?)
    };
    let n_numbers = question.targets.len() * x.len();
    let (mut sums, mut squares) = (vec![0.0; n_numbers], vec![0.0; n_numbers]);
    question.each_batch(samples, &variation, &mut |_, trace| {
        for gradients in question.walk_on(trace, &PlainGradient)?.chunks_exact(n_numbers) {
            sums.iter_mut().zip(gradients).for_each(|(sum, gradient)| *sum += gradient);
            squares.iter_mut().zip(gradients).for_each(|(sum, gradient)| *sum += gradient * gradient);
        }
        Ok(())
    })?;
    let n = samples as f64;
    let of = |(sum, square): (f64, f64)| match statistic {
        NoiseStatistic::Mean => sum / n,
        NoiseStatistic::MeanSquare => square / n,
        NoiseStatistic::Variance => (square / n - (sum / n) * (sum / n)).max(0.0),
    };
    question.maps_of(sums.into_iter().zip(squares).map(of).collect(), input)
}
