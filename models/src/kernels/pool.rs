//! Max pools of channels-last arrays, with the sizes of a depthwise convolution.

use rayon::prelude::*;

use super::convolution::{Geometry, pixel};
use super::vectorized::pool::{TapsOfRow, gather, largest};
use super::zeros;
use crate::element::Element;

/// The largest number under each window, channel by channel; padding never wins.
///
/// # Shapes
/// - `input`: `[batch, rows, columns, channels]`; returns `[batch, output rows, output columns, channels]`
pub(crate) fn max_pool<T: Element>(geometry: &Geometry, input: &[T]) -> Vec<T> {
    let mut maxima = zeros(geometry.n_output_pixels() * geometry.channels_in);
    let row = geometry.output[1] * geometry.channels_in;
    let of_rows = |(taps, winners): &mut (TapsOfRow, Vec<u32>), (row, maxima): (usize, &mut [T])| {
        winners.resize(maxima.len(), 0);
        read_by_row(geometry, row, taps);
        largest(input, taps, maxima, winners);
    };
    maxima.par_chunks_mut(row.max(1)).enumerate().for_each_init(Default::default, of_rows);
    maxima
}

/// For each output of [`max_pool`] the tap that won, the first of equals.
///
/// # Shapes
/// - returns `[batch, output rows, output columns, channels]`
pub(crate) fn winners<T: Element>(geometry: &Geometry, input: &[T]) -> Vec<u32> {
    let mut winners = vec![0; geometry.n_output_pixels() * geometry.channels_in];
    let row = geometry.output[1] * geometry.channels_in;
    let of_rows = |(taps, maxima): &mut (TapsOfRow, Vec<T>), (row, winners): (usize, &mut [u32])| {
        maxima.resize(winners.len(), T::zero());
        read_by_row(geometry, row, taps);
        largest(input, taps, maxima, winners);
    };
    winners.par_chunks_mut(row.max(1)).enumerate().for_each_init(Default::default, of_rows);
    winners
}

/// What each pixel of a row of outputs reads.
fn read_by_row(geometry: &Geometry, row: usize, taps: &mut TapsOfRow) {
    taps.clear();
    for column in 0..geometry.output[1] {
        let pixels = geometry.pixels_under(row * geometry.output[1] + column);
        taps.push(pixels.map(|(tap, pixel)| (tap, pixel * geometry.channels_in)));
    }
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
    let image = pixel(1, [0, 0], geometry.output) * channels;
    let mut passed = zeros(rows.len() * in_rows * in_columns * channels);
    // Each input pixel gathers from the windows above it, so that no two threads write to one place.
    let of_rows = |taps: &mut TapsOfRow, (index, passed): (usize, &mut [T])| {
        let (pair, row) = (index / in_rows, index % in_rows);
        taps.clear();
        for column in 0..in_columns {
            taps.push(geometry.windows_over([row, column]).map(|(tap, window)| (tap, window * channels)));
        }
        let (winners, gradient) = (&winners[rows[pair] * image..][..image], &gradient[pair * image..][..image]);
        gather(winners, gradient, taps, passed);
    };
    passed.par_chunks_mut((in_columns * channels).max(1)).enumerate().for_each_init(TapsOfRow::default, of_rows);
    passed
}
