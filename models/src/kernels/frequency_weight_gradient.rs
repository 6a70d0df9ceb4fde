//! The gradient to the weights of a long convolution along time, in the frequency domain.
//!
//! `dW[j] = Σ_t g[t] x[t + j]` is a correlation of what arrives with the input. Cut into blocks of `n` input frames, each
//! with the `n - k + 1` frames that arrive for it, nothing wraps around, and for each frequency the sum over all blocks
//! is one matrix product: `C_d = C_xᵀ C_g + S_xᵀ S_g`, `S_d = S_xᵀ C_g - C_xᵀ S_g`, with spectra `C - iS` as in
//! `frequency.rs`. A whole batch is one sequence here, with no gradient between two of its inputs.

use rayon::prelude::*;

use super::vectorized::matrix::{Matrix, multiply_add, multiply_subtract};
use super::vectorized::taps::Threads;
use super::waves::{first_component, share, waves};
use super::zeros;
use crate::element::Element;

/// A batch as one sequence: frames that hold a stride's places side by side, and what arrives for each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    /// Frames, for each of which something arrives or zeros.
    pub(super) n_frames: usize,
    /// Frames that a kernel covers.
    pub(super) kernel: usize,
    /// Channels of a frame.
    pub(super) ins: usize,
    pub(super) outs: usize,
}

impl Joined {
    /// Frames in a block.
    pub(super) fn block(&self) -> usize {
        const LENGTHS: [usize; 8] = [16, 24, 32, 48, 64, 96, 128, 192];
        let lengths = LENGTHS.into_iter().filter(|length| *length >= 2 * self.kernel);
        lengths.min_by_key(|length| self.cost(*length)).unwrap_or_else(|| 4 * self.kernel)
    }

    /// Whether it is less work than the product with every patch.
    pub(super) fn pays(&self) -> bool {
        const ENOUGH_CHANNELS: usize = 48;
        let direct = self.kernel * self.n_frames * self.ins * self.outs;
        self.ins.min(self.outs) >= ENOUGH_CHANNELS && 4 * self.cost(self.block()) < 3 * direct
    }

    /// Multiplications.
    fn cost(&self, block: usize) -> usize {
        let valid = block - self.kernel + 1;
        let n_blocks = self.n_frames.div_ceil(valid);
        let transforms = block * n_blocks * (block * self.ins + valid * self.outs);
        2 * block * n_blocks * self.ins * self.outs + transforms + self.kernel * block * self.ins * self.outs
    }

    /// The sums of products of frames with what arrives.
    ///
    /// # Shapes
    /// - `frames`: `[frame, in]`, `gradient`: `[frame, out]`; what is behind their end counts as zeros
    /// - returns `[kernel frame, in, out]`
    pub(super) fn sums<T: Element>(&self, frames: &[T], gradient: &[T]) -> Vec<T> {
        // The spectra of a band of blocks are held at once.
        const NUMBERS_IN_BAND: usize = 16 << 20;
        let &Joined { n_frames, kernel, ins, outs } = self;
        let block = self.block();
        let valid = block - kernel + 1;
        let n_blocks = n_frames.div_ceil(valid);
        let of_input: Vec<T> = waves(0..block, 0..block, block);
        let of_gradient: Vec<T> = waves(0..block, 0..valid, block);
        let mut sums = zeros(block * ins * outs);
        let in_band = (NUMBERS_IN_BAND / (block * (ins + outs))).clamp(1, n_blocks.max(1));
        for first in (0..n_blocks).step_by(in_band) {
            let blocks = first..n_blocks.min(first + in_band);
            let input = spectra(&of_input, frames, valid * ins, blocks.clone(), block, ins);
            let arrived = spectra(&of_gradient, gradient, valid * outs, blocks.clone(), block, outs);
            let product = (ins, blocks.len(), outs);
            let mut by_frequency = Vec::with_capacity(block / 2 + 1);
            let mut rest = &mut sums[..];
            for frequency in 0..=block / 2 {
                let n_waves = if frequency == 0 || frequency == block / 2 { 1 } else { 2 };
                let (own, behind) = rest.split_at_mut(n_waves * ins * outs);
                by_frequency.push(own);
                rest = behind;
            }
            by_frequency.into_par_iter().enumerate().for_each(|(frequency, sums)| {
                let cosine = first_component(frequency);
                let of_input = |component: usize| Matrix {
                    numbers: &input[component * ins..],
                    row_stride: 1,
                    column_stride: block * ins,
                };
                let of_gradient = |component: usize| Matrix {
                    numbers: &arrived[component * outs..],
                    row_stride: block * outs,
                    column_stride: 1,
                };
                let (cosines, sines) = sums.split_at_mut(ins * outs);
                let one = Threads::One;
                multiply_add(cosines, outs, product, of_input(cosine), of_gradient(cosine), one);
                if !sines.is_empty() {
                    let sine = cosine + 1;
                    multiply_add(cosines, outs, product, of_input(sine), of_gradient(sine), one);
                    multiply_add(sines, outs, product, of_input(sine), of_gradient(cosine), one);
                    multiply_subtract(sines, outs, product, of_input(cosine), of_gradient(sine), one);
                }
            });
        }
        let mut back: Vec<T> = waves(0..block, 0..kernel, block);
        for (component, waves) in back.chunks_exact_mut(kernel).enumerate() {
            waves.iter_mut().for_each(|wave| *wave *= T::of(share(component, block)));
        }
        let turned = Matrix { numbers: &back, row_stride: 1, column_stride: kernel };
        let mut gradient = zeros(kernel * ins * outs);
        let product = (kernel, block, ins * outs);
        multiply_add(&mut gradient, ins * outs, product, turned, Matrix::row_major(&sums, ins * outs), Threads::All);
        gradient
    }
}

