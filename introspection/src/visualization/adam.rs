//! Adam (Kingma and Ba 2015, algorithm 1), upwards.

use rayon::prelude::*;

use super::GRAIN;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// What Adam remembers of past gradients.
#[derive(Clone, Debug)]
pub(super) struct Adam {
    learning_rate: f64,
    /// Steps taken.
    n_steps: i32,
    /// Running means of the gradients and of their squares.
    means: Vec<f64>,
    squares: Vec<f64>,
}

impl Adam {
    /// At its first step, for so many numbers.
    pub(super) fn new(n: usize, learning_rate: f64) -> Adam {
        Adam { learning_rate, n_steps: 0, means: vec![0.0; n], squares: vec![0.0; n] }
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        (self.means.len() + self.squares.len()) * size_of::<f64>()
    }

    /// Moves numbers along a gradient, so that what it is the gradient of grows.
    pub(super) fn ascend(&mut self, numbers: &mut [f64], gradient: &[f64]) {
        self.n_steps += 1;
        let (of_means, of_squares) = (1.0 - BETA_1.powi(self.n_steps), 1.0 - BETA_2.powi(self.n_steps));
        let learning_rate = self.learning_rate;
        let memory = self.means.par_chunks_mut(GRAIN).zip(self.squares.par_chunks_mut(GRAIN));
        let chunks = numbers.par_chunks_mut(GRAIN).zip(gradient.par_chunks(GRAIN)).zip(memory);
        chunks.for_each(|((numbers, gradients), (means, squares))| {
            let memory = means.iter_mut().zip(squares);
            for ((number, gradient), (mean, square)) in numbers.iter_mut().zip(gradients).zip(memory) {
                *mean += (1.0 - BETA_1) * (gradient - *mean);
                *square += (1.0 - BETA_2) * (gradient * gradient - *square);
                *number += learning_rate * (*mean / of_means) / ((*square / of_squares).sqrt() + EPSILON);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.optim.Adam([x], lr=0.05, maximize=True)` on `-(x - [3, -1])²` from `[0, 0]`.
    #[test]
    fn steps_are_those_of_pytorch() {
        let mut numbers = [0.0, 0.0];
        let mut adam = Adam::new(2, 0.05);
        for _ in 0..3 {
            let gradient = [-2.0 * (numbers[0] - 3.0), -2.0 * (numbers[1] + 1.0)];
            adam.ascend(&mut numbers, &gradient);
        }
        let expected = [0.1499127148591045, -0.14968830359394306];
        assert!(numbers.iter().zip(expected).all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-12), "{numbers:?}");
    }
}
