//! Convolutions with kernels of 3 × 3 and stride 1 by Winograd's minimal filtering: 16 products of matrices for tiles of
//! 2 × 2 pixels, which take 4 multiplications a pixel where the definition takes 9 (Lavin and Gray 2016).
//!
//! Larger tiles would take fewer still, but their transforms amplify rounding beyond what "exact" may mean here.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::convolution::{Geometry, pixel};
use super::vectorized::finish::Finish;
use super::vectorized::taps::{Packed, TapProduct, Target, Threads};
use super::vectorized::unwritten::{unwritten, written, written_part};
use super::vectorized::winograd::{POINTS, PixelRows, Tiles, apart, transform_input, transform_output};
use crate::element::Element;
use crate::pause;

/// Weights `G g Gᵀ`, packed for each point of the transform.
#[derive(Debug)]
pub(crate) struct WinogradWeights<T> {
    points: Vec<Packed<T>>,
    bias: Vec<T>,
}

/// Whether a convolution is of the kind, and large enough that this is less work.
pub(crate) fn pays(geometry: &Geometry) -> bool {
    const ENOUGH_CHANNELS: usize = 32;
    /// How many multiplications a weight is worth that has to be fetched from memory.
    const FETCH: usize = 12;
    let is_plain =
        geometry.kernel == [3, 3] && geometry.stride == [1, 1] && geometry.dilation == [1, 1] && geometry.groups == 1;
    let n_tiles = geometry.batch * geometry.output[0].div_ceil(2) * geometry.output[1].div_ceil(2);
    let (by_tiles, direct) = (POINTS * (n_tiles + FETCH), 9 * (geometry.n_output_pixels() + FETCH));
    is_plain && geometry.channels_in.min(geometry.channels_out) >= ENOUGH_CHANNELS && 5 * by_tiles < 4 * direct
}

/// The convolution that the gradient to the input is, where it is one.
pub(crate) fn backward(geometry: &Geometry) -> Option<Geometry> {
    let [rows, columns] = geometry.padding.map(|padding| 2usize.checked_sub(padding));
    Some(Geometry {
        input: geometry.output,
        output: geometry.input,
        channels_in: geometry.channels_out,
        channels_out: geometry.channels_in,
        padding: [rows?, columns?],
        ..*geometry
    })
}

impl<T: Element> WinogradWeights<T> {
    /// For the convolution itself.
    ///
    /// # Shapes
    /// - `weights`: `[out, in, 3, 3]`, `bias`: `[out]`
    pub(crate) fn forward(geometry: &Geometry, weights: &[T], bias: Option<&[T]>) -> Self {
        let kernel = |out: usize, input: usize| {
            let start = (out * geometry.channels_in + input) * 9;
            std::array::from_fn(|tap| weights[start + tap])
        };
        WinogradWeights::new([geometry.channels_in, geometry.channels_out], bias, kernel)
    }

    /// For the gradient to the input, whose kernels are flipped.
    ///
    /// # Shapes
    /// - `weights`: `[out, in, 3, 3]`
    pub(crate) fn backward(geometry: &Geometry, weights: &[T]) -> Self {
        let kernel = |out: usize, input: usize| {
            let start = (input * geometry.channels_in + out) * 9;
            std::array::from_fn(|tap| weights[start + 8 - tap])
        };
        WinogradWeights::new([geometry.channels_out, geometry.channels_in], None, kernel)
    }

