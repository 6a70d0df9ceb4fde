//! Max pools of channels-last arrays, with the sizes of a depthwise convolution.

use super::convolution::{Geometry, pixel};
use super::vectorized::finish::Clamp;
use super::vectorized::pool::{Gather, Largest, TapsOfRow, Winner, by_rows};
use crate::element::Element;

/// The largest number under each window, channel by channel; padding never wins.
///
/// # Shapes
/// - `input`: `[batch, rows, columns, channels]`; returns `[batch, output rows, output columns, channels]`
pub(crate) fn max_pool<T: Element>(geometry: &Geometry, input: &[T]) -> Vec<T> {
    let read = Plane::read_by_outputs(geometry);
    by_rows(geometry.batch * geometry.output[0], geometry.output[1] * geometry.channels_in, |nth, taps| {
        read.push_row(nth, taps);
        Largest(input)
    })
}

/// For each output of [`max_pool`] the tap that won, the first of equals, as a number counted from one; zero where the
/// output does not lie strictly between bounds.
///
/// # Shapes
/// - returns `[batch, output rows, output columns, channels]`
pub(crate) fn winners<T: Element>(geometry: &Geometry, input: &[T], between: Option<Clamp<T>>) -> Vec<T> {
    let read = Plane::read_by_outputs(geometry);
    by_rows(geometry.batch * geometry.output[0], geometry.output[1] * geometry.channels_in, |nth, taps| {
        read.push_row(nth, taps);
        Winner { numbers: input, between }
    })
}

/// The gradient of [`max_pool`] to its input, or a bound where it is lower: all of it to each window's winner.
///
/// # Shapes
/// - `winners`: `[row, …]` as [`winners`] gives them, `gradient`: `[pair, output rows, output columns, channels]`
/// - `rows`: for each pair the row of `winners`; returns `[pair, rows, columns, channels]`
pub(crate) fn max_pool_gradient<T: Element>(
    geometry: &Geometry,
    winners: &[T],
    gradient: &[T],
    rows: &[usize],
    lowest: T,
) -> Vec<T> {
    let [in_rows, in_columns] = geometry.input;
    let image = pixel(1, [0, 0], geometry.output) * geometry.channels_in;
    let readers = Plane::readers_of_inputs(geometry);
    // Each input pixel gathers from the windows above it, so that no two threads write to one place.
    by_rows(rows.len() * in_rows, in_columns * geometry.channels_in, |nth, taps| {
        let pair = nth / in_rows;
        readers.push_row(nth % in_rows, taps);
        let (winners, gradient) = (&winners[rows[pair] * image..][..image], &gradient[pair * image..][..image]);
        Gather { winners, gradient, lowest }
    })
}

/// What every pixel of one side of the windows has to do with on the other.
struct Plane<'a> {
    geometry: &'a Geometry,
    /// Rows and columns of the other side.
    other: [usize; 2],
    /// For each place along an axis the taps that lead from there to the other side, and where to.
    along: [Vec<Vec<(usize, usize)>>; 2],
}

impl<'a> Plane<'a> {
    /// Under each output the inputs.
    fn read_by_outputs(geometry: &'a Geometry) -> Self {
        Plane::new(geometry, geometry.output, geometry.input, |axis, output, tap| geometry.read_by(axis, output, tap))
    }

    /// Over each input the outputs.
    fn readers_of_inputs(geometry: &'a Geometry) -> Self {
        Plane::new(geometry, geometry.input, geometry.output, |axis, input, tap| geometry.reader(axis, input, tap))
    }

    fn new(
        geometry: &'a Geometry,
        own: [usize; 2],
        other: [usize; 2],
        through: impl Fn(usize, usize, usize) -> Option<usize>,
    ) -> Self {
        let taps = |axis: usize, place: usize| {
            (0..geometry.kernel[axis]).filter_map(|tap| Some((tap, through(axis, place, tap)?))).collect()
        };
        let along = [0, 1].map(|axis| (0..own[axis]).map(|place| taps(axis, place)).collect());
        Plane { geometry, other, along }
    }

    /// The taps of the `nth` row of a batch.
    fn push_row(&self, nth: usize, taps: &mut TapsOfRow) {
        let Geometry { kernel, channels_in, .. } = *self.geometry;
        let (image, row) = (nth / self.along[0].len(), nth % self.along[0].len());
        let of_row = &self.along[0][row];
        for of_column in &self.along[1] {
            taps.push(of_row.iter().flat_map(|&(tap_row, row)| {
                of_column.iter().map(move |&(tap_column, column)| {
                    (tap_row * kernel[1] + tap_column, pixel(image, [row, column], self.other) * channels_in)
                })
            }));
        }
    }
}
