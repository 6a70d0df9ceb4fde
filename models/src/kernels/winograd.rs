//! Convolutions with kernels of 3 × 3 and stride 1 by Winograd's minimal filtering (Lavin and Gray 2016): 16 products of
//! matrices for tiles of 2 × 2 pixels, which take 4 multiplications a pixel where the definition takes 9, or 36 for tiles
//! of 4 × 4, which take 2¼.
//!
//! Of 128 channels the former round like the definition, the latter three times as much (2e-7 of the largest number, root
//! mean square); tiles larger still would amplify rounding beyond what "exact" may mean here.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::at_once;
use super::convolution::{Geometry, pixel};
use super::vectorized::finish::Finish;
use super::vectorized::packed::Packed;
use super::vectorized::taps::{TapProduct, Target, Threads};
use super::vectorized::unwritten::{unwritten, written, written_part};
use super::vectorized::winograd::{
    FourByFour, MOST_READ, PixelRows, Sides, Tile, Tiles, TwoByTwo, apart, transform_input, transform_output,
};
use crate::element::Element;
use crate::pause;

/// The size of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tiling {
    /// Tiles of 2 × 2 pixels.
    Two,
    /// Tiles of 4 × 4 pixels.
    Four,
}

/// Weights `G g Gᵀ`, packed for each point of the transform.
#[derive(Debug)]
pub(crate) struct WinogradWeights<T> {
    tiling: Tiling,
    points: Vec<Packed<T>>,
    bias: Vec<T>,
}

/// The size of tiles with which this is least work, where a convolution is of the kind and large enough to be worth it.
pub(crate) fn worth_it(geometry: &Geometry) -> Option<Tiling> {
    const ENOUGH_CHANNELS: usize = 32;
    /// How many multiplications a weight is worth that has to be fetched: from a cache that all share, and from memory.
    const FETCH: usize = 12;
    const FETCH_FROM_MEMORY: usize = 28;
    /// Numbers of weights that stay in such a cache.
    const IN_CACHE: usize = 4 << 20;
    let is_plain =
        geometry.kernel == [3, 3] && geometry.stride == [1, 1] && geometry.dilation == [1, 1] && geometry.groups == 1;
    let (ins, outs) = (geometry.channels_in, geometry.channels_out);
    if !is_plain || ins.min(outs) < ENOUGH_CHANNELS {
        return None;
    }
    let work = |tiling: Tiling, fetch: usize| {
        let side = tiling.side();
        let n_tiles = geometry.batch * geometry.output[0].div_ceil(side) * geometry.output[1].div_ceil(side);
        tiling.n_points() * (n_tiles + fetch)
    };
    let direct = 9 * (geometry.n_output_pixels() + FETCH);
    // Of one input, that is; many together fetch them once.
    let is_from_memory = geometry.batch == 1 && Tiling::Four.n_points() * ins * outs > IN_CACHE;
    let fetch = if is_from_memory { FETCH_FROM_MEMORY } else { FETCH };
    // A little less work is not worth more rounding and memory, nor weights of both kinds where a layer is asked for few
    // rows and many.
    let least = if 4 * work(Tiling::Four, fetch) < 3 * work(Tiling::Two, fetch) { Tiling::Four } else { Tiling::Two };
    (6 * work(least, FETCH) < 5 * direct).then_some(least)
}

impl Tiling {
    /// Rows and columns of pixels that a tile gives.
    fn side(self) -> usize {
        match self {
            Tiling::Two => TwoByTwo::GIVES,
            Tiling::Four => FourByFour::GIVES,
        }
    }

    /// Numbers of a tile's transform.
    fn n_points(self) -> usize {
        match self {
            Tiling::Two => TwoByTwo::POINTS,
            Tiling::Four => FourByFour::POINTS,
        }
    }
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
    pub(crate) fn forward(tiling: Tiling, geometry: &Geometry, weights: &[T], bias: Option<&[T]>) -> Self {
        let kernel = |out: usize, input: usize| {
            let start = (out * geometry.channels_in + input) * 9;
            std::array::from_fn(|tap| weights[start + tap])
        };
        WinogradWeights::new(tiling, [geometry.channels_in, geometry.channels_out], bias, kernel)
    }

