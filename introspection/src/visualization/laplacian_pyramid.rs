//! Pictures as sums of coarser and coarser ones (Burt and Adelson 1983; lucid's `laplacian_pyramid_image`).

use super::canvas::Canvas;
use super::resize::Resize;

const N_LEVELS: u32 = 4;

/// Four levels, each half as fine as the one before, brought to full size linearly and added.
#[derive(Clone, Debug)]
pub(super) struct LaplacianPyramid {
    /// With the numbers of a plane at that level.
    levels: Vec<(usize, Resize)>,
}

impl LaplacianPyramid {
    /// For planes of a canvas that is not empty.
    pub(super) fn new(canvas: Canvas) -> LaplacianPyramid {
        let level = |nth: u32| {
            let shorter = |length: usize| (length >> nth).max(1);
            let (rows, columns) = (shorter(canvas.rows), shorter(canvas.columns));
            (rows * columns, Resize::new((rows, columns), (canvas.rows, canvas.columns)))
        };
        LaplacianPyramid { levels: (0..N_LEVELS).map(level).collect() }
    }

    /// Free numbers of a plane.
    pub(super) fn n_free(&self) -> usize {
        self.levels.iter().map(|(n, _)| n).sum()
    }

    /// Pictures of pyramids.
    ///
    /// # Shapes
    /// - `free`: `[plane, levels' places]`, returns `[plane, row, column]`, with any number of planes
    pub(super) fn forward(&self, free: &[f64]) -> Vec<f64> {
        let plane = |mut free: &[f64]| -> Vec<f64> {
            let mut sum: Vec<f64> = Vec::new();
            for (n, resize) in &self.levels {
                let (level, rest) = free.split_at(*n);
                let resized = resize.forward(level);
                match sum.is_empty() {
                    true => sum = resized,
                    false => sum.iter_mut().zip(resized).for_each(|(sum, number)| *sum += number),
                }
                free = rest;
            }
            sum
        };
        free.chunks_exact(self.n_free()).flat_map(plane).collect()
    }

    /// A pyramid of pictures: all of them is in the finest level.
    pub(super) fn of_picture(&self, canvas: Canvas, picture: &[f64]) -> Vec<f64> {
        let plane = |plane: &[f64]| -> Vec<f64> {
            let coarser = self.n_free() - plane.len();
            plane.iter().copied().chain(std::iter::repeat_n(0.0, coarser)).collect()
        };
        picture.chunks_exact(canvas.n_places()).flat_map(plane).collect()
    }

    /// The gradient at pyramids, from that at their pictures.
    pub(super) fn adjoint(&self, canvas: Canvas, gradient: &[f64]) -> Vec<f64> {
        let plane = |gradient: &[f64]| -> Vec<f64> {
            self.levels.iter().flat_map(|(_, resize)| resize.adjoint(gradient)).collect()
        };
        gradient.chunks_exact(canvas.n_places()).flat_map(plane).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_gradient;
    use super::*;

    #[test]
    fn gradients_match_finite_differences() {
        for (rows, columns) in [(5, 9), (1, 3)] {
            let canvas = Canvas { planes: 2, rows, columns };
            let pyramid = LaplacianPyramid::new(canvas);
            let backward = |_: &[f64], arriving: &[f64]| pyramid.adjoint(canvas, arriving);
            check_gradient(2 * pyramid.n_free(), |at| pyramid.forward(at), backward);
        }
    }

    #[test]
    fn the_coarsest_level_reaches_far() {
        let canvas = Canvas { planes: 1, rows: 16, columns: 16 };
        let pyramid = LaplacianPyramid::new(canvas);
        assert_eq!(pyramid.n_free(), 256 + 64 + 16 + 4);
        let mut free = vec![0.0; pyramid.n_free()];
        free[256 + 64 + 16] = 1.0;
        let picture = pyramid.forward(&free);
        assert_eq!((picture[0], picture[255]), (1.0, 0.0));
        assert!(picture.iter().filter(|number| **number > 0.0).count() > 100);
    }
}
