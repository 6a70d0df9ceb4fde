//! The transforms of Winograd's minimal filtering `F(2×2, 3×3)`, over channels-last pixels.
//!
//! With `Bᵀ = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1]` and `Aᵀ = [1 1 1 0; 0 1 -1 -1]` (Lavin and Gray 2016, section 4.1).

use super::finish::Finish;
use super::lanes::Lanes;
use super::run::Loop;
use super::taps::OUTSIDE;
use crate::element::Element;

/// Numbers of a tile's transform.
pub(crate) const POINTS: usize = 16;

/// Pixels of a tile's input, and of its output.
pub(crate) const PIXELS_IN: usize = 16;
pub(crate) const PIXELS_OUT: usize = 4;

/// `V = Bᵀ d B` of every tile, channel by channel; there must be channels enough for a register.
///
/// # Shapes
/// - `places`: for each tile where its 4 × 4 pixels begin in `input`, or [`OUTSIDE`]
/// - `points`: `[point, tile, channel]`
pub(crate) fn transform_input<T: Element>(
    input: &[T],
    places: &[[usize; PIXELS_IN]],
    channels: usize,
    points: &mut [T],
) {
    assert!(channels >= T::width() && points.len() == POINTS * places.len() * channels, "room for every point");
    let zeros = vec![T::zero(); channels];
    let at = |place: usize| if place == OUTSIDE { zeros.as_ptr() } else { input[place..place + channels].as_ptr() };
    let pixels: Vec<[*const T; PIXELS_IN]> = places.iter().map(|tile| tile.map(at)).collect();
    // SAFETY: every pixel points to as many numbers as there are channels, and there is room for all points.
    unsafe { T::vectorized(InputTransform { pixels: &pixels, channels, points }) };
}

struct InputTransform<'a, T> {
    pixels: &'a [[*const T; PIXELS_IN]],
    channels: usize,
    points: &'a mut [T],
}

impl<T: Element> Loop<T> for InputTransform<'_, T> {
    /// # Safety
    /// Every pixel must have as many numbers as there are channels, at least a register.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let of_point = self.pixels.len() * self.channels;
        let points = self.points.as_mut_ptr();
        // SAFETY: `channel + WIDTH` is within the channels of every pixel and point.
        unsafe {
            let minus = L::splat(-T::one());
            let one = L::splat(T::one());
            let line = |d: [L::Vector; 4]| {
                [
                    L::multiply_add(d[2], minus, d[0]),
                    L::multiply_add(d[1], one, d[2]),
                    L::multiply_add(d[1], minus, d[2]),
                    L::multiply_add(d[3], minus, d[1]),
                ]
            };
            for (tile, pixels) in self.pixels.iter().enumerate() {
                for first in (0..self.channels).step_by(L::WIDTH) {
                    let channel = first.min(self.channels - L::WIDTH);
                    let load = |pixel: usize| L::load(pixels[pixel].add(channel));
                    // Rows of the tile, then columns of what they became.
                    let rows: [[L::Vector; 4]; 4] = std::array::from_fn(|column| {
                        line([load(column), load(4 + column), load(8 + column), load(12 + column)])
                    });
                    for row in 0..4 {
                        let of_row = line([rows[0][row], rows[1][row], rows[2][row], rows[3][row]]);
                        for column in 0..4 {
                            let at = (4 * row + column) * of_point + tile * self.channels + channel;
                            L::store(points.add(at), of_row[column]);
                        }
                    }
                }
            }
        }
    }
}

/// `Y = Aᵀ M A` of every tile, with the bias added and finished.
///
/// # Shapes
/// - `points`: `[point, tile, channel]`, `bias`: `[channel]`
/// - `store(tile, pixel, numbers)` is given each pixel's channels
pub(crate) fn transform_output<T: Element>(
    points: &[T],
    bias: &[T],
    finish: Finish<'_, T>,
    mut store: impl FnMut(usize, usize, &[T]),
) {
    let channels = bias.len();
    let n_tiles = points.len() / POINTS / channels;
    assert!(channels >= T::width() && points.len() == POINTS * n_tiles * channels, "whole tiles");
    let mut pixels = vec![T::zero(); PIXELS_OUT * channels];
    for tile in 0..n_tiles {
        let job = OutputTransform { points, n_tiles, tile, bias, clamp: finish, pixels: &mut pixels };
        // SAFETY: there are points and pixels for every channel, and those fill a register.
        unsafe { T::vectorized(job) };
        pixels.chunks_exact(channels).enumerate().for_each(|(pixel, numbers)| store(tile, pixel, numbers));
    }
}

struct OutputTransform<'a, T> {
    points: &'a [T],
    n_tiles: usize,
    tile: usize,
    bias: &'a [T],
    clamp: Finish<'a, T>,
    /// `[pixel, channel]`
    pixels: &'a mut [T],
}

impl<T: Element> Loop<T> for OutputTransform<'_, T> {
    /// # Safety
    /// There must be points and pixels for every channel, at least a register of them.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let channels = self.bias.len();
        let of_point = self.n_tiles * channels;
        let pixels = self.pixels.as_mut_ptr();
        // SAFETY: `channel + WIDTH` is within the channels of every point, pixel and the bias.
        unsafe {
            let (one, minus) = (L::splat(T::one()), L::splat(-T::one()));
            let line = |m: [L::Vector; 4]| {
                let sum = L::multiply_add(m[1], one, m[2]);
                let difference = L::multiply_add(m[2], minus, m[1]);
                [L::multiply_add(m[0], one, sum), L::multiply_add(m[3], minus, difference)]
            };
            let (low, high) = (L::splat(self.clamp.clamp.low), L::splat(self.clamp.clamp.high));
            for first in (0..channels).step_by(L::WIDTH) {
                let channel = first.min(channels - L::WIDTH);
                let load =
                    |point: usize| L::load(self.points.as_ptr().add(point * of_point + self.tile * channels + channel));
                let rows: [[L::Vector; 2]; 4] = std::array::from_fn(|column| {
                    line([load(column), load(4 + column), load(8 + column), load(12 + column)])
                });
                let bias = L::load(self.bias.as_ptr().add(channel));
                for row in 0..2 {
                    let of_row = line([rows[0][row], rows[1][row], rows[2][row], rows[3][row]]);
                    for column in 0..2 {
                        let sum = L::multiply_add(of_row[column], one, bias);
                        let at = (2 * row + column) * channels + channel;
                        L::store(pixels.add(at), L::at_most(L::at_least(sum, low), high));
                    }
                }
            }
        }
    }
}
