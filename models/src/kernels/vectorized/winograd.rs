//! The transforms of Winograd's minimal filtering `F(2×2, 3×3)`, over channels-last pixels.
//!
//! With `Bᵀ = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1]` and `Aᵀ = [1 1 1 0; 0 1 -1 -1]` (Lavin and Gray 2016, section 4.1).

use std::mem::MaybeUninit;

use super::finish::{Clamp, Finish};
use super::lanes::Lanes;
use super::run::Loop;
use super::unwritten::written_part;
use crate::element::Element;

/// Numbers of a tile's transform.
pub(crate) const POINTS: usize = 16;

/// Rows and columns of pixels that a tile reads.
const SIDE: usize = 4;

/// How far apart points of so many numbers lie: an odd number of cache lines, since points a power of two apart would
/// share a few sets of a cache that holds all others empty.
pub(crate) fn apart<T>(n: usize) -> usize {
    const LINE: usize = 64;
    let lines = (n * size_of::<T>()).div_ceil(LINE);
    (lines + 1 - lines % 2) * LINE / size_of::<T>()
}

/// The pixels that a row of tiles reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PixelRows<'a, T> {
    pub(crate) input: &'a [T],
    /// Where each of the four rows of pixels begins, or nothing for a row of zeros.
    pub(crate) rows: [Option<usize>; SIDE],
    /// Pixels of a row, and those that are zero before its first.
    pub(crate) columns: usize,
    pub(crate) padding: usize,
    pub(crate) channels: usize,
}

/// `V = Bᵀ d B` of every tile of a row, channel by channel; there must be channels enough for a register.
///
/// # Shapes
/// - `points`: `[point, tile, channel]`, points as far [`apart`] as is said there; returns them written
pub(crate) fn transform_input<'p, T: Element>(
    pixels: &PixelRows<'_, T>,
    n_tiles: usize,
    points: &'p mut [MaybeUninit<T>],
) -> &'p [T] {
    let PixelRows { input, rows, columns, channels, .. } = *pixels;
    let (of_point, apart) = (n_tiles * channels, apart::<T>(n_tiles * channels));
    assert!(channels >= T::width() && points.len() == POINTS * apart, "room for every point");
    assert!(rows.iter().flatten().all(|row| row + columns * channels <= input.len()), "rows lie in the input");
    for point in points.chunks_exact_mut(apart) {
        point[of_point..].fill(MaybeUninit::new(T::zero()));
    }
    let zeros = vec![T::zero(); channels];
    // SAFETY: every row has as many pixels as it says, and there is room for all points, of which the transform writes
    // what was not filled just now.
    unsafe {
        T::vectorized(InputTransform { pixels, zeros: &zeros, n_tiles, apart, points: points.as_mut_ptr().cast() });
        written_part(points)
    }
}

struct InputTransform<'a, T> {
    pixels: &'a PixelRows<'a, T>,
    /// A pixel of zeros.
    zeros: &'a [T],
    n_tiles: usize,
    apart: usize,
    points: *mut T,
}

impl<T: Element> Loop<T> for InputTransform<'_, T> {
    /// # Safety
    /// The rows must lie in the input, channels fill a register, and points have room for every tile.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let &PixelRows { input, rows, columns, padding, channels } = self.pixels;
        // SAFETY: only pixels within the rows are pointed to, or the one of zeros; `channel + WIDTH` is within the
        // channels of every pixel and point.
        unsafe {
            for tile in 0..self.n_tiles {
                let places: [Option<usize>; SIDE] = std::array::from_fn(|column| {
                    (2 * tile + column).checked_sub(padding).filter(|&place| place < columns)
                });
                let pixels: [[*const T; SIDE]; SIDE] = std::array::from_fn(|row| {
                    places.map(|place| match (rows[row], place) {
                        (Some(row), Some(place)) => input.as_ptr().add(row + place * channels),
                        _ => self.zeros.as_ptr(),
                    })
                });
                for first in (0..channels).step_by(L::WIDTH) {
                    let channel = first.min(channels - L::WIDTH);
                    // Rows of the tile, then columns of what they became.
                    let mut lines = [[L::splat(T::zero()); SIDE]; SIDE];
                    for column in 0..SIDE {
                        let mut pixel = [L::splat(T::zero()); SIDE];
                        for row in 0..SIDE {
                            pixel[row] = L::load(pixels[row][column].add(channel));
                        }
                        lines[column] = input_line::<L>(pixel);
                    }
                    for row in 0..SIDE {
                        let of_row = input_line::<L>([lines[0][row], lines[1][row], lines[2][row], lines[3][row]]);
                        for column in 0..SIDE {
                            let at = (SIDE * row + column) * self.apart + tile * channels + channel;
                            L::store(self.points.add(at), of_row[column]);
                        }
                    }
                }
            }
        }
    }
}

/// `Bᵀ d` of a line of pixels.
///
/// # Safety
/// That of [`Lanes`].
#[inline(always)]
unsafe fn input_line<L: Lanes>(d: [L::Vector; SIDE]) -> [L::Vector; SIDE] {
    // SAFETY: the caller's word.
    unsafe {
        let (one, minus) = (L::splat(L::Number::of(1.0)), L::splat(L::Number::of(-1.0)));
        [
            L::multiply_add(d[2], minus, d[0]),
            L::multiply_add(d[1], one, d[2]),
            L::multiply_add(d[1], minus, d[2]),
            L::multiply_add(d[3], minus, d[1]),
        ]
    }
}

