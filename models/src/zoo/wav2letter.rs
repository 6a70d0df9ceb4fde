//! Wav2Letter (Collobert et al. 2016): eleven convolutions along time from spectrogram to letters.

use super::builder::{Builder, Conv};
use crate::graph::{Dim, Graph};
use crate::loaders::{LoadError, Weights};
use crate::operators::{Activation, LogSoftmax, PointwiseFunction};

const N_LETTERS: usize = 29;

/// Numbers of a frame, and channels of the layers.
#[derive(Clone, Copy)]
struct Widths {
    features: usize,
    /// Of the first eight layers.
    early: usize,
    /// Of the two behind them.
    late: usize,
}

/// As it was published, on 128 mel bands: 24.7 million parameters.
const FULL: Widths = Widths { features: 128, early: 250, late: 2000 };

/// The same shape for a processor: 4.3 million.
const SMALL: Widths = Widths { features: 40, early: 144, late: 576 };

/// Channels out, kernel, stride, and zeros before and behind.
type Layer = (usize, usize, usize, (usize, usize));

/// The eleven layers; the 32 wide kernel cannot be padded evenly, and the two forms differ in how they do it.
fn layers(widths: Widths, padding_of_32: (usize, usize)) -> impl ExactSizeIterator<Item = Layer> {
    let Widths { early, late, .. } = widths;
    let middle = [(early, 7, 1, (3, 3)); 7];
    let last = [(late, 32, 1, padding_of_32), (late, 1, 1, (0, 0)), (N_LETTERS, 1, 1, (0, 0))];
    let all = [&[(early, 48, 2, (23, 23))][..], &middle, &last].concat();
    all.into_iter()
}

/// So that an even number of frames gives half as many.
const PLAIN: (usize, usize) = (15, 16);

/// torchaudio pads both sides alike, which gives one frame more.
const TORCHAUDIO: (usize, usize) = (16, 16);

/// Layers `conv1`, `relu1` to `conv11`; logits at the end.
pub(super) fn build_plain(weights: &mut Weights) -> Result<Graph, LoadError> {
    plain(weights, FULL)
}

/// The same, narrower.
pub(super) fn build_small(weights: &mut Weights) -> Result<Graph, LoadError> {
    plain(weights, SMALL)
}

fn plain(weights: &mut Weights, widths: Widths) -> Result<Graph, LoadError> {
    let mut net = Builder::new(weights);
    let mut x = net.input(&[Dim::Known(widths.features), Dim::Any(1000)])?;
    let mut n_in = widths.features;
    for (nth, (n_out, kernel, stride, padding)) in layers(widths, PLAIN).enumerate() {
        let name = format!("conv{}", nth + 1);
        x = net.conv(&name, &name, Conv::temporal(n_in, n_out, kernel, stride, padding), x)?;
        if n_out != N_LETTERS {
            x = net.add(&format!("relu{}", nth + 1), Activation::new(PointwiseFunction::Relu), &[x])?;
        }
        n_in = n_out;
    }
    Ok(net.finish(x)?)
}

/// Layers as torchaudio's module paths; a rectifier behind the last convolution too, then a log-softmax over letters.
pub(super) fn build_torchaudio(weights: &mut Weights) -> Result<Graph, LoadError> {
    let mut net = Builder::new(weights);
    let mut x = net.input(&[Dim::Known(FULL.features), Dim::Any(1000)])?;
    let mut n_in = FULL.features;
    for (nth, (n_out, kernel, stride, padding)) in layers(FULL, TORCHAUDIO).enumerate() {
        let name = format!("acoustic_model.{}", 2 * nth);
        x = net.conv(&name, &name, Conv::temporal(n_in, n_out, kernel, stride, padding), x)?;
        x = net.add(&format!("acoustic_model.{}", 2 * nth + 1), Activation::new(PointwiseFunction::Relu), &[x])?;
        n_in = n_out;
    }
    net.alias(x, "acoustic_model");
    x = net.add("log_softmax", LogSoftmax { axis: 1 }, &[x])?;
    Ok(net.finish(x)?)
}
