//! Structural similarity (Wang et al. 2004, equation 13), as `skimage.metrics.structural_similarity` has it with
//! `gaussian_weights=True` and numbers from 0 to 1: sample covariances, the mean over all windows that lie inside.

/// Places of a window along each axis: 3.5 standard deviations to either side.
pub(super) const WINDOW: usize = 11;

const STANDARD_DEVIATION: f64 = 1.5;
const K1: f64 = 0.01;
const K2: f64 = 0.03;

/// The mean structural similarity of two maps from 0 to 1, of one axis or two.
///
/// # Shapes
/// - `left`, `right`: `shape`, each axis 11 or longer
pub(super) fn structural_similarity(left: &[f64], right: &[f64], shape: &[usize]) -> f64 {
    let product = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a * b).collect() };
    let smooth = |numbers: &[f64]| smoothed(numbers, shape);
    let (mean_left, mean_right) = (smooth(left), smooth(right));
    let (square_left, square_right) = (smooth(&product(left, left)), smooth(&product(right, right)));
    let both = smooth(&product(left, right));
    let n_window = WINDOW.pow(shape.len() as u32) as f64;
    let sample = n_window / (n_window - 1.0);
    let (c1, c2) = (K1 * K1, K2 * K2);
    let at = |place: usize| {
        let (x, y) = (mean_left[place], mean_right[place]);
        let (variance_x, variance_y) = (sample * (square_left[place] - x * x), sample * (square_right[place] - y * y));
        let covariance = sample * (both[place] - x * y);
        (2.0 * x * y + c1) * (2.0 * covariance + c2) / ((x * x + y * y + c1) * (variance_x + variance_y + c2))
    };
    (0..mean_left.len()).map(at).sum::<f64>() / mean_left.len() as f64
}

/// Weighted means of all windows that lie inside, one axis after the other.
///
/// # Shapes
/// - returns each axis shorter by 10
fn smoothed(numbers: &[f64], shape: &[usize]) -> Vec<f64> {
    let weights = weights();
    let mut current = numbers.to_vec();
    let mut lengths = shape.to_vec();
    for axis in 0..shape.len() {
        let step: usize = lengths[axis + 1..].iter().product();
        let (from, to) = (lengths[axis] * step, (lengths[axis] + 1 - WINDOW) * step);
        let mut sums = vec![0.0; current.len() / from * to];
        for (line, sums) in current.chunks_exact(from).zip(sums.chunks_exact_mut(to)) {
            for (nth, weight) in weights.iter().enumerate() {
                sums.iter_mut().zip(&line[nth * step..]).for_each(|(sum, number)| *sum += weight * number);
            }
        }
        current = sums;
        lengths[axis] += 1;
        lengths[axis] -= WINDOW;
    }
    current
}

/// A Gaussian, cut off and scaled so that it sums to one.
fn weights() -> [f64; WINDOW] {
    let height = |nth: usize| {
        let distance = nth as f64 - (WINDOW / 2) as f64;
        (-distance * distance / (2.0 * STANDARD_DEVIATION * STANDARD_DEVIATION)).exp()
    };
    let heights: [f64; WINDOW] = std::array::from_fn(height);
    let sum: f64 = heights.iter().sum();
    heights.map(|height| height / sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: each window by itself.
    fn slow(left: &[f64], right: &[f64], rows: usize, columns: usize) -> f64 {
        let weights = weights();
        let mut sum = 0.0;
        for row in 0..=rows - WINDOW {
            for column in 0..=columns - WINDOW {
                let mean = |of: &dyn Fn(usize) -> f64| -> f64 {
                    let places = (0..WINDOW).flat_map(|down| (0..WINDOW).map(move |across| (down, across)));
                    let weighted = |(down, across): (usize, usize)| {
                        weights[down] * weights[across] * of((row + down) * columns + column + across)
                    };
                    places.map(weighted).sum()
                };
                let (x, y) = (mean(&|place| left[place]), mean(&|place| right[place]));
                let sample = 121.0 / 120.0;
                let variance_x = sample * mean(&|place| (left[place] - x).powi(2));
                let variance_y = sample * mean(&|place| (right[place] - y).powi(2));
                let covariance = sample * mean(&|place| (left[place] - x) * (right[place] - y));
                let luminance = (2.0 * x * y + 1e-4) / (x * x + y * y + 1e-4);
                sum += luminance * (2.0 * covariance + 9e-4) / (variance_x + variance_y + 9e-4);
            }
        }
        sum / ((rows - WINDOW + 1) * (columns - WINDOW + 1)) as f64
    }

    #[test]
    fn equals_the_definition() {
        let (rows, columns) = (17, 14);
        let left: Vec<f64> = (0..rows * columns).map(|n| (n as f64 * 0.71).sin().abs()).collect();
        let right: Vec<f64> = left.iter().enumerate().map(|(n, x)| 0.6 * x + 0.4 * (n as f64).cos().abs()).collect();
        let found = structural_similarity(&left, &right, &[rows, columns]);
        assert!((found - slow(&left, &right, rows, columns)).abs() < 1e-12, "{found}");
    }
}
