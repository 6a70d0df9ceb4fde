//! Windows of equal size, one for each pair of a walk, cut from the one or two spatial axes of a value.
//!
//! They may reach beyond the value: what stands there is the caller's choice, and is left out when they are put back.

use std::ops::Range;

use rayon::prelude::*;

use crate::element::{Element, with_element};
use crate::error::Result;
use crate::value::{Layout, Value};

/// Where the windows lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// The windows' length along each spatial axis.
    pub lengths: Vec<usize>,
    /// For each pair where its window begins along each spatial axis; before the first place where negative.
    pub starts: Vec<Vec<isize>>,
}

impl Windows {
    /// How many places a window has.
    pub fn n_places(&self) -> usize {
        self.lengths.iter().product()
    }

    /// Those of some pairs.
    #[must_use]
    pub fn of_pairs(&self, pairs: Range<usize>) -> Windows {
        Windows { lengths: self.lengths.clone(), starts: self.starts[pairs].to_vec() }
    }

    /// The smallest windows that hold both, where that is one size for all pairs.
    pub fn union(&self, other: &Windows) -> Option<Windows> {
        let of_pair = |pair: usize| -> Vec<(isize, isize)> {
            let along = |axis: usize| {
                let (a, b) = (self.starts[pair][axis], other.starts[pair][axis]);
                let (a_end, b_end) = (a + self.lengths[axis] as isize, b + other.lengths[axis] as isize);
                (a.min(b), a_end.max(b_end))
            };
            (0..self.lengths.len()).map(along).collect()
        };
        let ranges: Vec<Vec<(isize, isize)>> = (0..self.starts.len()).map(of_pair).collect();
        let lengths_of = |ranges: &[(isize, isize)]| -> Vec<usize> {
            ranges.iter().map(|(start, end)| (end - start) as usize).collect()
        };
        let lengths = lengths_of(ranges.first()?);
        let is_uniform = ranges.iter().all(|ranges| lengths_of(ranges) == lengths);
        let starts = ranges.iter().map(|ranges| ranges.iter().map(|(start, _)| *start).collect()).collect();
        is_uniform.then_some(Windows { lengths, starts })
    }

    /// The places of a pair's window that lie within axes of these lengths, counted in the window.
    fn inside(&self, pair: usize, axis: usize, length: usize) -> Range<usize> {
        let start = self.starts[pair][axis];
        let first = (-start).max(0) as usize;
        let end = (length as isize - start).clamp(0, self.lengths[axis] as isize) as usize;
        first.min(end)..end
    }

    /// Cuts them from a value, each from the row of its pair.
    ///
    /// # Shapes
    /// - `value`: `[row, channel, spatial…]`; returns `[pair, channel, window…]`
    pub fn cut(&self, value: &Value, rows: &[usize], outside: f64) -> Result<Value> {
        with_element!(value.dtype(), T => self.cut_as::<T>(value, rows, T::of(outside)))
    }

    fn cut_as<T: Element>(&self, value: &Value, rows: &[usize], outside: T) -> Result<Value> {
        let value = value.to_channels_last()?;
        let (shape, numbers) = (value.shape(), value.numbers::<T>()?);
        let image = numbers.len() / shape[0].max(1);
        let mut cut = vec![outside; rows.len() * shape[1] * self.n_places()];
        let windows = cut.par_chunks_mut((shape[1] * self.n_places()).max(1)).enumerate();
        windows.for_each(|(pair, window)| {
            let image = &numbers[rows[pair] * image..][..image];
            self.for_each_run(pair, shape, |inside, outside, n| {
                window[inside..inside + n].copy_from_slice(&image[outside..outside + n]);
            });
        });
        Value::from_vec(cut, &self.shape(shape[1]), Layout::ChannelsLast)
    }

    /// Puts windows back where they were cut, in zeros.
    ///
    /// # Shapes
    /// - `windows`: `[pair, channel, window…]`, `shape`: `[_, channel, spatial…]`; returns `[pair, channel, spatial…]`
    pub fn spread(&self, windows: &Value, shape: &[usize]) -> Result<Value> {
        with_element!(windows.dtype(), T => self.spread_as::<T>(windows, shape))
    }

    fn spread_as<T: Element>(&self, windows: &Value, shape: &[usize]) -> Result<Value> {
        let windows = windows.to_channels_last()?;
        let numbers = windows.numbers::<T>()?;
        let shape: Vec<usize> = [windows.batch()].into_iter().chain(shape[1..].iter().copied()).collect();
        let image: usize = shape[1..].iter().product();
        let mut whole = vec![T::zero(); shape.iter().product()];
        let pairs = whole.par_chunks_mut(image.max(1)).zip(numbers.par_chunks((shape[1] * self.n_places()).max(1)));
        pairs.enumerate().for_each(|(pair, (whole, window))| {
            self.for_each_run(pair, &shape, |inside, outside, n| {
                whole[outside..outside + n].copy_from_slice(&window[inside..inside + n]);
            });
        });
        Value::from_vec(whole, &shape, Layout::ChannelsLast)
    }

