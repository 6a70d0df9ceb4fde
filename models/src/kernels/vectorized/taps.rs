//! The product that every convolution comes down to: rows that are read through taps, times packed weights.
//!
//! `output[row, column] = clamp(bias[column] + Σ_tap Σ_step input[place(row, tap) + step] · weight[tap, step, column])`
//!
//! A tap is a run of numbers somewhere in the input, so that no patch of an image is ever copied: a convolution's taps
//! are the pixels under its kernel, those of a matrix product the rows of the left matrix. The weights lie in panels,
//! `[panel][tap][step][column of the panel]`, packed once; a tile of rows keeps its sums in registers while it walks
//! down a panel (Goto and van de Geijn 2008, with Dukhan's 2019 indirection in place of packing the left side).

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::block::{Block, tiles};
use super::finish::Finish;
use super::packed::Right;
use super::unwritten::{unwritten, written};
use crate::element::Element;
use crate::kernels::at_once;
use crate::pause;

/// Tiles of rows in a block.
const FEWEST_TILES: usize = 8;
const MOST_TILES: usize = 32;

/// Where a tap has no numbers: it counts as zeros.
pub(crate) const OUTSIDE: usize = usize::MAX;

/// Multiplications below which a second thread is not worth waking.
const WORTH_SHARING: usize = 1 << 18;

/// Where in the output each row begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// One after the other, `stride` apart.
    Every { first: usize, stride: usize },
    /// In increasing order.
    Listed(&'a [usize]),
}

impl Target<'_> {
    fn of(&self, row: usize) -> usize {
        match self {
            Target::Every { first, stride } => first + row * stride,
            Target::Listed(places) => places[row],
        }
    }

    /// Fails unless rows of this length lie apart from each other and within the output.
    fn check(&self, n_rows: usize, length: usize, output: usize) {
        if n_rows == 0 || length == 0 {
            return;
        }
        let is_apart = match self {
            Target::Every { stride, .. } => n_rows == 1 || *stride >= length,
            Target::Listed(places) => {
                places.len() == n_rows && places.windows(2).all(|pair| pair[0] + length <= pair[1])
            }
        };
        assert!(is_apart && self.of(n_rows - 1) + length <= output, "rows of the result overlap or do not fit");
    }
}

/// Whether a product may use all threads or has one to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    One,
    All,
}

/// A product to be made.
#[derive(Debug)]
pub(crate) struct TapProduct<'a, T, P> {
    pub(crate) input: &'a [T],
    pub(crate) weights: Right<'a, T>,
    pub(crate) n_rows: usize,
    /// Fills in where in the input each tap of a row begins, or [`OUTSIDE`].
    pub(crate) places: P,
    pub(crate) target: Target<'a>,
    pub(crate) finish: Finish<'a, T>,
}

