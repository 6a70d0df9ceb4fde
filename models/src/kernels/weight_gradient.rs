//! The gradient to a convolution's weights: what lay under the kernel times what arrives, summed over all places.
//!
//! `dW[o, i, k] = Σ_p g[o, p] x[i, p·s + k·d - pad]` is a matrix product `patchesᵀ × gradient`. Without stride, and along
//! time with any stride, the patches of a whole batch are one overlapping view of the padded input, and places between
//! two rows or inputs count with a gradient of zero; elsewhere patches are copied, a band at a time. Every thread sums
//! over its own places.

use rayon::prelude::*;

use super::convolution::{Geometry, copy_patch, pixel};
use super::frequency_weight_gradient::Joined;
use super::vectorized::matrix::{Matrix, multiply_add};
use super::vectorized::taps::Threads;
use super::zeros;
use crate::element::Element;
use std::borrow::Cow;

/// Places whose patches are copied at once.
const BAND: usize = 512;

/// The gradient to the weights.
///
/// # Shapes
/// - `input`: `[batch, rows, columns, in]`, `gradient`: `[batch, output rows, output columns, out]`
/// - returns `[out, in / groups, kernel rows, kernel columns]`
pub(crate) fn weight_gradient<T: Element>(geometry: &Geometry, input: &[T], gradient: &[T]) -> Vec<T> {
    if geometry.is_depthwise() {
        return depthwise(geometry, input, gradient);
    }
    let sums = match View::of(geometry) {
        Some(view) => view.sums(geometry, input, gradient),
        None => from_copied_patches(geometry, input, gradient),
    };
    let (ins, outs, n_taps) = (geometry.in_per_group(), geometry.out_per_group(), geometry.n_taps());
    // `[group, tap, in, out]` to `[group, out, in, tap]`
    let mut turned = zeros(geometry.channels_out * ins * n_taps);
    turned.par_chunks_exact_mut(ins * n_taps).enumerate().for_each(|(out, turned)| {
        let (group, out) = (out / outs, out % outs);
        for (input, turned) in turned.chunks_exact_mut(n_taps).enumerate() {
            let first = (group * n_taps * ins + input) * outs + out;
            let taps = sums[first..].iter().step_by(ins * outs);
            turned.iter_mut().zip(taps).for_each(|(turned, sum)| *turned = *sum);
        }
    });
    turned
}

/// The sum over all rows of `[row, n]`; of a gradient `[place, channel]` the bias's.
pub(crate) fn sum_of_rows<T: Element>(numbers: &[T], n: usize) -> Vec<T> {
    const ROWS: usize = 256;
    let of_band = |band: &[T]| {
        let mut sums = vec![T::zero(); n];
        for row in band.chunks_exact(n) {
            sums.iter_mut().zip(row).for_each(|(sum, &number)| *sum += number);
        }
        sums
    };
    // Bands are added in their order, so that the sum does not depend on who was faster.
    let bands: Vec<Vec<T>> = numbers.par_chunks(ROWS * n).map(of_band).collect();
    added(bands).unwrap_or_else(|| vec![T::zero(); n])
}

fn added<T: Element>(parts: Vec<Vec<T>>) -> Option<Vec<T>> {
    parts.into_iter().reduce(|mut sums, part| {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        sums
    })
}

/// Where in a padded input, and in a gradient spread out alike, the places of a batch follow each other evenly.
struct View {
    /// Rows and columns of a padded image.
    padded: [usize; 2],
    /// Columns from one place to the next.
    stride: usize,
}

impl View {
    fn of(geometry: &Geometry) -> Option<View> {
        let is_sequence = geometry.input[0] == 1 && geometry.kernel[0] == 1 && geometry.output[0] == 1;
        if !is_sequence && geometry.stride != [1, 1] {
            return None;
        }
        let stride = geometry.stride[1];
        let read = |axis: usize| {
            (geometry.output[axis] - 1) * geometry.stride[axis]
                + (geometry.kernel[axis] - 1) * geometry.dilation[axis]
                + 1
        };
        Some(View { padded: [read(0), read(1).next_multiple_of(stride)], stride })
    }

