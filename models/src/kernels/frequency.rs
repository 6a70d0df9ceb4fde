//! Long convolutions along time in the frequency domain: overlap-save, with the transforms as matrix products.
//!
//! A block of `n` input frames gives `n - k + 1` output frames of a kernel `k` frames long. With both transformed, a
//! convolution is one complex product of matrices for each of `n / 2 + 1` frequencies, whatever the kernel's length.
//! A stride folds into the channels: `s` frames joined are one frame of `s` times the channels.
//!
//! A real block has `n` real components: `C_0, C_1, S_1, C_2, S_2, …, C_{n/2}`, cosines and sines, with the spectrum
//! `C - iS`. A correlation multiplies by the conjugate of the weights' spectrum:
//! `C_y = C_x C_w + S_x S_w`, `S_y = S_x C_w - C_x S_w`.
//!
//! The gradient to the input is a convolution with the same weights: it runs through the same formula with the waves of
//! its blocks running backwards (all sines negated), and with every frequency's matrix of weights transposed, which
//! `vectorized/wave_gradient.rs` reads as it lies. So weights are transformed and held once for both directions.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::sequence::Sequence;
use super::vectorized::finish::{Clamp, Finish};
use super::vectorized::packed::{Packed, PanelMut, Right, columns_read};
use super::vectorized::taps::{TapProduct, Target, Threads};
use super::vectorized::unwritten::{unwritten, written};
use super::vectorized::wave_gradient::WaveGradient;
use super::waves::{Direction, Transforms, first_component, n_waves, waves};
use super::zeros;
use crate::element::Element;
use crate::pause;

/// A sequence's weights in the frequency domain, for both directions.
#[derive(Debug)]
pub(crate) struct FrequencyWeights<T> {
    /// Frames in a block.
    block: usize,
    forward: Transforms<T>,
    backward: Transforms<T>,
    /// For each frequency the weights' cosines and sines as two taps; the first and the last have no sine.
    frequencies: Vec<Packed<T>>,
    /// Folded channels of the input.
    n_ins: usize,
    n_outs: usize,
}

impl<T: Element> FrequencyWeights<T> {
    /// Transforms them.
    ///
    /// # Shapes
    /// - `weights`: `[out, in, frame]`, `bias`: `[out]`
    pub(crate) fn new(sequence: &Sequence, weights: &[T], bias: Option<&[T]>) -> Self {
        let channels = sequence.channels_in;
        let (ins, outs) = (sequence.folded_channels(), sequence.channels_out);
        // The fold of a folded channel, and its pair of channels within the weights.
        let place = |input: usize, out: usize| (input / channels, out * channels + input % channels);
        let (block, n_frames) = (sequence.block(), sequence.folded_kernel());
        let half = block / 2;
        let n_taps = |frequency: usize| n_waves(block, frequency);
        let mut frequencies: Vec<Packed<T>> =
            (0..=half).map(|frequency| Packed::zeros([n_taps(frequency), ins, outs])).collect();
        let of_kernel = waves(0..block, 0..n_frames, block);
        // The same columns of all frequencies are transformed together.
        let mut of_columns: Vec<Vec<PanelMut<'_, T>>> = Vec::new();
        for weights in &mut frequencies {
            for (nth, panel) in weights.panels_mut().into_iter().enumerate() {
                if nth == of_columns.len() {
                    of_columns.push(Vec::with_capacity(half + 1));
                }
                of_columns[nth].push(panel);
            }
        }
        of_columns.par_iter_mut().for_each(|panels| {
            let (columns, width) = (panels[0].columns.clone(), panels[0].width);
            let mut frames = Packed::zeros([1, n_frames, columns.len()]);
            let mut components = vec![T::zero(); block * width];
            for input in 0..ins {
                // Of the last frame some folds have nothing.
                frames.panels_mut().remove(0).numbers[(n_frames - 1) * width..].fill(T::zero());
                for (within, out) in columns.clone().enumerate() {
                    let (fold, pair) = place(input, out);
                    let kernel = weights[pair * sequence.kernel..][..sequence.kernel].iter().skip(fold);
                    let frames = frames.panels_mut().remove(0).numbers;
                    let column = frames[within..].iter_mut().step_by(width);
                    column.zip(kernel.step_by(sequence.stride)).for_each(|(frame, &weight)| *frame = weight);
                }
                let places = |row: usize, places: &mut [usize]| places[0] = row * n_frames;
                let target = Target::Every { first: 0, stride: width };
                let product = TapProduct {
                    input: &of_kernel,
                    weights: frames.right(),
                    n_rows: block,
                    places,
                    target,
                    finish: Finish::none(),
                };
                product.run(&mut components, Threads::One);
                for (frequency, panel) in panels.iter_mut().enumerate() {
                    for tap in 0..n_taps(frequency) {
                        let component = first_component(frequency) + tap;
                        let into = &mut panel.numbers[(tap * ins + input) * width..][..width];
                        into.copy_from_slice(&components[component * width..][..width]);
                    }
                }
            }
        });
        let bias = bias.map_or_else(|| vec![T::zero(); outs], <[T]>::to_vec);
        FrequencyWeights {
            block,
            forward: Transforms::new(Direction::Forward, block, n_frames, bias),
            backward: Transforms::new(Direction::Backward, block, n_frames, vec![T::zero(); ins]),
            frequencies,
            n_ins: ins,
            n_outs: outs,
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let transforms =
            [&self.forward, &self.backward].map(|each| each.into.len() + each.back.len()).iter().sum::<usize>();
        self.frequencies.iter().map(Packed::bytes).sum::<usize>() + transforms * size_of::<T>()
    }

    fn transforms(&self, direction: Direction) -> &Transforms<T> {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Backward => &self.backward,
        }
    }

