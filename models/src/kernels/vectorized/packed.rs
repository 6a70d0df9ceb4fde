//! The right side of a product over taps: weights in panels, or a matrix as it lies.

use rayon::prelude::*;

use crate::element::Element;

/// Registers across a whole panel.
pub(super) const VECTORS: usize = 2;

/// Columns that are too few to fill registers with.
const FEW_COLUMNS: usize = 4;

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
pub(super) enum RightLayout {
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

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        (self.numbers.len() + self.bias.len()) * size_of::<T>()
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
    pub(super) numbers: &'a [T],
    /// One for each column, and as many more as fill a register.
    pub(super) bias: &'a [T],
    pub(super) n_taps: usize,
    pub(super) length: usize,
    pub(super) n_columns: usize,
    pub(super) layout: RightLayout,
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

    pub(super) fn depth(&self) -> usize {
        self.n_taps * self.length
    }

    /// A panel's numbers from so many steps on, and how far apart its steps lie: panels lie one behind the other, of `width`
    /// columns but for a last one of one register, or side by side in rows.
    pub(super) fn of_panel(
        &self,
        panel: usize,
        depth_before: usize,
        width: usize,
        register: usize,
    ) -> (&'a [T], usize) {
        let first = panel * width;
        let (begin, stride) = match self.layout {
            RightLayout::Rows { stride } => (first, stride),
            _ if self.n_columns - first > register => (first * self.depth(), width),
            _ => (first * self.depth(), register),
        };
        (&self.numbers[begin + depth_before * stride..], stride)
    }

    pub(super) fn n_panels(&self) -> usize {
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