    fn new([ins, outs]: [usize; 2], bias: Option<&[T]>, kernel: impl Fn(usize, usize) -> [T; 9] + Sync) -> Self {
        let of_pair = |pair: usize| transformed(kernel(pair / ins, pair % ins));
        let transformed: Vec<[T; POINTS]> = (0..ins * outs).into_par_iter().map(of_pair).collect();
        let of_point =
            |point: usize| Packed::new([1, ins, outs], None, |_, input, out| transformed[out * ins + input][point]);
        WinogradWeights {
            points: (0..POINTS).map(of_point).collect(),
            bias: bias.map_or_else(|| vec![T::zero(); outs], <[T]>::to_vec),
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.points.iter().map(Packed::bytes).sum()
    }

    /// The convolution, finished.
    ///
    /// # Shapes
    /// - `input`: `[batch, rows, columns, in]`; returns `[batch, output rows, output columns, out]`
    pub(crate) fn convolve(&self, geometry: &Geometry, input: &[T], finish: Finish<'_, T>) -> Vec<T> {
        let (outs, [rows, columns]) = (geometry.channels_out, geometry.output);
        let mut output = unwritten(geometry.n_output_pixels() * outs);
        // A row of tiles is two rows of pixels, one at the end of an image of odd height.
        let (image, pair) = (rows * columns * outs, 2 * columns * outs);
        let pairs = output.chunks_exact_mut(image).flat_map(|image| image.chunks_mut(pair));
        let mut rows_of_tiles: Vec<RowOfTiles<'_, T>> =
            pairs.enumerate().map(|(nth, output)| RowOfTiles::new(geometry, nth, output)).collect();
        let (together, threads) = rows_together(geometry);
        let of_group = together * columns.div_ceil(2) * geometry.channels_in * outs * POINTS;
        match threads {
            Threads::One => {
                let n_threads = rayon::current_num_threads();
                let n_groups =
                    rows_of_tiles.len().div_ceil(together).next_multiple_of(n_threads).min(rows_of_tiles.len());
                let mut groups = in_parts(&mut rows_of_tiles, n_groups);
                for groups in groups.chunks_mut((pause::MULTIPLICATIONS / of_group).max(n_threads)) {
                    groups.par_iter_mut().for_each_init(Room::default, |room, rows| {
                        self.convolve_rows(geometry, input, rows, finish, (room, threads));
                    });
                    pause::point();
                }
            }
            Threads::All => {
                let mut room = Room::default();
                for rows in rows_of_tiles.chunks_mut(together) {
                    self.convolve_rows(geometry, input, rows, finish, (&mut room, threads));
                }
            }
        }
        // SAFETY: the rows of tiles cover all pixels, and each writes all of its own.
        unsafe { written(output) }
    }

    /// Some rows of tiles: their transforms, a product for each point, and back.
    fn convolve_rows(
        &self,
        geometry: &Geometry,
        input: &[T],
        rows: &mut [RowOfTiles<'_, T>],
        finish: Finish<'_, T>,
        (room, threads): (&mut Room<T>, Threads),
    ) {
        // One thread does not even ask whether others are idle.
        let at_least = if threads == Threads::One { usize::MAX } else { 1 };
        let (ins, outs) = (geometry.channels_in, geometry.channels_out);
        let columns = geometry.output[1].div_ceil(2);
        let n_tiles = rows.len() * columns;
        let (of_row, of_point) = (POINTS * apart::<T>(columns * ins), apart::<T>(n_tiles * outs));
        let (points_in, points_out) = room.of(rows.len() * of_row, POINTS * of_point);

        let transform = |(points, row): (_, &RowOfTiles<'_, T>)| {
            transform_input(&row.pixels(geometry, input), columns, points);
        };
        points_in.par_chunks_exact_mut(of_row).zip(&*rows).with_min_len(at_least).for_each(transform);
        // SAFETY: all rows of tiles are transformed.
        let points_in = unsafe { written_part(points_in) };

        let multiply = |(point, output): (usize, &mut [MaybeUninit<T>])| {
            let places = |tile: usize, places: &mut [usize]| {
                places[0] = tile / columns * of_row + point * (of_row / POINTS) + tile % columns * ins;
            };
            let (weights, target) = (self.points[point].right(), Target::Every { first: 0, stride: outs });
            TapProduct { input: points_in, weights, n_rows: n_tiles, places, target, finish: Finish::none() }
                .write(&mut output[..n_tiles * outs], Threads::One);
        };
        // What one thread does is never worth a pause.
        let at_once = match threads {
            Threads::One => POINTS,
            Threads::All => (pause::MULTIPLICATIONS / (n_tiles * ins * outs)).max(rayon::current_num_threads()),
        };
        for first in (0..POINTS).step_by(at_once) {
            let points = points_out[first * of_point..].par_chunks_exact_mut(of_point).take(at_once);
            points.enumerate().with_min_len(at_least).for_each(|(nth, output)| multiply((first + nth, output)));
            if threads == Threads::All {
                pause::point();
            }
        }
        let points: [&[T]; POINTS] = std::array::from_fn(|point| {
            // SAFETY: a product has written a number for every tile and channel.
            unsafe { written_part(&points_out[point * of_point..][..n_tiles * outs]) }
        });

        rows.par_iter_mut().enumerate().with_min_len(at_least).for_each(|(nth, row)| {
            let tiles = Tiles { points: &points, first: nth * columns, n: columns };
            transform_output(tiles, &self.bias, geometry.output[1], (finish, row.place), row.output);
        });
    }
}

/// Two rows of pixels, or the last one of an image of odd height.
#[derive(Debug)]
struct RowOfTiles<'a, T> {
    image: usize,
    /// The first row of pixels.
    row: usize,
    /// Where it begins in the whole output.
    place: usize,
    output: &'a mut [MaybeUninit<T>],
}

impl<'a, T: Element> RowOfTiles<'a, T> {
    /// The `nth` of a batch.
    fn new(geometry: &Geometry, nth: usize, output: &'a mut [MaybeUninit<T>]) -> Self {
        let of_image = geometry.output[0].div_ceil(2);
        let (image, row) = (nth / of_image, 2 * (nth % of_image));
        let place = pixel(image, [row, 0], geometry.output) * geometry.channels_out;
        RowOfTiles { image, row, place, output }
    }

