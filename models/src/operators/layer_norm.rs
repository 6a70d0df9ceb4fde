//! Layer normalisation (Ba et al. 2016) over the last axes, with the input's own mean and variance.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::{Backward, Family, Operator, ParameterGradients, Reach, check_parameters};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::{Layout, Value};

/// `(x - mean) / √(variance + ε) · scale + shift`, with mean and variance over the last axes, as many as `scale` has.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    scale: Tensor,
    shift: Option<Tensor>,
    epsilon: f64,
}

impl LayerNorm {
    /// Checks that the parameters fit; both have the lengths of the axes that are normalised.
    pub fn new(scale: Tensor, shift: Option<Tensor>, epsilon: f64) -> Result<Self> {
        let shift_dims = shift.as_ref().map(|shift| shift.dims().to_vec());
        if scale.rank() == 0 || shift_dims.as_ref().is_some_and(|dims| dims != scale.dims()) {
            let reason = format!("scale {:?} with shift {shift_dims:?}; both need the normalised axes", scale.dims());
            return Err(ModelError::operator("LayerNormalization", reason));
        }
        Ok(LayerNorm { scale, shift, epsilon })
    }

    /// A line's mean, and one over its standard deviation.
    fn moments<T: Element>(&self, line: &[T]) -> (T, T) {
        let n = T::of(line.len() as f64);
        let mean = line.iter().copied().sum::<T>() / n;
        let variance = line.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / n;
        (mean, T::one() / (variance + T::of(self.epsilon)).sqrt())
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        self.output_shapes(&[input.shape()])?;
        let input = input.to_logical()?;
        let numbers = input.numbers::<T>()?;
        let (scale, shift) = (self.parameter::<T>(Some(&self.scale))?, self.parameter::<T>(self.shift.as_ref())?);
        let mut output = numbers.to_vec();
        output.par_chunks_mut(scale.len()).for_each(|line| {
            let (mean, inverse) = self.moments(line);
            let parameters = scale.iter().zip(&shift);
            line.iter_mut()
                .zip(parameters)
                .for_each(|(x, (&scale, &shift))| *x = (*x - mean) * inverse * scale + shift);
        });
        Value::from_vec(output, input.shape(), Layout::Logical)
    }

    /// Zeros where there is none.
    fn parameter<T: Element>(&self, tensor: Option<&Tensor>) -> Result<Vec<T>> {
        match tensor {
            Some(tensor) => Ok(Value::from_tensor(tensor)?.numbers::<T>()?.to_vec()),
            None => Ok(vec![T::zero(); self.scale.elem_count()]),
        }
    }

    /// `(u - mean(u) - x̂ mean(u ⊙ x̂)) / √(variance + ε)` with `u = g ⊙ scale` and `x̂` the normalised line.
    fn input_gradient_as<T: Element>(&self, backward: &Backward<'_>) -> Result<Value> {
        let (input, gradient) = (backward.values.input(0)?.to_logical()?, backward.gradient()?.to_logical()?);
        let (numbers, scale) = (input.numbers::<T>()?, self.parameter::<T>(Some(&self.scale))?);
        let numbers: &[T] = &numbers;
        let n = scale.len();
        let n_lines = gradient.len() / gradient.batch().max(1) / n;
        let mut passed = gradient.numbers::<T>()?.to_vec();
        passed.par_chunks_mut(n).enumerate().for_each(|(nth, passed)| {
            let line = &numbers[(backward.rows[nth / n_lines] * n_lines + nth % n_lines) * n..][..n];
            let (mean, inverse) = self.moments(line);
            passed.iter_mut().zip(&scale).for_each(|(u, &scale)| *u *= scale);
            let normalised = |x: T| (x - mean) * inverse;
            let share = T::one() / T::of(n as f64);
            let of_mean = passed.iter().copied().sum::<T>() * share;
            let of_variance = passed.iter().zip(line).map(|(&u, &x)| u * normalised(x)).sum::<T>() * share;
            let through = |u: T, x: T| (u - of_mean - normalised(x) * of_variance) * inverse;
            passed.iter_mut().zip(line).for_each(|(u, &x)| *u = through(*u, x));
        });
        Value::from_vec(passed, gradient.shape(), Layout::Logical)
    }

