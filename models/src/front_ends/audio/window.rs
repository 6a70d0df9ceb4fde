//! Windows that a frame's samples are weighted with.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// The kind of a window; all are periodic, as PyTorch's are by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// A raised cosine.
    #[default]
    Hann,
    /// A raised cosine that ends above 0.
    Hamming,
    /// Two cosines.
    Blackman,
    /// All samples alike.
    Rectangular,
}

impl Window {
    /// `length` weights in the middle of `n_fft`, zeros around them.
    pub(super) fn weights(self, length: usize, n_fft: usize) -> Vec<f32> {
        let mut weights = vec![0.0; n_fft];
        let before = (n_fft - length) / 2;
        for (nth, weight) in weights[before..before + length].iter_mut().enumerate() {
            let turn = TAU * nth as f64 / length as f64;
            *weight = match self {
                Window::Hann => 0.5 - 0.5 * turn.cos(),
                Window::Hamming => 0.54 - 0.46 * turn.cos(),
                Window::Blackman => 0.42 - 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos(),
                Window::Rectangular => 1.0,
            } as f32;
        }
        weights
    }
}
