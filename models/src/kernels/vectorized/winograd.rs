//! The transforms of Winograd's minimal filtering for kernels of 3 × 3, over channels-last pixels (Lavin and Gray 2016,
//! section 4).

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::finish::{Clamp, Finish};
use super::lanes::{BYTES_OF_LINE, Lanes};
use super::run::Loop;
use super::unwritten::written_part;
use crate::element::Element;

/// Rows and columns of pixels that the largest tile reads.
pub(crate) const MOST_READ: usize = 6;

/// Rows and columns of pixels that the largest tile gives.
const MOST_GIVEN: usize = 4;

/// A tile's size, and the transforms `Bᵀ`, `G` and `Aᵀ` along one of its axes. Lines are as long as the largest tile's;
/// what a smaller one does not have is neither read nor written.
pub(crate) trait Tile {
    /// Rows and columns of pixels that it gives.
    const GIVES: usize;

    /// `Bᵀ d` of a line of pixels.
    ///
    /// # Safety
    /// That of [`Lanes`].
    unsafe fn input_line<L: Lanes>(pixels: [L::Vector; MOST_READ]) -> [L::Vector; MOST_READ];

    /// `G g` of a line of a kernel.
    fn kernel_line(kernel: [f64; 3]) -> [f64; MOST_READ];

    /// `Aᵀ m` of a line of points.
    ///
    /// # Safety
    /// That of [`Lanes`].
    unsafe fn output_line<L: Lanes>(points: [L::Vector; MOST_READ]) -> [L::Vector; MOST_GIVEN];
}

/// What follows of a tile's size; loops rely on it.
pub(crate) trait Sides {
    /// Rows and columns of pixels that it reads.
    const READS: usize;
    /// Numbers of its transform.
    const POINTS: usize;
}

impl<S: Tile> Sides for S {
    const READS: usize = S::GIVES + 2;
    const POINTS: usize = Self::READS * Self::READS;
}

/// `F(2×2, 3×3)`: the points of interpolation are 0, 1, -1 and ∞.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TwoByTwo;

impl Tile for TwoByTwo {
    const GIVES: usize = 2;

    #[inline(always)]
    unsafe fn input_line<L: Lanes>([a, b, c, d, zero, _]: [L::Vector; MOST_READ]) -> [L::Vector; MOST_READ] {
        // SAFETY: the caller's word.
        unsafe { [subtract::<L>(a, c), add::<L>(b, c), subtract::<L>(c, b), subtract::<L>(b, d), zero, zero] }
    }

    fn kernel_line([a, b, c]: [f64; 3]) -> [f64; MOST_READ] {
        let (outer, middle) = ((a + c) / 2.0, b / 2.0);
        [a, outer + middle, outer - middle, c, 0.0, 0.0]
    }

    #[inline(always)]
    unsafe fn output_line<L: Lanes>([a, b, c, d, zero, _]: [L::Vector; MOST_READ]) -> [L::Vector; MOST_GIVEN] {
        // SAFETY: the caller's word.
        unsafe {
            let (sum, difference) = (add::<L>(b, c), subtract::<L>(b, c));
            [add::<L>(a, sum), subtract::<L>(difference, d), zero, zero]
        }
    }
}

/// `F(4×4, 3×3)`: the points of interpolation are 0, ±√½, ±√2 and ∞, with which rounding grows less than half as much as
/// with the usual 0, ±1, ±2 and ∞ (Barabasz et al. 2020 compare many).
#[derive(Clone, Copy, Debug)]
pub(crate) struct FourByFour;

impl Tile for FourByFour {
    const GIVES: usize = 4;

    #[inline(always)]
    unsafe fn input_line<L: Lanes>([a, b, c, d, e, f]: [L::Vector; MOST_READ]) -> [L::Vector; MOST_READ] {
        use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};
        // SAFETY: the caller's word.
        unsafe {
            let times = |factor: f64, vector, plus| L::multiply_add(vector, L::splat(L::Number::of(factor)), plus);
            let (even_near, odd_near) = (times(-2.0, c, e), times(-2.0, b, d));
            let (even_far, odd_far) = (times(-0.5, c, e), times(-0.5, b, d));
            [
                times(-2.5, c, add::<L>(a, e)),
                times(FRAC_1_SQRT_2, odd_near, even_near),
                times(-FRAC_1_SQRT_2, odd_near, even_near),
                times(SQRT_2, odd_far, even_far),
                times(-SQRT_2, odd_far, even_far),
                times(-2.5, d, add::<L>(b, f)),
            ]
        }
    }

    fn kernel_line([a, b, c]: [f64; 3]) -> [f64; MOST_READ] {
        use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};
        let (near, far) = (-(a + c / 2.0) / 1.5, (a + 2.0 * c) / 6.0);
        let (near_odd, far_odd) = (-b * FRAC_1_SQRT_2 / 1.5, b * SQRT_2 / 6.0);
        [a, near + near_odd, near - near_odd, far + far_odd, far - far_odd, c]
    }

    #[inline(always)]
    unsafe fn output_line<L: Lanes>([a, b, c, d, e, f]: [L::Vector; MOST_READ]) -> [L::Vector; MOST_GIVEN] {
        use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};
        // SAFETY: the caller's word.
        unsafe {
            let times = |factor: f64, vector, plus| L::multiply_add(vector, L::splat(L::Number::of(factor)), plus);
            let (near, near_odd) = (add::<L>(b, c), subtract::<L>(b, c));
            let (far, far_odd) = (add::<L>(d, e), subtract::<L>(d, e));
            let none = L::splat(L::Number::of(0.0));
            [
                add::<L>(a, add::<L>(near, far)),
                times(FRAC_1_SQRT_2, near_odd, times(SQRT_2, far_odd, none)),
                times(0.5, near, times(2.0, far, none)),
                times(FRAC_1_SQRT_2 / 2.0, near_odd, times(2.0 * SQRT_2, far_odd, f)),
            ]
        }
    }
}