    fn places_per_row(&self) -> usize {
        self.padded[1] / self.stride
    }

    /// `[group, tap, in, out]`, and behind them what a stride beyond the last tap has
    fn sums<T: Element>(&self, geometry: &Geometry, input: &[T], gradient: &[T]) -> Vec<T> {
        let (input, gradient) = (self.pad(geometry, input), self.spread(geometry, gradient));
        let step = self.stride * geometry.channels_in;
        let channels = geometry.channels_in;
        let offset = |[row, column]: [usize; 2]| {
            (row * geometry.dilation[0] * self.padded[1] + column * geometry.dilation[1]) * channels
        };
        let n_places = gradient.len() / geometry.channels_out;
        let joined = self.joined(geometry, n_places);
        if let Some(joined) = joined.filter(Joined::pays) {
            return joined.sums(&input, &gradient);
        }
        summed_by_threads(geometry, n_places, |places, sums| {
            let (first, n_places) = (places.start, places.len());
            let gradient = &gradient[first * geometry.channels_out..];
            for_each_run(geometry, |group, tap, run, into| {
                let start = offset(tap) + group * geometry.in_per_group() + first * step;
                product(geometry, group, &input[start..], step, run, gradient, n_places, &mut sums[into..]);
            });
        })
    }

    /// All inputs as one sequence, where its sums are laid out as those of taps are.
    fn joined(&self, geometry: &Geometry, n_frames: usize) -> Option<Joined> {
        let is_sequence = geometry.kernel[0] == 1 && self.padded[0] == 1;
        let is_plain = geometry.groups == 1 && geometry.dilation[1] == 1;
        (is_sequence && is_plain).then(|| Joined {
            n_frames,
            kernel: geometry.kernel[1].div_ceil(self.stride),
            ins: self.stride * geometry.channels_in,
            outs: geometry.channels_out,
        })
    }

    /// `[batch, padded rows, padded columns, in]`, and zeros that the last patches reach into.
    fn pad<'a, T: Element>(&self, geometry: &Geometry, input: &'a [T]) -> Cow<'a, [T]> {
        if geometry.is_pixelwise() {
            return Cow::Borrowed(input);
        }
        let (channels, [rows, columns]) = (geometry.channels_in, self.padded);
        let beyond: usize = (0..2)
            .map(|axis| (geometry.kernel[axis] - 1) * geometry.dilation[axis] * if axis == 0 { columns } else { 1 })
            .sum();
        let image = rows * columns * channels;
        let mut padded = zeros(geometry.batch * image + beyond * channels);
        let (top, left) = (geometry.padding[0], geometry.padding[1].min(columns));
        let n_columns = geometry.input[1].min(columns - left);
        padded[..geometry.batch * image].par_chunks_mut(columns * channels).enumerate().for_each(|(nth, padded)| {
            let (image, row) = (nth / rows, nth % rows);
            let Some(row) = row.checked_sub(top).filter(|row| *row < geometry.input[0]) else { return };
            let start = pixel(image, [row, 0], geometry.input) * channels;
            let into = &mut padded[left * channels..][..n_columns * channels];
            into.copy_from_slice(&input[start..start + n_columns * channels]);
        });
        Cow::Owned(padded)
    }

    /// `[batch, padded rows, places per row, out]`, zeros where there is no output.
    fn spread<'a, T: Element>(&self, geometry: &Geometry, gradient: &'a [T]) -> Cow<'a, [T]> {
        if geometry.is_pixelwise() {
            return Cow::Borrowed(gradient);
        }
        let (channels, rows, columns) = (geometry.channels_out, self.padded[0], self.places_per_row());
        let mut spread = zeros(geometry.batch * rows * columns * channels);
        spread.par_chunks_mut(columns * channels).enumerate().for_each(|(nth, spread)| {
            let (image, row) = (nth / rows, nth % rows);
            if row < geometry.output[0] {
                let numbers = geometry.output[1] * channels;
                let start = pixel(image, [row, 0], geometry.output) * channels;
                spread[..numbers].copy_from_slice(&gradient[start..start + numbers]);
            }
        });
        Cow::Owned(spread)
    }
}