    /// For the gradient to the input, whose kernels are flipped.
    ///
    /// # Shapes
    /// - `weights`: `[out, in, 3, 3]`
    pub(crate) fn backward(tiling: Tiling, geometry: &Geometry, weights: &[T]) -> Self {
        let kernel = |out: usize, input: usize| {
            let start = (input * geometry.channels_in + out) * 9;
            std::array::from_fn(|tap| weights[start + 8 - tap])
        };
        WinogradWeights::new(tiling, [geometry.channels_out, geometry.channels_in], None, kernel)
    }

    fn new(
        tiling: Tiling,
        [ins, outs]: [usize; 2],
        bias: Option<&[T]>,
        kernel: impl Fn(usize, usize) -> [T; 9] + Sync,
    ) -> Self {
        let n_points = tiling.n_points();
        let mut transformed = vec![T::zero(); ins * outs * n_points];
        let transform = |(pair, points): (usize, &mut [T])| {
            let kernel = kernel(pair / ins, pair % ins);
            match tiling {
                Tiling::Two => transform_kernel::<T, TwoByTwo>(kernel, points),
                Tiling::Four => transform_kernel::<T, FourByFour>(kernel, points),
            }
        };
        transformed.par_chunks_exact_mut(n_points).enumerate().for_each(transform);
        let of_point = |point: usize| {
            Packed::new([1, ins, outs], None, |_, input, out| transformed[(out * ins + input) * n_points + point])
        };
        WinogradWeights {
            tiling,
            points: (0..n_points).map(of_point).collect(),
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
        match self.tiling {
            Tiling::Two => self.convolve_by::<TwoByTwo>(geometry, input, finish),
            Tiling::Four => self.convolve_by::<FourByFour>(geometry, input, finish),
        }
    }

    fn convolve_by<S: Tile>(&self, geometry: &Geometry, input: &[T], finish: Finish<'_, T>) -> Vec<T> {
        let (outs, [rows, columns]) = (geometry.channels_out, geometry.output);
        let mut output = unwritten(geometry.n_output_pixels() * outs);
        // A row of tiles is some rows of pixels, fewer at the end of an image.
        let (image, of_tiles) = (rows * columns * outs, S::GIVES * columns * outs);
        let of_tiles = output.chunks_exact_mut(image).flat_map(|image| image.chunks_mut(of_tiles));
        let mut rows_of_tiles: Vec<RowOfTiles<'_, T>> =
            of_tiles.enumerate().map(|(nth, output)| RowOfTiles::new::<S>(geometry, nth, output)).collect();
        let (together, threads) = rows_together::<S>(geometry);
        let of_group = together * columns.div_ceil(S::GIVES) * geometry.channels_in * outs * S::POINTS;
        match threads {
            Threads::One => {
                let n_threads = rayon::current_num_threads();
                let n_groups =
                    rows_of_tiles.len().div_ceil(together).next_multiple_of(n_threads).min(rows_of_tiles.len());
                let mut groups = in_parts(&mut rows_of_tiles, n_groups);
                for groups in groups.chunks_mut((pause::MULTIPLICATIONS / of_group).max(n_threads)) {
                    groups.par_iter_mut().with_max_len(1).for_each_init(Room::default, |room, rows| {
                        self.convolve_rows::<S>(geometry, input, rows, finish, (room, threads));
                    });
                    pause::point();
                }
            }
            Threads::All => {
                let mut room = Room::default();
                for rows in rows_of_tiles.chunks_mut(together) {
                    self.convolve_rows::<S>(geometry, input, rows, finish, (&mut room, threads));
                }
            }
        }
        // SAFETY: the rows of tiles cover all pixels, and each writes all of its own.
        unsafe { written(output) }
    }

    /// Some rows of tiles: their transforms, a product for each point, and back.
    fn convolve_rows<S: Tile>(
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
        let columns = geometry.output[1].div_ceil(S::GIVES);
        let n_tiles = rows.len() * columns;
        let (of_row, of_point) = (S::POINTS * apart::<T>(columns * ins), apart::<T>(n_tiles * outs));
        let (points_in, points_out) = room.of(rows.len() * of_row, S::POINTS * of_point);

        let transform = |(points, row): (_, &RowOfTiles<'_, T>)| {
            transform_input::<T, S>(&row.pixels(geometry, input), columns, points);
        };
        let pairs = points_in.par_chunks_exact_mut(of_row).zip(&*rows).with_min_len(at_least);
        pairs.with_max_len(at_once(rows.len())).for_each(transform);
        // SAFETY: all rows of tiles are transformed.
        let points_in = unsafe { written_part(points_in) };

        // Where each tile's first point begins.
        let first_points = (0..rows.len()).flat_map(|row| (0..columns).map(move |tile| row * of_row + tile * ins));
        let first_points: Vec<usize> = first_points.collect();
        let multiply = |(point, output): (usize, &mut [MaybeUninit<T>])| {
            let places = |tile: usize, places: &mut [usize]| {
                places[0] = first_points[tile] + point * (of_row / S::POINTS);
            };
            let (weights, target) = (self.points[point].right(), Target::Every { first: 0, stride: outs });
            TapProduct { input: points_in, weights, n_rows: n_tiles, places, target, finish: Finish::none() }
                .write(&mut output[..n_tiles * outs], Threads::One);
        };
        // What one thread does is never worth a pause.
        let together = match threads {
            Threads::One => S::POINTS,
            Threads::All => (pause::MULTIPLICATIONS / (n_tiles * ins * outs)).max(rayon::current_num_threads()),
        };
        for first in (0..S::POINTS).step_by(together) {
            let points = points_out[first * of_point..].par_chunks_exact_mut(of_point).take(together);
            let points = points.enumerate().with_min_len(at_least).with_max_len(1);
            points.for_each(|(nth, output)| multiply((first + nth, output)));
            if threads == Threads::All {
                pause::point();
            }
        }
        // SAFETY: a product has written a number for every tile and channel.
        let points = points_out.chunks_exact(of_point).map(|point| unsafe { written_part(&point[..n_tiles * outs]) });
        let points: Vec<&[T]> = points.collect();

        let at_most = at_once(rows.len());
        rows.par_iter_mut().enumerate().with_min_len(at_least).with_max_len(at_most).for_each(|(nth, row)| {
            let tiles = Tiles { points: &points, first: nth * columns, n: columns };
            transform_output::<T, S>(tiles, &self.bias, geometry.output[1], (finish, row.place), row.output);
        });
    }
}

/// As many rows of pixels as a tile gives, or fewer at the end of an image.
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
    fn new<S: Tile>(geometry: &Geometry, nth: usize, output: &'a mut [MaybeUninit<T>]) -> Self {
        let of_image = geometry.output[0].div_ceil(S::GIVES);
        let (image, row) = (nth / of_image, S::GIVES * (nth % of_image));
        let place = pixel(image, [row, 0], geometry.output) * geometry.channels_out;
        RowOfTiles { image, row, place, output }
    }

