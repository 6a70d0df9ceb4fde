//! Batch norms, after training and within it, and dropout.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, DeviceLocation, Tensor};

use super::{OnTensors, channels_last, column_sums, pointwise};
use crate::error::{ModelError, Result};
use crate::operators::{Backward, BatchNorm, NormByMoments, ParameterGradients};
use crate::value::{Layout, Value};

/// A value as `[place, channel]`.
fn places(value: &Value, device: &Device) -> Result<(Value, Tensor)> {
    let value = channels_last(value, device)?;
    let channels = value.shape()[1];
    let places = value.tensor().reshape((value.len() / channels.max(1), channels))?;
    Ok((value, places))
}

/// Places again as a value of the shape and layout of another.
fn like(places: &Tensor, value: &Value) -> Result<Value> {
    Value::laid_out(&places.reshape(value.tensor().dims())?, value.shape(), value.layout())
}

/// A batch norm after training: a factor and a term for each channel.
#[derive(Clone, Debug)]
pub(crate) struct AffineOnDevice {
    factor: Tensor,
    term: Tensor,
    device: Device,
}

impl AffineOnDevice {
    pub(crate) fn of(norm: &BatchNorm, dtype: DType, device: &Device) -> Result<Self> {
        let (factor, term) = norm.factor_and_term()?;
        let tensor = |numbers: Vec<f64>| -> Result<Tensor> {
            let n = numbers.len();
            Ok(Tensor::from_vec(numbers, n, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
        };
        Ok(AffineOnDevice { factor: tensor(factor)?, term: tensor(term)?, device: device.clone() })
    }
}

impl OnTensors for AffineOnDevice {
    fn forward(&self, inputs: &[&Value]) -> Result<Value> {
        let (value, places) = places(inputs[0], &self.device)?;
        like(&places.broadcast_mul(&self.factor)?.broadcast_add(&self.term)?, &value)
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (value, places) = places(backward.gradient()?, &self.device)?;
        Backward::only(like(&places.broadcast_mul(&self.factor)?, &value)?)
    }
}

/// Mean and variance of each channel over a batch; see [`crate::operators::Moments`].
#[derive(Clone, Debug)]
pub(crate) struct MomentsOnDevice {
    pub(crate) device: Device,
}

impl OnTensors for MomentsOnDevice {
    fn forward(&self, inputs: &[&Value]) -> Result<Value> {
        let (_, places) = places(inputs[0], &self.device)?;
        let (n, channels) = places.dims2()?;
        let mean = (column_sums(&places)? * (1.0 / n as f64))?;
        let variance = (column_sums(&places.broadcast_sub(&mean)?.sqr()?)? * (1.0 / n as f64))?;
        Value::laid_out(&Tensor::stack(&[mean, variance], 0)?, &[2, channels], Layout::Logical)
    }

    fn input_gradients(&self, _backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![None])
    }
}

/// A batch norm in training; see [`NormByMoments`].
#[derive(Clone, Debug)]
pub(crate) struct NormByMomentsOnDevice {
    scale: Tensor,
    shift: Tensor,
    epsilon: f64,
    device: Device,
}

impl NormByMomentsOnDevice {
    pub(crate) fn of(norm: &NormByMoments, device: &Device) -> Result<Self> {
        let (scale, shift, epsilon) = norm.parts();
        let (scale, shift) = (scale.to_device(device)?, shift.to_device(device)?);
        Ok(NormByMomentsOnDevice { scale, shift, epsilon, device: device.clone() })
    }

    /// Mean, and one over the standard deviation, of each channel.
    fn centre_and_inverse(&self, moments: &Value) -> Result<(Tensor, Tensor)> {
        let moments = moments.to_device(&self.device)?;
        let (mean, variance) = (moments.tensor().get(0)?, moments.tensor().get(1)?);
        Ok((mean, (variance + self.epsilon)?.sqrt()?.recip()?))
    }

    fn forward_as(&self, inputs: &[&Value], low: f64, high: f64) -> Result<Value> {
        let (value, places) = places(inputs[0], &self.device)?;
        let (mean, inverse) = self.centre_and_inverse(inputs[1])?;
        let factor = (&self.scale * inverse)?;
        let term = (&self.shift - (mean * &factor)?)?;
        let normed = places.broadcast_mul(&factor)?.broadcast_add(&term)?;
        like(&pointwise::clamped(&normed, low, high)?, &value)
    }
}

impl OnTensors for NormByMomentsOnDevice {
    fn forward(&self, inputs: &[&Value]) -> Result<Value> {
        self.forward_as(inputs, f64::NEG_INFINITY, f64::INFINITY)
    }