/// `a + b`
///
/// # Safety
/// That of [`Lanes`].
#[inline(always)]
unsafe fn add<L: Lanes>(a: L::Vector, b: L::Vector) -> L::Vector {
    // SAFETY: the caller's word.
    unsafe { L::multiply_add(a, L::splat(L::Number::of(1.0)), b) }
}

/// `a - b`
///
/// # Safety
/// That of [`Lanes`].
#[inline(always)]
unsafe fn subtract<L: Lanes>(a: L::Vector, b: L::Vector) -> L::Vector {
    // SAFETY: the caller's word.
    unsafe { L::multiply_add(b, L::splat(L::Number::of(-1.0)), a) }
}

/// How far apart points of so many numbers lie: an odd number of cache lines, since points a power of two apart would
/// share a few sets of a cache that holds all others empty.
pub(crate) fn apart<T>(n: usize) -> usize {
    let lines = (n * size_of::<T>()).div_ceil(BYTES_OF_LINE);
    (lines + 1 - lines % 2) * BYTES_OF_LINE / size_of::<T>()
}

/// The pixels that a row of tiles reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PixelRows<'a, T> {
    pub(crate) input: &'a [T],
    /// Where each of the rows of pixels begins that a tile reads, or nothing for a row of zeros.
    pub(crate) rows: [Option<usize>; MOST_READ],
    /// Pixels of a row, and those that are zero before its first.
    pub(crate) columns: usize,
    pub(crate) padding: usize,
    pub(crate) channels: usize,
}

/// `V = Bᵀ d B` of every tile of a row, channel by channel; there must be channels enough for a register.
///
/// # Shapes
/// - `points`: `[point, tile, channel]`, points as far [`apart`] as is said there; returns them written
pub(crate) fn transform_input<'p, T: Element, S: Tile>(
    pixels: &PixelRows<'_, T>,
    n_tiles: usize,
    points: &'p mut [MaybeUninit<T>],
) -> &'p [T] {
    let PixelRows { input, rows, columns, channels, .. } = *pixels;
    let (of_point, apart) = (n_tiles * channels, apart::<T>(n_tiles * channels));
    assert!(channels >= T::width() && points.len() == S::POINTS * apart, "room for every point");
    assert!(rows.iter().flatten().all(|row| row + columns * channels <= input.len()), "rows lie in the input");
    for point in points.chunks_exact_mut(apart) {
        point[of_point..].fill(MaybeUninit::new(T::zero()));
    }
    let zeros = vec![T::zero(); channels];
    // SAFETY: every row has as many pixels as it says, and there is room for all points, of which the transform writes
    // what was not filled just now.
    unsafe {
        let (zeros, target) = (&zeros[..], points.as_mut_ptr().cast());
        T::vectorized(InputTransform { pixels, zeros, n_tiles, apart, points: target, tile: PhantomData::<S> });
        written_part(points)
    }
}

struct InputTransform<'a, T, S> {
    pixels: &'a PixelRows<'a, T>,
    /// A pixel of zeros.
    zeros: &'a [T],
    n_tiles: usize,
    apart: usize,
    points: *mut T,
    tile: PhantomData<S>,
}

impl<T: Element, S: Tile> Loop<T> for InputTransform<'_, T, S> {
    /// # Safety
    /// The rows must lie in the input, channels fill a register, and points have room for every tile.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let &PixelRows { input, rows, columns, padding, channels } = self.pixels;
        // SAFETY: only pixels within the rows are pointed to, or the one of zeros; `channel + WIDTH` is within the
        // channels of every pixel and point.
        unsafe {
            for tile in 0..self.n_tiles {
                let places: [Option<usize>; MOST_READ] = std::array::from_fn(|column| {
                    (S::GIVES * tile + column).checked_sub(padding).filter(|&place| place < columns)
                });
                let pixels: [[*const T; MOST_READ]; MOST_READ] = std::array::from_fn(|row| {
                    places.map(|place| match (rows[row], place) {
                        (Some(row), Some(place)) => input.as_ptr().add(row + place * channels),
                        _ => self.zeros.as_ptr(),
                    })
                });
                for first in (0..channels).step_by(L::WIDTH) {
                    let channel = first.min(channels - L::WIDTH);
                    // Rows of the tile, then columns of what they became.
                    let mut lines = [[L::splat(T::zero()); MOST_READ]; MOST_READ];
                    for column in 0..S::READS {
                        let mut pixel = [L::splat(T::zero()); MOST_READ];
                        for row in 0..S::READS {
                            pixel[row] = L::load(pixels[row][column].add(channel));
                        }
                        let line = S::input_line::<L>(pixel);
                        for row in 0..S::READS {
                            lines[row][column] = line[row];
                        }
                    }
                    for row in 0..S::READS {
                        let line = S::input_line::<L>(lines[row]);
                        for column in 0..S::READS {
                            let at = (S::READS * row + column) * self.apart + tile * channels + channel;
                            L::store(self.points.add(at), line[column]);
                        }
                    }
                }
            }
        }
    }
}