impl<T: Element, P: Fn(usize, &mut [usize]) + Sync> TapProduct<'_, T, P> {
    /// Makes it; what no row covers of the output stays as it is.
    pub(crate) fn run(&self, output: &mut [T], threads: Threads) {
        self.target.check(self.n_rows, self.weights.n_columns, output.len());
        // SAFETY: `Target::check` has seen that every row lies within the output.
        unsafe { self.run_at(output.as_mut_ptr(), threads) }
    }

    /// Makes it as an output of its own, rows one behind the other; nothing has to be cleared for it.
    ///
    /// # Panics
    /// Where the target is another.
    pub(crate) fn result(&self, threads: Threads) -> Vec<T> {
        let mut output = unwritten(self.n_rows * self.weights.n_columns);
        self.write(&mut output, threads);
        // SAFETY: all are.
        unsafe { written(output) }
    }

    /// The same into memory that is there: all of it is written.
    ///
    /// # Panics
    /// Where rows do not lie one behind the other, or are not so many.
    pub(crate) fn write(&self, output: &mut [MaybeUninit<T>], threads: Threads) {
        let is_whole = matches!(self.target, Target::Every { first: 0, stride } if stride == self.weights.n_columns);
        assert!(is_whole && output.len() == self.n_rows * self.weights.n_columns, "rows lie one behind the other");
        // SAFETY: there is room for every row.
        unsafe { self.run_at(output.as_mut_ptr().cast(), threads) };
    }

    /// # Safety
    /// Every row of the target must lie within what `output` points to, and nobody else may use that meanwhile.
    unsafe fn run_at(&self, output: *mut T, threads: Threads) {
        let n_columns = self.weights.n_columns;
        if self.n_rows == 0 || n_columns == 0 {
            return;
        }
        let output = SharedOutput(output);
        let n_products = self.n_rows * self.weights.depth() * n_columns;
        if threads == Threads::One || n_products < WORTH_SHARING {
            return self.in_blocks().for_each(|rows| self.block(rows, 0..self.weights.n_panels(), &output));
        }
        let blocks: Vec<_> = self.in_blocks().collect();
        let parts = panel_parts(self.weights.n_panels(), blocks.len());
        let n_tasks = blocks.len() * parts.len();
        let between_pauses = (n_tasks * pause::MULTIPLICATIONS / n_products).max(1);
        for first in (0..n_tasks).step_by(between_pauses) {
            let tasks = first..n_tasks.min(first + between_pauses);
            let at_once = at_once(tasks.len());
            tasks.into_par_iter().with_max_len(at_once).for_each(|task| {
                self.block(blocks[task / parts.len()].clone(), parts[task % parts.len()].clone(), &output);
            });
            pause::point();
        }
    }

    /// Tiles of rows whose input stays in a core's cache while all panels pass over it.
    fn tiles_in_cache(&self) -> usize {
        const NUMBERS_IN_CACHE: usize = 64 << 10;
        // Neighbouring rows of a convolution share most of their taps.
        let fresh = self.weights.length * self.weights.n_taps.min(3);
        NUMBERS_IN_CACHE / fresh.max(1) / T::tile_rows()
    }

    /// Whether so few rows would stay there that it is better to keep a slab of many at a time, and their sums.
    fn is_deep(&self) -> bool {
        self.tiles_in_cache() < FEWEST_TILES
    }

    /// Rows in blocks.
    fn in_blocks(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<T, P> {
        let tiles = if self.is_deep() { MOST_TILES } else { self.tiles_in_cache().min(MOST_TILES) };
        // A few rows more than a block are one block, since every block fetches all weights.
        let n_rows = self.n_rows;
        let n_blocks = (n_rows + tiles * T::tile_rows() / 2) / (tiles * T::tile_rows());
        let block = n_rows.div_ceil(n_blocks.max(1)).next_multiple_of(T::tile_rows());
        (0..n_rows.div_ceil(block)).map(move |nth| nth * block..n_rows.min((nth + 1) * block))
    }

    fn block(&self, rows: std::ops::Range<usize>, panels: std::ops::Range<usize>, output: &SharedOutput<T>) {
        let n_taps = self.weights.n_taps;
        // `[row][tap]`
        let mut taps = vec![std::ptr::null(); rows.len() * n_taps];
        let mut places = vec![OUTSIDE; n_taps];
        let mut has_outside = false;
        for (row, taps) in rows.clone().zip(taps.chunks_exact_mut(n_taps)) {
            (self.places)(row, &mut places);
            for (tap, &place) in taps.iter_mut().zip(&places) {
                match place {
                    OUTSIDE => has_outside = true,
                    place => *tap = self.input[place..place + self.weights.length].as_ptr(),
                }
            }
        }
        // Taps that lie outside read zeros; small products, of which there are many, mostly have none.
        let zeros = if has_outside { vec![T::zero(); self.weights.length] } else { Vec::new() };
        if has_outside {
            taps.iter_mut().filter(|tap| tap.is_null()).for_each(|tap| *tap = zeros.as_ptr());
        }
        if n_taps > 1 {
            taps = tap_by_tap(&taps, n_taps, T::tile_rows());
        }
        // SAFETY: every row of the target lies within the output (`run_at`).
        let targets: Vec<*mut T> = rows.clone().map(|row| unsafe { output.0.add(self.target.of(row)) }).collect();
        let gate_of = |row| self.finish.gate.map(|gate| gate.at(self.target.of(row), self.weights.n_columns));
        let gates: Vec<&[T]> = if self.finish.gate.is_some() { rows.filter_map(gate_of).collect() } else { Vec::new() };
        let (weights, finish, is_deep) = (self.weights, self.finish, self.is_deep());
        let block = Block { weights, taps: &taps, targets: &targets, gates: &gates, panels, is_deep, finish };
        // SAFETY: each pointer among the taps is the beginning of a slice of the length that is read, those among the
        // targets of as many numbers as there are columns; blocks and panels of other threads write elsewhere.
        unsafe { T::vectorized(block) };
    }
}