/// Calls with each group and tap that begins a run of numbers which lie one behind the other in patch and sums alike,
/// the run's length, and where its sums begin.
fn for_each_run(geometry: &Geometry, mut then: impl FnMut(usize, [usize; 2], usize, usize)) {
    let (ins, outs) = (geometry.in_per_group(), geometry.out_per_group());
    // Without groups and dilation a row of the kernel is one run.
    let is_joined = geometry.groups == 1 && geometry.dilation[1] == 1;
    let joined = if is_joined { geometry.kernel[1] } else { 1 };
    for group in 0..geometry.groups {
        for (nth, tap) in geometry.taps().enumerate().step_by(joined) {
            then(group, tap, joined * ins, (group * geometry.n_taps() + nth) * ins * outs);
        }
    }
}

/// `sums[i, o] += Σ_place patches[place · step + i] · gradient[place, o]` for the outputs of a group.
fn product<T: Element>(
    geometry: &Geometry,
    group: usize,
    patches: &[T],
    step: usize,
    run: usize,
    gradient: &[T],
    n_places: usize,
    sums: &mut [T],
) {
    let outs = geometry.out_per_group();
    let turned = Matrix { numbers: patches, row_stride: 1, column_stride: step };
    let arrived = Matrix { numbers: &gradient[group * outs..], row_stride: geometry.channels_out, column_stride: 1 };
    multiply_add(&mut sums[..run * outs], outs, (run, n_places, outs), turned, arrived, Threads::One);
}

/// The sums of all threads, each over its own part of the places, added up.
fn summed_by_threads<T: Element>(
    geometry: &Geometry,
    n_places: usize,
    add: impl Fn(std::ops::Range<usize>, &mut [T]) + Sync,
) -> Vec<T> {
    let n_sums = geometry.channels_out * geometry.in_per_group() * geometry.n_taps();
    let part = n_places.div_ceil(rayon::current_num_threads()).max(1);
    let of_part = |nth: usize| {
        let mut sums = vec![T::zero(); n_sums];
        add(nth * part..n_places.min((nth + 1) * part), &mut sums);
        sums
    };
    let parts: Vec<Vec<T>> = (0..n_places.div_ceil(part)).into_par_iter().map(of_part).collect();
    added(parts).unwrap_or_else(|| vec![T::zero(); n_sums])
}

/// `[group, tap, in, out]`
fn from_copied_patches<T: Element>(geometry: &Geometry, input: &[T], gradient: &[T]) -> Vec<T> {
    let (channels, patch) = (geometry.channels_in, geometry.n_taps() * geometry.channels_in);
    summed_by_threads(geometry, geometry.n_output_pixels(), |places, sums| {
        let mut patches = vec![T::zero(); BAND * patch];
        for first in places.clone().step_by(BAND) {
            let n_places = BAND.min(places.end - first);
            patches.fill(T::zero());
            for (nth, patch) in patches.chunks_exact_mut(patch).take(n_places).enumerate() {
                copy_patch(geometry, input, first + nth, patch);
            }
            let gradient = &gradient[first * geometry.channels_out..];
            for_each_run(geometry, |group, [row, column], run, into| {
                let start = (row * geometry.kernel[1] + column) * channels + group * geometry.in_per_group();
                product(geometry, group, &patches[start..], patch, run, gradient, n_places, &mut sums[into..]);
            });
        }
    })
}

/// `[channel, 1, kernel rows, kernel columns]`
fn depthwise<T: Element>(geometry: &Geometry, input: &[T], gradient: &[T]) -> Vec<T> {
    let (channels, n_taps) = (geometry.channels_in, geometry.n_taps());
    let sums = summed_by_threads(geometry, geometry.n_output_pixels(), |places, sums| {
        for place in places {
            let gradient = &gradient[place * channels..][..channels];
            for (tap, pixel) in geometry.pixels_under(place) {
                let (sums, input) = (&mut sums[tap * channels..][..channels], &input[pixel * channels..][..channels]);
                sums.iter_mut().zip(input).zip(gradient).for_each(|((sum, &x), &g)| *sum += x * g);
            }
        }
    });
    (0..sums.len()).map(|index| sums[index % n_taps * channels + index / n_taps]).collect()
}
