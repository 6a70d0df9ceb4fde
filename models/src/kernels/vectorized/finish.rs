//! What happens to a sum as it is stored.

use super::lanes::Lanes;
use crate::element::Element;

/// The bounds of a rectifier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Clamp<T> {
    pub(crate) low: T,
    pub(crate) high: T,
}

impl<T: Element> Clamp<T> {
    /// None.
    pub(crate) fn none() -> Self {
        Clamp { low: T::neg_infinity(), high: T::infinity() }
    }

    /// A number brought between the bounds; what is not a number stays none.
    pub(crate) fn of(self, number: T) -> T {
        let raised = if self.low > number { self.low } else { number };
        if self.high < raised { self.high } else { raised }
    }
}

/// A rectifier's gradient: what is stored passes where the rectifier's own output lies strictly between its bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate<'a, T> {
    /// The rectifier's output, `[row, …]`, laid out as one image of what is stored.
    pub(crate) values: &'a [T],
    pub(crate) bounds: Clamp<T>,
    /// Numbers of an image.
    pub(crate) image: usize,
    /// For each image that is stored the row of `values`.
    pub(crate) rows: &'a [usize],
}

impl<'a, T: Element> Gate<'a, T> {
    /// The values that belong to what is stored at a place.
    pub(crate) fn at(&self, place: usize, length: usize) -> &'a [T] {
        let start = self.rows[place / self.image] * self.image + place % self.image;
        &self.values[start..start + length]
    }

    /// A number, or zero where it does not pass.
    pub(super) fn of(&self, number: T, value: T) -> T {
        if value > self.bounds.low && value < self.bounds.high { number } else { T::zero() }
    }
}

/// Clamps sums, then lets them pass a gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finish<'a, T> {
    pub(crate) clamp: Clamp<T>,
    pub(crate) gate: Option<Gate<'a, T>>,
}

impl<'a, T: Element> Finish<'a, T> {
    /// Nothing happens.
    pub(crate) fn none() -> Self {
        Finish::clamp(Clamp::none())
    }

    /// Clamps alone.
    pub(crate) fn clamp(clamp: Clamp<T>) -> Self {
        Finish { clamp, gate: None }
    }

    /// Finishes all of an output that was stored unfinished.
    pub(crate) fn apply(&self, stored: &mut [T]) {
        let image = self.gate.map_or(stored.len(), |gate| gate.image).max(1);
        stored.chunks_mut(image).enumerate().for_each(|(nth, stored)| self.apply_at(nth * image, stored));
    }

    /// Finishes a part, within one image, of an output that was stored unfinished.
    pub(crate) fn apply_at(&self, place: usize, stored: &mut [T]) {
        if self.clamp != Clamp::none() {
            stored.iter_mut().for_each(|number| *number = self.clamp.of(*number));
        }
        if let Some(gate) = &self.gate {
            let values = gate.at(place, stored.len());
            stored.iter_mut().zip(values).for_each(|(number, &value)| *number = gate.of(*number, value));
        }
    }

    /// One number, with the gate's value that belongs to it.
    pub(super) fn of(&self, number: T, value: Option<T>) -> T {
        let clamped = self.clamp.of(number);
        match (&self.gate, value) {
            (Some(gate), Some(value)) => gate.of(clamped, value),
            _ => clamped,
        }
    }

    /// A register of numbers, with the gate's values that belong to them.
    ///
    /// # Safety
    /// `values` must be valid for a register where there is a gate.
    #[inline(always)]
    pub(super) unsafe fn of_register<L: Lanes<Number = T>>(
        clamp: Clamp<T>,
        gate: Option<(*const T, Clamp<T>)>,
        sum: L::Vector,
    ) -> L::Vector {
        // SAFETY: the caller's word.
        unsafe {
            let clamped = L::at_most(L::at_least(sum, L::splat(clamp.low)), L::splat(clamp.high));
            match gate {
                None => clamped,
                Some((values, bounds)) => {
                    L::where_between(clamped, L::load(values), L::splat(bounds.low), L::splat(bounds.high))
                }
            }
        }
    }
}
