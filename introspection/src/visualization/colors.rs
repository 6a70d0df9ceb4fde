//! Colours that are as independent of each other as those of photos (lucid's `color` module; Olah et al. 2017).
//!
//! Its columns are what the colours of ImageNet's pixels vary along, most along the first, which is brightness: a step
//! of equal size along each changes a picture as photos differ. Divided by the largest length of a column.

use rayon::prelude::*;

use super::GRAIN;
use super::canvas::Canvas;

const DIRECTIONS: [[f64; 3]; 3] = [[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]];

/// `matrix[color][direction]`
fn matrix() -> [[f64; 3]; 3] {
    let length = |direction: usize| DIRECTIONS.iter().map(|row| row[direction] * row[direction]).sum::<f64>().sqrt();
    let longest = (0..3).map(length).fold(0.0, f64::max);
    DIRECTIONS.map(|row| row.map(|number| number / longest))
}

/// Red, green and blue of independent directions.
///
/// # Shapes
/// - `numbers`: `[input, 3, row, column]`, returns the same
pub(super) fn to_rgb(canvas: Canvas, numbers: &[f64]) -> Vec<f64> {
    mixed(canvas, numbers, &matrix())
}

/// The gradient at the directions, from that at red, green and blue.
pub(super) fn to_rgb_adjoint(canvas: Canvas, gradient: &[f64]) -> Vec<f64> {
    let matrix = matrix();
    mixed(canvas, gradient, &std::array::from_fn(|row| std::array::from_fn(|column| matrix[column][row])))
}

/// The independent directions of red, green and blue.
pub(super) fn of_rgb(canvas: Canvas, numbers: &[f64]) -> Vec<f64> {
    let [a, b, c] = matrix();
    // The rows of the inverse are what is square to two columns, over the determinant.
    let column = |nth: usize| [a[nth], b[nth], c[nth]];
    let cross =
        |u: [f64; 3], v: [f64; 3]| [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    let determinant: f64 = cross(column(1), column(2)).iter().zip(column(0)).map(|(a, b)| a * b).sum();
    let row = |nth: usize| cross(column((nth + 1) % 3), column((nth + 2) % 3)).map(|number| number / determinant);
    mixed(canvas, numbers, &[row(0), row(1), row(2)])
}

fn mixed(canvas: Canvas, numbers: &[f64], matrix: &[[f64; 3]; 3]) -> Vec<f64> {
    let n_places = canvas.n_places();
    let mut mixed = vec![0.0; numbers.len()];
    let planes = mixed.par_chunks_exact_mut(n_places.max(1)).enumerate();
    planes.for_each(|(nth, mixed)| {
        let picture = &numbers[nth / 3 * 3 * n_places..][..3 * n_places];
        let (row, [a, b, c]) = (matrix[nth % 3], [0, 1, 2].map(|plane| &picture[plane * n_places..][..n_places]));
        let parts =
            mixed.par_chunks_mut(GRAIN).zip(a.par_chunks(GRAIN).zip(b.par_chunks(GRAIN)).zip(c.par_chunks(GRAIN)));
        parts.for_each(|(mixed, ((a, b), c))| {
            for (mixed, ((a, b), c)) in mixed.iter_mut().zip(a.iter().zip(b).zip(c)) {
                *mixed = row[0] * a + row[1] * b + row[2] * c;
            }
        });
    });
    mixed
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_gradient;
    use super::*;

    #[test]
    fn the_gradient_matches_finite_differences() {
        let canvas = Canvas { planes: 3, rows: 2, columns: 1 };
        check_gradient(12, |at| to_rgb(canvas, at), |_, arriving| to_rgb_adjoint(canvas, arriving));
    }

    #[test]
    fn directions_and_back_are_the_same() {
        let canvas = Canvas { planes: 3, rows: 1, columns: 2 };
        let numbers = [0.3, -1.0, 2.0, 0.5, 0.7, 4.0];
        let back = of_rgb(canvas, &to_rgb(canvas, &numbers));
        assert!(back.iter().zip(numbers).all(|(a, b)| (a - b).abs() < 1e-12), "{back:?}");
    }

    #[test]
    fn the_first_direction_is_brightness() {
        let canvas = Canvas { planes: 3, rows: 1, columns: 1 };
        let rgb = to_rgb(canvas, &[1.0, 0.0, 0.0]);
        let length = (0.26f64 * 0.26 + 2.0 * 0.27 * 0.27).sqrt();
        assert!((rgb[0] - 0.26 / length).abs() < 1e-12 && (rgb[1] - 0.27 / length).abs() < 1e-12);
        assert_eq!(rgb[1], rgb[2]);
    }
}
