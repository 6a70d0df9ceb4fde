//! The rows of a max pool, channel by channel.

use rayon::prelude::*;

use super::finish::Clamp;
use super::lanes::Lanes;
use super::run::Loop;
use super::unwritten::{unwritten, written};
use crate::element::Element;
use crate::kernels::at_once;

/// For each pixel of a row what it reads: the tap, and where the numbers of its channels begin.
#[derive(Debug, Default)]
pub(crate) struct TapsOfRow {
    taps: Vec<(u32, usize)>,
    /// For each pixel where its taps end.
    ends: Vec<usize>,
}

impl TapsOfRow {
    /// Forgets all pixels.
    fn clear(&mut self) {
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

    /// The channels of each of its pixels in an output of the row, and where those of a pixel end that is read: all that
    /// a loop relies on.
    fn check(&self, output: usize, read: usize) -> usize {
        let n_channels = output / self.ends.len().max(1);
        assert!(output == self.ends.len() * n_channels, "as many channels for every pixel");
        assert!(self.taps.iter().all(|(_, place)| place + n_channels <= read), "every tap reads what there is");
        n_channels
    }
}

/// So many rows of `length` numbers, each a task, which is told its number, fills in its taps, and says what its pixels
/// become of them.
#[allow(private_bounds)]
pub(crate) fn by_rows<T: Element, F: OfTaps<T>>(
    n_rows: usize,
    length: usize,
    of_row: impl Fn(usize, &mut TapsOfRow) -> F + Sync,
) -> Vec<T> {
    let mut output = unwritten(n_rows * length);
    let rows = output.par_chunks_mut(length.max(1)).enumerate().with_max_len(at_once(n_rows));
    rows.for_each_init(TapsOfRow::default, |taps, (nth, output)| {
        taps.clear();
        let of = of_row(nth, taps);
        let n_channels = taps.check(output.len(), of.n_numbers());
        // SAFETY: every tap reads, and every pixel has room for, so many channels.
        unsafe { T::vectorized(EachPixel { taps, n_channels, output: output.as_mut_ptr().cast(), of }) };
    });
    // SAFETY: every row's pixels were written.
    unsafe { written(output) }
}

/// What a pixel becomes of its taps.
trait OfTaps<T: Element>: Copy {
    /// How many numbers taps read from.
    fn n_numbers(self) -> usize;

    /// A register of channels from one on.
    ///
    /// # Safety
    /// That of [`Lanes`], where a tap's numbers and the channel lie.
    unsafe fn register<L: Lanes<Number = T>>(self, taps: &[(u32, usize)], channel: usize) -> L::Vector;

    /// One channel.
    fn single(self, taps: &[(u32, usize)], channel: usize) -> T;
}

/// The largest number; what is not a number is passed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Largest<'a, T>(pub(crate) &'a [T]);

/// The tap that holds the largest number, as a number counted from one: the first of equals, and the first of all where
/// nothing is larger than minus infinity. None, zero, where the largest number does not lie strictly between bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Winner<'a, T> {
    pub(crate) numbers: &'a [T],
    pub(crate) between: Option<Clamp<T>>,
}

/// The sum of what arrives at the windows over a pixel in which its tap has won, or a bound where it is lower; a tap is
/// that through which a window reads the pixel, with where the window's channels begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gather<'a, T> {
    /// `[window, channel]`
    pub(crate) winners: &'a [T],
    /// `[window, channel]`
    pub(crate) gradient: &'a [T],
    pub(crate) lowest: T,
}

/// A tap as a number that says who won.
fn winner<T: Element>(tap: u32) -> T {
    T::of(f64::from(tap) + 1.0)
}

impl<T: Element> OfTaps<T> for Largest<'_, T> {
    fn n_numbers(self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    unsafe fn register<L: Lanes<Number = T>>(self, taps: &[(u32, usize)], channel: usize) -> L::Vector {
        // SAFETY: the caller's word.
        unsafe {
            let mut largest = L::splat(T::neg_infinity());
            for (_, place) in taps {
                largest = L::at_least(largest, L::load(self.0.as_ptr().add(place + channel)));
            }
            largest
        }
    }

    fn single(self, taps: &[(u32, usize)], channel: usize) -> T {
        taps.iter()
            .map(|(_, place)| self.0[place + channel])
            .fold(T::neg_infinity(), |largest, number| if number > largest { number } else { largest })
    }
}