/// The components of some blocks.
///
/// # Shapes
/// - `waves`: `[component, frame]`; `numbers`: `[frame, channel]`, of which blocks begin `step` numbers apart
/// - returns `[block, component, channel]`
fn spectra<T: Element>(
    waves: &[T],
    numbers: &[T],
    step: usize,
    blocks: std::ops::Range<usize>,
    n_components: usize,
    n_channels: usize,
) -> Vec<T> {
    let n_frames = waves.len() / n_components;
    let mut spectra = zeros(blocks.len() * n_components * n_channels);
    spectra.par_chunks_exact_mut(n_components * n_channels).zip(blocks).for_each(|(components, block)| {
        let frames = numbers.get(block * step..).unwrap_or_default();
        let n_held = n_frames.min(frames.len() / n_channels);
        let product = (n_components, n_held, n_channels);
        let (waves, frames) = (Matrix::row_major(waves, n_frames), Matrix::row_major(frames, n_channels));
        multiply_add(components, n_channels, product, waves, frames, Threads::One);
    });
    spectra
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_equals_the_definition() {
        for (n_frames, kernel) in [(1, 1), (40, 7), (100, 24), (333, 32), (90, 50)] {
            let joined = Joined { n_frames, kernel, ins: 3, outs: 2 };
            let number = |i: usize| ((i * 37) % 23) as f64 / 10.0 - 1.1;
            let frames: Vec<f64> = (0..(n_frames + kernel) * 3).map(number).collect();
            let gradient: Vec<f64> = (0..n_frames * 2).map(|i| number(i + 5)).collect();
            let found = joined.sums(&frames, &gradient);
            for (index, found) in found.into_iter().enumerate() {
                let (tap, input, out) = (index / 6, index / 2 % 3, index % 2);
                let expected: f64 = (0..n_frames).map(|t| gradient[t * 2 + out] * frames[(t + tap) * 3 + input]).sum();
                assert!((found - expected).abs() < 1e-9, "{n_frames} {kernel} {index}: {found} is not {expected}");
            }
        }
    }

    #[test]
    fn it_is_chosen_for_long_kernels_over_many_channels() {
        let joined = |kernel, ins, outs| Joined { n_frames: 6000, kernel, ins, outs };
        assert!(joined(32, 192, 576).pays() && joined(7, 192, 192).pays() && joined(24, 128, 192).pays());
        assert!(!joined(1, 576, 576).pays() && !joined(3, 192, 192).pays() && !joined(24, 2, 192).pays());
    }
}
