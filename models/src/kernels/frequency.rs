//! Long convolutions along time in the frequency domain: overlap-save, with the transforms as matrix products.
//!
//! A block of `n` input frames gives `n - k + 1` output frames of a kernel `k` frames long. With both transformed, a
//! convolution is one complex product of matrices for each of `n / 2 + 1` frequencies, whatever the kernel's length.
//! A stride folds into the channels: `s` frames joined are one frame of `s` times the channels.
//!
//! A real block has `n` real components: cosines `C_0 … C_{n/2}`, then sines `S_1 … S_{n/2-1}`, with the spectrum
//! `C - iS`. A correlation multiplies by the conjugate of the weights' spectrum:
//! `C_y = C_x C_w + S_x S_w`, `S_y = S_x C_w - C_x S_w`.

use std::f64::consts::PI;
use std::ops::Range;

use rayon::prelude::*;

use super::vectorized::matrix::{Matrix, multiply_add};
use super::vectorized::taps::{Clamp, Packed, TapProduct, Target, Threads};
use crate::element::Element;

/// A convolution along time without dilation or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) batch: usize,
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Sequence {
    /// Kernel frames once the stride is folded into the channels.
    fn folded_kernel(&self) -> usize {
        self.kernel.div_ceil(self.stride)
    }

    /// Channels once the stride is folded into them.
    fn folded_channels(&self) -> usize {
        self.channels_in * self.stride
    }

    /// Frames in a block where the frequency domain pays, `None` where it does not.
    ///
    /// Counts multiplications for each pair of channels and as many frames as a question typically has, with each
    /// weight that is fetched from memory as several.
    pub(crate) fn block(&self) -> Option<usize> {
        const FRAMES: usize = 500;
        const FETCH: usize = 12;
        const LENGTHS: [usize; 7] = [16, 24, 32, 48, 64, 96, 128];
        const ENOUGH_CHANNELS: usize = 48;
        let (kernel, ins, outs) = (self.folded_kernel(), self.folded_channels(), self.channels_out);
        if ins < ENOUGH_CHANNELS || outs < ENOUGH_CHANNELS {
            return None;
        }
        let cost = |length: usize| {
            let blocks = FRAMES.div_ceil(length - kernel + 1);
            let transforms = blocks * length * length / outs + blocks * length * length / ins;
            2 * length * blocks + transforms + length * FETCH
        };
        let lengths = LENGTHS.into_iter().filter(|length| *length >= 2 * kernel);
        let best = lengths.min_by_key(|length| cost(*length))?;
        let direct = kernel * (FRAMES + FETCH);
        (4 * cost(best) < 3 * direct).then_some(best)
    }

    /// What the gradient to the input is: the flipped kernel over what arrives, giving folded and padded frames.
    fn backward(&self) -> Sequence {
        let kernel = self.folded_kernel();
        Sequence {
            batch: self.batch,
            input: self.output,
            output: self.output + kernel - 1,
            channels_in: self.channels_out,
            channels_out: self.folded_channels(),
            kernel,
            stride: 1,
            padding: kernel - 1,
        }
    }
}

/// The value of a component's wave at a frame of a block.
fn wave(component: usize, frame: usize, block: usize) -> f64 {
    let turns = |frequency: usize| 2.0 * PI * ((frequency * frame) % block) as f64 / block as f64;
    let half = block / 2;
    if component <= half { turns(component).cos() } else { turns(component - half).sin() }
}

fn waves<T: Element>(components: Range<usize>, frames: impl Iterator<Item = usize> + Clone, block: usize) -> Vec<T> {
    let of_component = |component| frames.clone().map(move |frame| T::of(wave(component, frame, block)));
    components.flat_map(of_component).collect()
}

/// A sequence's weights in the frequency domain.
#[derive(Debug)]
pub(crate) struct FrequencyWeights<T> {
    /// Frames in a block.
    block: usize,
    /// `[component, frame]`
    transform: Vec<T>,
    /// `[output frame, component]`
    inverse: Vec<T>,
    /// For each frequency the weights' cosines and sines as two taps; the first and the last have no sine.
    frequencies: Vec<Packed<T>>,
    bias: Vec<T>,
}

