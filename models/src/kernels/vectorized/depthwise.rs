//! Sums over taps in which every channel has weights of its own: depthwise convolutions and their gradients.

use std::mem::MaybeUninit;

use super::finish::Finish;
use super::lanes::Lanes;
use super::run::Loop;
use super::taps::OUTSIDE;
use crate::element::Element;

/// Pixels whose sums are kept in registers together, so that each weight is read once for all of them.
const PIXELS: usize = 4;

/// How much of the weights stays in a core's nearest cache while all pixels of a row pass over it.
const BYTES_OF_WEIGHTS: usize = 16 << 10;

/// Which numbers of a row of taps each pixel reads: the same for every row of an image.
#[derive(Debug)]
pub(crate) struct TapColumns {
    /// `[pixel, tap]`, where in the row the tap's channels begin, [`OUTSIDE`] where there are none.
    places: Vec<usize>,
    n_taps: usize,
    groups: Vec<Group>,
}

/// Neighbouring pixels, at most [`PIXELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    first: usize,
    n_pixels: usize,
    /// How far the taps of each pixel lie from those of the pixel before, where that is the same for [`PIXELS`] pixels
    /// and none is outside: only the first pixel's have to be looked up then.
    step: Option<usize>,
}

impl TapColumns {
    /// # Shapes
    /// - `places`: `[pixel, tap]`, [`OUTSIDE`] where there is none
    pub(crate) fn new(places: Vec<usize>, n_taps: usize) -> Self {
        let n_pixels = places.len() / n_taps;
        assert!(places.len() == n_pixels * n_taps, "every pixel has as many taps");
        let mut groups: Vec<Group> = Vec::new();
        let mut first = 0;
        while first < n_pixels {
            let step = step_between(&places[first * n_taps..], n_taps);
            match groups.last_mut() {
                // Pixels without a step join those before.
                Some(group) if step.is_none() && group.step.is_none() && group.n_pixels < PIXELS => group.n_pixels += 1,
                _ => groups.push(Group { first, n_pixels: if step.is_some() { PIXELS } else { 1 }, step }),
            }
            first += if step.is_some() { PIXELS } else { 1 };
        }
        TapColumns { places, n_taps, groups }
    }

    fn n_pixels(&self) -> usize {
        self.places.len() / self.n_taps
    }

    /// How many numbers a row of taps has to have, for so many channels.
    fn n_read(&self, n_channels: usize) -> usize {
        let within = self.places.iter().filter(|place| **place != OUTSIDE);
        within.max().map_or(0, |last| last + n_channels)
    }
}

/// [`Group::step`] of the pixels from the first on.
///
/// # Shapes
/// - `places`: `[pixel, tap]`
fn step_between(places: &[usize], n_taps: usize) -> Option<usize> {
    let places = places.get(..PIXELS * n_taps)?;
    let (first, second) = (places[0], places[n_taps]);
    let step = second.checked_sub(first)?;
    let follows = |(nth, &place): (usize, &usize)| {
        let of_first = places[nth % n_taps];
        place != OUTSIDE && of_first.checked_add(nth / n_taps * step) == Some(place)
    };
    places.iter().enumerate().all(follows).then_some(step)
}

/// Rows of taps that a row of pixels reads, and what becomes of the sums.
#[derive(Debug)]
pub(crate) struct WeighRow<'a, T> {
    pub(crate) input: &'a [T],
    /// For each row of taps that there is: where in the input it begins, and its place among the weights' rows.
    pub(crate) tap_rows: &'a [(usize, usize)],
    pub(crate) columns: &'a TapColumns,
    /// `[tap row, tap, channel]`
    pub(crate) weights: &'a [T],
    /// `[channel]`
    pub(crate) bias: &'a [T],
    pub(crate) finish: Finish<'a, T>,
    /// The values of the finish's gate that belong to the output, empty where it has none.
    pub(crate) gate: &'a [T],
    /// From one pixel of the output to the next, in pixels.
    pub(crate) stride: usize,
}