    /// The windows with zeros where they reach beyond a value of this shape.
    pub fn cleared_outside(&self, windows: Value, shape: &[usize]) -> Result<Value> {
        let is_inside = |pair: usize| {
            (0..self.lengths.len()).all(|axis| self.inside(pair, axis, shape[axis + 2]) == (0..self.lengths[axis]))
        };
        if (0..self.starts.len()).all(is_inside) {
            return Ok(windows);
        }
        with_element!(windows.dtype(), T => self.cleared_as::<T>(&windows, shape))
    }

    fn cleared_as<T: Element>(&self, windows: &Value, shape: &[usize]) -> Result<Value> {
        let windows = windows.to_channels_last()?;
        let numbers = windows.numbers::<T>()?;
        let mut cleared = vec![T::zero(); numbers.len()];
        let per_pair = (shape[1] * self.n_places()).max(1);
        let pairs = cleared.par_chunks_mut(per_pair).zip(numbers.par_chunks(per_pair));
        pairs.enumerate().for_each(|(pair, (cleared, window))| {
            self.for_each_run(pair, shape, |inside, _, n| {
                cleared[inside..inside + n].copy_from_slice(&window[inside..inside + n]);
            });
        });
        Value::from_vec(cleared, windows.shape(), Layout::ChannelsLast)
    }

    /// The shape of the windows of all pairs.
    fn shape(&self, channels: usize) -> Vec<usize> {
        [self.starts.len(), channels].into_iter().chain(self.lengths.iter().copied()).collect()
    }

    /// Visits each run of numbers that a pair's window shares with its value: where it begins in the window and in the
    /// value's row (both channels last), and how long it is.
    fn for_each_run(&self, pair: usize, shape: &[usize], mut visit: impl FnMut(usize, usize, usize)) {
        let channels = shape[1];
        let last = self.lengths.len() - 1;
        let columns = self.inside(pair, last, shape[last + 2]);
        let n = columns.len() * channels;
        let in_value = |axis: usize, place: usize| (place as isize + self.starts[pair][axis]) as usize;
        let rows = if last == 0 { 0..1 } else { self.inside(pair, 0, shape[2]) };
        for row in rows.filter(|_| n > 0) {
            let row_in_value = if last == 0 { 0 } else { in_value(0, row) };
            let inside = (row * self.lengths[last] + columns.start) * channels;
            let outside = (row_in_value * shape[last + 2] + in_value(last, columns.start)) * channels;
            visit(inside, outside, n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_cut_and_put_back_with_their_overhang_left_out() {
        let numbers: Vec<f64> = (0..2 * 2 * 3 * 4).map(f64::from).collect();
        let value = Value::from_vec(numbers, &[2, 2, 3, 4], Layout::Logical).unwrap();
        let windows = Windows { lengths: vec![2, 3], starts: vec![vec![-1, 2], vec![1, 0]] };
        let cut = windows.cut(&value, &[1, 0], -5.0).unwrap();
        assert_eq!(cut.shape(), [2, 2, 2, 3]);
        let expected = [
            [-5.0, -5.0, -5.0, 26.0, 27.0, -5.0, -5.0, -5.0, -5.0, 38.0, 39.0, -5.0],
            [4.0, 5.0, 6.0, 8.0, 9.0, 10.0, 16.0, 17.0, 18.0, 20.0, 21.0, 22.0],
        ];
        assert_eq!(cut.to_f64_vec().unwrap(), expected.concat());

        let cleared = windows.cleared_outside(cut.clone(), &[2, 2, 3, 4]).unwrap().to_f64_vec().unwrap();
        assert!(cleared.iter().all(|number| *number >= 0.0));
        let spread = windows.spread(&cut, &[2, 2, 3, 4]).unwrap();
        assert_eq!(spread.to_f64_vec().unwrap()[..4], [0.0, 0.0, 26.0, 27.0]);
        assert_eq!(windows.cut(&spread, &[0, 1], -5.0).unwrap().to_f64_vec().unwrap(), expected.concat());
    }

    #[test]
    fn a_union_is_one_size_or_none() {
        let windows = |lengths, starts: [isize; 2]| Windows {
            lengths: vec![lengths],
            starts: starts.iter().map(|&start| vec![start]).collect(),
        };
        let union = windows(3, [5, 9]).union(&windows(4, [4, 8])).unwrap();
        assert_eq!(union, windows(4, [4, 8]));
        assert_eq!(windows(3, [5, 9]).union(&windows(3, [4, 9])), None);
    }
}
