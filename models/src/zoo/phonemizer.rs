//! From spelling to pronunciation: an encoder of two bidirectional LSTM layers reads the letters, a decoder of two LSTM
//! layers the phonemes said so far, and global attention (Luong et al. 2015, the form `general`) lets each step of the
//! one look at all letters of the other. The graph is the teacher-forced pass: at each step the phonemes before it are
//! given, and it says the next one; see `speech/phonemizer.rs` for saying a word step by step.

use super::builder::Builder;
use crate::graph::{Dim, Graph};
use crate::loaders::{LoadError, Weights};
use crate::operators::{Activation, Concat, Direction, MatMul, PointwiseFunction, Softmax, Transpose};
use crate::speech::phonemizer::{LETTERS, PHONEMES};

/// Numbers that a letter or a phoneme becomes.
const EMBEDDED: usize = 64;

/// Units of each direction of the encoder, and of the decoder.
const ENCODER: usize = 128;
const DECODER: usize = 192;

/// Layers `encoder1` and so on; `attention` is `[phoneme, letter]`. Each input is one number a place.
pub(super) fn build(weights: &mut Weights) -> Result<Graph, LoadError> {
    let mut net = Builder::new(weights);
    let n_symbols = PHONEMES.len() + 1;
    let letters = net.named_input("letters", &[Dim::Any(8), Dim::Known(LETTERS.len())])?;
    let said = net.named_input("phonemes", &[Dim::Any(7), Dim::Known(n_symbols)])?;

    let mut encoded = net.dense("letters.embedding", "letters.embedding", LETTERS.len(), EMBEDDED, letters)?;
    for (layer, n_in) in [("encoder1", EMBEDDED), ("encoder2", 2 * ENCODER)] {
        encoded = net.lstm(layer, n_in, ENCODER, Direction::Bidirectional, encoded)?;
    }
    let mut decoded = net.dense("phonemes.embedding", "phonemes.embedding", n_symbols, EMBEDDED, said)?;
    for (layer, n_in) in [("decoder1", EMBEDDED), ("decoder2", DECODER)] {
        decoded = net.lstm(layer, n_in, DECODER, Direction::Forward, decoded)?;
    }
    let keys = net.dense("attention.keys", "attention.keys", 2 * ENCODER, DECODER, encoded)?;
    let keys = net.add("attention.keys.transposed", Transpose { order: vec![0, 2, 1] }, &[keys])?;
    let scores = net.add("attention.scores", MatMul, &[decoded, keys])?;
    let attention = net.add("attention", Softmax { axis: 2 }, &[scores])?;
    let context = net.add("context", MatMul, &[attention, encoded])?;
    let joined = net.add("joined", Concat { axis: 2 }, &[context, decoded])?;
    let combined = net.dense("combined", "combined", 2 * ENCODER + DECODER, DECODER, joined)?;
    let squashed = net.add("tanh", Activation::new(PointwiseFunction::Tanh), &[combined])?;
    let output = net.dense("output", "output", DECODER, n_symbols, squashed)?;
    Ok(net.finish(output)?)
}
