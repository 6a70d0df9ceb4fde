//! AdamW (Loshchilov and Hutter 2019, algorithm 2): Adam with a decay of the weights that its scaling does not touch.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use models::Value;
use rayon::prelude::*;

use crate::error::Result;

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Numbers that one task moves.
const GRAIN: usize = 1 << 15;

/// Running means of a parameter's gradients and of their squares, where the parameter is.
#[derive(Clone, Debug)]
pub struct Memory {
    pub means: Tensor,
    pub squares: Tensor,
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
        parameter: &Tensor,
        gradient: &Tensor,
        learning_rate: f64,
        decays: bool,
    ) -> Result<Tensor> {
        let n_steps = i32::try_from(self.n_steps).unwrap_or(i32::MAX);
        let rate = learning_rate as f32;
        let step = Step {
            of_means: 1.0 - BETA_1.powi(n_steps),
            of_squares: 1.0 - BETA_2.powi(n_steps),
            rate,
            kept: if decays { 1.0 - rate * self.weight_decay } else { 1.0 },
        };
        let device = parameter.device();
        let memory = match self.memory.remove(name) {
            // What a checkpoint gave back lies flat on the processor.
            Some(Memory { means, squares }) => {
                let placed = |tensor: Tensor| tensor.reshape(parameter.dims())?.to_device(device);
                Memory { means: placed(means)?, squares: placed(squares)? }
            }
            None => Memory { means: parameter.zeros_like()?, squares: parameter.zeros_like()? },
        };
        let gradient = gradient.to_device(device)?;
        let (moved, memory) = if device.is_cpu() {
            step.on_processor(parameter, &gradient, &memory)?
        } else {
            step.on_device(parameter, &gradient, &memory)?
        };
        self.memory.insert(name.to_owned(), memory);
        Ok(moved)
    }
}

/// The numbers of one step.
struct Step {
    /// What the running means lack of whole ones.
    of_means: f32,
    of_squares: f32,
    rate: f32,
    /// What decay leaves of a weight.
    kept: f32,
}

impl Step {
    /// All in one pass.
    fn on_processor(&self, parameter: &Tensor, gradient: &Tensor, memory: &Memory) -> Result<(Tensor, Memory)> {
        let list = |tensor: &Tensor| -> Result<Vec<f32>> { Ok(Value::from_tensor(tensor)?.numbers::<f32>()?.to_vec()) };
        let (mut moved, mut means, mut squares) = (list(parameter)?, list(&memory.means)?, list(&memory.squares)?);
        let gradient = Value::from_tensor(gradient)?;
        let gradient = gradient.numbers::<f32>()?;
        let chunks = moved.par_chunks_mut(GRAIN).zip(gradient.par_chunks(GRAIN));
        let memory = means.par_chunks_mut(GRAIN).zip(squares.par_chunks_mut(GRAIN));
        chunks.zip(memory).for_each(|((moved, gradient), (means, squares))| {
            let memory = means.iter_mut().zip(squares);
            for ((number, gradient), (mean, square)) in moved.iter_mut().zip(gradient).zip(memory) {
                *mean += (1.0 - BETA_1) * (gradient - *mean);
                *square += (1.0 - BETA_2) * (gradient * gradient - *square);
                let size = (*square / self.of_squares).sqrt() + EPSILON;
                *number = *number * self.kept - self.rate * (*mean / self.of_means) / size;
            }
        });
        let tensor = |numbers: Vec<f32>| Tensor::from_vec(numbers, parameter.dims(), &Device::Cpu);
        Ok((tensor(moved)?, Memory { means: tensor(means)?, squares: tensor(squares)? }))
    }

    fn on_device(&self, parameter: &Tensor, gradient: &Tensor, memory: &Memory) -> Result<(Tensor, Memory)> {
        let followed = |running: &Tensor, now: &Tensor, beta: f32| -> candle_core::Result<Tensor> {
            running.affine(f64::from(beta), 0.0)? + now.affine(1.0 - f64::from(beta), 0.0)?
        };
        let means = followed(&memory.means, gradient, BETA_1)?;
        let squares = followed(&memory.squares, &gradient.sqr()?, BETA_2)?;
        let size = squares.affine(1.0 / f64::from(self.of_squares), 0.0)?.sqrt()?;
        let direction = (&means / size.affine(1.0, f64::from(EPSILON))?)?;
        let by = direction.affine(f64::from(self.rate / self.of_means), 0.0)?;
        let moved = (parameter.affine(f64::from(self.kept), 0.0)? - by)?;
        Ok((moved, Memory { means, squares }))
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
            numbers = moved(&mut adam, "x", &numbers, &gradient, true);
        }
        let expected = [0.6416883, 0.0972607];
        assert!(numbers.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{numbers:?} is not {expected:?}");
    }

    #[test]
    fn a_step_in_tensors_is_the_same() {
        let step = Step { of_means: 0.1, of_squares: 0.002, rate: 0.05, kept: 0.995 };
        let tensor = |numbers: [f32; 3]| Tensor::from_slice(&numbers, 3, &Device::Cpu).unwrap();
        let (parameter, gradient) = (tensor([0.5, -2.0, 0.0]), tensor([3.0, 1e-3, 0.0]));
        let memory = Memory { means: tensor([0.2, -0.1, 0.0]), squares: tensor([0.3, 0.01, 0.0]) };
        let (one, one_memory) = step.on_processor(&parameter, &gradient, &memory).unwrap();
        let (other, other_memory) = step.on_device(&parameter, &gradient, &memory).unwrap();
        let pairs = [(one, other), (one_memory.means, other_memory.means), (one_memory.squares, other_memory.squares)];
        for (one, other) in pairs {
            let (one, other) = (one.to_vec1::<f32>().unwrap(), other.to_vec1::<f32>().unwrap());
            assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-6), "{one:?} is not {other:?}");
        }
    }

    fn moved(adam: &mut AdamW, name: &str, numbers: &[f32], gradient: &[f32], decays: bool) -> Vec<f32> {
        let tensor = |numbers: &[f32]| Tensor::from_slice(numbers, numbers.len(), &Device::Cpu).unwrap();
        adam.moved(name, &tensor(numbers), &tensor(gradient), 0.05, decays).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn what_does_not_decay_stays_where_nothing_pulls() {
        let mut adam = AdamW::new(0.1);
        adam.begin_step();
        assert_eq!(moved(&mut adam, "bias", &[2.0], &[0.0], false), [2.0]);
        assert_eq!(moved(&mut adam, "weight", &[2.0], &[0.0], true), [2.0 * (1.0 - 0.05 * 0.1)]);
    }
}
