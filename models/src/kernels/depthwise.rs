//! Convolutions of each channel by itself, and their gradients: a row of pixels a task.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::at_once;
use super::convolution::{Geometry, Phase, pixel};
use super::vectorized::depthwise::{TapColumns, WeighRow};
use super::vectorized::finish::{Clamp, Finish};
use super::vectorized::taps::OUTSIDE;
use super::vectorized::unwritten::{unwritten, written};
use crate::element::Element;

/// Weights and bias as the forward pass reads them.
#[derive(Debug)]
pub(crate) struct DepthwiseForward<T> {
    /// `[tap row, tap column, channel]`
    weights: Vec<T>,
    /// `[channel]`
    bias: Vec<T>,
}

impl<T: Element> DepthwiseForward<T> {
    /// # Shapes
    /// - `weights`: `[channels, 1, rows, columns]`, `bias`: `[channels]`
    pub(super) fn new(geometry: &Geometry, weights: &[T], bias: Option<&[T]>) -> Self {
        let bias = bias.map_or_else(|| vec![T::zero(); geometry.channels_out], <[T]>::to_vec);
        DepthwiseForward { weights: of_taps(geometry, weights, geometry.taps()), bias }
    }

    pub(super) fn bytes(&self) -> usize {
        (self.weights.len() + self.bias.len()) * size_of::<T>()
    }

    /// The convolution, clamped.
    ///
    /// # Shapes
    /// - `input`: `[batch, rows, columns, channel]`; returns `[batch, output rows, output columns, channel]`
    pub(super) fn convolve(&self, geometry: &Geometry, input: &[T], clamp: Clamp<T>) -> Vec<T> {
        let (channels, [rows, columns]) = (geometry.channels_in, geometry.output);
        let [kernel_rows, kernel_columns] = geometry.kernel;
        let read_by = |column| (0..kernel_columns).map(move |tap| geometry.read_by(1, column, tap));
        let of_tap = |read: Option<usize>| read.map_or(OUTSIDE, |column| column * channels);
        let tap_columns = TapColumns::new((0..columns).flat_map(read_by).map(of_tap).collect(), kernel_columns);

        let of_row = |(index, output): (usize, &mut [MaybeUninit<T>])| {
            let (image, row) = (index / rows, index % rows);
            let of_tap = |tap| {
                let read = geometry.read_by(0, row, tap)?;
                Some((pixel(image, [read, 0], geometry.input) * channels, tap))
            };
            let tap_rows: Vec<_> = (0..kernel_rows).filter_map(of_tap).collect();
            let row = WeighRow {
                input,
                tap_rows: &tap_rows,
                columns: &tap_columns,
                weights: &self.weights,
                bias: &self.bias,
                finish: Finish::clamp(clamp),
                gate: &[],
                stride: 1,
            };
            row.write(output);
        };
        let mut output = unwritten(geometry.n_output_pixels() * channels);
        let rows_of_output = output.par_chunks_exact_mut(columns * channels).enumerate();
        rows_of_output.with_max_len(at_once(geometry.batch * rows)).for_each(of_row);
        // SAFETY: all pixels of all rows are.
        unsafe { written(output) }
    }
}

/// Weights as the gradient to the input reads them: for each place between two strides `[tap row, tap column, channel]`.
#[derive(Debug)]
pub(crate) struct DepthwiseBackward<T>(Vec<(Phase, Vec<T>)>);

