//! Convolutions of channels-last arrays as products over taps, 1-D ones as images of one row.
//!
//! Forward, an output pixel's taps are the input pixels under its kernel. Backward, an input pixel's taps are the output
//! pixels that read it; with strides, pixels at the same place between two strides share their taps and are one
//! product (what is elsewhere called sub-pixel convolution: nothing is multiplied by an inserted zero).

use rayon::prelude::*;

use super::depthwise::{DepthwiseBackward, DepthwiseForward};
use super::sequence::Sequence;
use super::vectorized::elementwise::add_runs;
use super::vectorized::finish::{Clamp, Finish};
use super::vectorized::matrix::{Matrix, multiply_add};
use super::vectorized::packed::Packed;
use super::vectorized::rows::{FEW_ROWS, times};
use super::vectorized::taps::{OUTSIDE, TapProduct, Target, Threads};
use super::zeros;
use crate::element::Element;

/// The sizes of a convolution; pairs are `[rows, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    pub(crate) groups: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Zeros before the first row and column; those behind follow from the output's size.
    pub(crate) padding: [usize; 2],
}

impl Geometry {
    pub(crate) fn in_per_group(&self) -> usize {
        self.channels_in / self.groups
    }

    pub(crate) fn out_per_group(&self) -> usize {
        self.channels_out / self.groups
    }

    pub(super) fn n_taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    fn n_input_pixels(&self) -> usize {
        self.batch * self.input[0] * self.input[1]
    }

    pub(crate) fn n_output_pixels(&self) -> usize {
        self.batch * self.output[0] * self.output[1]
    }

    /// Whether each channel is convolved by itself.
    pub(super) fn is_depthwise(&self) -> bool {
        self.groups == self.channels_in && self.groups == self.channels_out && self.groups > 1
    }

    /// Whether each output pixel has the input pixel of its own place as its only tap.
    pub(super) fn is_pixelwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0] && self.input == self.output
    }

    /// Whether pixels hold too few numbers to be taps of their own.
    fn has_short_taps(&self) -> bool {
        const SHORT: usize = 16;
        self.groups == 1 && self.channels_in < SHORT && self.n_taps() > 1
    }

    /// Every row by itself as a sequence, where its kernel is one row high.
    pub(crate) fn sequence(&self) -> Option<Sequence> {
        let is_along_rows = self.kernel[0] == 1 && self.stride[0] == 1 && self.padding[0] == 0;
        (is_along_rows && self.groups == 1 && self.dilation[1] == 1).then(|| Sequence {
            batch: self.batch * self.input[0],
            input: self.input[1],
            output: self.output[1],
            channels_in: self.channels_in,
            channels_out: self.channels_out,
            kernel: self.kernel[1],
            stride: self.stride[1],
            padding: self.padding[1],
        })
    }

    /// Whether so few pixels have a gradient that it is less work to spread each over its kernel than to gather.
    pub(crate) fn has_few_outputs(&self) -> bool {
        self.groups == 1 && 2 * self.output[0] * self.output[1] <= self.n_taps()
    }

    /// The taps of the kernel, in order.
    pub(super) fn taps(&self) -> impl Iterator<Item = [usize; 2]> + use<> {
        let [rows, columns] = self.kernel;
        (0..rows).flat_map(move |row| (0..columns).map(move |column| [row, column]))
    }

    /// The input index under tap `tap` of output `output` along one axis, where there is one.
    pub(super) fn read_by(&self, axis: usize, output: usize, tap: usize) -> Option<usize> {
        let padded = output * self.stride[axis] + tap * self.dilation[axis];
        padded.checked_sub(self.padding[axis]).filter(|&index| index < self.input[axis])
    }

    /// The output that reads this input through this tap along one axis, where there is one.
    pub(super) fn reader(&self, axis: usize, input: usize, tap: usize) -> Option<usize> {
        let padded = (input + self.padding[axis]).checked_sub(tap * self.dilation[axis])?;
        let output = padded / self.stride[axis];
        (padded.is_multiple_of(self.stride[axis]) && output < self.output[axis]).then_some(output)
    }

    /// The taps of an output pixel that lie in the input, each with its pixel of the batch, in row-major order.
    pub(crate) fn pixels_under(&self, output_pixel: usize) -> impl Iterator<Item = (usize, usize)> {
        let (image, [row, column]) = place(output_pixel, self.output);
        self.taps().enumerate().filter_map(move |(tap, [tap_row, tap_column])| {
            let (row, column) = self.read_by(0, row, tap_row).zip(self.read_by(1, column, tap_column))?;
            Some((tap, pixel(image, [row, column], self.input)))
        })
    }

    /// The number of `[out, in / groups, rows, columns]` weights that belongs together.
    pub(super) fn weight(&self, out: usize, input: usize, [row, column]: [usize; 2]) -> usize {
        ((out * self.in_per_group() + input) * self.kernel[0] + row) * self.kernel[1] + column
    }
}