impl<T: Element> WeighRow<'_, T> {
    /// `output[pixel, channel] = finish(bias[channel] + Σ input[row + place + channel] · weight[row, tap, channel])`, with the
    /// sum over rows of taps and the pixel's taps in each.
    pub(crate) fn write(&self, output: &mut [MaybeUninit<T>]) {
        let (n_channels, n_pixels, n_taps) = (self.bias.len(), self.columns.n_pixels(), self.columns.n_taps);
        let n_needed = if n_pixels == 0 { 0 } else { ((n_pixels - 1) * self.stride + 1) * n_channels };
        assert!(output.len() >= n_needed, "an output for each pixel");
        assert!(self.finish.gate.is_none() || self.gate.len() >= n_needed, "a gate for each output");
        let n_read = self.columns.n_read(n_channels);
        for &(begin, tap_row) in self.tap_rows {
            assert!(begin + n_read <= self.input.len(), "a row of taps ends within the input");
            assert!((tap_row + 1) * n_taps * n_channels <= self.weights.len(), "weights for each row of taps");
        }
        if n_channels < T::width() {
            return self.write_few_channels(output);
        }
        // SAFETY: all that is read and written was seen to be there, and there are channels enough for a register.
        unsafe { T::vectorized(IntoOutput { row: self, output: output.as_mut_ptr().cast() }) };
    }

    /// The same for fewer channels than a register has lanes.
    fn write_few_channels(&self, output: &mut [MaybeUninit<T>]) {
        let (n_channels, n_taps) = (self.bias.len(), self.columns.n_taps);
        let pixels = output.chunks_mut(n_channels * self.stride).zip(self.columns.places.chunks_exact(n_taps));
        for (nth, (pixel, places)) in pixels.enumerate() {
            for channel in 0..n_channels {
                let mut sum = self.bias[channel];
                for &(begin, tap_row) in self.tap_rows {
                    let weights = self.weights[tap_row * n_taps * n_channels..].chunks_exact(n_channels);
                    for (place, weights) in places.iter().zip(weights).filter(|(place, _)| **place != OUTSIDE) {
                        sum += self.input[begin + place + channel] * weights[channel];
                    }
                }
                let gate = self.gate.get(nth * self.stride * n_channels + channel);
                pixel[channel].write(self.finish.of(sum, gate.copied()));
            }
        }
    }
}

struct IntoOutput<'a, T> {
    row: &'a WeighRow<'a, T>,
    output: *mut T,
}

impl<T: Element> Loop<T> for IntoOutput<'_, T> {
    /// # Safety
    /// Taps, weights, gate and output have to be where the row says, with as many channels as fill a register at least.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let (n_channels, columns) = (self.row.bias.len(), self.row.columns);
        let n_weights = self.row.tap_rows.len().max(1) * columns.n_taps;
        let in_cache = BYTES_OF_WEIGHTS / size_of::<T>() / n_weights / (2 * L::WIDTH);
        let part = in_cache.max(1) * 2 * L::WIDTH;
        for first in (0..n_channels).step_by(part) {
            let channels = first..n_channels.min(first + part);
            for group in &columns.groups {
                // SAFETY: the caller's word; a group has as many pixels as it says.
                unsafe {
                    match (group.step, group.n_pixels) {
                        (Some(step), _) => self.of_pixels::<L, PIXELS>(&channels, group.first, |places, tap, pixel| {
                            Some(places.get_unchecked(tap) + pixel * step)
                        }),
                        (None, 1) => self.of_border::<L, 1>(&channels, group.first),
                        (None, 2) => self.of_border::<L, 2>(&channels, group.first),
                        (None, 3) => self.of_border::<L, 3>(&channels, group.first),
                        (None, _) => self.of_border::<L, PIXELS>(&channels, group.first),
                    }
                }
            }
        }
    }
}