impl<T: Element> DepthwiseBackward<T> {
    /// # Shapes
    /// - `weights`: `[channels, 1, rows, columns]`
    pub(super) fn new(geometry: &Geometry, weights: &[T]) -> Self {
        let of_phase = |phase: Phase| {
            let weights = of_taps(geometry, weights, phase.taps().iter().copied());
            (phase, weights)
        };
        DepthwiseBackward(Phase::all(geometry).map(of_phase).collect())
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(_, weights)| size_of_val(&weights[..])).sum()
    }

    /// The gradient to the input, finished.
    ///
    /// # Shapes
    /// - `gradient`: `[batch, output rows, output columns, channel]`; returns `[batch, rows, columns, channel]`
    pub(super) fn input_gradient(&self, geometry: &Geometry, gradient: &[T], finish: Finish<'_, T>) -> Vec<T> {
        let (channels, [rows, columns]) = (geometry.channels_in, geometry.input);
        let no_bias = vec![T::zero(); channels];
        let phases: Vec<PhaseOfRows<'_, T>> =
            self.0.iter().map(|(phase, weights)| PhaseOfRows::new(geometry, phase, weights)).collect();
        // Some places between two strides may have no tap that reaches them.
        let is_whole = phases.len() == geometry.stride[0] * geometry.stride[1];

        let of_row = |(index, input): (usize, &mut [MaybeUninit<T>])| {
            if !is_whole {
                input.fill(MaybeUninit::new(T::zero()));
            }
            let (image, row) = (index / rows, index % rows);
            for phase in phases.iter().filter(|phase| row % geometry.stride[0] == phase.first[0]) {
                let of_tap = |(nth, &tap): (usize, &usize)| {
                    let reader = geometry.reader(0, row, tap)?;
                    Some((pixel(image, [reader, 0], geometry.output) * channels, nth))
                };
                let tap_rows: Vec<_> = phase.tap_rows.iter().enumerate().filter_map(of_tap).collect();
                let begin = phase.first[1] * channels;
                let Some(input) = input.get_mut(begin..).filter(|input| !input.is_empty()) else {
                    // A row may be shorter than a stride.
                    continue;
                };
                let gate = finish.gate.map(|gate| gate.at(index * columns * channels + begin, input.len()));
                let row = WeighRow {
                    input: gradient,
                    tap_rows: &tap_rows,
                    columns: &phase.tap_columns,
                    weights: phase.weights,
                    bias: &no_bias,
                    finish,
                    gate: gate.unwrap_or_default(),
                    stride: geometry.stride[1],
                };
                row.write(input);
            }
        };
        let mut input = unwritten(geometry.batch * rows * columns * channels);
        let rows_of_input = input.par_chunks_mut((columns * channels).max(1)).enumerate();
        rows_of_input.with_max_len(at_once(geometry.batch * rows)).for_each(of_row);
        // SAFETY: the phases of a row have all its pixels where none is missing, and else it was filled before.
        unsafe { written(input) }
    }
}

/// A phase, with what is the same for all its rows.
struct PhaseOfRows<'a, T> {
    /// The first row and column.
    first: [usize; 2],
    tap_rows: Vec<usize>,
    tap_columns: TapColumns,
    weights: &'a [T],
}

impl<'a, T: Element> PhaseOfRows<'a, T> {
    fn new(geometry: &Geometry, phase: &Phase, weights: &'a [T]) -> Self {
        let (first, lengths) = phase.inputs(geometry);
        let [tap_rows, tap_columns] = [0, 1].map(|axis| phase.taps_along(axis));
        let columns = (0..lengths[1]).map(|nth| first[1] + nth * geometry.stride[1]);
        let readers = |column| tap_columns.iter().map(move |&tap| geometry.reader(1, column, tap));
        let of_tap = |reader: Option<usize>| reader.map_or(OUTSIDE, |column| column * geometry.channels_in);
        let tap_columns = TapColumns::new(columns.flat_map(readers).map(of_tap).collect(), tap_columns.len());
        PhaseOfRows { first, tap_rows, tap_columns, weights }
    }
}

/// `[channels, 1, rows, columns]` → `[tap, channel]`.
fn of_taps<T: Element>(geometry: &Geometry, weights: &[T], taps: impl Iterator<Item = [usize; 2]>) -> Vec<T> {
    let of_tap = |tap| (0..geometry.channels_in).map(move |channel| weights[geometry.weight(channel, 0, tap)]);
    taps.flat_map(of_tap).collect()
}