    /// `Σ g ⊙ x̂` and `Σ g` over all lines, with `x̂` the normalised line.
    fn parameter_gradients_as<T: Element>(&self, backward: &Backward<'_>) -> Result<ParameterGradients> {
        let (input, gradient) = (backward.input_of_pairs(0)?.to_logical()?, backward.gradient()?.to_logical()?);
        let n = self.scale.elem_count();
        let (mut scale, mut shift) = (vec![0.0; n], vec![0.0; n]);
        for (line, gradients) in input.numbers::<T>()?.chunks_exact(n).zip(gradient.numbers::<T>()?.chunks_exact(n)) {
            let (mean, inverse) = self.moments(line);
            for (at, (&x, gradient)) in line.iter().zip(gradients).enumerate() {
                scale[at] += gradient.wide() * ((x - mean) * inverse).wide();
                shift[at] += gradient.wide();
            }
        }
        let tensor = |sums: Vec<f64>| {
            Tensor::from_vec(sums, self.scale.dims(), self.scale.device())?.to_dtype(self.scale.dtype())
        };
        let shift = self.shift.as_ref().map(|_| tensor(shift)).transpose()?;
        Ok([("scale", tensor(scale)?)].into_iter().chain(shift.map(|shift| ("shift", shift))).collect())
    }
}

impl Operator for LayerNorm {
    fn kind(&self) -> &'static str {
        "LayerNormalization"
    }

    fn family(&self) -> Family {
        Family::Activation
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let (input, normalised) = (inputs[0], self.scale.dims());
        if input.len() <= normalised.len() || !input.ends_with(normalised) {
            let reason = format!("input {input:?} must end with the normalised axes {normalised:?} behind the batch");
            return Err(ModelError::operator("LayerNormalization", reason));
        }
        Ok(vec![input.to_vec()])
    }

    fn reach(&self) -> Reach {
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0])?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        with_element!(backward.gradient()?.dtype(), T => Backward::only(self.input_gradient_as::<T>(backward)?))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        [("scale", &self.scale)].into_iter().chain(self.shift.iter().map(|shift| ("shift", shift))).collect()
    }

    fn parameter_gradients(&self, backward: &Backward<'_>) -> Result<ParameterGradients> {
        with_element!(backward.gradient()?.dtype(), T => self.parameter_gradients_as::<T>(backward))
    }

    fn with_parameters(&self, parameters: &[Tensor]) -> Result<Arc<dyn Operator>> {
        check_parameters(self, parameters)?;
        Ok(Arc::new(LayerNorm::new(parameters[0].clone(), parameters.get(1).cloned(), self.epsilon)?))
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let shift = self.shift.as_ref().map(|shift| shift.to_dtype(dtype)).transpose()?;
        Ok(Arc::new(LayerNorm { scale: self.scale.to_dtype(dtype)?, shift, epsilon: self.epsilon }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, check_parameter_gradients, random_tensor, random_value};

    #[test]
    fn over_one_axis_and_two() {
        let norm = LayerNorm::new(random_tensor(&[5], 1), Some(random_tensor(&[5], 2)), 1e-2).unwrap();
        check_gradients(&norm, &[random_value(&[2, 5], 3)]);
        check_parameter_gradients(&norm, &[random_value(&[2, 3, 5], 4).to_channels_last().unwrap()]);
        check_gradients(&norm, &[random_value(&[2, 3, 5], 4).to_channels_last().unwrap()]);
        let norm = LayerNorm::new(random_tensor(&[3, 4], 5), None, 1e-2).unwrap();
        check_gradients(&norm, &[random_value(&[2, 2, 3, 4], 6)]);
        check_parameter_gradients(&norm, &[random_value(&[2, 2, 3, 4], 6)]);
    }

    /// Mean 2 and variance 2/3 of 1, 2, 3.
    #[test]
    fn a_line_by_hand() {
        let list = |numbers: &[f64]| Tensor::new(numbers, &candle_core::Device::Cpu).unwrap();
        let norm = LayerNorm::new(list(&[1.0, 2.0, 4.0]), Some(list(&[0.0, 0.5, -1.0])), 1.0 / 3.0).unwrap();
        let line = Value::from_vec(vec![1.0, 2.0, 3.0], &[1, 3], Layout::Logical).unwrap();
        assert_eq!(norm.forward(&[&line]).unwrap()[0].to_f64_vec().unwrap(), [-1.0, 0.5, 3.0]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let norm = LayerNorm::new(random_tensor(&[5], 1), None, 1e-5).unwrap();
        assert_eq!(
            norm.output_shapes(&[&[2, 4]]).unwrap_err().to_string(),
            "LayerNormalization: input [2, 4] must end with the normalised axes [5] behind the batch"
        );
    }
}
