//! Convolutions with kernels of 3 × 3 and stride 1 by Winograd's minimal filtering: 16 products of matrices for tiles of
//! 2 × 2 pixels, which take 4 multiplications a pixel where the definition takes 9 (Lavin and Gray 2016).
//!
//! Larger tiles would take fewer still, but their transforms amplify rounding beyond what "exact" may mean here.

use std::sync::Mutex;

use rayon::prelude::*;

use super::convolution::{Geometry, pixel};
use super::vectorized::finish::Finish;
use super::vectorized::taps::{OUTSIDE, Packed, TapProduct, Target, Threads};
use super::vectorized::winograd::{PIXELS_IN, POINTS, transform_input, transform_output};
use super::zeros;
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
        let outs = geometry.channels_out;
        let mut output = zeros(geometry.n_output_pixels() * outs);
        // A task is some rows of tiles: two rows of pixels each, which no other task writes.
        let rows_of_tiles = geometry.output[0].div_ceil(2);
        let columns_of_tiles = geometry.output[1].div_ceil(2);
        let (image, row) = (geometry.output[0] * geometry.output[1] * outs, geometry.output[1] * outs);
        let rows_in_band = rows_in_band(geometry);
        let mut bands: Vec<(usize, usize, Mutex<&mut [T]>)> = Vec::new();
        for (nth, image) in output.chunks_exact_mut(image).enumerate() {
            for (band, pixels) in image.chunks_mut(2 * rows_in_band * row).enumerate() {
                bands.push((nth, band * rows_in_band, Mutex::new(pixels)));
            }
        }
        let of_band = rows_in_band * columns_of_tiles * geometry.channels_in * outs * POINTS;
        let between_pauses = (pause::MULTIPLICATIONS / of_band).max(rayon::current_num_threads());
        for bands in bands.chunks_mut(between_pauses) {
            bands.par_iter_mut().for_each_init(Points::new, |points, (nth, first, pixels)| {
                let rows = *first..rows_of_tiles.min(*first + rows_in_band);
                let pixels = pixels.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
                self.convolve_band(geometry, input, (*nth, rows), finish, points, pixels);
            });
            pause::point();
        }
        output
    }

    /// Some rows of tiles of one image.
    fn convolve_band(
        &self,
        geometry: &Geometry,
        input: &[T],
        (image, rows): (usize, std::ops::Range<usize>),
        finish: Finish<'_, T>,
        points: &mut Points<T>,
        output: &mut [T],
    ) {
        let (ins, outs) = (geometry.channels_in, geometry.channels_out);
        let columns = geometry.output[1].div_ceil(2);
        let first_row = 2 * rows.start;
        let tiles: Vec<[usize; 2]> =
            rows.flat_map(|row| (0..columns).map(move |column| [2 * row, 2 * column])).collect();
        let Points { of_input: points_in, of_output: points_out } = points;
        for tiles in tiles.chunks(tiles_together(geometry)) {
            let places: Vec<[usize; PIXELS_IN]> = tiles.iter().map(|tile| pixels_of(geometry, image, *tile)).collect();
            points_in.resize(POINTS * tiles.len() * ins, T::zero());
            transform_input(input, &places, ins, points_in);
            points_out.resize(POINTS * tiles.len() * outs, T::zero());
            let points = points_in.chunks_exact(tiles.len() * ins).zip(points_out.chunks_exact_mut(tiles.len() * outs));
            for ((input, output), weights) in points.zip(&self.points) {
                let places = |row: usize, places: &mut [usize]| places[0] = row * ins;
                let (weights, target) = (weights.right(), Target::Every { first: 0, stride: outs });
                let product =
                    TapProduct { input, weights, n_rows: tiles.len(), places, target, finish: Finish::none() };
                product.run(output, Threads::One);
            }
            let band = (image * geometry.output[0] + first_row) * geometry.output[1] * outs;
            transform_output(points_out, &self.bias, Finish::clamp(finish.clamp), |tile, pixel, numbers| {
                let [row, column] = [tiles[tile][0] + pixel / 2, tiles[tile][1] + pixel % 2];
                if row >= geometry.output[0] || column >= geometry.output[1] {
                    return;
                }
                let at = ((row - first_row) * geometry.output[1] + column) * outs;
                let output = &mut output[at..at + outs];
                match finish.gate {
                    None => output.copy_from_slice(numbers),
                    Some(gate) => gate.pass(numbers, band + at, output),
                }
            });
        }
    }
}

/// What a thread transforms, for one group of tiles after another.
#[derive(Debug)]
struct Points<T> {
    /// `[point, tile, input channel]`
    of_input: Vec<T>,
    /// `[point, tile, output channel]`
    of_output: Vec<T>,
}

impl<T> Points<T> {
    fn new() -> Self {
        Points { of_input: Vec::new(), of_output: Vec::new() }
    }
}

/// Tiles that are transformed together: few enough for the transforms to stay in a core's cache, unless the weights
/// would have to be fetched for them again and again.
fn tiles_together(geometry: &Geometry) -> usize {
    const WEIGHTS_IN_CACHE: usize = 256 << 10;
    if POINTS * geometry.channels_in * geometry.channels_out <= WEIGHTS_IN_CACHE { 48 } else { 96 }
}

/// Rows of tiles for a task, few enough that every thread has some.
fn rows_in_band(geometry: &Geometry) -> usize {
    let rows = geometry.output[0].div_ceil(2);
    let for_all_threads = (geometry.batch * rows).div_ceil(rayon::current_num_threads());
    tiles_together(geometry).div_ceil(geometry.output[1].div_ceil(2)).clamp(1, for_all_threads)
}

/// The 4 × 4 pixels under the tile whose output begins at a place.
fn pixels_of(geometry: &Geometry, image: usize, [row, column]: [usize; 2]) -> [usize; PIXELS_IN] {
    std::array::from_fn(|nth| {
        let inside = |axis: usize, place: usize| {
            place.checked_sub(geometry.padding[axis]).filter(|&place| place < geometry.input[axis])
        };
        let place = inside(0, row + nth / 4).zip(inside(1, column + nth % 4));
        place.map_or(OUTSIDE, |(row, column)| pixel(image, [row, column], geometry.input) * geometry.channels_in)
    })
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
    fn single_precision_stays_within_what_exact_may_mean() {
        let found = difference::<f32>(&geometry([14, 14], [256, 64], [1, 1]));
        assert!(found < 3e-6, "{found}");
    }
}
