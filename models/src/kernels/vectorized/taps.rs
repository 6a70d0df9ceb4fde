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

use super::finish::Finish;
use super::lanes::Lanes;
use super::run::Loop;
use super::unwritten::{unwritten, written};
use crate::element::Element;
use crate::pause;

/// Registers across a whole panel.
const VECTORS: usize = 2;

/// Columns that are too few to fill registers with.
const FEW_COLUMNS: usize = 4;

/// Rows whose sums with a few columns are kept in registers together.
const ROWS_OF_FEW: usize = 4;

/// How much of a panel stays in a core's nearest cache while all rows of a block pass over it.
const BYTES_OF_PANEL: usize = 16 << 10;

/// Tiles of rows in a block.
const FEWEST_TILES: usize = 8;
const MOST_TILES: usize = 32;

/// How much of a core's second cache sums may take that wait from one slab to the next.
const BYTES_OF_SUMS: usize = 192 << 10;

/// How many taps ahead a tap of one register is fetched.
const TAPS_AHEAD: usize = 8;

/// Columns of the widest panel.
const WIDEST: usize = 32;

/// Where a tap has no numbers: it counts as zeros.
pub(crate) const OUTSIDE: usize = usize::MAX;

/// Multiplications below which a second thread is not worth waking.
const WORTH_SHARING: usize = 1 << 18;

/// Weights in panels, with the bias.
///
/// So few columns that most of a register would lie empty are held one behind the other, `[column][tap][step]`, and
/// registers go along the steps.
#[derive(Clone, Debug)]
pub(crate) struct Packed<T> {
    numbers: Vec<T>,
    bias: Vec<T>,
    n_taps: usize,
    length: usize,
    n_columns: usize,
    layout: RightLayout,
}

/// How the right side of a product lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RightLayout {
    /// `[panel][tap][step][column of the panel]`
    Panels,
    /// `[column][tap][step]`
    Columns,
    /// `[step][column]`, with rows so far apart.
    Rows { stride: usize },
}

/// Whether registers go along the steps rather than the columns.
fn are_few_columns<T: Element>(length: usize, n_columns: usize) -> bool {
    n_columns <= FEW_COLUMNS && length >= T::width()
}

impl<T: Element> Packed<T> {
    /// Packs `weight(tap, step, column)`, asked with neighbouring taps and then columns in turn.
    ///
    /// # Shapes
    /// - `bias`: `[column]`
    pub(crate) fn new(
        [n_taps, length, n_columns]: [usize; 3],
        bias: Option<&[T]>,
        weight: impl Fn(usize, usize, usize) -> T + Sync,
    ) -> Self {
        if are_few_columns::<T>(length, n_columns) {
            let at = |index: usize| weight(index / length % n_taps, index % length, index / length / n_taps);
            let numbers = (0..n_columns * n_taps * length).map(at).collect();
            let bias = bias.map_or_else(|| vec![T::zero(); n_columns], <[T]>::to_vec);
            return Packed { numbers, bias, n_taps, length, n_columns, layout: RightLayout::Columns };
        }
        let mut packed = Packed::zeros([n_taps, length, n_columns]);
        packed.panels_mut().into_par_iter().for_each(|panel| {
            for step in 0..length {
                for column in panel.columns.clone() {
                    for tap in 0..n_taps {
                        let place = (tap * length + step) * panel.width + column - panel.columns.start;
                        panel.numbers[place] = weight(tap, step, column);
                    }
                }
            }
        });
        if let Some(bias) = bias {
            packed.bias[..n_columns].copy_from_slice(bias);
        }
        packed
    }

    /// Room for weights, with no bias.
    pub(crate) fn zeros([n_taps, length, n_columns]: [usize; 3]) -> Self {
        let padded = columns_read::<T>(n_columns);
        let (numbers, bias) = (vec![T::zero(); n_taps * length * padded], vec![T::zero(); padded]);
        Packed { numbers, bias, n_taps, length, n_columns, layout: RightLayout::Panels }
    }

