//! Number by number, on all threads.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::lanes::Lanes;
use super::run::Loop;
use super::unwritten::{unwritten, written};
use crate::element::Element;

/// Numbers per task, so that small layers stay on one thread.
pub(crate) const GRAIN: usize = 1 << 15;

/// `change(number)` of every number.
pub(crate) fn mapped<T: Element>(numbers: &[T], change: impl Fn(T) -> T + Sync) -> Vec<T> {
    let mut output = unwritten(numbers.len());
    output.par_chunks_mut(GRAIN).zip(numbers.par_chunks(GRAIN)).for_each(|(output, numbers)| {
        // SAFETY: the loop reads and writes slices alone.
        unsafe { T::vectorized(Map { numbers, change: &change, output }) }
    });
    // SAFETY: the chunks of both go together, and each number of one gives one of the other.
    unsafe { written(output) }
}

struct Map<'a, T, F> {
    numbers: &'a [T],
    change: F,
    output: &'a mut [MaybeUninit<T>],
}

impl<T: Element, F: Fn(T) -> T> Loop<T> for Map<'_, T, F> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        self.output.iter_mut().zip(self.numbers).for_each(|(output, &number)| {
            output.write((self.change)(number));
        });
    }
}

/// `combine(left, right)` for every number of `right` and the number at its place in its row of `left`.
///
/// # Shapes
/// - `left`: `[row, …]`, `right`: `[pair, …]`, `rows`: the row of each pair; returns `[pair, …]`
pub(crate) fn combined<T: Element>(
    left: &[T],
    right: &[T],
    rows: &[usize],
    combine: impl Fn(T, T) -> T + Sync,
) -> Vec<T> {
    let length = (right.len() / rows.len().max(1)).max(1);
    assert!(right.len() == rows.len() * length || right.is_empty(), "as many numbers for every pair");
    let mut output = unwritten(right.len());
    for ((output, right), &row) in output.chunks_mut(length).zip(right.chunks(length)).zip(rows) {
        let left = &left[row * length..][..length];
        let chunks = output.par_chunks_mut(GRAIN).zip(left.par_chunks(GRAIN)).zip(right.par_chunks(GRAIN));
        chunks.for_each(|((output, left), right)| {
            // SAFETY: the loop reads and writes slices alone.
            unsafe { T::vectorized(Combine { left, right, combine: &combine, output }) }
        });
    }
    // SAFETY: every pair has its part of the output and of both sides, all of one length, whose chunks go together.
    unsafe { written(output) }
}

struct Combine<'a, T, F> {
    left: &'a [T],
    right: &'a [T],
    combine: F,
    output: &'a mut [MaybeUninit<T>],
}

impl<T: Element, F: Fn(T, T) -> T> Loop<T> for Combine<'_, T, F> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let pairs = self.left.iter().zip(self.right);
        self.output.iter_mut().zip(pairs).for_each(|(output, (&left, &right))| {
            output.write((self.combine)(left, right));
        });
    }
}

/// Adds `n_runs` runs of numbers, which lie `stride` apart, to places that lie `step` apart.
pub(crate) fn add_runs<T: Element>(
    runs: &[T],
    stride: usize,
    length: usize,
    n_runs: usize,
    sums: &mut [T],
    step: usize,
) {
    // SAFETY: the loop reads and writes slices alone.
    unsafe { T::vectorized(AddRuns { runs, stride, length, n_runs, sums, step }) }
}

struct AddRuns<'a, T> {
    runs: &'a [T],
    stride: usize,
    length: usize,
    n_runs: usize,
    sums: &'a mut [T],
    step: usize,
}

impl<T: Element> Loop<T> for AddRuns<'_, T> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        for nth in 0..self.n_runs {
            let run = &self.runs[nth * self.stride..][..self.length];
            let sums = &mut self.sums[nth * self.step..][..self.length];
            sums.iter_mut().zip(run).for_each(|(sum, &number)| *sum += number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_meets_its_own_row() {
        let n = GRAIN + 7;
        let left: Vec<f64> = (0..3 * n).map(|i| i as f64).collect();
        let right: Vec<f64> = (0..2 * n).map(|i| 0.5 * i as f64).collect();
        let sums = combined(&left, &right, &[2, 0], |left, right| left - right);
        for (i, sum) in sums.iter().enumerate() {
            assert_eq!(*sum, left[[2, 0][i / n] * n + i % n] - right[i]);
        }
        assert_eq!(mapped(&sums, |number| -number), sums.iter().map(|number| -number).collect::<Vec<_>>());
        assert!(combined(&left, &[], &[], |left, _| left).is_empty());
    }

    #[test]
    fn runs_overlap_where_they_are_added() {
        let mut sums = [1.0f32; 6];
        add_runs(&[1.0, 2.0, 3.0, 0.0, 10.0, 20.0, 30.0, 0.0], 4, 3, 2, &mut sums, 2);
        assert_eq!(sums, [2.0, 3.0, 14.0, 21.0, 31.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "as many numbers")]
    fn pairs_of_unequal_lengths_are_refused() {
        combined(&[1.0f32; 4], &[1.0; 5], &[0, 0], |left, _| left);
    }
}
