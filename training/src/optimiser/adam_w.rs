//! AdamW (Loshchilov and Hutter 2019, algorithm 2): Adam with a decay of the weights that its scaling does not touch.

use std::collections::BTreeMap;

use rayon::prelude::*;

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Numbers that one task moves.
const GRAIN: usize = 1 << 15;

/// Running means of a parameter's gradients and of their squares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    pub means: Vec<f32>,
    pub squares: Vec<f32>,
}

/// The optimiser with what it remembers of each parameter, by name.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// How much of itself a weight loses in a step, times the learning rate.
    pub weight_decay: f32,
    /// Steps taken.
    pub n_steps: usize,
    /// By the parameter's name.
    pub memory: BTreeMap<String, Memory>,
}

impl AdamW {
    /// Before its first step.
    pub fn new(weight_decay: f64) -> AdamW {
        AdamW { weight_decay: weight_decay as f32, n_steps: 0, memory: BTreeMap::new() }
    }

    /// Counts a step, whose parameters are moved one by one behind it.
    pub fn begin_step(&mut self) {
        self.n_steps += 1;
    }

    /// A parameter moved against its gradient; `decays` for weights, not for biases and norms.
    pub fn moved(
        &mut self,
        name: &str,
        numbers: &[f32],
        gradient: &[f32],
        learning_rate: f64,
        decays: bool,
    ) -> Vec<f32> {
        let memory = self.memory.entry(name.to_owned()).or_default();
        memory.means.resize(numbers.len(), 0.0);
        memory.squares.resize(numbers.len(), 0.0);
        let n_steps = i32::try_from(self.n_steps).unwrap_or(i32::MAX);
        let (of_means, of_squares) = (1.0 - BETA_1.powi(n_steps), 1.0 - BETA_2.powi(n_steps));
        let rate = learning_rate as f32;
        let kept = if decays { 1.0 - rate * self.weight_decay } else { 1.0 };
        let mut moved = numbers.to_vec();
        let chunks = moved.par_chunks_mut(GRAIN).zip(gradient.par_chunks(GRAIN));
        let memory = memory.means.par_chunks_mut(GRAIN).zip(memory.squares.par_chunks_mut(GRAIN));
        chunks.zip(memory).for_each(|((moved, gradient), (means, squares))| {
            let memory = means.iter_mut().zip(squares);
            for ((number, gradient), (mean, square)) in moved.iter_mut().zip(gradient).zip(memory) {
                *mean += (1.0 - BETA_1) * (gradient - *mean);
                *square += (1.0 - BETA_2) * (gradient * gradient - *square);
                *number = *number * kept - rate * (*mean / of_means) / ((*square / of_squares).sqrt() + EPSILON);
            }
        });
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.optim.AdamW([x], lr=0.05, weight_decay=0.1)` on `(x - [3, -1])²` from `[0.5, 0.25]`, three steps.
    #[test]
    fn steps_are_those_of_pytorch() {
        let mut numbers = vec![0.5, 0.25];
        let mut adam = AdamW::new(0.1);
        for _ in 0..3 {
            let gradient = [2.0 * (numbers[0] - 3.0), 2.0 * (numbers[1] + 1.0)];
            adam.begin_step();
            numbers = adam.moved("x", &numbers, &gradient, 0.05, true);
        }
        let expected = [0.6416883, 0.0972607];
        assert!(numbers.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{numbers:?} is not {expected:?}");
    }

    #[test]
    fn what_does_not_decay_stays_where_nothing_pulls() {
        let mut adam = AdamW::new(0.1);
        adam.begin_step();
        assert_eq!(adam.moved("bias", &[2.0], &[0.0], 0.05, false), [2.0]);
        assert_eq!(adam.moved("weight", &[2.0], &[0.0], 0.05, true), [2.0 * (1.0 - 0.05 * 0.1)]);
    }
}