    /// The panels, in order.
    pub(crate) fn panels_mut(&mut self) -> Vec<PanelMut<'_, T>> {
        let (width, depth, n_columns) = (VECTORS * T::width(), self.depth(), self.n_columns);
        let chunks = self.numbers.chunks_mut((depth * width).max(1)).enumerate();
        chunks
            .map(|(nth, numbers)| PanelMut {
                columns: nth * width..n_columns.min((nth + 1) * width),
                width: numbers.len() / depth,
                numbers,
            })
            .collect()
    }

    /// Columns of every panel but the last.
    pub(crate) fn columns_of_panel() -> usize {
        VECTORS * T::width()
    }

    /// A row within a panel, without what fills the last panel's registers.
    pub(crate) fn part_of_row(&self, panel: usize, tap: usize, step: usize) -> &[T] {
        let (width, depth) = (Self::columns_of_panel(), self.depth());
        let of_panel = &self.numbers[panel * depth * width..];
        let width = width.min(of_panel.len() / depth);
        let n_columns = width.min(self.n_columns - panel * Self::columns_of_panel());
        &of_panel[(tap * self.length + step) * width..][..n_columns]
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        (self.numbers.len() + self.bias.len()) * size_of::<T>()
    }

    /// All panels, for products that read weights as their left side.
    pub(crate) fn numbers(&self) -> &[T] {
        &self.numbers
    }

    /// Where among the numbers each register of a row of the weights begins; the last is filled up with zeros.
    pub(crate) fn registers_of_row(&self, tap: usize, step: usize, places: &mut [usize]) {
        let widest = VECTORS * T::width();
        let padded = columns_read::<T>(self.n_columns);
        for (nth, place) in places.iter_mut().enumerate() {
            let column = nth * T::width();
            let first = column - column % widest;
            let width = widest.min(padded - first);
            *place = first * self.depth() + (tap * self.length + step) * width + column - first;
        }
    }

    /// Steps of a tap.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    fn depth(&self) -> usize {
        self.n_taps * self.length
    }

    /// As the right side of a product.
    pub(crate) fn right(&self) -> Right<'_, T> {
        let &Packed { ref numbers, ref bias, n_taps, length, n_columns, layout } = self;
        Right { numbers, bias, n_taps, length, n_columns, layout }
    }
}

/// The right side of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Right<'a, T> {
    numbers: &'a [T],
    /// One for each column, and as many more as fill a register.
    bias: &'a [T],
    n_taps: usize,
    length: usize,
    n_columns: usize,
    layout: RightLayout,
}

impl<'a, T: Element> Right<'a, T> {
    /// A matrix as it lies, for products that use it once: `[step, column]` with rows `row_stride` apart.
    ///
    /// Whole registers are read, so that `bias` and the last row must reach [`columns_read`] far.
    pub(crate) fn matrix(
        numbers: &'a [T],
        row_stride: usize,
        [length, n_columns]: [usize; 2],
        bias: &'a [T],
    ) -> Right<'a, T> {
        let n_read = columns_read::<T>(n_columns);
        assert!(length > 0 && (length - 1) * row_stride + n_read <= numbers.len(), "the matrix ends within a register");
        assert!(bias.len() >= n_read, "a bias for every column that is read");
        Right { numbers, bias, n_taps: 1, length, n_columns, layout: RightLayout::Rows { stride: row_stride } }
    }

    fn depth(&self) -> usize {
        self.n_taps * self.length
    }

    /// A panel's numbers from a slab on, and how far apart its steps lie: panels lie one behind the other, of `width`
    /// columns but for a last one of one register, or side by side in rows.
    fn of_panel(&self, panel: usize, slab: &Slab, width: usize, register: usize) -> (&'a [T], usize) {
        let first = panel * width;
        let (begin, stride) = match self.layout {
            RightLayout::Rows { stride } => (first, stride),
            _ if self.n_columns - first > register => (first * self.depth(), width),
            _ => (first * self.depth(), register),
        };
        (&self.numbers[begin + slab.depth_before(self.length) * stride..], stride)
    }

    fn n_panels(&self) -> usize {
        match self.layout {
            RightLayout::Columns => 1,
            _ => self.n_columns.div_ceil(VECTORS * T::width()),
        }
    }
}

/// Columns rounded up to whole registers.
pub(crate) fn columns_read<T: Element>(n_columns: usize) -> usize {
    n_columns.next_multiple_of(T::width())
}

