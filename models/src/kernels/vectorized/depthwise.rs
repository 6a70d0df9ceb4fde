//! Sums over taps in which every channel has weights of its own: depthwise convolutions and their gradients.

use super::lanes::Lanes;
use super::run::Loop;
use super::taps::{Clamp, OUTSIDE};
use crate::element::Element;

/// Pixels whose sums are kept in registers together, so that each weight is read once for all of them.
const PIXELS: usize = 4;

/// `output[pixel, channel] = clamp(bias[channel] + Σ_tap input[places[pixel, tap] + channel] · weights[tap, channel])`
///
/// # Shapes
/// - `places`: `[pixel, tap]`, [`OUTSIDE`] where a tap has no pixel; `weights`: `[tap, channel]`, `bias`: `[channel]`
/// - `output`: `[pixel, channel]`
pub(crate) fn weigh_taps<T: Element>(
    input: &[T],
    places: &[usize],
    weights: &[T],
    bias: &[T],
    clamp: Clamp<T>,
    output: &mut [T],
) {
    let n_channels = bias.len();
    let n_taps = weights.len() / n_channels;
    let n_pixels = places.len() / n_taps;
    assert!(weights.len() == n_taps * n_channels && places.len() == n_pixels * n_taps, "weights and places do not fit");
    assert_eq!(output.len(), n_pixels * n_channels, "an output for each pixel");
    if n_channels < T::width() {
        return weigh_few_channels(input, places, weights, bias, clamp, output);
    }
    let zeros = vec![T::zero(); n_channels];
    let tap_at = |&place: &usize| match place {
        OUTSIDE => zeros.as_ptr(),
        place => input[place..place + n_channels].as_ptr(),
    };
    let taps: Vec<*const T> = places.iter().map(tap_at).collect();
    let job = WeighTaps { taps: &taps, n_taps, weights, bias, clamp, output };
    // SAFETY: every tap points to as many numbers as there are channels, of which there are enough for a register.
    unsafe { T::vectorized(job) };
}

/// The same for fewer channels than a register has lanes.
fn weigh_few_channels<T: Element>(
    input: &[T],
    places: &[usize],
    weights: &[T],
    bias: &[T],
    clamp: Clamp<T>,
    output: &mut [T],
) {
    let n_channels = bias.len();
    let n_taps = weights.len() / n_channels;
    for (pixel, places) in output.chunks_exact_mut(n_channels).zip(places.chunks_exact(n_taps)) {
        pixel.copy_from_slice(bias);
        for (weights, &place) in weights.chunks_exact(n_channels).zip(places).filter(|(_, place)| **place != OUTSIDE) {
            let input = &input[place..place + n_channels];
            pixel.iter_mut().zip(input).zip(weights).for_each(|((sum, &x), &weight)| *sum += x * weight);
        }
        pixel.iter_mut().for_each(|sum| *sum = clamp.of(*sum));
    }
}

struct WeighTaps<'a, T> {
    /// `[pixel, tap]`
    taps: &'a [*const T],
    n_taps: usize,
    weights: &'a [T],
    bias: &'a [T],
    clamp: Clamp<T>,
    output: &'a mut [T],
}

impl<T: Element> Loop<T> for WeighTaps<'_, T> {
    /// # Safety
    /// Each tap must point to as many numbers as there are channels, and those fill a register at least.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let (n_channels, n_taps) = (self.bias.len(), self.n_taps);
        for first in (0..n_channels).step_by(L::WIDTH) {
            // The last register overlaps the one before where the channels do not come out even.
            let channel = first.min(n_channels - L::WIDTH);
            let pixels = self.output.chunks_mut(PIXELS * n_channels).zip(self.taps.chunks(PIXELS * n_taps));
            for (output, taps) in pixels {
                let output = output.as_mut_ptr();
                // SAFETY: `channel + WIDTH` is within the channels of every tap, weight, bias and output pixel.
                unsafe {
                    match taps.len() / n_taps {
                        PIXELS => {
                            weigh::<L, PIXELS>(taps, self.weights, self.bias, self.clamp, channel, output);
                        }
                        n_pixels => {
                            for pixel in 0..n_pixels {
                                let taps = &taps[pixel * n_taps..][..n_taps];
                                let output = output.add(pixel * n_channels);
                                weigh::<L, 1>(taps, self.weights, self.bias, self.clamp, channel, output);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One register of channels of `N` pixels.
///
/// # Safety
/// Taps and output must reach a register beyond `channel`.
#[inline(always)]
unsafe fn weigh<L: Lanes, const N: usize>(
    taps: &[*const L::Number],
    weights: &[L::Number],
    bias: &[L::Number],
    clamp: Clamp<L::Number>,
    channel: usize,
    output: *mut L::Number,
) {
    let (n_channels, n_taps) = (bias.len(), taps.len() / N);
    // SAFETY: the caller's word.
    unsafe {
        let mut sums = [L::load(bias.as_ptr().add(channel)); N];
        for tap in 0..n_taps {
            let weight = L::load(weights.as_ptr().add(tap * n_channels + channel));
            for pixel in 0..N {
                let input = L::load((*taps.as_ptr().add(pixel * n_taps + tap)).add(channel));
                sums[pixel] = L::multiply_add(input, weight, sums[pixel]);
            }
        }
        let (low, high) = (L::splat(clamp.low), L::splat(clamp.high));
        for (pixel, sum) in sums.into_iter().enumerate() {
            L::store(output.add(pixel * n_channels + channel), L::at_most(L::at_least(sum, low), high));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_channels_and_pixels_equals_the_definition() {
        for (n_channels, n_pixels) in [(1, 3), (7, 5), (8, 4), (15, 9), (16, 6), (17, 3), (40, 11)] {
            let n_taps = 3;
            let input: Vec<f32> = (0..20 * n_channels).map(|i| (i % 13) as f32 - 6.0).collect();
            let weights: Vec<f32> = (0..n_taps * n_channels).map(|i| (i % 7) as f32 - 3.0).collect();
            let bias: Vec<f32> = (0..n_channels).map(|i| i as f32).collect();
            let places: Vec<usize> = (0..n_pixels * n_taps)
                .map(|i| if i % 4 == 3 { OUTSIDE } else { (i * 5 % 20) * n_channels })
                .collect();
            let mut output = vec![0.0; n_pixels * n_channels];
            let clamp = Clamp { low: -5.0, high: 30.0 };
            weigh_taps(&input, &places, &weights, &bias, clamp, &mut output);
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
