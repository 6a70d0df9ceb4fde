//! The rows of a max pool, channel by channel, compiled for the active instructions.

use super::lanes::Lanes;
use super::run::Loop;
use crate::element::Element;

/// For each pixel of a row what it reads: the tap, and where the numbers of its channels begin.
#[derive(Debug, Default)]
pub(crate) struct TapsOfRow {
    taps: Vec<(u32, usize)>,
    /// For each pixel where its taps end.
    ends: Vec<usize>,
}

impl TapsOfRow {
    /// Forgets all pixels.
    pub(crate) fn clear(&mut self) {
        self.taps.clear();
        self.ends.clear();
    }

    /// Adds the next pixel.
    pub(crate) fn push(&mut self, taps: impl Iterator<Item = (usize, usize)>) {
        self.taps.extend(taps.map(|(tap, place)| (tap as u32, place)));
        self.ends.push(self.taps.len());
    }

    fn pixels(&self) -> impl Iterator<Item = &[(u32, usize)]> {
        let mut begin = 0;
        self.ends.iter().map(move |&end| &self.taps[std::mem::replace(&mut begin, end)..end])
    }
}

/// The largest number under each pixel of a row, and the tap that holds it, the first of equals.
///
/// Where nothing is larger than minus infinity, the first tap wins.
///
/// # Shapes
/// - `maxima`, `winners`: `[pixel, channel]`
pub(crate) fn largest<T: Element>(input: &[T], taps: &TapsOfRow, maxima: &mut [T], winners: &mut [u32]) {
    // SAFETY: the loop reads and writes slices alone.
    unsafe { T::vectorized(Largest { input, taps, maxima, winners }) };
}

struct Largest<'a, T> {
    input: &'a [T],
    taps: &'a TapsOfRow,
    maxima: &'a mut [T],
    winners: &'a mut [u32],
}

impl<T: Element> Loop<T> for Largest<'_, T> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let n_channels = self.maxima.len() / self.taps.ends.len().max(1);
        let pixels = self.maxima.chunks_exact_mut(n_channels).zip(self.winners.chunks_exact_mut(n_channels));
        for ((maxima, winners), taps) in pixels.zip(self.taps.pixels()) {
            maxima.fill(T::neg_infinity());
            winners.fill(taps.first().map_or(0, |(tap, _)| *tap));
            for &(tap, place) in taps {
                let numbers = &self.input[place..place + n_channels];
                for ((maximum, winner), &number) in maxima.iter_mut().zip(&mut *winners).zip(numbers) {
                    let wins = number > *maximum;
                    *maximum = if wins { number } else { *maximum };
                    *winner = if wins { tap } else { *winner };
                }
            }
        }
    }
}

/// Adds to each pixel of a row what arrives at the windows over it in which its tap has won.
///
/// # Shapes
/// - `taps`: for each pixel the tap through which a window reads it, and where that window's channels begin
/// - `winners`, `gradient`: `[window, channel]`; `passed`: `[pixel, channel]`
pub(crate) fn gather<T: Element>(winners: &[u32], gradient: &[T], taps: &TapsOfRow, passed: &mut [T]) {
    // SAFETY: the loop reads and writes slices alone.
    unsafe { T::vectorized(Gather { winners, gradient, taps, passed }) };
}

struct Gather<'a, T> {
    winners: &'a [u32],
    gradient: &'a [T],
    taps: &'a TapsOfRow,
    passed: &'a mut [T],
}

impl<T: Element> Loop<T> for Gather<'_, T> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let n_channels = self.passed.len() / self.taps.ends.len().max(1);
        for (passed, taps) in self.passed.chunks_exact_mut(n_channels).zip(self.taps.pixels()) {
            for &(tap, place) in taps {
                let won = &self.winners[place..place + n_channels];
                let arrived = &self.gradient[place..place + n_channels];
                for ((passed, &winner), &arrived) in passed.iter_mut().zip(won).zip(arrived) {
                    *passed += if winner == tap { arrived } else { T::zero() };
                }
            }
        }
    }
}