/// Some columns of packed weights.
#[derive(Debug)]
pub(crate) struct PanelMut<'a, T> {
    pub(crate) columns: std::ops::Range<usize>,
    /// Columns that the panel has room for.
    pub(crate) width: usize,
    /// `[tap, step, width]`
    pub(crate) numbers: &'a mut [T],
}

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
            (first..n_tasks.min(first + between_pauses)).into_par_iter().for_each(|task| {
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
        let mut taps = vec![std::ptr::null(); rows.len() * n_taps];
        let mut places = vec![OUTSIDE; n_taps];
        let mut targets = Vec::with_capacity(rows.len());
        let mut gates = Vec::new();
        for tile in tiles(rows.len(), T::tile_rows()) {
            for nth in tile.clone() {
                let row = rows.start + nth;
                (self.places)(row, &mut places);
                for (tap, &place) in places.iter().enumerate() {
                    if place != OUTSIDE {
                        let run = &self.input[place..place + self.weights.length];
                        taps[tile.start * n_taps + tap * tile.len() + nth - tile.start] = run.as_ptr();
                    }
                }
                let target = self.target.of(row);
                // SAFETY: every row of the target lies within the output (`run_at`).
                targets.push(unsafe { output.0.add(target) });
                if let Some(gate) = &self.finish.gate {
                    gates.push(gate.at(target, self.weights.n_columns));
                }
            }
        }
        // Taps that lie outside read zeros; small products, of which there are many, mostly have none.
        let outside = |tap: &*const T| tap.is_null();
        let zeros = if taps.iter().any(outside) { vec![T::zero(); self.weights.length] } else { Vec::new() };
        taps.iter_mut().filter(|tap| outside(tap)).for_each(|tap| *tap = zeros.as_ptr());
        let (weights, finish, is_deep) = (self.weights, self.finish, self.is_deep());
        let block = Block { weights, taps: &taps, targets: &targets, gates: &gates, panels, is_deep, finish };
        // SAFETY: each pointer among the taps is the beginning of a slice of the length that is read, those among the
        // targets of as many numbers as there are columns; blocks and panels of other threads write elsewhere.
        unsafe { T::vectorized(block) };
    }
}

/// Rows in tiles of about as many, since a tile of one row takes as long as one of most.
fn tiles(n_rows: usize, most: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let n_tiles = n_rows.div_ceil(most);
    (0..n_tiles).map(move |tile| tile * n_rows / n_tiles..(tile + 1) * n_rows / n_tiles)
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

/// Some rows times some panels.
struct Block<'a, T> {
    weights: Right<'a, T>,
    /// `[tile][tap][row of the tile]`; the last tile may have fewer rows.
    taps: &'a [*const T],
    /// `[row]`
    targets: &'a [*mut T],
    /// `[row][column]`, where there is a gate.
    gates: &'a [&'a [T]],
    panels: std::ops::Range<usize>,
    /// Whether a slab of the input is kept in a core's cache for many panels, rather than all of it for one.
    is_deep: bool,
    finish: Finish<'a, T>,
}