    /// The gradient to the input.
    ///
    /// # Shapes
    /// - `gradient`: `[batch, output frame, out]`; returns `[batch, frame, in]`
    pub(crate) fn input_gradient(&self, sequence: &Sequence, gradient: &[T]) -> Vec<T> {
        if let Some(joined) = sequence.joined() {
            let mut arrived = zeros(joined.output * joined.channels_out);
            let apart = sequence.input * sequence.channels_out;
            let rows = gradient.par_chunks_exact(sequence.output * sequence.channels_out);
            arrived.par_chunks_mut(apart).zip(rows).for_each(|(into, row)| into[..row.len()].copy_from_slice(row));
            return self.input_gradient(&joined, &arrived);
        }
        let backward = sequence.backward();
        let padded = self.pass(Direction::Backward, &backward, gradient, Clamp::none());
        let (row, padded_row) = (sequence.input * sequence.channels_in, backward.output * backward.channels_out);
        let before = (sequence.padding - sequence.first_folded_frame() * sequence.stride) * sequence.channels_in;
        let mut input = zeros(sequence.batch * row);
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
        self.pass(Direction::Forward, sequence, input, clamp)
    }

    /// The convolution of what comes in, of this direction's sequence, clamped.
    fn pass(&self, direction: Direction, sequence: &Sequence, input: &[T], clamp: Clamp<T>) -> Vec<T> {
        // The components of a band of blocks are held at once.
        const NUMBERS_IN_BAND: usize = 4 << 20;
        const BLOCKS_IN_BAND: usize = 16;
        let (channels, outs) = (sequence.folded_channels(), sequence.channels_out);
        let transforms = self.transforms(direction);
        let n_valid = transforms.back.len() / self.block;
        let mut output = zeros(sequence.batch * sequence.output * outs);
        if output.is_empty() {
            return output;
        }
        let blocks_per_row = sequence.output.div_ceil(n_valid);
        let rows = output.chunks_exact_mut(sequence.output * outs);
        let mut blocks: Vec<&mut [T]> = rows.flat_map(|row| row.chunks_mut(n_valid * outs)).collect();
        let at_once = pause::MULTIPLICATIONS / (2 * self.block * channels * outs);
        let in_band = (NUMBERS_IN_BAND / (self.block * channels.max(outs))).min(at_once).max(BLOCKS_IN_BAND);
        for (nth, output) in blocks.chunks_mut(in_band).enumerate() {
            let place = |block: usize| (block / blocks_per_row, block % blocks_per_row * n_valid);
            let places: Vec<_> = (nth * in_band..nth * in_band + output.len()).map(place).collect();
            let n_components = transforms.n_components(self.block);
            let spectrum = self.spectrum(transforms, n_components, sequence, input, &places);
            let n_blocks = output.len();
            let products = match direction {
                Direction::Forward => self.products(&spectrum, n_blocks, n_components),
                Direction::Backward => self.transposed_products(&spectrum, n_blocks),
            };
            output.par_iter_mut().enumerate().for_each(|(block, output)| {
                self.inverse_transform(transforms, &products[block * outs..], [n_blocks * outs, outs], clamp, output);
            });
            pause::point();
        }
        output
    }

