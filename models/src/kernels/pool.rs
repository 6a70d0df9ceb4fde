//! Max pools of channels-last arrays, with the sizes of a depthwise convolution.

use super::convolution::{Geometry, pixel};
use super::vectorized::pool::{Gather, Largest, TapsOfRow, Winner, by_rows};
use crate::element::Element;

/// The largest number under each window, channel by channel; padding never wins.
///
/// # Shapes
/// - `input`: `[batch, rows, columns, channels]`; returns `[batch, output rows, output columns, channels]`
pub(crate) fn max_pool<T: Element>(geometry: &Geometry, input: &[T]) -> Vec<T> {
    let row = geometry.output[1] * geometry.channels_in;
    by_rows(geometry.batch * geometry.output[0], row, |nth, taps| {
        read_by_row(geometry, nth, taps);
        Largest(input)
    })
}

/// For each output of [`max_pool`] the tap that won, the first of equals, as a number.
///
/// # Shapes
/// - returns `[batch, output rows, output columns, channels]`
pub(crate) fn winners<T: Element>(geometry: &Geometry, input: &[T]) -> Vec<T> {
    let row = geometry.output[1] * geometry.channels_in;
    by_rows(geometry.batch * geometry.output[0], row, |nth, taps| {
        read_by_row(geometry, nth, taps);
        Winner(input)
    })
}

/// What each pixel of a row of outputs reads.
fn read_by_row(geometry: &Geometry, row: usize, taps: &mut TapsOfRow) {
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
    winners: &[T],
    gradient: &[T],
    rows: &[usize],
) -> Vec<T> {
    let (channels, [in_rows, in_columns]) = (geometry.channels_in, geometry.input);
    let image = pixel(1, [0, 0], geometry.output) * channels;
    // Each input pixel gathers from the windows above it, so that no two threads write to one place.
    by_rows(rows.len() * in_rows, in_columns * channels, |nth, taps| {
        let (pair, row) = (nth / in_rows, nth % in_rows);
        for column in 0..in_columns {
            taps.push(geometry.windows_over([row, column]).map(|(tap, window)| (tap, window * channels)));
        }
        Gather { winners: &winners[rows[pair] * image..][..image], gradient: &gradient[pair * image..][..image] }
    })
}
