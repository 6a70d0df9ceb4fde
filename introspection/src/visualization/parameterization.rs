//! Which numbers are free: pixels themselves, their spectrum, or a pyramid of coarser pictures; with colours as they
//! are or as independent directions. What comes of them goes through a sigmoid into the input's range.

use super::canvas::{Canvas, InputRange};
use super::colors;
use super::fourier::{Decay, Fourier};
use super::laplacian_pyramid::LaplacianPyramid;
use super::random::Random;
use crate::error::{IntrospectionError, Result};

/// Which numbers are free.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Parameterization {
    /// The picture's own.
    Pixels,
    /// Its spectrum's.
    Fourier(Decay),
    /// Those of four pictures, each half as fine as the one before.
    LaplacianPyramid,
}

/// Free numbers that become pictures.
#[derive(Clone, Debug)]
pub struct Parameters {
    canvas: Canvas,
    range: InputRange,
    has_independent_colors: bool,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Pixels,
    Fourier(Fourier),
    LaplacianPyramid(LaplacianPyramid),
}

/// Deviation of the noise that an ascent starts from.
const START_DEVIATION: f64 = 0.01;

impl Parameters {
    /// Those of pictures on a canvas; independent colours need its planes to be red, green and blue.
    pub fn new(
        canvas: Canvas,
        range: InputRange,
        parameterization: Parameterization,
        has_independent_colors: bool,
    ) -> Result<Parameters> {
        if canvas.is_empty() {
            return Err(IntrospectionError::Unfit(format!("an input of {canvas:?} has no number to change")));
        }
        if has_independent_colors && canvas.planes != 3 {
            let message = format!("colours need an input of three channels but this has {}", canvas.planes);
            return Err(IntrospectionError::Unfit(message));
        }
        let form = match parameterization {
            Parameterization::Pixels => Form::Pixels,
            Parameterization::Fourier(decay) => Form::Fourier(Fourier::new(canvas, decay)),
            Parameterization::LaplacianPyramid => Form::LaplacianPyramid(LaplacianPyramid::new(canvas)),
        };
        Ok(Parameters { canvas, range, has_independent_colors, form })
    }

    /// The canvas.
    pub fn canvas(&self) -> Canvas {
        self.canvas
    }

    /// Which numbers the input may hold.
    pub fn range(&self) -> &InputRange {
        &self.range
    }

    /// Free numbers of one picture.
    pub(super) fn n_free(&self) -> usize {
        let of_plane = match &self.form {
            Form::Pixels => self.canvas.n_places(),
            Form::Fourier(fourier) => fourier.n_free(),
            Form::LaplacianPyramid(pyramid) => pyramid.n_free(),
        };
        self.canvas.planes * of_plane
    }

    /// Noise to start from, for so many pictures.
    pub(super) fn start(&self, n_pictures: usize, random: &mut Random) -> Vec<f64> {
        random.normal(n_pictures * self.n_free(), START_DEVIATION)
    }

    /// The free numbers of pictures, which may be nearer to the middle of their range where they lie at its bounds.
    ///
    /// # Shapes
    /// - `pictures`: `[input, plane, row, column]`, returns `[input, free number]`
    pub(super) fn of_pictures(&self, pictures: &[f64]) -> Vec<f64> {
        let planes = self.range.free(pictures.to_vec());
        let planes = if self.has_independent_colors { colors::of_rgb(self.canvas, &planes) } else { planes };
        match &self.form {
            Form::Pixels => planes,
            Form::Fourier(fourier) => fourier.of_picture(self.canvas, &planes),
            Form::LaplacianPyramid(pyramid) => pyramid.of_picture(self.canvas, &planes),
        }
    }

    /// The pictures of free numbers.
    ///
    /// # Shapes
    /// - `free`: `[input, free number]`, returns `[input, plane, row, column]`
    pub(super) fn pictures(&self, free: &[f64]) -> Vec<f64> {
        let planes = match &self.form {
            Form::Pixels => free.to_vec(),
            Form::Fourier(fourier) => fourier.forward(free),
            Form::LaplacianPyramid(pyramid) => pyramid.forward(free),
        };
        self.range.picture(if self.has_independent_colors { colors::to_rgb(self.canvas, &planes) } else { planes })
    }

    /// The gradient at free numbers, from that at the pictures that they became.
    ///
    /// # Shapes
    /// - `pictures`, `gradient`: `[input, plane, row, column]`, returns `[input, free number]`
    pub(super) fn free_gradient(&self, pictures: &[f64], gradient: Vec<f64>) -> Vec<f64> {
        let mut gradient = self.range.picture_gradient(pictures, gradient);
        if self.has_independent_colors {
            gradient = colors::to_rgb_adjoint(self.canvas, &gradient);
        }
        match &self.form {
            Form::Pixels => gradient,
            Form::Fourier(fourier) => fourier.adjoint(self.canvas, &gradient),
            Form::LaplacianPyramid(pyramid) => pyramid.adjoint(self.canvas, &gradient),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_gradient;
    use super::*;

    #[test]
    fn gradients_match_finite_differences() {
        let canvas = Canvas { planes: 3, rows: 4, columns: 3 };
        let all = [
            Parameterization::Pixels,
            Parameterization::Fourier(Decay::Radial(1.0)),
            Parameterization::LaplacianPyramid,
        ];
        for parameterization in all {
            for has_independent_colors in [false, true] {
                for range in [InputRange::Unbounded, InputRange::Bounded(vec![[-1.0, 1.0]])] {
                    let parameters = Parameters::new(canvas, range, parameterization, has_independent_colors).unwrap();
                    let backward = |free: &[f64], arriving: &[f64]| {
                        parameters.free_gradient(&parameters.pictures(free), arriving.to_vec())
                    };
                    check_gradient(2 * parameters.n_free(), |free| parameters.pictures(free), backward);
                }
            }
        }
    }

    #[test]
    fn a_picture_is_found_again_in_its_free_numbers() {
        let canvas = Canvas { planes: 3, rows: 4, columns: 3 };
        let pictures: Vec<f64> = (0..72).map(|nth| 0.1 + 0.8 * f64::from(nth * 29 % 72) / 72.0).collect();
        let all = [
            Parameterization::Pixels,
            Parameterization::Fourier(Decay::Radial(1.0)),
            Parameterization::LaplacianPyramid,
        ];
        for parameterization in all {
            for has_independent_colors in [false, true] {
                let range = InputRange::Bounded(vec![[-1.0, 1.0]]);
                let parameters = Parameters::new(canvas, range, parameterization, has_independent_colors).unwrap();
                let found = parameters.pictures(&parameters.of_pictures(&pictures));
                assert!(found.iter().zip(&pictures).all(|(a, b)| (a - b).abs() < 1e-9), "{parameterization:?}");
            }
        }
    }

    #[test]
    fn colours_of_other_inputs_are_refused() {
        let canvas = Canvas { planes: 1, rows: 4, columns: 3 };
        let refused = Parameters::new(canvas, InputRange::Unbounded, Parameterization::Pixels, true).unwrap_err();
        assert_eq!(refused.to_string(), "colours need an input of three channels but this has 1");
    }
}