impl<T: Element> IntoOutput<'_, T> {
    /// Channels of `N` pixels each of which has places of its own.
    ///
    /// # Safety
    /// As [`IntoOutput::run`].
    #[inline(always)]
    unsafe fn of_border<L: Lanes<Number = T>, const N: usize>(
        &self,
        channels: &std::ops::Range<usize>,
        first_pixel: usize,
    ) {
        let n_taps = self.row.columns.n_taps;
        // SAFETY: the caller's word.
        unsafe {
            self.of_pixels::<L, N>(channels, first_pixel, |places, tap, pixel| {
                let place = *places.get_unchecked(pixel * n_taps + tap);
                (place != OUTSIDE).then_some(place)
            });
        }
    }

    /// Channels of `N` pixels whose taps `place_of` finds among the places from the first pixel's on.
    ///
    /// # Safety
    /// As [`IntoOutput::run`].
    #[inline(always)]
    unsafe fn of_pixels<L: Lanes<Number = T>, const N: usize>(
        &self,
        channels: &std::ops::Range<usize>,
        first_pixel: usize,
        place_of: impl Fn(&[usize], usize, usize) -> Option<usize>,
    ) {
        let mut channel = channels.start;
        // SAFETY: registers end within the channels.
        unsafe {
            while channel + 2 * L::WIDTH <= channels.end {
                self.weigh::<L, N, 2>(first_pixel, channel, &place_of);
                channel += 2 * L::WIDTH;
            }
            while channel < channels.end {
                // The last register overlaps the one before where the channels do not come out even.
                self.weigh::<L, N, 1>(first_pixel, channel.min(channels.end - L::WIDTH), &place_of);
                channel += L::WIDTH;
            }
        }
    }

    /// `V` registers of channels of `N` pixels.
    ///
    /// # Safety
    /// As [`IntoOutput::run`], with so many channels from `channel` on.
    #[inline(always)]
    unsafe fn weigh<L: Lanes<Number = T>, const N: usize, const V: usize>(
        &self,
        first_pixel: usize,
        channel: usize,
        place_of: &impl Fn(&[usize], usize, usize) -> Option<usize>,
    ) {
        let (row, n_channels, n_taps) = (self.row, self.row.bias.len(), self.row.columns.n_taps);
        let places = &row.columns.places[first_pixel * n_taps..];
        // SAFETY: the caller's word.
        unsafe {
            let bias: [L::Vector; V] = std::array::from_fn(|v| L::load(row.bias.as_ptr().add(channel + v * L::WIDTH)));
            let mut sums = [bias; N];
            for &(begin, tap_row) in row.tap_rows {
                let input = row.input.as_ptr().add(begin + channel);
                for tap in 0..n_taps {
                    let weights = row.weights.as_ptr().add((tap_row * n_taps + tap) * n_channels + channel);
                    let weights: [L::Vector; V] = std::array::from_fn(|v| L::load(weights.add(v * L::WIDTH)));
                    for pixel in 0..N {
                        let Some(place) = place_of(places, tap, pixel) else { continue };
                        for v in 0..V {
                            let numbers = L::load(input.add(place + v * L::WIDTH));
                            sums[pixel][v] = L::multiply_add(numbers, weights[v], sums[pixel][v]);
                        }
                    }
                }
            }
            for (pixel, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    let at = (first_pixel + pixel) * row.stride * n_channels + channel + v * L::WIDTH;
                    let gate = row.finish.gate.map(|gate| (row.gate.as_ptr().add(at), gate.bounds));
                    L::store(self.output.add(at), Finish::of_register::<L>(row.finish.clamp, gate, sum));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finish::Clamp;
    use super::super::unwritten::{unwritten, written};
    use super::*;

    #[test]
    fn every_number_of_channels_and_pixels_equals_the_definition() {
        for (n_channels, n_pixels) in [(1, 3), (7, 5), (8, 4), (15, 9), (16, 6), (17, 3), (40, 11), (700, 9)] {
            let n_taps = 3;
            let input: Vec<f32> = (0..60 * n_channels).map(|i| (i % 13) as f32 - 6.0).collect();
            let weights: Vec<f32> = (0..3 * n_taps * n_channels).map(|i| (i % 7) as f32 - 3.0).collect();
            let bias: Vec<f32> = (0..n_channels).map(|i| i as f32).collect();
            // Four neighbours, then pixels anywhere.
            let place = |i: usize| match i {
                i if i < 4 * n_taps => 2 * (i / n_taps) + i % n_taps,
                i if i % 4 == 3 => OUTSIDE,
                i => i * 5 % 20,
            };
            let places: Vec<usize> = (0..n_pixels * n_taps)
                .map(place)
                .map(|place| if place == OUTSIDE { OUTSIDE } else { place * n_channels })
                .collect();
            // Two of three rows of taps.
            let tap_rows = [(40 * n_channels, 0), (7 * n_channels, 2)];
            let mut output = unwritten(n_pixels * n_channels);
            let row = WeighRow {
                input: &input,
                tap_rows: &tap_rows,
                columns: &TapColumns::new(places.clone(), n_taps),
                weights: &weights,
                bias: &bias,
                finish: Finish::clamp(Clamp { low: -5.0, high: 30.0 }),
                gate: &[],
                stride: 1,
            };
            row.write(&mut output);
            // SAFETY: pixels lie side by side, so that all are written.
            let output = unsafe { written(output) };
            for pixel in 0..n_pixels {
                for channel in 0..n_channels {
                    let mut expected = bias[channel];
                    for (begin, tap_row) in tap_rows {
                        for tap in 0..n_taps {
                            let place = places[pixel * n_taps + tap];
                            let number = if place == OUTSIDE { 0.0 } else { input[begin + place + channel] };
                            expected += number * weights[(tap_row * n_taps + tap) * n_channels + channel];
                        }
                    }
                    assert_eq!(output[pixel * n_channels + channel], expected.clamp(-5.0, 30.0));
                }
            }
        }
    }

    #[test]
    fn pixels_are_grouped_around_those_with_a_step() {
        // A kernel of three along ten pixels with padding.
        let tap = |pixel: usize, tap: usize| (pixel + tap).checked_sub(1).filter(|&at| at < 10).unwrap_or(OUTSIDE);
        let places = (0..10).flat_map(|pixel| (0..3).map(move |nth| tap(pixel, nth))).collect();
        let group = |first, n_pixels, step| Group { first, n_pixels, step };
        let expected = [group(0, 1, None), group(1, 4, Some(1)), group(5, 4, Some(1)), group(9, 1, None)];
        assert_eq!(TapColumns::new(places, 3).groups, expected);
    }

    #[test]
    #[should_panic(expected = "ends within the input")]
    fn a_row_of_taps_beyond_the_input_is_refused() {
        let columns = TapColumns::new(vec![0, 8], 1);
        let (input, weights, bias) = ([1.0f32; 16], [1.0; 8], [0.0; 8]);
        let (finish, tap_rows) = (Finish::none(), [(1, 0)]);
        let (input, weights, bias) = (&input[..], &weights[..], &bias[..]);
        let row =
            WeighRow { input, tap_rows: &tap_rows, columns: &columns, weights, bias, finish, gate: &[], stride: 1 };
        row.write(&mut unwritten(16));
    }
}
