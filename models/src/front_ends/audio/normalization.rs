//! What is subtracted from features at the end, and what they are divided by.

use serde::{Deserialize, Serialize};

/// A deviation is never taken as smaller, so that silence stays finite.
const SMALLEST_STD: f64 = 1e-5;

/// Mean and deviation that features are brought to 0 and 1 with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// None.
    #[default]
    None,
    /// Those of all numbers of the utterance.
    Utterance,
    /// Those of each band of the utterance.
    UtteranceBands,
    /// Those of the data that the network was trained on: one for all bands, or one a band.
    Stored {
        /// What is subtracted.
        mean: Vec<f32>,
        /// What is divided by then.
        std: Vec<f32>,
    },
}

impl Normalization {
    /// Fails where the numbers make no sense for so many bands.
    pub(super) fn check(&self, n_bands: usize) -> Result<(), String> {
        let Normalization::Stored { mean, std } = self else { return Ok(()) };
        let has_length = |numbers: &[f32]| numbers.len() == 1 || numbers.len() == n_bands;
        if !has_length(mean) || !has_length(std) {
            return Err(format!(
                "normalization has {} means and {} deviations; one each, or one a band ({n_bands}), is needed",
                mean.len(),
                std.len()
            ));
        }
        if mean.iter().any(|mean| !mean.is_finite()) || std.iter().any(|std| !std.is_finite() || *std <= 0.0) {
            return Err("normalization needs finite means, and deviations above 0".to_owned());
        }
        Ok(())
    }

    /// Normalises `[frame, band]` in place.
    pub fn apply(&self, numbers: &mut [f32], n_bands: usize) {
        let (mean, std) = match self {
            Normalization::None => return,
            Normalization::Utterance => {
                let (mean, std) = moments(numbers.iter().copied());
                (vec![mean], vec![std])
            }
            Normalization::UtteranceBands => {
                (0..n_bands).map(|band| moments(numbers.iter().skip(band).step_by(n_bands).copied())).unzip()
            }
            Normalization::Stored { mean, std } => (mean.clone(), std.clone()),
        };
        for frame in numbers.chunks_exact_mut(n_bands) {
            for (band, number) in frame.iter_mut().enumerate() {
                *number = (*number - mean[band % mean.len()]) / std[band % std.len()];
            }
        }
    }

    /// Brings `[frame, band]` back to what it was before, as far as that is known: an utterance's own mean and deviation
    /// are not, and `typical` stands for them.
    pub(super) fn undo(&self, numbers: &mut [f32], n_bands: usize, typical: (f32, f32)) {
        let (mean, std) = match self {
            Normalization::None => return,
            Normalization::Utterance | Normalization::UtteranceBands => (vec![typical.0], vec![typical.1]),
            Normalization::Stored { mean, std } => (mean.clone(), std.clone()),
        };
        for frame in numbers.chunks_exact_mut(n_bands) {
            for (band, number) in frame.iter_mut().enumerate() {
                *number = *number * std[band % std.len()] + mean[band % mean.len()];
            }
        }
    }
}

/// Mean and standard deviation.
fn moments(numbers: impl Iterator<Item = f32> + Clone) -> (f32, f32) {
    let count = numbers.clone().count().max(1) as f64;
    let mean = numbers.clone().map(f64::from).sum::<f64>() / count;
    let variance = numbers.map(|number| (f64::from(number) - mean).powi(2)).sum::<f64>() / count;
    (mean as f32, variance.sqrt().max(SMALLEST_STD) as f32)
}