/// `[row][tap]` → `[tile][tap][row of the tile]`
fn tap_by_tap<P: Copy>(taps: &[P], n_taps: usize, tile_rows: usize) -> Vec<P> {
    let mut turned = Vec::with_capacity(taps.len());
    for tile in tiles(taps.len() / n_taps, tile_rows) {
        let of_tile = &taps[tile.start * n_taps..tile.end * n_taps];
        turned.extend((0..n_taps).flat_map(|tap| of_tile[tap..].iter().step_by(n_taps).copied()));
    }
    turned
}

/// Panels in as many parts as give every thread enough to do beside so many blocks of rows.
fn panel_parts(n_panels: usize, n_blocks: usize) -> Vec<std::ops::Range<usize>> {
    const TASKS_PER_THREAD: usize = 4;
    let wanted = (TASKS_PER_THREAD * rayon::current_num_threads()).div_ceil(n_blocks);
    let part = n_panels.div_ceil(wanted.clamp(1, n_panels));
    (0..n_panels.div_ceil(part)).map(|nth| nth * part..n_panels.min((nth + 1) * part)).collect()
}

/// The output's beginning, for threads that write to disjoint parts of it.
struct SharedOutput<T>(*mut T);

// SAFETY: nobody else uses the output while threads hold this (`TapProduct::run_at`), and each writes rows and panels that
// no other has.
unsafe impl<T: Send> Sync for SharedOutput<T> {}