    /// What it reads.
    fn pixels<'i>(&self, geometry: &Geometry, input: &'i [T]) -> PixelRows<'i, T> {
        let rows = std::array::from_fn(|nth| {
            let row = (self.row + nth).checked_sub(geometry.padding[0]).filter(|&row| row < geometry.input[0])?;
            Some(pixel(self.image, [row, 0], geometry.input) * geometry.channels_in)
        });
        let (columns, channels) = (geometry.input[1], geometry.channels_in);
        PixelRows { input, rows, columns, padding: geometry.padding[1], channels }
    }
}

/// What is transformed, in memory that one group of tiles leaves to the next.
#[derive(Debug)]
struct Room<T> {
    /// `[row of tiles, point, tile, input channel]`
    of_input: Vec<MaybeUninit<T>>,
    /// `[point, tile, output channel]`
    of_output: Vec<MaybeUninit<T>>,
}

impl<T> Default for Room<T> {
    fn default() -> Self {
        Room { of_input: Vec::new(), of_output: Vec::new() }
    }
}

impl<T: Element> Room<T> {
    /// So much of either.
    fn of(&mut self, input: usize, output: usize) -> (&mut [MaybeUninit<T>], &mut [MaybeUninit<T>]) {
        if self.of_input.len() < input || self.of_output.len() < output {
            (self.of_input, self.of_output) = (unwritten(input), unwritten(output));
        }
        (&mut self.of_input[..input], &mut self.of_output[..output])
    }
}

/// Some things in so many parts of about as many each.
fn in_parts<R>(mut rest: &mut [R], n_parts: usize) -> Vec<&mut [R]> {
    let part = |nth: usize| {
        let all = std::mem::take(&mut rest);
        let (part, after) = all.split_at_mut(all.len() / (n_parts - nth));
        rest = after;
        part
    };
    (0..n_parts).map(part).collect()
}

/// Rows of tiles that are transformed together.
///
/// Where a core's cache holds all weights, as many as it holds beside them, each thread some for itself; elsewhere all
/// threads share the points of more, as many as let the product of a point stay there.
fn rows_together(geometry: &Geometry) -> (usize, Threads) {
    const WEIGHTS_IN_CACHE: usize = 256 << 10;
    const TILES_BESIDE: usize = 56;
    const NUMBERS_OF_POINT: usize = 100 << 10;
    let (ins, outs, columns) = (geometry.channels_in, geometry.channels_out, geometry.output[1].div_ceil(2));
    if POINTS * ins * outs <= WEIGHTS_IN_CACHE {
        ((TILES_BESIDE / columns).max(1), Threads::One)
    } else {
        ((NUMBERS_OF_POINT / columns / (ins + outs)).max(1), Threads::All)
    }
}

/// `G g Gᵀ` with `G = [1 0 0; ½ ½ ½; ½ -½ ½; 0 0 1]`, rounded once.
fn transformed<T: Element>(kernel: [T; 9]) -> [T; POINTS] {
    let line = |g: [f64; 3]| {
        let (outer, middle) = ((g[0] + g[2]) / 2.0, g[1] / 2.0);
        [g[0], outer + middle, outer - middle, g[2]]
    };
    let columns: [[f64; 4]; 3] =
        std::array::from_fn(|column| line(std::array::from_fn(|row| kernel[3 * row + column].wide())));
    let rows: [[f64; 4]; 4] = std::array::from_fn(|row| line(std::array::from_fn(|column| columns[column][row])));
    std::array::from_fn(|point| T::of(rows[point / 4][point % 4]))
}

