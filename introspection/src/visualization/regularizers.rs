//! What is subtracted from an objective, so that a picture keeps to itself what no unit asks for: distance from grey,
//! differences between neighbours, high frequencies (lucid's `objectives`; Olah et al. 2017, "frequency penalization").

use super::canvas::Canvas;
use super::spectrum::Spectrum;

/// How much of each penalty is subtracted; 0 leaves one out. Each is a sum over all numbers of all pictures, which go
/// from 0 to 1 where the input has bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Regularizers {
    /// `Σ |x - grey|`
    pub l1: f64,
    /// `√(ε + Σ (x - grey)²)` with ε = 1e-6
    pub l2: f64,
    /// `Σ |difference between neighbours|`, along rows and along columns
    pub total_variation: f64,
    /// `½ Σ (x - blurred x)²`, whose gradient takes the blurred picture as given
    pub blur: f64,
    /// `½ Σ f² |F|²` with `F` the picture's orthonormal Fourier transform and `f` in cycles a place
    pub frequency: f64,
}

const EPSILON: f64 = 1e-6;
/// In the middle and around it, divided by the sum of those inside the picture.
const BLUR: (f64, f64) = (1.0, 0.5);

impl Regularizers {
    /// The weights, each with its name.
    pub fn weights(&self) -> [(&'static str, f64); 5] {
        [
            ("l1", self.l1),
            ("l2", self.l2),
            ("total_variation", self.total_variation),
            ("blur", self.blur),
            ("frequency", self.frequency),
        ]
    }

    /// The penalty of pictures, and its gradient there.
    ///
    /// # Shapes
    /// - `pictures`: `[input, plane, row, column]`; returns the penalty and the same
    pub(super) fn penalty(&self, canvas: Canvas, grey: f64, pictures: &[f64]) -> (f64, Vec<f64>) {
        let mut penalty = 0.0;
        let mut gradient = vec![0.0; pictures.len()];
        for (name, weight) in self.weights().into_iter().filter(|(_, weight)| *weight != 0.0) {
            let (value, own) = match name {
                "l1" => l1(grey, pictures),
                "l2" => l2(grey, pictures),
                "total_variation" => total_variation(canvas, pictures),
                "blur" => blur(canvas, pictures),
                _ => frequency(canvas, pictures),
            };
            penalty += weight * value;
            gradient.iter_mut().zip(own).for_each(|(gradient, own)| *gradient += weight * own);
        }
        (penalty, gradient)
    }
}

fn l1(grey: f64, pictures: &[f64]) -> (f64, Vec<f64>) {
    let sign = |number: &f64| if *number == grey { 0.0 } else { (number - grey).signum() };
    (pictures.iter().map(|number| (number - grey).abs()).sum(), pictures.iter().map(sign).collect())
}

fn l2(grey: f64, pictures: &[f64]) -> (f64, Vec<f64>) {
    let length = (EPSILON + pictures.iter().map(|number| (number - grey).powi(2)).sum::<f64>()).sqrt();
    (length, pictures.iter().map(|number| (number - grey) / length).collect())
}

fn total_variation(canvas: Canvas, pictures: &[f64]) -> (f64, Vec<f64>) {
    let mut sum = 0.0;
    let mut gradient = vec![0.0; pictures.len()];
    let mut add = |here: usize, next: usize| {
        let difference = pictures[next] - pictures[here];
        let sign = if difference == 0.0 { 0.0 } else { difference.signum() };
        sum += difference.abs();
        gradient[next] += sign;
        gradient[here] -= sign;
    };
    for here in 0..pictures.len() {
        if here % canvas.columns + 1 < canvas.columns {
            add(here, here + 1);
        }
        if here / canvas.columns % canvas.rows + 1 < canvas.rows {
            add(here, here + canvas.columns);
        }
    }
    (sum, gradient)
}

fn blur(canvas: Canvas, pictures: &[f64]) -> (f64, Vec<f64>) {
    let blurred = blurred(canvas, pictures);
    let distance: Vec<f64> = pictures.iter().zip(blurred).map(|(number, blurred)| number - blurred).collect();
    (0.5 * distance.iter().map(|number| number * number).sum::<f64>(), distance)
}

/// Each place as the weighted mean of itself and the eight around it.
fn blurred(canvas: Canvas, pictures: &[f64]) -> Vec<f64> {
    let (rows, columns) = (canvas.rows, canvas.columns);
    let at = |plane: &[f64], row: usize, column: usize| {
        let (mut sum, mut weights) = (0.0, 0.0);
        for near_row in row.saturating_sub(1)..(row + 2).min(rows) {
            for near_column in column.saturating_sub(1)..(column + 2).min(columns) {
                let weight = if (near_row, near_column) == (row, column) { BLUR.0 } else { BLUR.1 };
                sum += weight * plane[near_row * columns + near_column];
                weights += weight;
            }
        }
        sum / weights
    };
    let of_plane = |plane: &[f64]| -> Vec<f64> {
        (0..rows * columns).map(|place| at(plane, place / columns, place % columns)).collect()
    };
    pictures.chunks_exact(canvas.n_places()).flat_map(of_plane).collect()
}

fn frequency(canvas: Canvas, pictures: &[f64]) -> (f64, Vec<f64>) {
    let spectrum = Spectrum::new(canvas.rows, canvas.columns);
    let squares: Vec<f64> = spectrum.frequencies().map(|(rows, columns)| rows * rows + columns * columns).collect();
    // A quadratic form: its gradient is the picture with each frequency times `f²`, its value half their product.
    let of_plane = |plane: &[f64]| {
        let weighted = spectrum.forward(plane).into_iter().zip(&squares).map(|(number, square)| number * square);
        spectrum.inverse(weighted.collect())
    };
    let gradient: Vec<f64> = pictures.chunks_exact(canvas.n_places()).flat_map(of_plane).collect();
    (0.5 * pictures.iter().zip(&gradient).map(|(number, gradient)| number * gradient).sum::<f64>(), gradient)
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::super::testing::check_against_differences;
    use super::*;

    const CANVAS: Canvas = Canvas { planes: 2, rows: 3, columns: 5 };

    fn pictures() -> Vec<f64> {
        Random::new(4).normal(2 * CANVAS.len(), 1.0)
    }

    #[test]
    fn gradients_match_finite_differences() {
        let none = Regularizers::default();
        let all = [
            Regularizers { l1: 0.7, ..none },
            Regularizers { l2: 0.7, ..none },
            Regularizers { total_variation: 0.7, ..none },
            Regularizers { frequency: 0.7, ..none },
            Regularizers { l1: 0.1, l2: 0.2, total_variation: 0.3, blur: 0.0, frequency: 0.5 },
        ];
        for regularizers in all {
            let (_, gradient) = regularizers.penalty(CANVAS, 0.5, &pictures());
            check_against_differences(&mut pictures(), &gradient, |at| regularizers.penalty(CANVAS, 0.5, at).0);
        }
    }

    #[test]
    fn the_blurs_gradient_takes_the_blurred_picture_as_given() {
        let blurred = blurred(CANVAS, &pictures());
        let regularizers = Regularizers { blur: 0.7, ..Regularizers::default() };
        let (value, gradient) = regularizers.penalty(CANVAS, 0.5, &pictures());
        let half_squares = |at: &[f64]| {
            0.35 * at.iter().zip(&blurred).map(|(number, blurred)| (number - blurred).powi(2)).sum::<f64>()
        };
        assert!((value - half_squares(&pictures())).abs() < 1e-12);
        check_against_differences(&mut pictures(), &gradient, half_squares);
    }

    #[test]
    fn values_are_those_of_their_definitions() {
        let canvas = Canvas { planes: 1, rows: 2, columns: 2 };
        let value = |regularizers: Regularizers, picture: &[f64]| regularizers.penalty(canvas, 0.5, picture).0;
        let none = Regularizers::default();
        let picture = [0.5, 1.0, 0.0, 0.5];
        assert_eq!(value(Regularizers { l1: 1.0, ..none }, &picture), 1.0);
        assert!((value(Regularizers { l2: 1.0, ..none }, &picture) - 0.500_001f64.sqrt()).abs() < 1e-12);
        assert_eq!(value(Regularizers { total_variation: 1.0, ..none }, &picture), 2.0);
        // (1 · ½ + ½ · (1 + 0 + ½)) / 2.5 at the first place.
        assert!((blurred(canvas, &picture)[0] - 0.5).abs() < 1e-12);
        assert!((blurred(canvas, &picture)[1] - (1.0 + 0.5) / 2.5).abs() < 1e-12);
        // One frequency of half a cycle a place along columns: F = 2 · ½ / √4 · …, so that ½ f² Σ x² = ½ · ¼ · 1.
        let stripes = [0.5, -0.5, 0.5, -0.5];
        assert!((value(Regularizers { frequency: 1.0, ..none }, &stripes) - 0.125).abs() < 1e-12);
        assert!(value(Regularizers { frequency: 1.0, ..none }, &[0.7; 4]).abs() < 1e-12);
    }
}
