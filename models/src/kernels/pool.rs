//! Max pools of channels-last arrays, with the sizes of a depthwise convolution.

use rayon::prelude::*;

use super::convolution::Geometry;
use super::zeros;
use crate::element::Element;

/// The largest number under each window, channel by channel; padding never wins.
///
/// # Shapes
/// - `input`: `[batch, rows, columns, channels]`; returns `[batch, output rows, output columns, channels]`
pub(crate) fn max_pool<T: Element>(geometry: &Geometry, input: &[T]) -> Vec<T> {
    let channels = geometry.channels_in;
    let mut output = vec![T::neg_infinity(); geometry.n_output_pixels() * channels];
    let row = geometry.output[1] * channels;
    output.par_chunks_mut(row.max(1)).enumerate().for_each(|(row, output)| {
        for (column, maxima) in output.chunks_exact_mut(channels).enumerate() {
            for (_, pixel) in geometry.pixels_under(row * geometry.output[1] + column) {
                for (maximum, &number) in maxima.iter_mut().zip(&input[pixel * channels..][..channels]) {
                    *maximum = if number > *maximum { number } else { *maximum };
                }
            }
        }
    });
    output
}

/// For each output of [`max_pool`] the tap that won, the first of equals.
///
/// # Shapes
/// - returns `[batch, output rows, output columns, channels]`
pub(crate) fn winners<T: Element>(geometry: &Geometry, input: &[T]) -> Vec<u32> {
    let channels = geometry.channels_in;
    let mut winners = vec![0; geometry.n_output_pixels() * channels];
    let row = geometry.output[1] * channels;
    winners.par_chunks_mut(row.max(1)).enumerate().for_each(|(row, winners)| {
        let mut maxima = vec![T::neg_infinity(); channels];
        for (column, winners) in winners.chunks_exact_mut(channels).enumerate() {
            maxima.fill(T::neg_infinity());
            // Where nothing is larger than minus infinity, the first tap that has a pixel wins.
            let mut taps = geometry.pixels_under(row * geometry.output[1] + column).peekable();
            if let Some((first, _)) = taps.peek() {
                winners.fill(*first as u32);
            }
            for (tap, pixel) in taps {
                let numbers = &input[pixel * channels..][..channels];
                for ((winner, maximum), &number) in winners.iter_mut().zip(&mut maxima).zip(numbers) {
                    let wins = number > *maximum;
                    *maximum = if wins { number } else { *maximum };
                    *winner = if wins { tap as u32 } else { *winner };
                }
            }
        }
    });
    winners
}

/// The gradient of [`max_pool`] to its input: all of it to each window's winner.
///
/// # Shapes
/// - `winners`: `[row, …]` as [`winners`] gives them, `gradient`: `[pair, output rows, output columns, channels]`
/// - `rows`: for each pair the row of `winners`; returns `[pair, rows, columns, channels]`
pub(crate) fn max_pool_gradient<T: Element>(
    geometry: &Geometry,
    winners: &[u32],
    gradient: &[T],
    rows: &[usize],
) -> Vec<T> {
    let (channels, [in_rows, in_columns]) = (geometry.channels_in, geometry.input);
    let out_image = geometry.output[0] * geometry.output[1];
    let mut passed = zeros(rows.len() * in_rows * in_columns * channels);
    // Each input pixel gathers from the windows above it, so that no two threads write to one place.
    passed.par_chunks_mut((in_columns * channels).max(1)).enumerate().for_each(|(index, passed)| {
        let (pair, row) = (index / in_rows, index % in_rows);
        for (column, passed) in passed.chunks_exact_mut(channels).enumerate() {
            for (tap, window) in geometry.windows_over([row, column]) {
                let won = &winners[(rows[pair] * out_image + window) * channels..][..channels];
                let arrived = &gradient[(pair * out_image + window) * channels..][..channels];
                for ((passed, &winner), &arrived) in passed.iter_mut().zip(won).zip(arrived) {
                    *passed += if winner == tap as u32 { arrived } else { T::zero() };
                }
            }
        }
    });
    passed
}