impl<T: Element> FrequencyWeights<T> {
    /// The weights for the convolution itself.
    ///
    /// # Shapes
    /// - `weights`: `[out, in, frame]`, `bias`: `[out]`
    pub(crate) fn forward(sequence: &Sequence, block: usize, weights: &[T], bias: Option<&[T]>) -> Self {
        let channels = sequence.channels_in;
        let place = |input: usize, out: usize| (input / channels, out * channels + input % channels);
        let sizes = [sequence.folded_channels(), sequence.channels_out];
        FrequencyWeights::new(sequence, block, weights, bias, sizes, false, place)
    }

    /// The weights for the gradient to the input.
    ///
    /// # Shapes
    /// - `weights`: `[out, in, frame]`
    pub(crate) fn backward(sequence: &Sequence, block: usize, weights: &[T]) -> Self {
        let channels = sequence.channels_in;
        let place = |input: usize, out: usize| (out / channels, input * channels + out % channels);
        let sizes = [sequence.channels_out, sequence.folded_channels()];
        FrequencyWeights::new(sequence, block, weights, None, sizes, true, place)
    }

    /// `place(in, out)` is the fold and the pair of channels within the weights.
    fn new(
        sequence: &Sequence,
        block: usize,
        weights: &[T],
        bias: Option<&[T]>,
        [ins, outs]: [usize; 2],
        is_flipped: bool,
        place: impl Fn(usize, usize) -> (usize, usize) + Sync,
    ) -> Self {
        const FREQUENCIES_TOGETHER: usize = 8;
        let (half, n_frames) = (block / 2, sequence.folded_kernel());
        let mut frequencies = Vec::with_capacity(half + 1);
        for first in (0..=half).step_by(FREQUENCIES_TOGETHER) {
            let together = first..(half + 1).min(first + FREQUENCIES_TOGETHER);
            let cosines = spectrum_of_weights(sequence, block, weights, together.clone(), is_flipped);
            let sines = half + together.start..half + together.end;
            // Those of the first and the last frequency are never asked for.
            let sines = spectrum_of_weights(sequence, block, weights, sines, is_flipped);
            for frequency in together {
                let nth = frequency - first;
                let weight = |tap: usize, input: usize, out: usize| {
                    let (fold, pair) = place(input, out);
                    if tap == 0 { cosines[fold][nth][pair] } else { sines[fold][nth][pair] }
                };
                let n_taps = if frequency == 0 || frequency == half { 1 } else { 2 };
                frequencies.push(Packed::new([n_taps, ins, outs], None, weight));
            }
        }
        let share = |component: usize| if component == 0 || component == half { 1.0 } else { 2.0 } / block as f64;
        let inverse_at = |(frame, component)| T::of(share(component) * wave(component, frame, block));
        let places = (0..=block - n_frames).flat_map(|frame| (0..block).map(move |component| (frame, component)));
        FrequencyWeights {
            block,
            transform: waves(0..block, 0..block, block),
            inverse: places.map(inverse_at).collect(),
            frequencies,
            bias: bias.map_or_else(|| vec![T::zero(); outs], <[T]>::to_vec),
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.frequencies.iter().map(Packed::bytes).sum::<usize>() + 2 * size_of_val(&self.transform[..])
    }

    /// The gradient to the input, with these weights made by [`FrequencyWeights::backward`].
    ///
    /// # Shapes
    /// - `gradient`: `[batch, output frame, out]`; returns `[batch, frame, in]`
    pub(crate) fn input_gradient(&self, sequence: &Sequence, gradient: &[T]) -> Vec<T> {
        let backward = sequence.backward();
        let padded = self.convolve(&backward, gradient, Clamp::none());
        let (row, padded_row) = (sequence.input * sequence.channels_in, backward.output * backward.channels_out);
        let before = sequence.padding * sequence.channels_in;
        let mut input = vec![T::zero(); sequence.batch * row];
        for (input, padded) in input.chunks_exact_mut(row).zip(padded.chunks_exact(padded_row)) {
            // Frames at the end that no window reads stay zero.
            let n = row.min(padded_row - before);
            input[..n].copy_from_slice(&padded[before..before + n]);
        }
        input
    }

    /// The convolution, clamped.
    ///
    /// # Shapes
    /// - `input`: `[batch, frame, in]`; returns `[batch, output frame, out]`
    pub(crate) fn convolve(&self, sequence: &Sequence, input: &[T], clamp: Clamp<T>) -> Vec<T> {
        // The components of a band of blocks are held at once.
        const NUMBERS_IN_BAND: usize = 4 << 20;
        const BLOCKS_IN_BAND: usize = 16;
        let (channels, outs) = (sequence.folded_channels(), sequence.channels_out);
        let n_valid = self.inverse.len() / self.block;
        let mut output = vec![T::zero(); sequence.batch * sequence.output * outs];
        if output.is_empty() {
            return output;
        }
        let blocks_per_row = sequence.output.div_ceil(n_valid);
        let rows = output.chunks_exact_mut(sequence.output * outs);
        let mut blocks: Vec<&mut [T]> = rows.flat_map(|row| row.chunks_mut(n_valid * outs)).collect();
        let in_band = (NUMBERS_IN_BAND / (self.block * channels.max(outs))).max(BLOCKS_IN_BAND);
        for (nth, output) in blocks.chunks_mut(in_band).enumerate() {
            let of_band = nth * in_band..nth * in_band + output.len();
            let place = |block: usize| (block / blocks_per_row, block % blocks_per_row * n_valid);
            let frames = of_band.map(|block| self.frames(sequence, input, place(block)));
            let spectrum = self.spectrum(frames.collect(), channels);
            let products = self.products(&spectrum, output.len(), channels, outs);
            let n_blocks = output.len();
            output.par_iter_mut().enumerate().for_each(|(block, output)| {
                self.inverse_transform(&products, block, n_blocks, clamp, output);
            });
        }
        output
    }

    /// The frames of a block from an output frame of a row on; zeros where it reaches into the padding or beyond.
    ///
    /// # Shapes
    /// - `input`: `[batch, frame, in]`; returns `[block, folded channel]`
    fn frames(&self, sequence: &Sequence, input: &[T], (row, first): (usize, usize)) -> Vec<T> {
        let channels = sequence.channels_in;
        let input = &input[row * sequence.input * channels..][..sequence.input * channels];
        let mut frames = vec![T::zero(); self.block * sequence.folded_channels()];
        let n_frames = self.block * sequence.stride;
        let begin = first * sequence.stride;
        let from = sequence.padding.saturating_sub(begin).min(n_frames);
        let until = (sequence.padding + sequence.input).saturating_sub(begin).min(n_frames);
        if from < until {
            let start = (begin + from - sequence.padding) * channels;
            frames[from * channels..until * channels].copy_from_slice(&input[start..][..(until - from) * channels]);
        }
        frames
    }

    /// The components of blocks of frames, and behind them the cosines of frequencies with a sine, negated.
    ///
    /// # Shapes
    /// - `frames`: for each block `[frame, channel]`; returns `[component, block, channel]`
    fn spectrum(&self, frames: Vec<Vec<T>>, channels: usize) -> Vec<T> {
        let (block, n_blocks) = (self.block, frames.len());
        let of_block = |frames: Vec<T>| {
            let mut components = vec![T::zero(); block * channels];
            let (transform, frames) = (Matrix::row_major(&self.transform, block), Matrix::row_major(&frames, channels));
            multiply_add(&mut components, channels, (block, block, channels), transform, frames, Threads::One);
            components
        };
        let of_blocks: Vec<Vec<T>> = frames.into_par_iter().map(of_block).collect();
        let mut spectrum = vec![T::zero(); self.n_components() * n_blocks * channels];
        spectrum.par_chunks_mut(n_blocks * channels).enumerate().for_each(|(component, rows)| {
            for (row, of_block) in rows.chunks_exact_mut(channels).zip(&of_blocks) {
                if component < block {
                    row.copy_from_slice(&of_block[component * channels..][..channels]);
                } else {
                    let cosine = &of_block[(component - block + 1) * channels..][..channels];
                    row.iter_mut().zip(cosine).for_each(|(negated, &cosine)| *negated = -cosine);
                }
            }
        });
        spectrum
    }

    /// Components of a spectrum with the negated cosines.
    fn n_components(&self) -> usize {
        self.block + self.block / 2 - 1
    }

    /// The components of the output's blocks.
    ///
    /// # Shapes
    /// - `spectrum`: as [`FrequencyWeights::spectrum`] gives it; returns `[component, block, out]`
    fn products(&self, spectrum: &[T], n_blocks: usize, channels: usize, outs: usize) -> Vec<T> {
        let half = self.block / 2;
        let mut products = vec![T::zero(); self.block * n_blocks * outs];
        for (frequency, weights) in self.frequencies.iter().enumerate() {
            let has_sine = frequency != 0 && frequency != half;
            let of = |component: usize, block: usize| (component * n_blocks + block) * channels;
            let places = |row: usize, places: &mut [usize]| {
                let (is_sine, block) = (row >= n_blocks, row % n_blocks);
                if !has_sine {
                    places[0] = of(frequency, block);
                } else if is_sine {
                    (places[0], places[1]) = (of(half + frequency, block), of(self.block + frequency - 1, block));
                } else {
                    (places[0], places[1]) = (of(frequency, block), of(half + frequency, block));
                }
            };
            let component = |row: usize| if row < n_blocks { frequency } else { half + frequency };
            let n_rows = if has_sine { 2 * n_blocks } else { n_blocks };
            let targets: Vec<usize> =
                (0..n_rows).map(|row| (component(row) * n_blocks + row % n_blocks) * outs).collect();
            let (target, clamp) = (Target::Listed(&targets), Clamp::none());
            let product = TapProduct { input: spectrum, weights, n_rows, places, target, clamp };
            product.run(&mut products, Threads::All);
        }
        products
    }

    /// One block of output frames from its components, with bias and clamp.
    fn inverse_transform(&self, products: &[T], block: usize, n_blocks: usize, clamp: Clamp<T>, output: &mut [T]) {
        let outs = self.bias.len();
        output.chunks_exact_mut(outs).for_each(|frame| frame.copy_from_slice(&self.bias));
        let components = Matrix { numbers: &products[block * outs..], row_stride: n_blocks * outs, column_stride: 1 };
        let sizes = (output.len() / outs, self.block, outs);
        multiply_add(output, outs, sizes, Matrix::row_major(&self.inverse, self.block), components, Threads::One);
        if clamp != Clamp::none() {
            output.iter_mut().for_each(|number| *number = clamp.of(*number));
        }
    }
}

/// Some components of all weights.
///
/// # Shapes
/// - `weights`: `[out, in, frame]`; returns for each fold and component `[out, in]`
fn spectrum_of_weights<T: Element>(
    sequence: &Sequence,
    block: usize,
    weights: &[T],
    components: Range<usize>,
    is_flipped: bool,
) -> Vec<Vec<Vec<T>>> {
    let (kernel, stride, n_frames) = (sequence.kernel, sequence.stride, sequence.folded_kernel());
    let n_pairs = weights.len() / kernel;
    let of_fold = |fold: usize| {
        let in_fold = (kernel - fold).div_ceil(stride);
        let place = move |frame: usize| if is_flipped { n_frames - 1 - frame } else { frame };
        let waves: Vec<T> = waves(components.clone(), (0..in_fold).map(place), block);
        let frames = Matrix { numbers: &weights[fold..], row_stride: stride, column_stride: kernel };
        let mut spectrum = vec![T::zero(); components.len() * n_pairs];
        let sizes = (components.len(), in_fold, n_pairs);
        multiply_add(&mut spectrum, n_pairs, sizes, Matrix::row_major(&waves, in_fold), frames, Threads::All);
        spectrum.chunks_exact(n_pairs).map(<[T]>::to_vec).collect()
    };
    (0..stride).map(of_fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 23) as f64 / 10.0 - 1.1).collect()
    }

    /// The definition, with the output and the gradient of `Σ g y`.
    fn slow_twin(sequence: &Sequence, input: &[f64], weights: &[f64], gradient: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let Sequence { batch, input: frames, output: n, channels_in, channels_out, kernel, stride, padding } = *sequence;
        let (mut y, mut passed) = (vec![0.0; batch * n * channels_out], vec![0.0; input.len()]);
        for row in 0..batch {
            for (frame, out) in (0..n).flat_map(|frame| (0..channels_out).map(move |out| (frame, out))) {
                let at = (row * n + frame) * channels_out + out;
                for (tap, channel) in (0..kernel).flat_map(|tap| (0..channels_in).map(move |c| (tap, c))) {
                    let Some(place) = (frame * stride + tap).checked_sub(padding).filter(|place| *place < frames) else {
                        continue;
                    };
                    let x = (row * frames + place) * channels_in + channel;
                    let weight = weights[(out * channels_in + channel) * kernel + tap];
                    y[at] += weight * input[x];
                    passed[x] += weight * gradient[at];
                }
            }
        }
        (y, passed)
    }

    fn check(kernel: usize, stride: usize, padding: usize, frames: usize, block: usize) {
        let (batch, channels_in, channels_out) = (2, 3, 5);
        let output = (frames + 2 * padding - kernel) / stride + 1;
        let sequence = Sequence { batch, input: frames, output, channels_in, channels_out, kernel, stride, padding };
        let input = numbers(batch * frames * channels_in, 1);
        let weights = numbers(channels_out * channels_in * kernel, 2);
        let gradient = numbers(batch * output * channels_out, 3);
        let (expected, expected_gradient) = slow_twin(&sequence, &input, &weights, &gradient);
        let bias = numbers(channels_out, 4);
        let forward = FrequencyWeights::forward(&sequence, block, &weights, Some(&bias));
        let clamp = Clamp { low: -1.0, high: 2.0 };
        for (nth, (got, want)) in forward.convolve(&sequence, &input, clamp).iter().zip(&expected).enumerate() {
            let want = (want + bias[nth % channels_out]).clamp(-1.0, 2.0);
            assert!((got - want).abs() < 1e-10, "output {nth}: {got} is not {want}");
        }
        let backward = FrequencyWeights::backward(&sequence, block, &weights);
        let passed = backward.input_gradient(&sequence, &gradient);
        for (nth, (got, want)) in passed.iter().zip(&expected_gradient).enumerate() {
            assert!((got - want).abs() < 1e-10, "gradient {nth}: {got} is not {want}");
        }
    }

    #[test]
    fn kernels_strides_and_paddings_equal_the_definition() {
        check(7, 1, 3, 40, 16);
        check(7, 1, 0, 7, 16);
        check(8, 1, 4, 61, 24);
        check(1, 1, 0, 5, 16);
        check(9, 2, 4, 50, 16);
        check(10, 3, 2, 71, 16);
        check(48, 2, 23, 100, 64);
    }

    #[test]
    fn it_is_chosen_for_long_kernels_over_many_channels_alone() {
        let sequence = |channels_in, channels_out, kernel, stride| Sequence {
            batch: 1,
            input: 1000,
            output: 500,
            channels_in,
            channels_out,
            kernel,
            stride,
            padding: 0,
        };
        assert!(sequence(250, 2000, 32, 1).block().is_some());
        assert!(sequence(128, 250, 48, 2).block().is_some());
        assert_eq!(sequence(2000, 2000, 1, 1).block(), None);
        assert_eq!(sequence(250, 250, 3, 1).block(), None);
        assert_eq!(sequence(1, 250, 48, 2).block(), None);
    }
}