    fn forward_clamped(&self, inputs: &[&Value], low: f64, high: f64) -> Option<Result<Value>> {
        Some(self.forward_as(inputs, low, high))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        Ok(self.both_gradients(backward)?.0)
    }

    fn both_gradients(&self, backward: &Backward<'_>) -> Result<(Vec<Option<Value>>, ParameterGradients)> {
        let (value, x) = places(&backward.values.input(0)?, &self.device)?;
        if backward.rows.len() != value.batch() || backward.rows.iter().enumerate().any(|(nth, &row)| nth != row) {
            let reason = "the moments are those of a batch, and so is the gradient";
            return Err(ModelError::operator("BatchNormalization", reason));
        }
        let (_, arrived) = places(backward.gradient()?, &self.device)?;
        let (mean, inverse) = self.centre_and_inverse(&backward.values.input(1)?)?;
        let normed = x.broadcast_sub(&mean)?.broadcast_mul(&inverse)?;
        let (of_shift, of_scale) = (column_sums(&arrived)?, column_sums(&(&arrived * &normed)?)?);
        let mut to_inputs = vec![None, None];
        if backward.wanted.first() == Some(&true) {
            // `scale / σ · (g - mean(g) - x̂ mean(g x̂))`
            let share = 1.0 / x.dims()[0].max(1) as f64;
            let of_normed = normed.broadcast_mul(&(&of_scale * share)?)?;
            let centred = arrived.broadcast_sub(&(&of_shift * share)?)?;
            let passed = (centred - of_normed)?.broadcast_mul(&(&self.scale * inverse)?)?;
            to_inputs[0] = Some(like(&passed, &value)?);
        }
        Ok((to_inputs, vec![("scale", of_scale), ("shift", of_shift)]))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("scale", &self.scale), ("shift", &self.shift)]
    }

    fn with_parameters(&self, parameters: &[Tensor]) -> Result<Arc<dyn OnTensors>> {
        let (scale, shift) = (parameters[0].clone(), parameters[1].clone());
        Ok(Arc::new(NormByMomentsOnDevice { scale, shift, ..self.clone() }))
    }
}

/// Dropout by the device's own chance: each layer and step begins elsewhere in one long list of numbers.
#[derive(Clone, Debug)]
pub(crate) struct DropoutOnDevice {
    probability: f64,
    seed: u64,
    device: Device,
}

/// Numbers of the list.
const CHANCES: usize = 1 << 27;

/// The list of each device, by its number: to seed a generator anew for every layer costs as much as all of its work.
static CHANCE: Mutex<Vec<(usize, Tensor)>> = Mutex::new(Vec::new());

impl DropoutOnDevice {
    /// `None` for the processor, which has a way of its own.
    pub(crate) fn of(probability: f64, seed: u64, device: &Device) -> Option<Self> {
        matches!(device, Device::Cuda(_)).then(|| DropoutOnDevice { probability, seed, device: device.clone() })
    }

    /// So many numbers from 0 to 1, the same for the same seed.
    fn chance(&self, n: usize) -> Result<Tensor> {
        let DeviceLocation::Cuda { gpu_id } = self.device.location() else {
            return Err(ModelError::operator("Dropout", "this form is for devices of CUDA"));
        };
        if n > CHANCES / 2 {
            let reason = format!("{n} numbers at once; at most {} can be left out by chance", CHANCES / 2);
            return Err(ModelError::operator("Dropout", reason));
        }
        let mut known = CHANCE.lock().unwrap_or_else(PoisonError::into_inner);
        let all = match known.iter().find(|(known, _)| *known == gpu_id) {
            Some((_, all)) => all.clone(),
            None => {
                self.device.set_seed(1)?;
                let all = Tensor::rand(0f32, 1f32, CHANCES, &self.device)?;
                known.push((gpu_id, all.clone()));
                all
            }
        };
        let first = self.seed % (CHANCES - n) as u64;
        Ok(all.narrow(0, first as usize, n)?)
    }

    fn weighed(&self, value: &Value) -> Result<Value> {
        let value = channels_last(value, &self.device)?;
        let chance = self.chance(value.len())?.reshape(value.tensor().dims())?;
        let kept = chance.ge(self.probability)?.to_dtype(value.dtype())?.affine(1.0 / (1.0 - self.probability), 0.0)?;
        Value::laid_out(&(value.tensor() * kept)?, value.shape(), value.layout())
    }
}

impl OnTensors for DropoutOnDevice {
    fn forward(&self, inputs: &[&Value]) -> Result<Value> {
        self.weighed(inputs[0])
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        if backward.rows.iter().enumerate().any(|(nth, &row)| nth != row) {
            return Err(ModelError::operator("Dropout", "chance is that of a whole batch, and so is the gradient"));
        }
        Backward::only(self.weighed(backward.gradient()?)?)
    }
}
