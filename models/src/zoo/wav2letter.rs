//! Wav2Letter (Collobert et al. 2016): eleven convolutions along time from spectrogram to letters.

use super::builder::{Builder, Conv};
use crate::graph::{Dim, Graph};
use crate::loaders::{LoadError, Weights};
use crate::operators::{Activation, LogSoftmax, PointwiseFunction};

const N_FEATURES: usize = 128;
const N_LETTERS: usize = 29;

/// Channels out, kernel, stride, and zeros before and behind.
type Layer = (usize, usize, usize, (usize, usize));

const fn middle() -> Layer {
    (250, 7, 1, (3, 3))
}

/// Padded so that an even number of frames gives half as many.
const PLAIN: [Layer; 11] = [
    (250, 48, 2, (23, 23)),
    middle(),
    middle(),
    middle(),
    middle(),
    middle(),
    middle(),
    middle(),
    (2000, 32, 1, (15, 16)),
    (2000, 1, 1, (0, 0)),
    (N_LETTERS, 1, 1, (0, 0)),
];

/// torchaudio pads the 32 wide kernel by 16 on both sides, which gives one frame more.
const TORCHAUDIO: [Layer; 11] = [
    (250, 48, 2, (23, 23)),
    middle(),
    middle(),
    middle(),
    middle(),
    middle(),
    middle(),
    middle(),
    (2000, 32, 1, (16, 16)),
    (2000, 1, 1, (0, 0)),
    (N_LETTERS, 1, 1, (0, 0)),
];

/// Layers `conv1`, `relu1` to `conv11`; logits at the end.
pub(super) fn build_plain(weights: &mut Weights) -> Result<Graph, LoadError> {
    let mut net = Builder::new(weights);
    let mut x = net.input(&[Dim::Known(N_FEATURES), Dim::Any(1000)])?;
    let mut n_in = N_FEATURES;
    for (nth, (n_out, kernel, stride, padding)) in PLAIN.into_iter().enumerate() {
        let name = format!("conv{}", nth + 1);
        x = net.conv(&name, &name, Conv::temporal(n_in, n_out, kernel, stride, padding), x)?;
        if nth + 1 < PLAIN.len() {
            x = net.add(&format!("relu{}", nth + 1), Activation::new(PointwiseFunction::Relu), &[x])?;
        }
        n_in = n_out;
    }
    Ok(net.finish(x)?)
}

/// Layers as torchaudio's module paths; a rectifier behind the last convolution too, then a log-softmax over letters.
pub(super) fn build_torchaudio(weights: &mut Weights) -> Result<Graph, LoadError> {
    let mut net = Builder::new(weights);
    let mut x = net.input(&[Dim::Known(N_FEATURES), Dim::Any(1000)])?;
    let mut n_in = N_FEATURES;
    for (nth, (n_out, kernel, stride, padding)) in TORCHAUDIO.into_iter().enumerate() {
        let name = format!("acoustic_model.{}", 2 * nth);
        x = net.conv(&name, &name, Conv::temporal(n_in, n_out, kernel, stride, padding), x)?;
        x = net.add(&format!("acoustic_model.{}", 2 * nth + 1), Activation::new(PointwiseFunction::Relu), &[x])?;
        n_in = n_out;
    }
    net.alias(x, "acoustic_model");
    x = net.add("log_softmax", LogSoftmax { axis: 1 }, &[x])?;
    Ok(net.finish(x)?)
}