impl<T: Element> Loop<T> for Block<'_, T> {
    /// # Safety
    /// Each tap must point to as many numbers as a tap has steps, each target to as many as there are columns.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let (weights, n_taps) = (self.weights, self.weights.n_taps);
        let width = VECTORS * L::WIDTH;
        if weights.layout == RightLayout::Columns {
            // SAFETY: the caller's word.
            return unsafe { self.multiply_few_columns::<L>() };
        }
        let slabs = Slab::all(n_taps, weights.length, BYTES_OF_PANEL / (width * size_of::<T>()));
        let n_rows = self.targets.len();
        // Panels whose sums wait in a core's cache from one slab to the next.
        let together = if self.is_deep { (BYTES_OF_SUMS / (n_rows * width * size_of::<T>())).max(1) } else { 1 };
        // `[panel][row][column of the panel]`
        let n_sums = if slabs.len() > 1 { together.min(self.panels.len()) * n_rows * width } else { 0 };
        let mut sums = vec![T::zero(); n_sums];
        for begin in self.panels.clone().step_by(together) {
            let panels = begin..self.panels.end.min(begin + together);
            let turns = slabs.iter().flat_map(|slab| panels.clone().map(move |panel| (slab, panel)));
            for (turn, (slab, panel)) in turns.clone().enumerate() {
                let first = panel * width;
                let n_columns = width.min(weights.n_columns - first);
                let (numbers, row_stride) = weights.of_panel(panel, slab, width, L::WIDTH);
                // What comes next of the weights is fetched meanwhile, a part for each tile.
                let next = match turns.clone().nth(turn + 1) {
                    Some((slab, panel)) if weights.layout == RightLayout::Panels => {
                        let (numbers, row_stride) = weights.of_panel(panel, slab, width, L::WIDTH);
                        &numbers[..slab.depth(weights.length) * row_stride]
                    }
                    _ => &[],
                };
                let n_tiles = n_rows.div_ceil(L::ROWS);
                for (nth, rows) in tiles(n_rows, L::ROWS).enumerate() {
                    for line in next[nth * next.len() / n_tiles..(nth + 1) * next.len() / n_tiles].chunks(2 * L::WIDTH)
                    {
                        // SAFETY: a number of the weights.
                        unsafe { L::prefetch(line.as_ptr()) };
                    }
                    let job = Tile {
                        taps: self.taps[rows.start * n_taps..].as_ptr(),
                        slab: slab.clone(),
                        weights: numbers.as_ptr(),
                        row_stride,
                        bias: weights.bias[first..].as_ptr(),
                        sums: sums.as_mut_ptr().wrapping_add(((panel - panels.start) * n_rows + rows.start) * width),
                        is_first: turn < panels.len(),
                        is_last: turn + panels.len() >= slabs.len() * panels.len(),
                        finish: self.finish,
                        targets: &self.targets[rows.clone()],
                        gates: self.gates.get(rows.start..).unwrap_or_default(),
                        first,
                        n_columns,
                    };
                    // SAFETY: the caller's word for taps and targets; the panel has as many numbers as taps, steps and
                    // its (padded) columns say, and so has the bias; there are sums for each row and panel.
                    unsafe { if n_columns > L::WIDTH { job.of_rows::<L, VECTORS>() } else { job.of_rows::<L, 1>() } }
                }
            }
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
    /// As [`Block::run`], with a panel of `N` registers.
    #[inline(always)]
    unsafe fn of_rows<L: Lanes<Number = T>, const N: usize>(&self) {
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
    /// As [`Block::run`], with `ROWS` targets and a panel of `N` registers.
    #[inline(always)]
    unsafe fn multiply<L: Lanes<Number = T>, const ROWS: usize, const N: usize>(&self) {
        // SAFETY: all pointers stay within what the caller vouches for.
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
            let mut weights = self.weights;
            let (first_step, n_steps) = (self.slab.steps.start, self.slab.steps.len());
            for tap in self.slab.taps.clone() {
                let rows: [*const T; ROWS] =
                    std::array::from_fn(|row| (*self.taps.add(tap * ROWS + row)).add(first_step));
                if n_steps == L::WIDTH {
                    // Short taps that lie far apart are beyond what the processor fetches by itself.
                    let ahead = (tap + TAPS_AHEAD).min(self.slab.taps.end - 1);
                    for row in 0..ROWS {
                        L::prefetch(*self.taps.add(ahead * ROWS + row));
                    }
                }
                for step in 0..n_steps {
                    let of_step: [L::Vector; N] = std::array::from_fn(|v| L::load(weights.add(v * L::WIDTH)));
                    weights = weights.add(self.row_stride);
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
            let mut beside = [[T::zero(); WIDEST]; ROWS];
            for row in 0..ROWS {
                let target = if is_whole { self.targets[row].add(self.first) } else { beside[row].as_mut_ptr() };
                for v in 0..N {
                    L::store(target.add(v * L::WIDTH), L::at_most(L::at_least(sums[row][v], low), high));
                }
            }
            if !is_whole {
                self.store_some::<L, ROWS>(&beside);
            }
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

#[cfg(test)]
mod tests {
    use super::super::finish::{Clamp, Gate};
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