/// `Aᵀ m` of a line of points.
///
/// # Safety
/// That of [`Lanes`].
#[inline(always)]
unsafe fn output_line<L: Lanes>(m: [L::Vector; SIDE]) -> [L::Vector; 2] {
    // SAFETY: the caller's word.
    unsafe {
        let (one, minus) = (L::splat(L::Number::of(1.0)), L::splat(L::Number::of(-1.0)));
        let sum = L::multiply_add(m[1], one, m[2]);
        let difference = L::multiply_add(m[2], minus, m[1]);
        [L::multiply_add(m[0], one, sum), L::multiply_add(m[3], minus, difference)]
    }
}

/// Some tiles of all those whose points lie together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiles<'a, T> {
    /// `[point, tile, channel]`, each point by itself
    pub(crate) points: &'a [&'a [T]; POINTS],
    pub(crate) first: usize,
    pub(crate) n: usize,
}

/// `Y = Aᵀ M A` of a row of tiles, with the bias added and finished.
///
/// # Shapes
/// - `bias`: `[channel]`, at least a register of them
/// - `output`: `[row of pixels, column, channel]`, one row or two of so many columns, all of which are written; it
///   begins at `place` of all that is finished
pub(crate) fn transform_output<T: Element>(
    tiles: Tiles<'_, T>,
    bias: &[T],
    columns: usize,
    (finish, place): (Finish<'_, T>, usize),
    output: &mut [MaybeUninit<T>],
) {
    let (channels, row) = (bias.len(), columns * bias.len());
    let rows = output.len() / row;
    assert!(channels >= T::width() && tiles.n == columns.div_ceil(2), "channels for a register, tiles for the columns");
    assert!((rows == 1 || rows == 2) && output.len() == rows * row, "one row of pixels or two");
    let end = (tiles.first + tiles.n) * channels;
    assert!(tiles.points.iter().all(|point| end <= point.len()), "points for every tile");
    let gate = finish.gate.map(|gate| (gate.at(place, output.len()).as_ptr(), gate.bounds));
    // An odd last column, and a row that there is not, are computed and left out.
    let mut beside = vec![T::zero(); channels];
    let job = OutputTransform {
        tiles,
        bias,
        columns,
        rows,
        clamp: finish.clamp,
        gate,
        output: output.as_mut_ptr().cast(),
        beside: &mut beside,
    };
    // SAFETY: there are points for every tile, and the output and what gates it have `rows` times `columns` pixels.
    unsafe { T::vectorized(job) };
}

struct OutputTransform<'a, T> {
    tiles: Tiles<'a, T>,
    bias: &'a [T],
    columns: usize,
    rows: usize,
    clamp: Clamp<T>,
    gate: Option<(*const T, Clamp<T>)>,
    output: *mut T,
    /// Room for a pixel that is not wanted.
    beside: &'a mut [T],
}

impl<T: Element> Loop<T> for OutputTransform<'_, T> {
    /// # Safety
    /// There must be points for every tile, and `rows` times `columns` pixels of output and gate; channels fill a register.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let channels = self.bias.len();
        let beside = self.beside.as_mut_ptr();
        // SAFETY: `channel + WIDTH` is within the channels of every point, pixel and the bias; pixels outside the output
        // go beside it, gated by any other.
        unsafe {
            let one = L::splat(T::one());
            for tile in 0..self.tiles.n {
                let places: [[Option<usize>; 2]; 2] = std::array::from_fn(|row| {
                    std::array::from_fn(|column| {
                        let column = 2 * tile + column;
                        (row < self.rows && column < self.columns).then_some((row * self.columns + column) * channels)
                    })
                });
                let first_of_tile = (self.tiles.first + tile) * channels;
                for first in (0..channels).step_by(L::WIDTH) {
                    let channel = first.min(channels - L::WIDTH);
                    let mut lines = [[L::splat(T::zero()); 2]; SIDE];
                    for column in 0..SIDE {
                        let mut points = [L::splat(T::zero()); SIDE];
                        for row in 0..SIDE {
                            let point = self.tiles.points[SIDE * row + column];
                            points[row] = L::load(point.as_ptr().add(first_of_tile + channel));
                        }
                        lines[column] = output_line::<L>(points);
                    }
                    let bias = L::load(self.bias.as_ptr().add(channel));
                    for row in 0..2 {
                        let of_row = output_line::<L>([lines[0][row], lines[1][row], lines[2][row], lines[3][row]]);
                        for column in 0..2 {
                            let sum = L::multiply_add(of_row[column], one, bias);
                            let place = places[row][column];
                            let target = place.map_or(beside, |place| self.output.add(place)).add(channel);
                            let gate =
                                self.gate.map(|(values, bounds)| (values.add(place.unwrap_or(0) + channel), bounds));
                            L::store(target, Finish::of_register::<L>(self.clamp, gate, sum));
                        }
                    }
                }
            }
        }
    }
}
