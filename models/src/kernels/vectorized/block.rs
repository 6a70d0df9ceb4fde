//! Some rows of a product over taps times some of its panels: the sums of a tile of rows stay in registers while it
//! walks down a panel.

use super::finish::Finish;
use super::lanes::{BYTES_OF_LINE, Lanes};
use super::packed::{Right, RightLayout, VECTORS};
use super::run::Loop;
use crate::element::Element;

/// Rows whose sums with a few columns are kept in registers together.
const ROWS_OF_FEW: usize = 4;

/// How much of a panel stays in a core's nearest cache while all rows of a block pass over it.
const BYTES_OF_PANEL: usize = 16 << 10;

/// How much of a core's second cache sums may take that wait from one slab to the next.
const BYTES_OF_SUMS: usize = 192 << 10;

/// Tiles that are so few that weights come in no faster than they are multiplied: they are fetched with each step then.
const FEW_TILES: usize = 4;

/// Columns of the widest panel.
const WIDEST: usize = 32;

/// Some rows times some panels.
pub(super) struct Block<'a, T> {
    pub(super) weights: Right<'a, T>,
    /// `[tile][tap][row of the tile]`; the last tile may have fewer rows.
    pub(super) taps: &'a [*const T],
    /// `[row]`
    pub(super) targets: &'a [*mut T],
    /// `[row][column]`, where there is a gate.
    pub(super) gates: &'a [&'a [T]],
    pub(super) panels: std::ops::Range<usize>,
    /// Whether a slab of the input is kept in a core's cache for many panels, rather than all of it for one.
    pub(super) is_deep: bool,
    pub(super) finish: Finish<'a, T>,
}

impl<T: Element> Loop<T> for Block<'_, T> {
    /// # Safety
    /// Each tap must point to as many numbers as a tap has steps, each target to as many as there are columns.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let (weights, width) = (self.weights, VECTORS * L::WIDTH);
        if weights.layout == RightLayout::Columns {
            // SAFETY: the caller's word.
            return unsafe { self.multiply_few_columns::<L>() };
        }
        let slabs = Slab::all(weights.n_taps, weights.length, BYTES_OF_PANEL / (width * size_of::<T>()));
        let n_rows = self.targets.len();
        // Panels whose sums wait in a core's cache from one slab to the next.
        let together = if self.is_deep { (BYTES_OF_SUMS / (n_rows * width * size_of::<T>())).max(1) } else { 1 };
        // `[panel][row][column of the panel]`
        let n_sums = if slabs.len() > 1 { together.min(self.panels.len()) * n_rows * width } else { 0 };
        let mut sums = Vec::<T>::with_capacity(n_sums);
        let turns = self.panels.clone().step_by(together).flat_map(|begin| {
            let panels = begin..self.panels.end.min(begin + together);
            slabs.iter().enumerate().flat_map(move |slab| panels.clone().map(move |panel| (begin, slab, panel)))
        });
        let mut turns = turns.peekable();
        while let Some((begin, (nth_slab, slab), panel)) = turns.next() {
            // What comes next of the weights is fetched meanwhile, a part with each tile.
            let next = match turns.peek() {
                Some(&(_, (_, slab), panel)) if weights.layout == RightLayout::Panels => {
                    let depth_before = slab.depth_before(weights.length);
                    let (numbers, row_stride) = weights.of_panel(panel, depth_before, width, L::WIDTH);
                    &numbers[..slab.depth(weights.length) * row_stride]
                }
                _ => &[],
            };
            let n_tiles = n_rows.div_ceil(L::ROWS);
            for (nth, rows) in tiles(n_rows, L::ROWS).enumerate() {
                let place = ((panel - begin) * n_rows + rows.start) * width;
                let mut tile = self.tile::<L>(slab, panel, &rows, sums.as_mut_ptr().wrapping_add(place));
                let part = &next[nth * next.len() / n_tiles..(nth + 1) * next.len() / n_tiles];
                if n_tiles <= FEW_TILES {
                    // What is asked for all at once would hold up everything else.
                    (tile.next, tile.next_stride) = (part.as_ptr(), part.len() / slab.depth(weights.length));
                } else {
                    for line in part.chunks(BYTES_OF_LINE / size_of::<T>()) {
                        // SAFETY: a number of the weights.
                        unsafe { L::prefetch(line.as_ptr()) };
                    }
                }
                (tile.is_first, tile.is_last) = (nth_slab == 0, nth_slab + 1 == slabs.len());
                // SAFETY: the caller's word; there are sums for each row and panel.
                unsafe { tile.of_rows::<L>() };
            }
        }
    }
}