/// The pixel of a place in a batch of images.
pub(super) fn pixel(image: usize, [row, column]: [usize; 2], [rows, columns]: [usize; 2]) -> usize {
    (image * rows + row) * columns + column
}

/// Image, row and column of a pixel.
fn place(pixel: usize, [rows, columns]: [usize; 2]) -> (usize, [usize; 2]) {
    let row = pixel / columns;
    (row / rows, [row % rows, pixel % columns])
}

/// Weights and bias, packed for the forward pass.
#[derive(Debug)]
pub(crate) enum ForwardWeights<T> {
    Depthwise(DepthwiseForward<T>),
    /// One product a group.
    Groups(Vec<Packed<T>>),
    /// A tap for each row of the kernel, the run of pixels under it.
    Runs(Packed<T>),
}

impl<T: Element> ForwardWeights<T> {
    /// Packs them.
    ///
    /// # Shapes
    /// - `weights`: `[out, in / groups, rows, columns]`, `bias`: `[out]`
    pub(crate) fn new(geometry: &Geometry, weights: &[T], bias: Option<&[T]>) -> Self {
        let (ins, outs) = (geometry.in_per_group(), geometry.out_per_group());
        let taps: Vec<[usize; 2]> = geometry.taps().collect();
        if geometry.is_depthwise() {
            return ForwardWeights::Depthwise(DepthwiseForward::new(geometry, weights, bias));
        }
        if geometry.has_short_taps() && geometry.dilation[1] == 1 {
            let [rows, columns] = geometry.kernel;
            let weight = |row, step: usize, column| weights[geometry.weight(column, step % ins, [row, step / ins])];
            return ForwardWeights::Runs(Packed::new([rows, columns * ins, outs], bias, weight));
        }
        let of_group = |group: usize| {
            let weight = |tap: usize, step, column| weights[geometry.weight(group * outs + column, step, taps[tap])];
            let bias = bias.map(|bias| &bias[group * outs..][..outs]);
            Packed::new([taps.len(), ins, outs], bias, weight)
        };
        ForwardWeights::Groups((0..geometry.groups).map(of_group).collect())
    }

    /// The convolution, clamped.
    ///
    /// # Shapes
    /// - `input`: `[batch, rows, columns, in]`; returns `[batch, output rows, output columns, out]`
    pub(crate) fn convolve(&self, geometry: &Geometry, input: &[T], clamp: Clamp<T>) -> Vec<T> {
        let n_numbers = geometry.n_output_pixels() * geometry.channels_out;
        if n_numbers == 0 {
            return Vec::new();
        }
        let finish = Finish::clamp(clamp);
        match self {
            ForwardWeights::Depthwise(weights) => weights.convolve(geometry, input, clamp),
            ForwardWeights::Groups(groups) => match &groups[..] {
                [weights] => group_product(geometry, 0, input, weights, finish, |product| product.result(Threads::All)),
                groups => {
                    let mut output = zeros(n_numbers);
                    for (group, weights) in groups.iter().enumerate() {
                        group_product(geometry, group, input, weights, finish, |product| {
                            product.run(&mut output, Threads::All);
                        });
                    }
                    output
                }
            },
            ForwardWeights::Runs(weights) => convolve_runs(geometry, input, weights, finish),
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            ForwardWeights::Depthwise(weights) => weights.bytes(),
            ForwardWeights::Groups(groups) => groups.iter().map(Packed::bytes).sum(),
            ForwardWeights::Runs(weights) => weights.bytes(),
        }
    }
}