/// Some tiles of all those whose points lie together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiles<'a, T> {
    /// `[point, tile, channel]`, each point by itself
    pub(crate) points: &'a [&'a [T]],
    pub(crate) first: usize,
    pub(crate) n: usize,
}

/// `Y = Aᵀ M A` of a row of tiles, with the bias added and finished.
///
/// # Shapes
/// - `bias`: `[channel]`, at least a register of them
/// - `output`: `[row of pixels, column, channel]`, as many rows as a tile gives or fewer, of so many columns, all of
///   which are written; it begins at `place` of all that is finished
pub(crate) fn transform_output<T: Element, S: Tile>(
    tiles: Tiles<'_, T>,
    bias: &[T],
    columns: usize,
    (finish, place): (Finish<'_, T>, usize),
    output: &mut [MaybeUninit<T>],
) {
    let (channels, row) = (bias.len(), columns * bias.len());
    let rows = output.len() / row;
    assert!(
        channels >= T::width() && tiles.n == columns.div_ceil(S::GIVES),
        "channels for a register, tiles for the columns"
    );
    assert!((1..=S::GIVES).contains(&rows) && output.len() == rows * row, "no more rows of pixels than a tile's");
    let end = (tiles.first + tiles.n) * channels;
    assert!(tiles.points.len() == S::POINTS, "all points of a tile");
    assert!(tiles.points.iter().all(|point| end <= point.len()), "points for every tile");
    let gate = finish.gate.map(|gate| (gate.at(place, output.len()).as_ptr(), gate.bounds));
    // Columns beyond the last, and rows that there are not, are computed and left out.
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
        tile: PhantomData::<S>,
    };
    // SAFETY: there are points for every tile, and the output and what gates it have `rows` times `columns` pixels.
    unsafe { T::vectorized(job) };
}

struct OutputTransform<'a, T, S> {
    tiles: Tiles<'a, T>,
    bias: &'a [T],
    columns: usize,
    rows: usize,
    clamp: Clamp<T>,
    gate: Option<(*const T, Clamp<T>)>,
    output: *mut T,
    /// Room for a pixel that is not wanted.
    beside: &'a mut [T],
    tile: PhantomData<S>,
}

impl<T: Element, S: Tile> Loop<T> for OutputTransform<'_, T, S> {
    /// # Safety
    /// There must be points for every tile, and `rows` times `columns` pixels of output and gate; channels fill a register.
    #[inline(always)]
    unsafe fn run<L: Lanes<Number = T>>(self) {
        let channels = self.bias.len();
        let beside = self.beside.as_mut_ptr();
        // SAFETY: `channel + WIDTH` is within the channels of every point, pixel and the bias, and there are all points
        // of a tile; pixels outside the output go beside it, gated by any other.
        unsafe {
            let one = L::splat(T::one());
            for tile in 0..self.tiles.n {
                let places: [[Option<usize>; MOST_GIVEN]; MOST_GIVEN] = std::array::from_fn(|row| {
                    std::array::from_fn(|column| {
                        let column = S::GIVES * tile + column;
                        (row < self.rows && column < self.columns).then_some((row * self.columns + column) * channels)
                    })
                });
                let first_of_tile = (self.tiles.first + tile) * channels;
                for first in (0..channels).step_by(L::WIDTH) {
                    let channel = first.min(channels - L::WIDTH);
                    let mut lines = [[L::splat(T::zero()); MOST_READ]; MOST_GIVEN];
                    for column in 0..S::READS {
                        let mut points = [L::splat(T::zero()); MOST_READ];
                        for row in 0..S::READS {
                            let point = self.tiles.points.get_unchecked(S::READS * row + column);
                            points[row] = L::load(point.as_ptr().add(first_of_tile + channel));
                        }
                        let line = S::output_line::<L>(points);
                        for row in 0..S::GIVES {
                            lines[row][column] = line[row];
                        }
                    }
                    let bias = L::load(self.bias.as_ptr().add(channel));
                    for row in 0..S::GIVES {
                        let line = S::output_line::<L>(lines[row]);
                        for column in 0..S::GIVES {
                            let sum = L::multiply_add(line[column], one, bias);
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