#[cfg(test)]
mod tests {
    use super::super::convolution::{BackwardWeights, ForwardWeights};
    use super::super::vectorized::finish::{Clamp, Gate};
    use super::*;

    fn numbers<T: Element>(n: usize, seed: usize) -> Vec<T> {
        (0..n).map(|i| T::of((((i * 7919 + seed * 31) % 1009) as f64 / 504.0 - 1.0) * 1.1)).collect()
    }

    fn geometry(input: [usize; 2], channels: [usize; 2], padding: [usize; 2]) -> Geometry {
        Geometry {
            batch: 2,
            input,
            output: [0, 1].map(|axis| input[axis] + 2 * padding[axis] - 2),
            channels_in: channels[0],
            channels_out: channels[1],
            groups: 1,
            kernel: [3, 3],
            stride: [1, 1],
            dilation: [1, 1],
            padding,
        }
    }

    /// The largest difference to the products over taps, in parts of the largest number.
    fn difference<T: Element>(geometry: &Geometry) -> f64 {
        let input: Vec<T> = numbers(geometry.batch * geometry.input[0] * geometry.input[1] * geometry.channels_in, 1);
        let weights: Vec<T> = numbers(9 * geometry.channels_in * geometry.channels_out, 2);
        let bias: Vec<T> = numbers(geometry.channels_out, 3);
        let clamp = Clamp { low: T::zero(), high: T::of(60.0) };
        let by_taps = ForwardWeights::new(geometry, &weights, Some(&bias)).convolve(geometry, &input, clamp);
        let by_tiles = WinogradWeights::forward(geometry, &weights, Some(&bias));
        let by_tiles = by_tiles.convolve(geometry, &input, Finish::clamp(clamp));

        let gradient: Vec<T> = numbers(by_taps.len(), 4);
        let rows = [1, 0];
        let image = input.len() / geometry.batch;
        let gate = Gate { values: &input, bounds: Clamp { low: T::zero(), high: T::one() }, image, rows: &rows };
        let finish = Finish { clamp: Clamp::none(), gate: Some(gate) };
        let passed = BackwardWeights::new(geometry, &weights).input_gradient(geometry, &gradient, finish);
        let flipped = WinogradWeights::backward(geometry, &weights);
        let passed_by_tiles = flipped.convolve(&backward(geometry).unwrap(), &gradient, finish);
        let of_pair = |a: &[T], b: &[T]| {
            assert_eq!(a.len(), b.len());
            let largest = a.iter().fold(0.0f64, |largest, number| largest.max(number.wide().abs()));
            a.iter().zip(b).fold(0.0f64, |worst, (a, b)| worst.max((a.wide() - b.wide()).abs())) / largest
        };
        of_pair(&by_taps, &by_tiles).max(of_pair(&passed, &passed_by_tiles))
    }

    #[test]
    fn odd_images_and_all_paddings_equal_the_products_over_taps() {
        for (input, padding) in [([7, 10], [1, 1]), ([4, 3], [0, 2]), ([9, 9], [2, 0]), ([3, 3], [0, 0])] {
            let found = difference::<f64>(&geometry(input, [9, 17], padding));
            assert!(found < 1e-13, "{input:?} {padding:?}: {found}");
        }
    }

    #[test]
    fn tiles_in_groups_of_one_thread_and_of_all_equal_the_products_over_taps() {
        for (input, channels, threads) in [
            ([45, 61], [8, 33], Threads::One),
            ([13, 9], [144, 128], Threads::All),
            ([60, 70], [300, 64], Threads::All),
        ] {
            let geometry = geometry(input, channels, [1, 1]);
            assert_eq!(rows_together(&geometry).1, threads);
            let found = difference::<f64>(&geometry);
            assert!(found < 1e-13, "{input:?} {channels:?}: {found}");
        }
    }

    #[test]
    fn parts_are_about_as_long() {
        let lengths = |n: usize, n_parts| in_parts(&mut vec![(); n], n_parts).iter().map(|part| part.len()).collect();
        let all: [Vec<usize>; 3] = [lengths(14, 4), lengths(3, 3), lengths(7, 2)];
        assert_eq!(all, [vec![3, 3, 4, 4], vec![1, 1, 1], vec![3, 4]]);
    }

    #[test]
    fn single_precision_stays_within_what_exact_may_mean() {
        let found = difference::<f32>(&geometry([14, 14], [256, 64], [1, 1]));
        assert!(found < 3e-6, "{found}");
    }
}