/// Hands over the product that a group of channels comes down to.
fn group_product<T: Element, R>(
    geometry: &Geometry,
    group: usize,
    input: &[T],
    weights: &Packed<T>,
    finish: Finish<'_, T>,
    make: impl FnOnce(TapProduct<'_, T, &(dyn Fn(usize, &mut [usize]) + Sync)>) -> R,
) -> R {
    let (channels, first) = (geometry.channels_in, group * geometry.in_per_group());
    let target = Target::Every { first: group * geometry.out_per_group(), stride: geometry.channels_out };
    let n_rows = geometry.n_output_pixels();
    let of_pixel = |row: usize, places: &mut [usize]| places[0] = row * channels + first;
    let under_kernel = |row: usize, places: &mut [usize]| {
        let (image, [row, column]) = place(row, geometry.output);
        for (place, [tap_row, tap_column]) in places.iter_mut().zip(geometry.taps()) {
            let read = geometry.read_by(0, row, tap_row).zip(geometry.read_by(1, column, tap_column));
            *place =
                read.map_or(OUTSIDE, |(row, column)| pixel(image, [row, column], geometry.input) * channels + first);
        }
    };
    let places: &(dyn Fn(usize, &mut [usize]) + Sync) = if geometry.is_pixelwise() { &of_pixel } else { &under_kernel };
    make(TapProduct { input, weights: weights.right(), n_rows, places, target, finish })
}

/// Pixels of few numbers: the runs of pixels under each row of the kernel are its taps, in an image with its padding.
fn convolve_runs<T: Element>(geometry: &Geometry, input: &[T], weights: &Packed<T>, finish: Finish<'_, T>) -> Vec<T> {
    let channels = geometry.channels_in;
    let extent = |axis: usize| {
        (geometry.output[axis] - 1) * geometry.stride[axis] + (geometry.kernel[axis] - 1) * geometry.dilation[axis] + 1
    };
    let (rows, row_length) = (extent(0), extent(1) * channels);
    let padded = with_padding(geometry, input, rows, row_length);
    let places = |row: usize, places: &mut [usize]| {
        let (image, [row, column]) = place(row, geometry.output);
        let first = (image * rows + row * geometry.stride[0]) * row_length + column * geometry.stride[1] * channels;
        for (tap_row, place) in places.iter_mut().enumerate() {
            *place = first + tap_row * geometry.dilation[0] * row_length;
        }
    };
    let (n_rows, target) = (geometry.n_output_pixels(), Target::Every { first: 0, stride: geometry.channels_out });
    TapProduct { input: &padded, weights: weights.right(), n_rows, places, target, finish }.result(Threads::All)
}

/// Images with as many rows, of as many numbers, as the kernel passes over: with the padding, and without what it does
/// not reach at the end.
fn with_padding<T: Element>(geometry: &Geometry, input: &[T], rows: usize, row_length: usize) -> Vec<T> {
    let own_row = geometry.input[1] * geometry.channels_in;
    let before = geometry.padding[1] * geometry.channels_in;
    let n = own_row.min(row_length.saturating_sub(before));
    let mut padded = zeros(geometry.batch * rows * row_length);
    padded.par_chunks_exact_mut(row_length).enumerate().for_each(|(index, padded)| {
        let (image, row) = (index / rows, index % rows);
        if let Some(row) = row.checked_sub(geometry.padding[0]).filter(|row| *row < geometry.input[0]) {
            padded[before.min(row_length)..][..n]
                .copy_from_slice(&input[pixel(image, [row, 0], geometry.input) * geometry.channels_in..][..n]);
        }
    });
    padded
}

/// Copies the patch under one output pixel into zeros.
pub(super) fn copy_patch<T: Element>(geometry: &Geometry, input: &[T], output_pixel: usize, patch: &mut [T]) {
    let channels = geometry.channels_in;
    let (image, [row, column]) = place(output_pixel, geometry.output);
    for (tap_row, run) in patch.chunks_exact_mut(geometry.kernel[1] * channels).enumerate() {
        let Some(row) = geometry.read_by(0, row, tap_row) else { continue };
        let first = geometry.read_by(1, column, 0);
        let last = geometry.read_by(1, column, geometry.kernel[1] - 1);
        match first.zip(last) {
            Some((first, _)) if geometry.dilation[1] == 1 => {
                let start = pixel(image, [row, first], geometry.input) * channels;
                run.copy_from_slice(&input[start..start + run.len()]);
            }
            _ => {
                for (tap_column, numbers) in run.chunks_exact_mut(channels).enumerate() {
                    if let Some(column) = geometry.read_by(1, column, tap_column) {
                        let start = pixel(image, [row, column], geometry.input) * channels;
                        numbers.copy_from_slice(&input[start..start + channels]);
                    }
                }
            }
        }
    }
}

/// Weights, packed for the gradient to the input.
#[derive(Debug)]
pub(crate) enum BackwardWeights<T> {
    Depthwise(DepthwiseBackward<T>),
    /// One for each place between two strides.
    Phases(Vec<(Phase, Vec<Packed<T>>)>),
    /// `[out] → [tap row, tap column, in]`: what an output pixel gives to its patch.
    Patches(Packed<T>),
}

/// Input pixels at one place between two strides: the kernel's taps that can reach them.
#[derive(Debug)]
pub(crate) struct Phase {
    /// Row and column within the stride, padding counted.
    place: [usize; 2],
    taps: Vec<[usize; 2]>,
}

impl Phase {
    /// All that any tap reaches.
    pub(super) fn all(geometry: &Geometry) -> impl Iterator<Item = Phase> {
        let [rows, columns] = geometry.stride;
        let places = (0..rows).flat_map(move |row| (0..columns).map(move |column| [row, column]));
        let phase_at = |place: [usize; 2]| {
            let reaches = |tap: &[usize; 2]| {
                (0..2).all(|axis| tap[axis] * geometry.dilation[axis] % geometry.stride[axis] == place[axis])
            };
            Phase { place, taps: geometry.taps().filter(reaches).collect() }
        };
        places.map(phase_at).filter(|phase| !phase.taps.is_empty())
    }

    /// Row and column in the kernel of each, in order.
    pub(super) fn taps(&self) -> &[[usize; 2]] {
        &self.taps
    }

    /// The taps' places along an axis.
    pub(super) fn taps_along(&self, axis: usize) -> Vec<usize> {
        let mut taps: Vec<usize> = self.taps.iter().map(|tap| tap[axis]).collect();
        taps.sort_unstable();
        taps.dedup();
        taps
    }

    /// Along each axis the first input of this place, and how many there are.
    pub(super) fn inputs(&self, geometry: &Geometry) -> ([usize; 2], [usize; 2]) {
        let first = [0, 1].map(|axis| {
            let stride = geometry.stride[axis];
            (self.place[axis] + stride - geometry.padding[axis] % stride) % stride
        });
        let rest = |axis: usize| geometry.input[axis].saturating_sub(first[axis]);
        (first, [0, 1].map(|axis| rest(axis).div_ceil(geometry.stride[axis])))
    }
}

impl<T: Element> BackwardWeights<T> {
    /// Packs them.
    ///
    /// # Shapes
    /// - `weights`: `[out, in / groups, rows, columns]`
    pub(crate) fn new(geometry: &Geometry, weights: &[T]) -> Self {
        if geometry.is_depthwise() {
            return BackwardWeights::Depthwise(DepthwiseBackward::new(geometry, weights));
        }
        let (ins, outs) = (geometry.in_per_group(), geometry.out_per_group());
        if geometry.has_short_taps() {
            let (ins, taps) = (geometry.channels_in, geometry.taps().collect::<Vec<_>>());
            let weight = |_, out, column: usize| weights[geometry.weight(out, column % ins, taps[column / ins])];
            return BackwardWeights::Patches(Packed::new([1, outs, taps.len() * ins], None, weight));
        }
        let of_phase = |phase: Phase| {
            let of_group = |group: usize| {
                let weight =
                    |tap: usize, step, column| weights[geometry.weight(group * outs + step, column, phase.taps[tap])];
                Packed::new([phase.taps.len(), outs, ins], None, weight)
            };
            let groups = (0..geometry.groups).map(of_group).collect();
            (phase, groups)
        };
        BackwardWeights::Phases(Phase::all(geometry).map(of_phase).collect())
    }

    /// The gradient to the input, finished.
    ///
    /// # Shapes
    /// - `gradient`: `[batch, output rows, output columns, out]`; returns `[batch, rows, columns, in]`
    pub(crate) fn input_gradient(&self, geometry: &Geometry, gradient: &[T], finish: Finish<'_, T>) -> Vec<T> {
        if let BackwardWeights::Phases(phases) = self
            && let [(phase, groups)] = &phases[..]
            && let [weights] = &groups[..]
            && geometry.stride == [1, 1]
        {
            return phase_product(geometry, phase, 0, weights, gradient, finish, |product| {
                product.result(Threads::All)
            });
        }
        let n_numbers = geometry.n_input_pixels() * geometry.channels_in;
        match self {
            BackwardWeights::Depthwise(weights) => weights.input_gradient(geometry, gradient, finish),
            BackwardWeights::Phases(phases) => {
                let mut input = zeros(n_numbers);
                for (phase, groups) in phases {
                    for (group, weights) in groups.iter().enumerate() {
                        phase_product(geometry, phase, group, weights, gradient, finish, |product| {
                            product.run(&mut input, Threads::All);
                        });
                    }
                }
                input
            }
            BackwardWeights::Patches(weights) => patches_gradient(geometry, weights, gradient, finish),
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            BackwardWeights::Depthwise(weights) => weights.bytes(),
            BackwardWeights::Phases(phases) => phases.iter().flat_map(|(_, groups)| groups).map(Packed::bytes).sum(),
            BackwardWeights::Patches(weights) => weights.bytes(),
        }
    }
}

/// Hands over the product that the pixels of a phase come down to.
fn phase_product<T: Element, R>(
    geometry: &Geometry,
    phase: &Phase,
    group: usize,
    weights: &Packed<T>,
    gradient: &[T],
    finish: Finish<'_, T>,
    make: impl FnOnce(TapProduct<'_, T, &(dyn Fn(usize, &mut [usize]) + Sync)>) -> R,
) -> R {
    let (first, lengths) = phase.inputs(geometry);
    let n_rows = geometry.batch * lengths[0] * lengths[1];
    let pixel_of = |row: usize| {
        let (image, [row, column]) = place(row, lengths);
        (image, [first[0] + row * geometry.stride[0], first[1] + column * geometry.stride[1]])
    };
    let (first_in, first_out) = (group * geometry.in_per_group(), group * geometry.out_per_group());
    let is_dense = geometry.stride == [1, 1];
    let listed: Vec<usize> = match is_dense {
        true => Vec::new(),
        false => {
            let pixels = (0..n_rows).map(pixel_of).map(|(image, place)| pixel(image, place, geometry.input));
            pixels.map(|pixel| pixel * geometry.channels_in + first_in).collect()
        }
    };
    let target = match is_dense {
        true => Target::Every { first: first_in, stride: geometry.channels_in },
        false => Target::Listed(&listed),
    };
    let places = |row: usize, places: &mut [usize]| {
        if geometry.is_pixelwise() {
            places[0] = row * geometry.channels_out + first_out;
            return;
        }
        let (image, [row, column]) = pixel_of(row);
        for (place, [tap_row, tap_column]) in places.iter_mut().zip(&phase.taps) {
            let reader = geometry.reader(0, row, *tap_row).zip(geometry.reader(1, column, *tap_column));
            *place = reader.map_or(OUTSIDE, |(row, column)| {
                pixel(image, [row, column], geometry.output) * geometry.channels_out + first_out
            });
        }
    };
    make(TapProduct { input: gradient, weights: weights.right(), n_rows, places: &places, target, finish })
}

/// A band of input rows a task: the patches of each row of output pixels whose first tap is there, added into zeros; what
/// they reach of the next band is added to it at the end.
fn patches_gradient<T: Element>(
    geometry: &Geometry,
    weights: &Packed<T>,
    gradient: &[T],
    finish: Finish<'_, T>,
) -> Vec<T> {
    const TASKS_PER_THREAD: usize = 4;
    let ([rows, columns], [out_rows, _]) = (geometry.input, geometry.output);
    let row_length = columns * geometry.channels_in;
    let beyond = (geometry.kernel[0] - 1) * geometry.dilation[0];
    let n_bands = (TASKS_PER_THREAD * rayon::current_num_threads()).div_ceil(geometry.batch);
    let band = rows.div_ceil(n_bands).max(beyond).max(1);
    let bands_of_image = rows.div_ceil(band);
    // The first row that an output row reads, the padding counted.
    let band_of = |out_row: usize| {
        let first = (out_row * geometry.stride[0]).saturating_sub(geometry.padding[0]);
        (first / band).min(bands_of_image - 1)
    };

    let of_band = |patches: &mut Vec<T>, nth: usize| {
        let (image, nth) = (nth / bands_of_image, nth % bands_of_image);
        let mut sums = vec![T::zero(); (band + beyond).min(rows - nth * band) * row_length];
        for out_row in (0..out_rows).filter(|&out_row| band_of(out_row) == nth) {
            add_patches(geometry, weights, gradient, (image, out_row), patches, nth * band, &mut sums);
        }
        sums
    };
    let n_tasks = geometry.batch * bands_of_image;
    let sums: Vec<Vec<T>> = (0..n_tasks).into_par_iter().map_init(Vec::new, of_band).collect();

    let mut input = zeros(geometry.n_input_pixels() * geometry.channels_in);
    let images = input.chunks_exact_mut(rows * row_length);
    let bands: Vec<&mut [T]> = images.flat_map(|image| image.chunks_mut(band * row_length)).collect();
    bands.into_par_iter().enumerate().for_each(|(nth, input)| {
        let n_own = input.len();
        input.copy_from_slice(&sums[nth][..n_own]);
        if !nth.is_multiple_of(bands_of_image) {
            let before = &sums[nth - 1][band * row_length..];
            input.iter_mut().zip(before).for_each(|(sum, &part)| *sum += part);
        }
        let row = nth / bands_of_image * rows + nth % bands_of_image * band;
        finish.apply_at(row * row_length, input);
    });
    input
}

/// Adds what a row of output pixels of an image gives to the rows of input pixels from one on.
///
/// # Shapes
/// - `patches`: room for `[out column, tap row, tap column, in]`; `sums`: `[row, column, in]`
fn add_patches<T: Element>(
    geometry: &Geometry,
    weights: &Packed<T>,
    gradient: &[T],
    (image, out_row): (usize, usize),
    patches: &mut Vec<T>,
    first_row: usize,
    sums: &mut [T],
) {
    let (channels, outs, out_columns) = (geometry.channels_in, geometry.channels_out, geometry.output[1]);
    let (run, row_length) = (geometry.kernel[1] * channels, geometry.input[1] * channels);
    let patch = geometry.kernel[0] * run;
    patches.resize(out_columns * patch, T::zero());
    let first = pixel(image, [out_row, 0], geometry.output) * outs;
    let places = |row: usize, places: &mut [usize]| places[0] = first + row * outs;
    let (weights, target) = (weights.right(), Target::Every { first: 0, stride: patch });
    TapProduct { input: gradient, weights, n_rows: out_columns, places, target, finish: Finish::none() }
        .run(patches, Threads::One);

    // Columns whose patches lie in the image with all their pixels, which follow each other.
    let is_whole = |out_column: &usize| {
        let ends = [0, geometry.kernel[1] - 1].map(|tap| geometry.read_by(1, *out_column, tap));
        geometry.dilation[1] == 1 && ends.iter().all(Option::is_some)
    };
    let begin = (0..out_columns).find(is_whole).unwrap_or(0);
    let whole = begin..begin + (begin..out_columns).take_while(is_whole).count();
    for tap_row in 0..geometry.kernel[0] {
        let Some(row) = geometry.read_by(0, out_row, tap_row) else { continue };
        let sums = &mut sums[(row - first_row) * row_length..][..row_length];
        if !whole.is_empty() {
            let to = (whole.start * geometry.stride[1] - geometry.padding[1]) * channels;
            let runs = &patches[whole.start * patch + tap_row * run..];
            add_runs(runs, patch, run, whole.len(), &mut sums[to..], geometry.stride[1] * channels);
        }
        for out_column in (0..out_columns).filter(|out_column| !whole.contains(out_column)) {
            let run = patches[out_column * patch + tap_row * run..][..run].chunks_exact(channels);
            for (tap, pixel) in run.enumerate() {
                if let Some(column) = geometry.read_by(1, out_column, tap) {
                    let sums = &mut sums[column * channels..][..channels];
                    sums.iter_mut().zip(pixel).for_each(|(sum, &part)| *sum += part);
                }
            }
        }
    }
}

/// The gradient to the input where [`Geometry::has_few_outputs`]: one product with the weights as they lie, each row of
/// which is then added under the kernel of its pixel.
///
/// # Shapes
/// - `gradient`: `[batch, output rows, output columns, out]`, `weights`: `[out, in, rows, columns]`
/// - returns `[batch, rows, columns, in]`
pub(crate) fn spread_gradient<T: Element>(geometry: &Geometry, gradient: &[T], weights: &[T]) -> Vec<T> {
    let (ins, outs, n_taps) = (geometry.channels_in, geometry.channels_out, geometry.n_taps());
    let n_rows = geometry.n_output_pixels();
    let kernels = if n_rows <= FEW_ROWS {
        times(gradient, weights, ins * n_taps)
    } else {
        let mut kernels = zeros(n_rows * ins * n_taps);
        let (arrived, weights) = (Matrix::row_major(gradient, outs), Matrix::row_major(weights, ins * n_taps));
        multiply_add(&mut kernels, ins * n_taps, (n_rows, outs, ins * n_taps), arrived, weights, Threads::All);
        kernels
    };
    let mut input = zeros(geometry.n_input_pixels() * ins);
    let image = geometry.input[0] * geometry.input[1] * ins;
    let per_image = geometry.output[0] * geometry.output[1] * ins * n_taps;
    input.par_chunks_exact_mut(image).zip(kernels.par_chunks_exact(per_image)).for_each(|(input, kernels)| {
        for (output, kernel) in kernels.chunks_exact(ins * n_taps).enumerate() {
            for (tap, pixel) in geometry.pixels_under(output) {
                let of_pixel = &mut input[pixel * ins..][..ins];
                of_pixel.iter_mut().zip(kernel[tap..].iter().step_by(n_taps)).for_each(|(sum, &part)| *sum += part);
            }
        }
    });
    input
}
