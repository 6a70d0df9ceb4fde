//! Convolutions of channels-last arrays as matrix products, 1-D ones as images of one row.
//!
//! Forward, a band of output rows at a time: the patches under them (a view where they lie contiguous, else a copy)
//! times the packed weights. The gradient to the input is the same convolution with flipped kernels where the stride
//! is 1, else the product with the transposed weights, scattered back.

use rayon::prelude::*;

use super::matrix::{Matrix, Threads, multiply_add};
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

    /// Numbers in the patch under one output of one group.
    fn patch(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.in_per_group()
    }

    /// Whether each channel is convolved by itself.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.groups == self.channels_in && self.groups == self.channels_out && self.groups > 1
    }

    /// Whether the output is a matrix product of the input's pixels as they lie.
    fn is_pixelwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.padding == [0, 0]
            && self.input == self.output
            && self.groups == 1
    }

    /// Whether patches lie contiguous in one padded row.
    fn is_one_row(&self) -> bool {
        self.input[0] == 1
            && self.kernel[0] == 1
            && self.dilation[1] == 1
            && self.groups == 1
            && self.padding[0] == 0
            && self.output[0] == 1
    }

    /// The convolution that gives the gradient to the input, where it is one: stride 1, and no more padding than kernel.
    pub(crate) fn flipped(&self) -> Option<Geometry> {
        let reach = [0, 1].map(|axis| self.dilation[axis] * (self.kernel[axis] - 1));
        let is_convolution = self.stride == [1, 1] && reach[0] >= self.padding[0] && reach[1] >= self.padding[1];
        is_convolution.then(|| Geometry {
            input: self.output,
            output: self.input,
            channels_in: self.channels_out,
            channels_out: self.channels_in,
            padding: [reach[0] - self.padding[0], reach[1] - self.padding[1]],
            ..*self
        })
    }

    /// The input index under tap `tap` of output `output` along one axis, where there is one.
    fn tap(&self, axis: usize, output: usize, tap: usize) -> Option<usize> {
        let padded = output * self.stride[axis] + tap * self.dilation[axis];
        padded.checked_sub(self.padding[axis]).filter(|&index| index < self.input[axis])
    }
}

/// Weights in the order in which the forward product wants them.
///
/// # Shapes
/// - `weights`: `[out, in / groups, rows, columns]`; returns `[groups, rows, columns, in / groups, out / groups]`
pub(crate) fn pack_forward<T: Element>(weights: &[T], geometry: &Geometry) -> Vec<T> {
    pack(weights, geometry, |row, column, i, o, (_, columns, ins, outs)| {
        ((row * columns + column) * ins + i) * outs + o
    })
}

/// Weights flipped and with inputs and outputs swapped, for [`Geometry::flipped`].
///
/// # Shapes
/// - `weights`: `[out, in / groups, rows, columns]`; returns `[groups, rows, columns, out / groups, in / groups]`
pub(crate) fn pack_flipped<T: Element>(weights: &[T], geometry: &Geometry) -> Vec<T> {
    pack(weights, geometry, |row, column, i, o, (rows, columns, ins, outs)| {
        (((rows - 1 - row) * columns + columns - 1 - column) * outs + o) * ins + i
    })
}

type PackedSizes = (usize, usize, usize, usize);

fn pack<T: Element>(
    weights: &[T],
    geometry: &Geometry,
    place: impl Fn(usize, usize, usize, usize, PackedSizes) -> usize,
) -> Vec<T> {
    let [rows, columns] = geometry.kernel;
    let (ins, outs) = (geometry.in_per_group(), geometry.out_per_group());
    let per_group = rows * columns * ins * outs;
    let mut packed = vec![T::zero(); weights.len()];
    let mut numbers = weights.iter();
    for group in 0..geometry.groups {
        for o in 0..outs {
            for i in 0..ins {
                for row in 0..rows {
                    for column in 0..columns {
                        let number = numbers.next().expect("as many weights as the geometry says");
                        packed[group * per_group + place(row, column, i, o, (rows, columns, ins, outs))] = *number;
                    }
                }
            }
        }
    }
    packed
}

