//! Batch normalisation as it is after training: a scale and a shift a channel.
//!
//! `y = (x - mean) / sqrt(variance + epsilon) * scale + shift`, Ioffe and Szegedy 2015, algorithm 2.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{Backward, Family, Operator, ParameterGradients, check_parameters};
use crate::device::{AffineOnDevice, OnTensors};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::Value;

/// A batch norm over axis 1; all tensors are `[channels]`.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: f64,
}

impl BatchNorm {
    /// Checks that all four have one shape.
    pub fn new(scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, epsilon: f64) -> Result<Self> {
        let shapes = [&scale, &shift, &mean, &variance].map(|tensor| tensor.dims().to_vec());
        if scale.rank() != 1 || shapes.iter().any(|shape| *shape != shapes[0]) {
            return Err(ModelError::operator(
                "BatchNormalization",
                format!("scale, shift, mean and variance have shapes {shapes:?}; all must be [channels]"),
            ));
        }
        Ok(BatchNorm { scale, shift, mean, variance, epsilon })
    }

    /// A norm of scale 1 and shift 0 that has seen channels of these means and variances.
    pub fn fresh(mean: Vec<f64>, variance: Vec<f64>, epsilon: f64, dtype: DType) -> Result<Self> {
        let n_channels = mean.len();
        let tensor = |numbers: Vec<f64>| -> Result<Tensor> {
            Ok(Tensor::from_vec(numbers, n_channels, &candle_core::Device::Cpu)?.to_dtype(dtype)?)
        };
        let (scale, shift) = (tensor(vec![1.0; n_channels])?, tensor(vec![0.0; n_channels])?);
        BatchNorm::new(scale, shift, tensor(mean)?, tensor(variance)?, epsilon)
    }

    /// What is added to variances.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// For each channel the factor and the term of `y = factor x + term`, in f64.
    pub fn factor_and_term(&self) -> Result<(Vec<f64>, Vec<f64>)> {
        let (scale, shift) = (self.wide(&self.scale)?, self.wide(&self.shift)?);
        let (mean, variance) = (self.wide(&self.mean)?, self.wide(&self.variance)?);
        let factor: Vec<f64> =
            scale.iter().zip(&variance).map(|(scale, variance)| scale / (variance + self.epsilon).sqrt()).collect();
        let term = factor.iter().zip(&mean).zip(&shift).map(|((factor, mean), shift)| shift - factor * mean).collect();
        Ok((factor, term))
    }

    fn affine<T: Element>(&self, value: &Value, with_term: bool) -> Result<Value> {
        let (factor, term) = self.factor_and_term()?;
        let value = value.to_channels_last()?;
        let mut numbers = value.numbers::<T>()?.to_vec();
        for pixel in numbers.chunks_exact_mut(factor.len()) {
            for (channel, number) in pixel.iter_mut().enumerate() {
                *number *= T::of(factor[channel]);
                if with_term {
                    *number += T::of(term[channel]);
                }
            }
        }
        Value::from_vec(numbers, value.shape(), value.layout())
    }

    /// `Σ g (x - mean) / √(variance + ε)` and `Σ g`, over all places of a channel.
    fn parameter_gradients_as<T: Element>(&self, backward: &Backward<'_>) -> Result<ParameterGradients> {
        let (x, gradient) = (backward.input_of_pairs(0)?.to_channels_last()?, backward.gradient()?.to_channels_last()?);
        let (mean, variance) = (self.wide(&self.mean)?, self.wide(&self.variance)?);
        let n = mean.len();
        let (mut scale, mut shift) = (vec![0.0; n], vec![0.0; n]);
        let pixels = gradient.numbers::<T>()?;
        for (gradients, x) in pixels.chunks_exact(n).zip(x.numbers::<T>()?.chunks_exact(n)) {
            for (channel, (gradient, x)) in gradients.iter().zip(x).enumerate() {
                scale[channel] += gradient.wide() * (x.wide() - mean[channel]);
                shift[channel] += gradient.wide();
            }
        }
        scale.iter_mut().zip(&variance).for_each(|(sum, variance)| *sum /= (variance + self.epsilon).sqrt());
        let tensor = |sums: Vec<f64>| Tensor::from_vec(sums, n, &Device::Cpu)?.to_dtype(self.scale.dtype());
        Ok(vec![("scale", tensor(scale)?), ("shift", tensor(shift)?)])
    }

    fn wide(&self, tensor: &Tensor) -> Result<Vec<f64>> {
        Ok(tensor.to_dtype(DType::F64)?.to_vec1::<f64>()?)
    }
}

impl Operator for BatchNorm {
    fn kind(&self) -> &'static str {
        "BatchNormalization"
    }

    fn family(&self) -> Family {
        Family::BatchNorm
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let channels = self.scale.dims()[0];
        if inputs[0].get(1) != Some(&channels) {
            return Err(ModelError::operator(
                "BatchNormalization",
                format!("input must have {channels} channels but has shape {:?}", inputs[0]),
            ));
        }
        Ok(vec![inputs[0].to_vec()])
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.affine::<T>(inputs[0], true)?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let gradient = backward.gradient()?;
        with_element!(gradient.dtype(), T => Backward::only(self.affine::<T>(gradient, false)?))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("scale", &self.scale), ("shift", &self.shift), ("mean", &self.mean), ("variance", &self.variance)]
    }

    /// Of scale and shift; mean and variance are statistics, which no optimiser learns.
    fn parameter_gradients(&self, backward: &Backward<'_>) -> Result<ParameterGradients> {
        with_element!(backward.gradient()?.dtype(), T => self.parameter_gradients_as::<T>(backward))
    }

    fn with_parameters(&self, parameters: &[Tensor]) -> Result<Arc<dyn Operator>> {
        check_parameters(self, parameters)?;
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|nth| parameters[nth].clone());
        Ok(Arc::new(BatchNorm::new(scale, shift, mean, variance, self.epsilon)?))
    }

    fn n_parameters(&self) -> usize {
        // Mean and variance are statistics, which no optimiser learned.
        2 * self.scale.elem_count()
    }

    fn on_windows(&self, _n_spatial: usize) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(self.clone()))
    }

    fn on_tensors(&self, device: &Device) -> Option<Result<Arc<dyn OnTensors>>> {
        Some(AffineOnDevice::of(self, self.scale.dtype(), device).map(|form| -> Arc<dyn OnTensors> { Arc::new(form) }))
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let tensors = [&self.scale, &self.shift, &self.mean, &self.variance].map(|tensor| tensor.to_dtype(dtype));
        let [scale, shift, mean, variance] = tensors;
        Ok(Arc::new(BatchNorm::new(scale?, shift?, mean?, variance?, self.epsilon)?))
    }

    fn as_batch_norm(&self) -> Option<&BatchNorm> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, check_parameter_gradients, random_tensor, random_value};

    #[test]
    fn on_features_sequences_and_images() {
        let variance = random_tensor(&[3], 4).sqr().unwrap();
        let norm =
            BatchNorm::new(random_tensor(&[3], 1), random_tensor(&[3], 2), random_tensor(&[3], 3), variance, 1e-3)
                .unwrap();
        for shape in [&[2, 3][..], &[2, 3, 5], &[2, 3, 2, 4]] {
            check_gradients(&norm, &[random_value(shape, 5)]);
            check_parameter_gradients(&norm, &[random_value(shape, 5)]);
        }
    }
}