impl<T: Element> Block<'_, T> {
    /// Some rows times one panel, from the first step to the last.
    #[inline(always)]
    fn tile<'a, L: Lanes<Number = T>>(
        &'a self,
        slab: &Slab,
        panel: usize,
        rows: &std::ops::Range<usize>,
        sums: *mut T,
    ) -> Tile<'a, T> {
        let (weights, width) = (self.weights, VECTORS * L::WIDTH);
        let first = panel * width;
        let (numbers, row_stride) = weights.of_panel(panel, slab.depth_before(weights.length), width, L::WIDTH);
        Tile {
            taps: self.taps[rows.start * weights.n_taps..].as_ptr(),
            slab: slab.clone(),
            weights: numbers.as_ptr(),
            row_stride,
            bias: weights.bias[first..].as_ptr(),
            sums,
            next: numbers.as_ptr(),
            next_stride: 0,
            is_first: true,
            is_last: true,
            finish: self.finish,
            targets: &self.targets[rows.clone()],
            gates: self.gates.get(rows.start..).unwrap_or_default(),
            first,
            n_columns: width.min(weights.n_columns - first),
        }
    }
}

/// A part of a product's depth: some steps of some taps, all steps where there are several taps.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slab {
    taps: std::ops::Range<usize>,
    steps: std::ops::Range<usize>,
}

impl Slab {
    /// A product's depth in parts, of which a panel has at most so many steps.
    fn all(n_taps: usize, length: usize, most: usize) -> Vec<Slab> {
        let ranges = |total: usize, part: usize| (0..total).step_by(part).map(move |at| at..total.min(at + part));
        if length > most {
            let part = length.div_ceil(length.div_ceil(most));
            let of_tap = |tap| ranges(length, part).map(move |steps| Slab { taps: tap..tap + 1, steps });
            return (0..n_taps).flat_map(of_tap).collect();
        }
        let n_parts = n_taps.div_ceil(most / length.max(1));
        let part = n_taps.div_ceil(n_parts.max(1)).max(1);
        ranges(n_taps, part).map(|taps| Slab { taps, steps: 0..length }).collect()
    }

    /// Its steps.
    fn depth(&self, length: usize) -> usize {
        if self.taps.len() == 1 { self.steps.len() } else { self.taps.len() * length }
    }

    /// Steps of the product that come before it.
    fn depth_before(&self, length: usize) -> usize {
        self.taps.start * length + self.steps.start
    }
}