/// The convolution.
///
/// # Shapes
/// - `input`: `[batch, rows, columns, in]`, `packed`: as [`pack_forward`] gives it, `bias`: `[out]`
/// - returns `[batch, output rows, output columns, out]`
pub(crate) fn convolve<T: Element>(geometry: &Geometry, input: &[T], packed: &[T], bias: Option<&[T]>) -> Vec<T> {
    let [out_rows, out_columns] = geometry.output;
    let mut output = vec![T::zero(); geometry.batch * out_rows * out_columns * geometry.channels_out];
    if let Some(bias) = bias {
        output.chunks_exact_mut(geometry.channels_out).for_each(|pixel| pixel.copy_from_slice(bias));
    }
    if output.is_empty() {
        return output;
    }
    if geometry.is_pixelwise() {
        convolve_pixelwise(geometry, input, packed, &mut output);
    } else if geometry.is_one_row() {
        convolve_one_row(geometry, input, packed, &mut output);
    } else {
        convolve_patches(geometry, input, packed, &mut output);
    }
    output
}

fn convolve_pixelwise<T: Element>(geometry: &Geometry, input: &[T], packed: &[T], output: &mut [T]) {
    let (ins, outs) = (geometry.channels_in, geometry.channels_out);
    let n_pixels = input.len() / ins;
    let product = (n_pixels, ins, outs);
    multiply_add(output, outs, product, Matrix::row_major(input, ins), Matrix::row_major(packed, outs), Threads::All);
}

/// One matrix product over an overlapping view of each padded row; nothing is copied but the padding.
fn convolve_one_row<T: Element>(geometry: &Geometry, input: &[T], packed: &[T], output: &mut [T]) {
    let (ins, outs) = (geometry.channels_in, geometry.channels_out);
    let steps = geometry.output[1];
    let needed = ((steps - 1) * geometry.stride[1] + geometry.kernel[1]) * ins;
    let row = geometry.input[1] * ins;
    let before = geometry.padding[1] * ins;
    for (input, output) in input.chunks_exact(row).zip(output.chunks_exact_mut(steps * outs)) {
        let padded;
        let numbers = if before == 0 && needed <= row {
            input
        } else {
            let mut copy = vec![T::zero(); needed.max(before + row)];
            copy[before..before + row].copy_from_slice(input);
            padded = copy;
            &padded
        };
        let windows = Matrix { numbers, row_stride: geometry.stride[1] * ins, column_stride: 1 };
        multiply_add(
            output,
            outs,
            (steps, geometry.patch(), outs),
            windows,
            Matrix::row_major(packed, outs),
            Threads::All,
        );
    }
}

/// Output pixels in a band: enough for an efficient product, few enough for its patches to stay in the cache.
fn rows_in_a_band(geometry: &Geometry) -> usize {
    const NUMBERS_IN_CACHE: usize = 1 << 17;
    let pixels = (NUMBERS_IN_CACHE / geometry.patch().max(1)).clamp(64, 1024);
    let for_all_threads = (geometry.batch * geometry.output[0]).div_ceil(rayon::current_num_threads());
    pixels.div_ceil(geometry.output[1]).min(for_all_threads).max(1)
}

fn convolve_patches<T: Element>(geometry: &Geometry, input: &[T], packed: &[T], output: &mut [T]) {
    let [out_rows, out_columns] = geometry.output;
    let (patch, outs) = (geometry.patch(), geometry.out_per_group());
    let row = out_columns * geometry.channels_out;
    let band = rows_in_a_band(geometry);
    output.par_chunks_mut(band * row).enumerate().for_each(|(nth, output)| {
        let n_rows = output.len() / row;
        let mut patches = vec![T::zero(); n_rows * out_columns * patch];
        for group in 0..geometry.groups {
            for within in 0..n_rows {
                let index = nth * band + within;
                let of_row = &mut patches[within * out_columns * patch..][..out_columns * patch];
                gather_patches(geometry, input, index / out_rows, index % out_rows, group, of_row);
            }
            let weights = &packed[group * patch * outs..][..patch * outs];
            multiply_add(
                &mut output[group * outs..],
                geometry.channels_out,
                (n_rows * out_columns, patch, outs),
                Matrix::row_major(&patches, patch),
                Matrix::row_major(weights, outs),
                Threads::One,
            );
        }
    });
}