#[cfg(test)]
mod tests {
    use super::super::finish::{Clamp, Gate};
    use super::super::packed::Packed;
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 19) as f32 - 9.0).collect()
    }

    /// Rows overlap, one tap in five is outside, rows of the output lie apart.
    fn check(n_rows: usize, [n_taps, length, n_columns]: [usize; 3]) {
        let input = numbers(n_rows + n_taps * length + 3, 1);
        let weights = numbers(n_taps * length * n_columns, 2);
        let weight = |tap: usize, step: usize, column: usize| weights[(tap * length + step) * n_columns + column];
        let bias = numbers(n_columns, 3);
        let packed = Packed::new([n_taps, length, n_columns], Some(&bias), weight);
        let place = |row: usize, tap: usize| if (row + tap) % 5 == 4 { OUTSIDE } else { row + tap * length };
        let targets: Vec<usize> = (0..n_rows).map(|row| row * (n_columns + 2) + 1).collect();
        let product = TapProduct {
            input: &input,
            weights: packed.right(),
            n_rows,
            places: |row, places: &mut [usize]| {
                places.iter_mut().enumerate().for_each(|(tap, at)| *at = place(row, tap));
            },
            target: Target::Listed(&targets),
            finish: Finish::clamp(Clamp { low: 0.0, high: 40.0 }),
        };
        for threads in [Threads::One, Threads::All] {
            let mut output = vec![-1.0; n_rows * (n_columns + 2)];
            product.run(&mut output, threads);
            for row in 0..n_rows {
                for column in 0..n_columns {
                    let mut expected = bias[column];
                    for tap in 0..n_taps {
                        for step in 0..length {
                            let at = place(row, tap);
                            let number = if at == OUTSIDE { 0.0 } else { input[at + step] };
                            expected += number * weight(tap, step, column);
                        }
                    }
                    let got = output[targets[row] + column];
                    assert_eq!(got, expected.clamp(0.0, 40.0), "row {row}, column {column}");
                }
                assert_eq!(output[row * (n_columns + 2)], -1.0, "what no row covers stays");
            }
        }
    }

    #[test]
    fn every_shape_of_tile_and_panel_equals_the_definition() {
        for n_rows in 1..=14 {
            check(n_rows, [3, 2, 33]);
        }
        for n_columns in [1, 7, 8, 15, 16, 17, 31, 32, 40, 64, 70] {
            check(5, [2, 3, n_columns]);
        }
        for n_columns in 1..=4 {
            check(27, [5, 35, n_columns]);
        }
        check(700, [9, 16, 40]);
        check(49, [1, 300, 70]);
    }

    #[test]
    fn products_deeper_than_a_slab_equal_the_definition() {
        check(13, [2, 700, 33]);
        check(9, [300, 3, 17]);
        check(5, [1, 513, 5]);
    }

    #[test]
    fn a_gate_lets_pass_where_its_rectifier_was_between_its_bounds() {
        for (n_columns, n_rows) in [(3, 9), (20, 5), (33, 14)] {
            let length = 16;
            let input = numbers(n_rows * length, 1);
            let weights = numbers(length * n_columns, 2);
            let packed =
                Packed::new([1, length, n_columns], None, |_, step, column| weights[step * n_columns + column]);
            // Two images of as many rows, of which the gate's only row is the first alone.
            let (values, image) = (numbers(n_rows * n_columns, 3), n_rows * n_columns);
            let gate = Gate { values: &values, bounds: Clamp { low: 0.0, high: 6.0 }, image, rows: &[0, 0] };
            let product = |finish| TapProduct {
                input: &input,
                weights: packed.right(),
                n_rows: 2 * n_rows,
                places: |row, places: &mut [usize]| places[0] = row % n_rows * length,
                target: Target::Every { first: 0, stride: n_columns },
                finish,
            };
            let (mut gated, mut plain) = (vec![1.0; 2 * image], vec![1.0; 2 * image]);
            product(Finish { clamp: Clamp::none(), gate: Some(gate) }).run(&mut gated, Threads::All);
            product(Finish::none()).run(&mut plain, Threads::All);
            for (nth, (gated, plain)) in gated.iter().zip(&plain).enumerate() {
                let value = values[nth % image];
                assert_eq!(*gated, if value > 0.0 && value < 6.0 { *plain } else { 0.0 });
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let packed = Packed::new([1, 1, 3], None, |_, _, column| column as f32);
        let product = TapProduct {
            input: &[f32::NAN, 2.0],
            weights: packed.right(),
            n_rows: 2,
            places: |row, places: &mut [usize]| places[0] = row,
            target: Target::Every { first: 0, stride: 3 },
            finish: Finish::clamp(Clamp { low: 0.0, high: 1.0 }),
        };
        let mut output = [0.0; 6];
        product.run(&mut output, Threads::All);
        assert!(output[..3].iter().all(|number| number.is_nan()));
        assert_eq!(output[3..], [0.0, 1.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn rows_that_overlap_are_refused() {
        let packed = Packed::new([1, 1, 3], None, |_, _, _| 1.0f32);
        let product = TapProduct {
            input: &[1.0; 2],
            weights: packed.right(),
            n_rows: 2,
            places: |row, places: &mut [usize]| places[0] = row,
            target: Target::Every { first: 0, stride: 2 },
            finish: Finish::none(),
        };
        product.run(&mut [0.0; 6], Threads::All);
    }
}