impl<T: Element> Block<'_, T> {
    /// # Safety
    /// As [`Block::run`].
    #[inline(always)]
    unsafe fn multiply_few_columns<L: Lanes<Number = T>>(&self) {
        let n_taps = self.weights.n_taps;
        for tile in tiles(self.targets.len(), L::ROWS) {
            let taps = &self.taps[tile.start * n_taps..];
            // SAFETY: rows of the tile, and columns that there are.
            unsafe {
                for first in (0..tile.len()).step_by(ROWS_OF_FEW) {
                    match (self.weights.n_columns, tile.len() - first) {
                        (1, ROWS_OF_FEW..) => self.few_columns::<L, ROWS_OF_FEW, 1>(&tile, taps, first),
                        (2, ROWS_OF_FEW..) => self.few_columns::<L, ROWS_OF_FEW, 2>(&tile, taps, first),
                        (3, ROWS_OF_FEW..) => self.few_columns::<L, ROWS_OF_FEW, 3>(&tile, taps, first),
                        (4, ROWS_OF_FEW..) => self.few_columns::<L, ROWS_OF_FEW, 4>(&tile, taps, first),
                        (n_columns, n_rows) => {
                            for row in first..first + n_rows {
                                match n_columns {
                                    1 => self.few_columns::<L, 1, 1>(&tile, taps, row),
                                    2 => self.few_columns::<L, 1, 2>(&tile, taps, row),
                                    3 => self.few_columns::<L, 1, 3>(&tile, taps, row),
                                    _ => self.few_columns::<L, 1, 4>(&tile, taps, row),
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// `ROWS` rows of a tile from `first` on times all `COLUMNS` columns, registers along the steps.
    ///
    /// # Safety
    /// As [`Block::run`].
    #[inline(always)]
    unsafe fn few_columns<L: Lanes<Number = T>, const ROWS: usize, const COLUMNS: usize>(
        &self,
        tile: &std::ops::Range<usize>,
        taps: &[*const T],
        first: usize,
    ) {
        let Right { n_taps, length, .. } = self.weights;
        let in_registers = length - length % L::WIDTH;
        let mut rest = [[T::zero(); COLUMNS]; ROWS];
        // SAFETY: every tap has `length` numbers, and so has each column of the weights for each tap.
        unsafe {
            let mut sums = [[L::splat(T::zero()); COLUMNS]; ROWS];
            for tap in 0..n_taps {
                let rows: [*const T; ROWS] =
                    std::array::from_fn(|row| *taps.get_unchecked(tap * tile.len() + first + row));
                let columns: [*const T; COLUMNS] =
                    std::array::from_fn(|column| self.weights.numbers.as_ptr().add((column * n_taps + tap) * length));
                for step in (0..in_registers).step_by(L::WIDTH) {
                    let weights: [L::Vector; COLUMNS] =
                        std::array::from_fn(|column| L::load(columns[column].add(step)));
                    for row in 0..ROWS {
                        let numbers = L::load(rows[row].add(step));
                        for column in 0..COLUMNS {
                            sums[row][column] = L::multiply_add(numbers, weights[column], sums[row][column]);
                        }
                    }
                }
                for step in in_registers..length {
                    for row in 0..ROWS {
                        for column in 0..COLUMNS {
                            rest[row][column] += *rows[row].add(step) * *columns[column].add(step);
                        }
                    }
                }
            }
            for row in 0..ROWS {
                let nth = tile.start + first + row;
                for column in 0..COLUMNS {
                    let sum = L::sum(sums[row][column]) + rest[row][column] + self.weights.bias[column];
                    let value = self.gates.get(nth).map(|gate| gate[column]);
                    *self.targets[nth].add(column) = self.finish.of(sum, value);
                }
            }
        }
    }
}

/// A few rows times one panel.
struct Tile<'a, T> {
    taps: *const *const T,
    slab: Slab,
    /// Those of the slab.
    weights: *const T,
    row_stride: usize,
    /// Weights that are fetched meanwhile, and how many of them with each step.
    next: *const T,
    next_stride: usize,
    bias: *const T,
    /// `[row][column of the panel]`, what the slabs before add up to.
    sums: *mut T,
    is_first: bool,
    is_last: bool,
    finish: Finish<'a, T>,
    targets: &'a [*mut T],
    gates: &'a [&'a [T]],
    first: usize,
    n_columns: usize,
}

impl<T: Element> Tile<'_, T> {
    /// # Safety
    /// As [`Block::run`]; the panel must have as many numbers as taps, steps and its (padded) columns say, and so must
    /// the bias and the sums where they are read or written.
    #[inline(always)]
    unsafe fn of_rows<L: Lanes<Number = T>>(&self) {
        // SAFETY: the caller's word.
        unsafe { if self.n_columns > L::WIDTH { self.of_panel::<L, VECTORS>() } else { self.of_panel::<L, 1>() } }
    }

    /// # Safety
    /// As [`Tile::of_rows`], with a panel of `N` registers.
    #[inline(always)]
    unsafe fn of_panel<L: Lanes<Number = T>, const N: usize>(&self) {
        // SAFETY: the caller's word.
        unsafe {
            // Tiles of more rows than these lanes have are not even compiled.
            match self.targets.len() {
                1 => self.multiply::<L, 1, N>(),
                2 => self.multiply::<L, 2, N>(),
                3 => self.multiply::<L, 3, N>(),
                4 => self.multiply::<L, 4, N>(),
                5 if const { L::ROWS >= 5 } => self.multiply::<L, 5, N>(),
                6 if const { L::ROWS >= 6 } => self.multiply::<L, 6, N>(),
                7 if const { L::ROWS >= 7 } => self.multiply::<L, 7, N>(),
                8 if const { L::ROWS >= 8 } => self.multiply::<L, 8, N>(),
                9 if const { L::ROWS >= 9 } => self.multiply::<L, 9, N>(),
                10 if const { L::ROWS >= 10 } => self.multiply::<L, 10, N>(),
                11 if const { L::ROWS >= 11 } => self.multiply::<L, 11, N>(),
                12 if const { L::ROWS >= 12 } => self.multiply::<L, 12, N>(),
                n_rows => unreachable!("no tile has {n_rows} rows"),
            }
        }
    }

    /// # Safety
    /// As [`Tile::of_rows`], with `ROWS` targets and a panel of `N` registers.
    #[inline(always)]
    unsafe fn multiply<L: Lanes<Number = T>, const ROWS: usize, const N: usize>(&self) {
        // SAFETY: all pointers stay within what the caller vouches for; what is only fetched may lie beyond.
        unsafe {
            let bias: [L::Vector; N] = std::array::from_fn(|v| L::load(self.bias.add(v * L::WIDTH)));
            let mut sums = [bias; ROWS];
            if !self.is_first {
                for row in 0..ROWS {
                    for v in 0..N {
                        sums[row][v] = L::load(self.sums.add((row * VECTORS + v) * L::WIDTH));
                    }
                }
            }
            let (mut weights, mut next) = (self.weights, self.next);
            let (first_step, n_steps) = (self.slab.steps.start, self.slab.steps.len());
            for tap in self.slab.taps.clone() {
                let rows: [*const T; ROWS] =
                    std::array::from_fn(|row| (*self.taps.add(tap * ROWS + row)).add(first_step));
                for step in 0..n_steps {
                    let of_step: [L::Vector; N] = std::array::from_fn(|v| L::load(weights.add(v * L::WIDTH)));
                    weights = weights.add(self.row_stride);
                    L::prefetch(next);
                    next = next.wrapping_add(self.next_stride);
                    for row in 0..ROWS {
                        let number = L::splat(*rows[row].add(step));
                        for v in 0..N {
                            sums[row][v] = L::multiply_add(number, of_step[v], sums[row][v]);
                        }
                    }
                }
            }
            if !self.is_last {
                for row in 0..ROWS {
                    for v in 0..N {
                        L::store(self.sums.add((row * VECTORS + v) * L::WIDTH), sums[row][v]);
                    }
                }
                return;
            }
            let (low, high) = (L::splat(self.finish.clamp.low), L::splat(self.finish.clamp.high));
            let is_whole = self.n_columns == N * L::WIDTH;
            // Every way on has its own loops, all unrolled, with nothing but stores of the registers: were one of them
            // shared or indexed, all sums would live in memory.
            if let Some(gate) = self.finish.gate.filter(|_| is_whole) {
                let (lowest, highest) = (L::splat(gate.bounds.low), L::splat(gate.bounds.high));
                for row in 0..ROWS {
                    let target = self.targets.get_unchecked(row).add(self.first);
                    let values = self.gates.get_unchecked(row).as_ptr().add(self.first);
                    for v in 0..N {
                        let sum = L::at_most(L::at_least(sums[row][v], low), high);
                        let values = L::load(values.add(v * L::WIDTH));
                        L::store(target.add(v * L::WIDTH), L::where_between(sum, values, lowest, highest));
                    }
                }
                return;
            }
            if is_whole {
                for row in 0..ROWS {
                    let target = self.targets.get_unchecked(row).add(self.first);
                    for v in 0..N {
                        L::store(target.add(v * L::WIDTH), L::at_most(L::at_least(sums[row][v], low), high));
                    }
                }
                return;
            }
            let mut beside = [[T::zero(); WIDEST]; ROWS];
            for row in 0..ROWS {
                for v in 0..N {
                    let sum = L::at_most(L::at_least(sums[row][v], low), high);
                    L::store(beside[row].as_mut_ptr().add(v * L::WIDTH), sum);
                }
            }
            self.store_some::<L, ROWS>(&beside);
        }
    }

    /// Stores clamped sums of a panel that is not full, through the gate.
    ///
    /// # Safety
    /// As [`Block::run`], with `ROWS` targets.
    #[inline(always)]
    unsafe fn store_some<L: Lanes<Number = T>, const ROWS: usize>(&self, sums: &[[T; WIDEST]; ROWS]) {
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: targets and gates have as many numbers as there are columns.
            let target = unsafe { std::slice::from_raw_parts_mut(self.targets[row].add(self.first), self.n_columns) };
            match self.finish.gate.zip(self.gates.get(row)) {
                None => target.copy_from_slice(&sums[..self.n_columns]),
                Some((gate, values)) => {
                    let values = &values[self.first..][..self.n_columns];
                    for ((target, &sum), &value) in target.iter_mut().zip(sums).zip(values) {
                        *target = gate.of(sum, value);
                    }
                }
            }
        }
    }
}

/// Rows in tiles of about as many, since a tile of one row takes as long as one of most.
pub(super) fn tiles(n_rows: usize, most: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let n_tiles = n_rows.div_ceil(most);
    (0..n_tiles).map(move |tile| tile * n_rows / n_tiles..(tile + 1) * n_rows / n_tiles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_cover_all_taps_and_steps_in_order() {
        for (n_taps, length, most) in
            [(1, 700, 256), (3, 300, 256), (300, 3, 256), (7, 250, 256), (2, 8, 128), (1, 1, 1)]
        {
            let slabs = Slab::all(n_taps, length, most);
            let mut next = 0;
            for slab in &slabs {
                assert_eq!(slab.depth_before(length), next);
                assert!(slab.steps.len() == length || slab.taps.len() == 1);
                next += slab.taps.len() * slab.steps.len();
                assert!(slab.taps.len() * slab.steps.len() <= most);
            }
            assert_eq!(next, n_taps * length);
        }
    }
}
