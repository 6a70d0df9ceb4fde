//! Sums over taps in which every channel has weights of its own: depthwise convolutions and their gradients.

use std::mem::MaybeUninit;

use super::finish::Finish;
use super::lanes::Lanes;
use super::run::Loop;
use super::taps::OUTSIDE;
use crate::element::Element;

/// Pixels whose sums are kept in registers together, so that each weight is read once for all of them.
const PIXELS: usize = 4;

/// `output[pixel, channel] = finish(bias[channel] + Σ_tap input[places[pixel, tap] + channel] · weights[tap, channel])`
///
/// # Shapes
/// - `places`: `[pixel, tap]`, [`OUTSIDE`] where a tap has no pixel; `weights`: `[tap, channel]`, `bias`: `[channel]`
/// - `gate`: `[pixel, channel]`, the values of the finish's gate, empty where it has none
/// - `output`: the pixels' channels, all of which are written, pixels `stride` pixels apart
pub(crate) fn weigh_taps<T: Element>(
    input: &[T],
    places: &[usize],
    weights: &[T],
    bias: &[T],
    finish: Finish<'_, T>,
    gate: &[T],
    stride: usize,
    output: &mut [MaybeUninit<T>],
) {
    let n_channels = bias.len();
    let n_taps = weights.len() / n_channels;
    let n_pixels = places.len() / n_taps;
    assert!(weights.len() == n_taps * n_channels && places.len() == n_pixels * n_taps, "weights and places do not fit");
    let n_needed = if n_pixels == 0 { 0 } else { ((n_pixels - 1) * stride + 1) * n_channels };
    assert!(output.len() >= n_needed, "an output for each pixel");
    assert!(finish.gate.is_none() || gate.len() >= n_needed, "a gate for each output");
    if n_channels < T::width() {
        return weigh_few_channels(input, places, weights, bias, finish, gate, stride, output);
    }
    let zeros = vec![T::zero(); n_channels];
    let tap_at = |&place: &usize| match place {
        OUTSIDE => zeros.as_ptr(),
        place => input[place..place + n_channels].as_ptr(),
    };
    let taps: Vec<*const T> = places.iter().map(tap_at).collect();
    let groups = places.chunks(PIXELS * n_taps).map(|places| step_between(places, n_taps)).collect();
    let job = WeighTaps { taps: &taps, groups, n_taps, weights, bias, finish, gate, stride, output };
    // SAFETY: every tap points to as many numbers as there are channels, of which there are enough for a register.
    unsafe { T::vectorized(job) };
}

/// How far the taps of each of [`PIXELS`] pixels lie from those of the pixel before, where that is the same for all and
/// none is outside: only the first pixel's taps have to be looked up then.
///
/// # Shapes
/// - `places`: `[pixel, tap]`
fn step_between(places: &[usize], n_taps: usize) -> Option<usize> {
    let mut pixels = places.chunks_exact(n_taps);
    let mut before = pixels.next()?;
    let step = pixels.clone().next()?[0].checked_sub(before[0])?;
    let mut n_pixels = 1;
    for pixel in pixels {
        let follows = |(before, place): (&usize, &usize)| *place != OUTSIDE && before.checked_add(step) == Some(*place);
        if !before.iter().zip(pixel).all(follows) {
            return None;
        }
        (before, n_pixels) = (pixel, n_pixels + 1);
    }
    (n_pixels == PIXELS).then_some(step)
}

/// The same for fewer channels than a register has lanes.
fn weigh_few_channels<T: Element>(
    input: &[T],
    places: &[usize],
    weights: &[T],
    bias: &[T],
    finish: Finish<'_, T>,
    gate: &[T],
    stride: usize,
    output: &mut [MaybeUninit<T>],
) {
    let n_channels = bias.len();
    let n_taps = weights.len() / n_channels;
    let pixels = output.chunks_exact_mut(n_channels).step_by(stride);
    for (nth, (pixel, places)) in pixels.zip(places.chunks_exact(n_taps)).enumerate() {
        for (channel, output) in pixel.iter_mut().enumerate() {
            let taps = weights.chunks_exact(n_channels).zip(places).filter(|(_, place)| **place != OUTSIDE);
            let sum = taps.fold(bias[channel], |sum, (weights, place)| sum + input[place + channel] * weights[channel]);
            output.write(finish.of(sum, gate.get(nth * stride * n_channels + channel).copied()));
        }
    }
}

