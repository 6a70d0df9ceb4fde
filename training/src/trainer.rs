//! A run of training: steps, each a forward pass, a loss, a walk back and a move of the parameters.

use candle_core::Tensor;
use models::{Outlet, Trace, Value};

use crate::backward::gradients;
use crate::error::{Result, TrainingError};
use crate::network::Network;
use crate::optimiser::{AdamW, Schedule};
use crate::random::Random;

/// A loss with its derivatives by the values that it was computed of.
#[derive(Debug)]
pub struct Loss {
    pub value: f64,
    pub derivatives: Vec<(Outlet, Value)>,
}

/// A network with what moves it.
#[derive(Debug)]
pub struct Trainer {
    pub network: Network,
    pub optimiser: AdamW,
    pub schedule: Schedule,
    /// All chance of the run follows from it and the step.
    pub seed: u64,
    /// Steps made.
    pub n_steps: usize,
    /// The length that all gradients together are cut to (Pascanu et al. 2013), where they are longer.
    pub longest_gradient: Option<f64>,
}

impl Trainer {
    /// Before its first step.
    pub fn new(network: Network, weight_decay: f64, schedule: Schedule, seed: u64) -> Trainer {
        let optimiser = AdamW::new(weight_decay);
        Trainer { network, optimiser, schedule, seed, n_steps: 0, longest_gradient: None }
    }

    /// The chance of the step to come, for batches and what is left out in them.
    pub fn random(&self) -> Random {
        Random::of(self.seed, self.n_steps)
    }

    /// One step; answers the loss, with the parameters as they were before.
    pub fn step(
        &mut self,
        inputs: &[Value],
        random: &mut Random,
        loss: impl FnOnce(&Network, &Trace) -> Result<Loss>,
    ) -> Result<f64> {
        let trace = self.network.record(inputs, random)?;
        let Loss { value, derivatives } = loss(&self.network, &trace)?;
        if !value.is_finite() {
            return Err(TrainingError::Diverged { step: self.n_steps, loss: value });
        }
        let mut found = gradients(self.network.graph(), &trace, derivatives)?;
        if let Some(longest) = self.longest_gradient {
            let length = length_of(&found)?;
            if !length.is_finite() {
                return Err(TrainingError::Diverged { step: self.n_steps, loss: length });
            }
            if length > longest {
                let factor = longest / length;
                for (_, gradient) in found.iter_mut().flat_map(|(_, gradients)| gradients) {
                    *gradient = (&*gradient * factor)?;
                }
            }
        }
        let rate = self.schedule.learning_rate(self.n_steps);
        self.network.step(&trace, found, &mut self.optimiser, rate)?;
        self.n_steps += 1;
        Ok(value)
    }
}

fn length_of(gradients: &crate::backward::Gradients) -> Result<f64> {
    let mut squares = 0.0;
    let mut on_device = Vec::new();
    for (_, gradient) in gradients.iter().flat_map(|(_, gradients)| gradients) {
        if !gradient.device().is_cpu() {
            on_device.push(gradient.sqr()?.sum_all()?);
            continue;
        }
        let value = Value::from_tensor(gradient)?;
        squares += value.numbers::<f32>()?.iter().map(|number| f64::from(number * number)).sum::<f64>();
    }
    if !on_device.is_empty() {
        // One number comes over.
        squares += f64::from(Tensor::stack(&on_device, 0)?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok(squares.sqrt())
}