/// Copies the patches under one output row; what lies outside the input is zero.
fn gather_patches<T: Element>(
    geometry: &Geometry,
    input: &[T],
    image: usize,
    row: usize,
    group: usize,
    patches: &mut [T],
) {
    let [in_rows, in_columns] = geometry.input;
    let ins = geometry.in_per_group();
    let runs_are_contiguous = geometry.groups == 1 && geometry.dilation[1] == 1;
    for (column, patch) in patches.chunks_exact_mut(geometry.patch()).enumerate() {
        for (tap_row, run) in patch.chunks_exact_mut(geometry.kernel[1] * ins).enumerate() {
            let Some(in_row) = geometry.tap(0, row, tap_row) else {
                run.fill(T::zero());
                continue;
            };
            let row_start = (image * in_rows + in_row) * in_columns;
            let first = (column * geometry.stride[1]).checked_sub(geometry.padding[1]);
            match first {
                Some(first) if runs_are_contiguous && first + geometry.kernel[1] <= in_columns => {
                    run.copy_from_slice(&input[(row_start + first) * ins..][..run.len()]);
                }
                _ => {
                    for (tap_column, pixel) in run.chunks_exact_mut(ins).enumerate() {
                        match geometry.tap(1, column, tap_column) {
                            Some(in_column) => {
                                let start = (row_start + in_column) * geometry.channels_in + group * ins;
                                pixel.copy_from_slice(&input[start..start + ins]);
                            }
                            None => pixel.fill(T::zero()),
                        }
                    }
                }
            }
        }
    }
}

/// The gradient to the input for any stride: what arrives times the transposed weights, scattered to where it came from.
///
/// # Shapes
/// - `gradient`: `[batch, output rows, output columns, out]`, `packed`: as [`pack_forward`] gives it
/// - returns `[batch, rows, columns, in]`
pub(crate) fn scatter_gradient<T: Element>(geometry: &Geometry, gradient: &[T], packed: &[T]) -> Vec<T> {
    let [out_rows, out_columns] = geometry.output;
    let image = geometry.input[0] * geometry.input[1] * geometry.channels_in;
    let mut input = vec![T::zero(); geometry.batch * image];
    let (patch, outs) = (geometry.patch(), geometry.out_per_group());
    let band = rows_in_a_band(geometry);
    let row = out_columns * geometry.channels_out;
    // Images are independent; within one, neighbouring patches overlap, so that only the product is shared out.
    let threads = if geometry.batch == 1 { Threads::All } else { Threads::One };
    let gradients = gradient.par_chunks_exact(out_rows * row);
    input.par_chunks_exact_mut(image).zip(gradients).for_each(|(input, gradient)| {
        let mut patches = vec![T::zero(); band * out_columns * patch];
        for (nth, of_band) in gradient.chunks(band * row).enumerate() {
            let n_pixels = of_band.len() / geometry.channels_out;
            for group in 0..geometry.groups {
                let patches = &mut patches[..n_pixels * patch];
                patches.fill(T::zero());
                let arrived =
                    Matrix { numbers: &of_band[group * outs..], row_stride: geometry.channels_out, column_stride: 1 };
                let weights = &packed[group * patch * outs..][..patch * outs];
                let transposed = Matrix { numbers: weights, row_stride: 1, column_stride: outs };
                multiply_add(patches, patch, (n_pixels, outs, patch), arrived, transposed, threads);
                for (pixel, patch) in patches.chunks_exact(patch).enumerate() {
                    let place = [nth * band + pixel / out_columns, pixel % out_columns];
                    scatter_patch(geometry, patch, place, group, input);
                }
            }
        }
    });
    input
}

fn scatter_patch<T: Element>(geometry: &Geometry, patch: &[T], place: [usize; 2], group: usize, input: &mut [T]) {
    let ins = geometry.in_per_group();
    for (tap_row, run) in patch.chunks_exact(geometry.kernel[1] * ins).enumerate() {
        let Some(row) = geometry.tap(0, place[0], tap_row) else { continue };
        for (tap_column, pixel) in run.chunks_exact(ins).enumerate() {
            let Some(column) = geometry.tap(1, place[1], tap_column) else { continue };
            let start = (row * geometry.input[1] + column) * geometry.channels_in + group * ins;
            for (into, number) in input[start..start + ins].iter_mut().zip(pixel) {
                *into += *number;
            }
        }
    }
}