    /// The frames of a block from an output frame of a row on; zeros where it reaches into the padding or beyond.
    ///
    /// # Shapes
    /// - `input`: `[batch, frame, in]`; returns `[block, folded channel]` and what is read beyond the last channel
    fn frames<'a>(&self, sequence: &Sequence, input: &'a [T], (row, first): (usize, usize)) -> Cow<'a, [T]> {
        let channels = sequence.channels_in;
        let row_start = row * sequence.input * channels;
        let n_frames = self.block * sequence.stride;
        let n_read = n_frames * channels + columns_read::<T>(sequence.folded_channels());
        let begin = first * sequence.stride;
        let from = sequence.padding.saturating_sub(begin).min(n_frames);
        let until = (sequence.padding + sequence.input).saturating_sub(begin).min(n_frames);
        if from == 0 && until == n_frames {
            let start = row_start + (begin - sequence.padding) * channels;
            if start + n_read <= input.len() {
                return Cow::Borrowed(&input[start..start + n_read]);
            }
        }
        let mut frames = vec![T::zero(); n_read];
        if from < until {
            let start = row_start + (begin + from - sequence.padding) * channels;
            frames[from * channels..until * channels].copy_from_slice(&input[start..][..(until - from) * channels]);
        }
        Cow::Owned(frames)
    }

    /// The first components of the blocks at some places; behind those of a block come negated cosines of frequencies
    /// with a sine.
    ///
    /// # Shapes
    /// - `places`: row and first output frame of each; returns `[block, component, channel]`, with
    ///   [`between_blocks`] zeros behind each block
    fn spectrum(
        &self,
        transforms: &Transforms<T>,
        n_rows: usize,
        sequence: &Sequence,
        input: &[T],
        places: &[(usize, usize)],
    ) -> Vec<T> {
        let channels = sequence.folded_channels();
        let (n_own, n_between) = (n_rows * channels, between_blocks::<T>());
        let mut spectrum = unwritten(places.len() * (n_own + n_between));
        let no_bias = vec![T::zero(); columns_read::<T>(channels)];
        spectrum.par_chunks_exact_mut(n_own + n_between).zip(places).for_each(|(components, place)| {
            let (components, between) = components.split_at_mut(n_own);
            between.fill(MaybeUninit::new(T::zero()));
            let frames = self.frames(sequence, input, *place);
            let weights = Right::matrix(&frames, channels, [self.block, channels], &no_bias);
            let places = |row: usize, places: &mut [usize]| places[0] = row * self.block;
            let target = Target::Every { first: 0, stride: channels };
            let (input, finish) = (&transforms.into[..], Finish::none());
            TapProduct { input, weights, n_rows, places, target, finish }.write(components, Threads::One);
        });
        // SAFETY: each block has written all of its components, and the zeros behind them.
        unsafe { written(spectrum) }
    }

    /// Room for the components of the output's blocks, each frequency's by itself.
    ///
    /// # Shapes
    /// - `products`: `[component, block, out]`, of so many numbers a component, and what is read beyond the last
    fn by_frequency<'a, N>(&self, products: &'a mut [N], of_component: usize) -> Vec<&'a mut [N]> {
        let half = self.block / 2;
        let mut rest = products;
        let mut of_frequencies = Vec::with_capacity(half + 1);
        for frequency in 0..=half {
            let (own, behind) = rest.split_at_mut(n_waves(self.block, frequency) * of_component);
            of_frequencies.push(own);
            rest = behind;
        }
        of_frequencies
    }

    /// The components of the output's blocks.
    ///
    /// # Shapes
    /// - `spectrum`: as [`FrequencyWeights::spectrum`] gives it, with negated cosines, `n_blocks` times `n_components`
    /// - returns `[component, block, out]` and what is read beyond the last
    fn products(&self, spectrum: &[T], n_blocks: usize, n_components: usize) -> Vec<T> {
        let (channels, outs) = (self.n_ins, self.n_outs);
        let n_products = self.block * n_blocks * outs;
        let mut products = unwritten(n_products + columns_read::<T>(outs));
        products[n_products..].fill(MaybeUninit::new(T::zero()));
        let of_frequencies = self.by_frequency(&mut products, n_blocks * outs);
        of_frequencies.into_par_iter().zip(&self.frequencies).enumerate().for_each(|(frequency, (output, weights))| {
            let cosine = first_component(frequency);
            let places = |row: usize, places: &mut [usize]| {
                let block = row % n_blocks * (n_components * channels + between_blocks::<T>());
                let of = |component: usize| block + component * channels;
                match places {
                    [only] => *only = of(cosine),
                    [of_cosine, of_sine] if row < n_blocks => (*of_cosine, *of_sine) = (of(cosine), of(cosine + 1)),
                    // The negated cosine stands behind all components.
                    _ => (places[0], places[1]) = (of(cosine + 1), of(self.block + frequency - 1)),
                }
            };
            let (n_rows, target) = (output.len() / outs, Target::Every { first: 0, stride: outs });
            let (weights, finish) = (weights.right(), Finish::none());
            TapProduct { input: spectrum, weights, n_rows, places, target, finish }.write(output, Threads::One);
        });
        // SAFETY: the frequencies have all components of all blocks, and each has written its own.
        unsafe { written(products) }
    }

    /// The components of the gradient's blocks, with the weights as they lie.
    ///
    /// # Shapes
    /// - `spectrum`: as [`FrequencyWeights::spectrum`] gives it, of what arrives
    /// - returns `[component, block, folded channel]` and what is read beyond the last
    fn transposed_products(&self, spectrum: &[T], n_blocks: usize) -> Vec<T> {
        let (ins, outs) = (self.n_ins, self.n_outs);
        let mut products = vec![T::zero(); self.block * n_blocks * ins + columns_read::<T>(ins)];
        let of_frequencies = self.by_frequency(&mut products, n_blocks * ins);
        let block_stride = self.block * outs + between_blocks::<T>();
        of_frequencies.into_par_iter().zip(&self.frequencies).enumerate().for_each(|(frequency, (output, weights))| {
            let arriving = &spectrum[first_component(frequency) * outs..];
            WaveGradient { weights, arriving, block_stride, n_blocks }.run(output);
        });
        products
    }

    /// A block of output frames from its components, with bias and clamp.
    ///
    /// # Shapes
    /// - `components`: `[component, out]` with rows `stride` apart, and what is read beyond; `output`: `[frame, out]`
    fn inverse_transform(
        &self,
        transforms: &Transforms<T>,
        components: &[T],
        [stride, outs]: [usize; 2],
        clamp: Clamp<T>,
        output: &mut [T],
    ) {
        let weights = Right::matrix(components, stride, [self.block, outs], &transforms.bias);
        let places = |row: usize, places: &mut [usize]| places[0] = row * self.block;
        let target = Target::Every { first: 0, stride: outs };
        let (input, n_rows, finish) = (&transforms.back[..], output.len() / outs, Finish::clamp(clamp));
        TapProduct { input, weights, n_rows, places, target, finish }.run(output, Threads::One);
    }
}