struct WeighTaps<'a, T> {
    /// `[pixel, tap]`
    taps: &'a [*const T],
    /// For each [`PIXELS`] pixels [`step_between`] them.
    groups: Vec<Option<usize>>,
    n_taps: usize,
    weights: &'a [T],
    bias: &'a [T],
    finish: Finish<'a, T>,
    gate: &'a [T],
    /// From one pixel of the output to the next, in pixels.
    stride: usize,
    output: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Loop<T> for WeighTaps<'_, T> {
    /// # Safety
    /// Each tap must point to as many numbers as there are channels, and those fill a register at least.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let n_channels = self.bias.len();
        let n_pixels = self.taps.len() / self.n_taps;
        let output = self.output.as_mut_ptr().cast();
        let mut channel = 0;
        // SAFETY: registers end within the channels of every tap, weight, bias and pixel.
        unsafe {
            while channel + 2 * L::WIDTH <= n_channels {
                self.all_pixels::<L, 2>(n_pixels, channel, output);
                channel += 2 * L::WIDTH;
            }
            while channel < n_channels {
                // The last register overlaps the one before where the channels do not come out even.
                self.all_pixels::<L, 1>(n_pixels, channel.min(n_channels - L::WIDTH), output);
                channel += L::WIDTH;
            }
        }
    }
}

impl<T: Element> WeighTaps<'_, T> {
    /// `V` registers of channels of all pixels.
    ///
    /// # Safety
    /// As [`WeighTaps::run`], with so many channels from `channel` on.
    #[inline(always)]
    unsafe fn all_pixels<L: Lanes<Number = T>, const V: usize>(&self, n_pixels: usize, channel: usize, output: *mut T) {
        // SAFETY: the caller's word; a group with a step has all its pixels.
        unsafe {
            for (group, step) in self.groups.iter().enumerate() {
                let first = group * PIXELS;
                if let Some(step) = *step {
                    self.weigh::<L, PIXELS, V>(first, channel, output, |taps, tap, pixel| {
                        (*taps.add(tap)).wrapping_add(pixel * step)
                    });
                    continue;
                }
                for pixel in first..n_pixels.min(first + PIXELS) {
                    self.weigh::<L, 1, V>(pixel, channel, output, |taps, tap, _| *taps.add(tap));
                }
            }
        }
    }

    /// `V` registers of channels of `N` pixels, whose taps `at` finds from those of the first pixel.
    ///
    /// # Safety
    /// As [`WeighTaps::all_pixels`].
    #[inline(always)]
    unsafe fn weigh<L: Lanes<Number = T>, const N: usize, const V: usize>(
        &self,
        first: usize,
        channel: usize,
        output: *mut T,
        at: impl Fn(*const *const T, usize, usize) -> *const T,
    ) {
        let (n_channels, n_taps) = (self.bias.len(), self.n_taps);
        // SAFETY: the caller's word.
        unsafe {
            let taps = self.taps.as_ptr().add(first * n_taps);
            let bias: [L::Vector; V] = std::array::from_fn(|v| L::load(self.bias.as_ptr().add(channel + v * L::WIDTH)));
            let mut sums = [bias; N];
            for tap in 0..n_taps {
                let weights = self.weights.as_ptr().add(tap * n_channels + channel);
                let weights: [L::Vector; V] = std::array::from_fn(|v| L::load(weights.add(v * L::WIDTH)));
                for pixel in 0..N {
                    let input = at(taps, tap, pixel).add(channel);
                    for v in 0..V {
                        sums[pixel][v] = L::multiply_add(L::load(input.add(v * L::WIDTH)), weights[v], sums[pixel][v]);
                    }
                }
            }
            for (pixel, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    let at = (first + pixel) * self.stride * n_channels + channel + v * L::WIDTH;
                    let gate = self.finish.gate.map(|gate| (self.gate.as_ptr().add(at), gate.bounds));
                    L::store(output.add(at), Finish::of_register::<L>(self.finish.clamp, gate, sum));
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
        for (n_channels, n_pixels) in [(1, 3), (7, 5), (8, 4), (15, 9), (16, 6), (17, 3), (40, 11)] {
            let n_taps = 3;
            let input: Vec<f32> = (0..20 * n_channels).map(|i| (i % 13) as f32 - 6.0).collect();
            let weights: Vec<f32> = (0..n_taps * n_channels).map(|i| (i % 7) as f32 - 3.0).collect();
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
            let mut output = unwritten(n_pixels * n_channels);
            let finish = Finish::clamp(Clamp { low: -5.0, high: 30.0 });
            weigh_taps(&input, &places, &weights, &bias, finish, &[], 1, &mut output);
            // SAFETY: pixels lie side by side, so that all are written.
            let output = unsafe { written(output) };
            for pixel in 0..n_pixels {
                for channel in 0..n_channels {
                    let mut expected = bias[channel];
                    for tap in 0..n_taps {
                        let place = places[pixel * n_taps + tap];
                        let number = if place == OUTSIDE { 0.0 } else { input[place + channel] };
                        expected += number * weights[tap * n_channels + channel];
                    }
                    assert_eq!(output[pixel * n_channels + channel], expected.clamp(-5.0, 30.0));
                }
            }
        }
    }
}
