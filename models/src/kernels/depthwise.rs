//! Depthwise convolutions, where a matrix product would have inner length 1: a loop over taps, all channels at once.

use rayon::prelude::*;

use super::convolution::Geometry;
use crate::element::Element;

/// The depthwise convolution.
///
/// # Shapes
/// - `input`: `[batch, rows, columns, channels]`, `weights`: `[kernel rows, kernel columns, channels]`
/// - returns `[batch, output rows, output columns, channels]`
pub(crate) fn convolve<T: Element>(geometry: &Geometry, input: &[T], weights: &[T], bias: Option<&[T]>) -> Vec<T> {
    let channels = geometry.channels_in;
    let [in_rows, in_columns] = geometry.input;
    let [out_rows, out_columns] = geometry.output;
    let mut output = vec![T::zero(); geometry.batch * out_rows * out_columns * channels];
    output.par_chunks_mut(out_columns * channels).enumerate().for_each(|(index, output)| {
        let (image, row) = (index / out_rows, index % out_rows);
        for (column, pixel) in output.chunks_exact_mut(channels).enumerate() {
            if let Some(bias) = bias {
                pixel.copy_from_slice(bias);
            }
            for_taps(geometry, [row, column], |in_row, in_column, tap| {
                let start = ((image * in_rows + in_row) * in_columns + in_column) * channels;
                multiply_into(pixel, &input[start..start + channels], &weights[tap * channels..][..channels]);
            });
        }
    });
    output
}

/// The gradient to the input of [`convolve`].
///
/// # Shapes
/// - `gradient`: `[batch, output rows, output columns, channels]`; returns `[batch, rows, columns, channels]`
pub(crate) fn input_gradient<T: Element>(geometry: &Geometry, gradient: &[T], weights: &[T]) -> Vec<T> {
    let channels = geometry.channels_in;
    let [in_rows, in_columns] = geometry.input;
    let [out_rows, out_columns] = geometry.output;
    let mut input = vec![T::zero(); geometry.batch * in_rows * in_columns * channels];
    // Each input row gathers from the output rows above it, so that no two threads write to one place.
    input.par_chunks_mut(in_columns * channels).enumerate().for_each(|(index, input)| {
        let (image, row) = (index / in_rows, index % in_rows);
        for tap_row in 0..geometry.kernel[0] {
            let Some(out_row) = reader(geometry, 0, row, tap_row) else { continue };
            for (column, pixel) in input.chunks_exact_mut(channels).enumerate() {
                for tap_column in 0..geometry.kernel[1] {
                    let Some(out_column) = reader(geometry, 1, column, tap_column) else { continue };
                    let start = ((image * out_rows + out_row) * out_columns + out_column) * channels;
                    let tap = tap_row * geometry.kernel[1] + tap_column;
                    multiply_into(pixel, &gradient[start..start + channels], &weights[tap * channels..][..channels]);
                }
            }
        }
    });
    input
}

/// The output that reads this input through this tap along one axis, where there is one.
fn reader(geometry: &Geometry, axis: usize, input: usize, tap: usize) -> Option<usize> {
    let padded = (input + geometry.padding[axis]).checked_sub(tap * geometry.dilation[axis])?;
    let output = padded / geometry.stride[axis];
    (padded % geometry.stride[axis] == 0 && output < geometry.output[axis]).then_some(output)
}

fn for_taps(geometry: &Geometry, place: [usize; 2], mut visit: impl FnMut(usize, usize, usize)) {
    let index = |axis: usize, tap: usize| {
        let padded = place[axis] * geometry.stride[axis] + tap * geometry.dilation[axis];
        padded.checked_sub(geometry.padding[axis]).filter(|&index| index < geometry.input[axis])
    };
    for tap_row in 0..geometry.kernel[0] {
        let Some(row) = index(0, tap_row) else { continue };
        for tap_column in 0..geometry.kernel[1] {
            if let Some(column) = index(1, tap_column) {
                visit(row, column, tap_row * geometry.kernel[1] + tap_column);
            }
        }
    }
}

fn multiply_into<T: Element>(into: &mut [T], left: &[T], right: &[T]) {
    for ((into, left), right) in into.iter_mut().zip(left).zip(right) {
        *into += *left * *right;
    }
}