/// Zeros behind a block of a spectrum, which whole registers of its last channels read.
fn between_blocks<T: Element>() -> usize {
    columns_read::<T>(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 23) as f64 / 10.0 - 1.1).collect()
    }

    /// The definition, with the output and the gradient of `Σ g y`.
    fn slow_twin(sequence: &Sequence, input: &[f64], weights: &[f64], gradient: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let Sequence { batch, input: frames, output: n, channels_in, channels_out, kernel, stride, padding } =
            *sequence;
        let (mut y, mut passed) = (vec![0.0; batch * n * channels_out], vec![0.0; input.len()]);
        for row in 0..batch {
            for (frame, out) in (0..n).flat_map(|frame| (0..channels_out).map(move |out| (frame, out))) {
                let at = (row * n + frame) * channels_out + out;
                for (tap, channel) in (0..kernel).flat_map(|tap| (0..channels_in).map(move |c| (tap, c))) {
                    let Some(place) = (frame * stride + tap).checked_sub(padding).filter(|place| *place < frames)
                    else {
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

    fn check(kernel: usize, stride: usize, padding: usize, frames: usize) {
        let (batch, channels_in, channels_out) = (2, 3, 5);
        let output = (frames + 2 * padding - kernel) / stride + 1;
        let sequence = Sequence { batch, input: frames, output, channels_in, channels_out, kernel, stride, padding };
        let input = numbers(batch * frames * channels_in, 1);
        let weights = numbers(channels_out * channels_in * kernel, 2);
        let gradient = numbers(batch * output * channels_out, 3);
        let (expected, expected_gradient) = slow_twin(&sequence, &input, &weights, &gradient);
        let bias = numbers(channels_out, 4);
        let transformed = FrequencyWeights::new(&sequence, &weights, Some(&bias));
        let clamp = Clamp { low: -1.0, high: 2.0 };
        for (nth, (got, want)) in transformed.convolve(&sequence, &input, clamp).iter().zip(&expected).enumerate() {
            let want = (want + bias[nth % channels_out]).clamp(-1.0, 2.0);
            assert!((got - want).abs() < 1e-10, "output {nth}: {got} is not {want}");
        }
        let passed = transformed.input_gradient(&sequence, &gradient);
        for (nth, (got, want)) in passed.iter().zip(&expected_gradient).enumerate() {
            assert!((got - want).abs() < 1e-10, "gradient {nth}: {got} is not {want}");
        }
    }

    #[test]
    fn kernels_strides_and_paddings_equal_the_definition() {
        check(7, 1, 3, 40);
        check(7, 1, 0, 7);
        check(8, 1, 4, 61);
        check(1, 1, 0, 5);
        check(9, 2, 4, 50);
        check(10, 3, 2, 71);
        check(48, 2, 23, 100);
        check(70, 1, 0, 400);
        check(3, 1, 5, 40);
        check(9, 2, 21, 50);
    }
}