impl<T: Element> OfTaps<T> for Winner<'_, T> {
    fn n_numbers(self) -> usize {
        self.numbers.len()
    }

    #[inline(always)]
    unsafe fn register<L: Lanes<Number = T>>(self, taps: &[(u32, usize)], channel: usize) -> L::Vector {
        let first = taps.first().map_or(0, |(tap, _)| *tap);
        // SAFETY: the caller's word.
        unsafe {
            let (mut largest, mut best) = (L::splat(T::neg_infinity()), L::splat(winner(first)));
            for &(tap, place) in taps {
                let number = L::load(self.numbers.as_ptr().add(place + channel));
                best = L::where_greater(number, largest, L::splat(winner(tap)), best);
                largest = L::at_least(largest, number);
            }
            match self.between {
                None => best,
                Some(Clamp { low, high }) => L::where_between(best, largest, L::splat(low), L::splat(high)),
            }
        }
    }

    fn single(self, taps: &[(u32, usize)], channel: usize) -> T {
        let mut best = (taps.first().map_or(0, |(tap, _)| *tap), T::neg_infinity());
        for &(tap, place) in taps {
            let number = self.numbers[place + channel];
            if number > best.1 {
                best = (tap, number);
            }
        }
        let counts = self.between.is_none_or(|Clamp { low, high }| low < best.1 && best.1 < high);
        if counts { winner(best.0) } else { T::zero() }
    }
}

impl<T: Element> OfTaps<T> for Gather<'_, T> {
    fn n_numbers(self) -> usize {
        self.winners.len().min(self.gradient.len())
    }

    #[inline(always)]
    unsafe fn register<L: Lanes<Number = T>>(self, taps: &[(u32, usize)], channel: usize) -> L::Vector {
        // SAFETY: the caller's word.
        unsafe {
            let (mut sum, one) = (L::splat(T::zero()), L::splat(T::one()));
            for &(tap, place) in taps {
                let won = L::load(self.winners.as_ptr().add(place + channel));
                let arrived = L::load(self.gradient.as_ptr().add(place + channel));
                let (low, high) = (winner::<T>(tap) - T::of(0.5), winner::<T>(tap) + T::of(0.5));
                sum = L::multiply_add(L::where_between(arrived, won, L::splat(low), L::splat(high)), one, sum);
            }
            L::at_least(sum, L::splat(self.lowest))
        }
    }

    fn single(self, taps: &[(u32, usize)], channel: usize) -> T {
        let has_won = |(tap, place): &&(u32, usize)| self.winners[place + channel] == winner(*tap);
        let sum = taps.iter().filter(has_won).map(|(_, place)| self.gradient[place + channel]).sum();
        Clamp { low: self.lowest, high: T::infinity() }.of(sum)
    }
}

/// A row of pixels.
struct EachPixel<'a, T, F> {
    taps: &'a TapsOfRow,
    n_channels: usize,
    /// `[pixel, channel]`
    output: *mut T,
    of: F,
}

impl<T: Element, F: OfTaps<T>> Loop<T> for EachPixel<'_, T, F> {
    /// # Safety
    /// There must be so many channels behind every tap's place and for every pixel of the output.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let n_channels = self.n_channels;
        for (nth, taps) in self.taps.pixels().enumerate() {
            // SAFETY: the caller's word; the last register overlaps the one before where channels do not come out even.
            unsafe {
                let output = self.output.add(nth * n_channels);
                if n_channels < L::WIDTH {
                    for channel in 0..n_channels {
                        output.add(channel).write(self.of.single(taps, channel));
                    }
                    continue;
                }
                for first in (0..n_channels).step_by(L::WIDTH) {
                    let channel = first.min(n_channels - L::WIDTH);
                    L::store(output.add(channel), self.of.register::<L>(taps, channel));
                }
            }
        }
    }
}