    /// What it reads.
    fn pixels<'i>(&self, geometry: &Geometry, input: &'i [T]) -> PixelRows<'i, T> {
        let rows: [Option<usize>; MOST_READ] = std::array::from_fn(|nth| {
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
fn rows_together<S: Tile>(geometry: &Geometry) -> (usize, Threads) {
    const WEIGHTS_IN_CACHE: usize = 256 << 10;
    const POINTS_BESIDE: usize = 1 << 10;
    const NUMBERS_OF_POINT: usize = 100 << 10;
    let (ins, outs, columns) = (geometry.channels_in, geometry.channels_out, geometry.output[1].div_ceil(S::GIVES));
    if S::POINTS * ins * outs <= WEIGHTS_IN_CACHE {
        ((POINTS_BESIDE / S::POINTS / columns).max(1), Threads::One)
    } else {
        ((NUMBERS_OF_POINT / columns / (ins + outs)).max(1), Threads::All)
    }
}

/// `G g Gᵀ`, rounded once.
fn transform_kernel<T: Element, S: Tile>(kernel: [T; 9], points: &mut [T]) {
    let columns: [[f64; MOST_READ]; 3] =
        std::array::from_fn(|column| S::kernel_line(std::array::from_fn(|row| kernel[3 * row + column].wide())));
    for (row, points) in points.chunks_exact_mut(S::READS).enumerate() {
        let line = S::kernel_line(std::array::from_fn(|column| columns[column][row]));
        points.iter_mut().zip(line).for_each(|(point, number)| *point = T::of(number));
    }
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
    fn difference<T: Element>(tiling: Tiling, geometry: &Geometry) -> f64 {
        let input: Vec<T> = numbers(geometry.batch * geometry.input[0] * geometry.input[1] * geometry.channels_in, 1);
        let weights: Vec<T> = numbers(9 * geometry.channels_in * geometry.channels_out, 2);
        let bias: Vec<T> = numbers(geometry.channels_out, 3);
        let clamp = Clamp { low: T::zero(), high: T::of(60.0) };
        let by_taps = ForwardWeights::new(geometry, &weights, Some(&bias)).convolve(geometry, &input, clamp);
        let by_tiles = WinogradWeights::forward(tiling, geometry, &weights, Some(&bias));
        let by_tiles = by_tiles.convolve(geometry, &input, Finish::clamp(clamp));

        let gradient: Vec<T> = numbers(by_taps.len(), 4);
        let rows = [1, 0];
        let image = input.len() / geometry.batch;
        let gate = Gate { values: &input, bounds: Clamp { low: T::zero(), high: T::one() }, image, rows: &rows };
        let finish = Finish { clamp: Clamp::none(), gate: Some(gate) };
        let passed = BackwardWeights::new(geometry, &weights).input_gradient(geometry, &gradient, finish);
        let flipped = WinogradWeights::backward(tiling, geometry, &weights);
        let passed_by_tiles = flipped.convolve(&backward(geometry).unwrap(), &gradient, finish);
        let of_pair = |a: &[T], b: &[T]| {
            assert_eq!(a.len(), b.len());
            let largest = a.iter().fold(0.0f64, |largest, number| largest.max(number.wide().abs()));
            a.iter().zip(b).fold(0.0f64, |worst, (a, b)| worst.max((a.wide() - b.wide()).abs())) / largest
        };
        of_pair(&by_taps, &by_tiles).max(of_pair(&passed, &passed_by_tiles))
    }

    const TILINGS: [Tiling; 2] = [Tiling::Two, Tiling::Four];

    #[test]
    fn odd_images_and_all_paddings_equal_the_products_over_taps() {
        for (input, padding) in
            [([7, 10], [1, 1]), ([4, 3], [0, 2]), ([9, 9], [2, 0]), ([3, 3], [0, 0]), ([8, 17], [1, 0])]
        {
            for tiling in TILINGS {
                let found = difference::<f64>(tiling, &geometry(input, [9, 17], padding));
                assert!(found < 1e-13, "{input:?} {padding:?} {tiling:?}: {found}");
            }
        }
    }

    #[test]
    fn tiles_in_groups_of_one_thread_and_of_all_equal_the_products_over_taps() {
        for (input, channels, [two, four]) in [
            ([45, 61], [8, 33], [Threads::One; 2]),
            ([13, 9], [144, 64], [Threads::One, Threads::All]),
            ([13, 9], [144, 128], [Threads::All; 2]),
            ([60, 70], [300, 64], [Threads::All; 2]),
        ] {
            let geometry = geometry(input, channels, [1, 1]);
            assert_eq!([rows_together::<TwoByTwo>(&geometry).1, rows_together::<FourByFour>(&geometry).1], [two, four]);
            for tiling in TILINGS {
                let found = difference::<f64>(tiling, &geometry);
                assert!(found < 1e-13, "{input:?} {channels:?} {tiling:?}: {found}");
            }
        }
    }

    #[test]
    fn parts_are_about_as_long() {
        let lengths = |n: usize, n_parts| in_parts(&mut vec![(); n], n_parts).iter().map(|part| part.len()).collect();
        let all: [Vec<usize>; 3] = [lengths(14, 4), lengths(3, 3), lengths(7, 2)];
        assert_eq!(all, [vec![3, 3, 4, 4], vec![1, 1, 1], vec![3, 4]]);
    }

    #[test]
    fn large_tiles_are_for_large_images_and_none_for_few_pixels() {
        let of = |side: usize, channels| worth_it(&Geometry { batch: 1, ..geometry([side; 2], [channels; 2], [1, 1]) });
        assert_eq!([of(56, 64), of(10, 64), of(4, 64)], [Some(Tiling::Four), Some(Tiling::Two), None]);
        assert_eq!([of(28, 128), of(28, 512)], [Some(Tiling::Four), Some(Tiling::Two)], "weights come from memory");
        assert_eq!(of(56, 16), None);
    }

    #[test]
    fn single_precision_stays_within_what_exact_may_mean() {
        for (tiling, bound) in [(Tiling::Two, 3e-6), (Tiling::Four, 6e-6)] {
            let found = difference::<f32>(tiling, &geometry([14, 14], [256, 64], [1, 1]));
            assert!(found < bound, "{tiling:?}: {found}");
        }
    }
}
