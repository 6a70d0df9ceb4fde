//! A dense layer over the last axis: `y = W x + b`.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::reweighting::{Reweighted, Reweighting};
use super::{AxisKind, Backward, Family, Operator, ParameterGradients, Reach, check_parameters};
use crate::device::{DenseOnDevice, OnTensors};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::kernels::vectorized::matrix::{Matrix, multiply_add};
use crate::kernels::vectorized::rows::{FEW_ROWS, times, times_transposed};
use crate::kernels::vectorized::taps::Threads;
use crate::kernels::weight_gradient::sum_of_rows;
use crate::value::{Layout, Value};

/// A dense layer; `weight` is `[out, in]`, `bias` is `[out]`.
#[derive(Clone, Debug)]
pub struct Dense {
    weight: Tensor,
    bias: Option<Tensor>,
    reweighted: Arc<Reweighted<Dense>>,
}

impl Dense {
    /// Checks that weight and bias fit.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let fits = weight.rank() == 2 && bias.as_ref().is_none_or(|bias| bias.dims() == [weight.dims()[0]]);
        if !fits {
            let bias = bias.as_ref().map(|bias| bias.dims().to_vec());
            return Err(ModelError::operator(
                "Gemm",
                format!("weight {:?} with bias {bias:?}; they must be [out, in] and [out]", weight.dims()),
            ));
        }
        let bias = bias.map(|bias| bias.contiguous()).transpose()?;
        Ok(Dense { weight: weight.contiguous()?, bias, reweighted: Arc::default() })
    }

    /// `[out, in]`
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[out]`
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    fn n_in(&self) -> usize {
        self.weight.dims()[1]
    }

    fn n_out(&self) -> usize {
        self.weight.dims()[0]
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let shape = self.output_shapes(&[input.shape()])?.remove(0);
        let (input, n_in, n_out) = (input.to_logical()?, self.n_in(), self.n_out());
        let n_rows = input.len() / n_in;
        let weight = Value::from_tensor(&self.weight)?;
        let (input, weight) = (input.numbers::<T>()?, weight.numbers::<T>()?);
        let mut output = if n_rows <= FEW_ROWS {
            times_transposed(&input, &weight, n_in)
        } else {
            let mut output = vec![T::zero(); n_rows * n_out];
            let transposed = Matrix { numbers: &weight, row_stride: 1, column_stride: n_in };
            let product = (n_rows, n_in, n_out);
            let input = Matrix::row_major(&input, n_in);
            multiply_add(&mut output, n_out, product, input, transposed, Threads::All);
            output
        };
        if let Some(bias) = &self.bias {
            let bias = Value::from_tensor(bias)?;
            let bias = bias.numbers::<T>()?;
            let add_bias = |row: &mut [T]| row.iter_mut().zip(bias.iter()).for_each(|(sum, &bias)| *sum += bias);
            output.chunks_exact_mut(n_out).for_each(add_bias);
        }
        Value::from_vec(output, &shape, Layout::Logical)
    }

    fn input_gradient_as<T: Element>(&self, input: &[usize], gradient: &Value) -> Result<Value> {
        let (gradient, n_in, n_out) = (gradient.to_logical()?, self.n_in(), self.n_out());
        let n_rows = gradient.len() / n_out;
        let weight = Value::from_tensor(&self.weight)?;
        let (arrived, weight) = (gradient.numbers::<T>()?, weight.numbers::<T>()?);
        let numbers = if n_rows <= FEW_ROWS {
            times(&arrived, &weight, n_in)
        } else {
            let mut numbers = vec![T::zero(); n_rows * n_in];
            let (arrived, weight) = (Matrix::row_major(&arrived, n_out), Matrix::row_major(&weight, n_in));
            multiply_add(&mut numbers, n_in, (n_rows, n_out, n_in), arrived, weight, Threads::All);
            numbers
        };
        let mut shape = input.to_vec();
        shape[0] = gradient.batch();
        Value::from_vec(numbers, &shape, Layout::Logical)
    }

    fn parameter_gradients_as<T: Element>(&self, backward: &Backward<'_>) -> Result<ParameterGradients> {
        let (input, gradient) = (backward.input_of_pairs(0)?.to_logical()?, backward.gradient()?.to_logical()?);
        let (x, arrived, n_in, n_out) = (input.numbers::<T>()?, gradient.numbers::<T>()?, self.n_in(), self.n_out());
        let mut weight = vec![T::zero(); n_out * n_in];
        let transposed = Matrix { numbers: &arrived, row_stride: 1, column_stride: n_out };
        let product = (n_out, arrived.len() / n_out, n_in);
        multiply_add(&mut weight, n_in, product, transposed, Matrix::row_major(&x, n_in), Threads::All);
        let weight = Tensor::from_vec(weight, (n_out, n_in), &Device::Cpu)?;
        let bias = self.bias.as_ref().map(|_| Tensor::from_vec(sum_of_rows(&arrived, n_out), n_out, &Device::Cpu));
        Ok([("weight", weight)].into_iter().chain(bias.transpose()?.map(|bias| ("bias", bias))).collect())
    }
}

impl Operator for Dense {
    fn kind(&self) -> &'static str {
        "Gemm"
    }

    fn family(&self) -> Family {
        Family::Dense
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let input = inputs[0];
        if input.len() < 2 || input[input.len() - 1] != self.n_in() {
            return Err(ModelError::operator(
                "Gemm",
                format!("input must have {} features along its last axis but has shape {input:?}", self.n_in()),
            ));
        }
        let mut shape = input.to_vec();
        shape[input.len() - 1] = self.n_out();
        Ok(vec![shape])
    }

    fn output_axes(&self, inputs: &[&[AxisKind]], rank: usize) -> Vec<AxisKind> {
        match rank {
            3 => vec![AxisKind::Batch, AxisKind::Time, AxisKind::Feature],
            _ => inputs.first().map_or_else(
                || AxisKind::by_rank(rank),
                |axes| {
                    let mut axes = axes.to_vec();
                    if let Some(last) = axes.last_mut() {
                        *last = AxisKind::Feature;
                    }
                    axes
                },
            ),
        }
    }

    fn reach(&self) -> Reach {
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(self.weight.dtype(), T => self.forward_as::<T>(inputs[0]).map(|output| vec![output]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (input, gradient) = (&backward.values.input_shape(0), backward.gradient()?);
        with_element!(self.weight.dtype(), T => Backward::only(self.input_gradient_as::<T>(input, gradient)?))
    }

    fn prepared_bytes(&self) -> usize {
        self.reweighted.bytes()
    }

    fn reweighted_bytes(&self) -> usize {
        self.reweighted.bytes()
    }

    fn release_reweighted(&self) {
        self.reweighted.release();
    }

    fn reweighted(&self, weights: Reweighting, bias: Option<Reweighting>) -> Option<Result<Arc<dyn Operator>>> {
        let keeps_bias = self.bias.is_none() || bias == Some(Reweighting::ORIGINAL);
        if keeps_bias && weights == Reweighting::ORIGINAL {
            return Some(Ok(Arc::new(self.clone())));
        }
        let make = || {
            let of_bias = bias.zip(self.bias.as_ref()).map(|(change, bias)| change.of_tensor(bias)).transpose()?;
            Dense::new(weights.of_tensor(&self.weight)?, of_bias)
        };
        let made = self.reweighted.get_or_make((weights, bias), make);
        Some(made.map(|made| -> Arc<dyn Operator> { made }))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        [("weight", &self.weight)].into_iter().chain(self.bias.iter().map(|bias| ("bias", bias))).collect()
    }

    fn parameter_gradients(&self, backward: &Backward<'_>) -> Result<ParameterGradients> {
        with_element!(self.weight.dtype(), T => self.parameter_gradients_as::<T>(backward))
    }

    fn with_parameters(&self, parameters: &[Tensor]) -> Result<Arc<dyn Operator>> {
        check_parameters(self, parameters)?;
        Ok(Arc::new(Dense::new(parameters[0].clone(), parameters.get(1).cloned())?))
    }

    fn on_tensors(&self, device: &Device) -> Option<Result<Arc<dyn OnTensors>>> {
        Some(DenseOnDevice::of(self, device).map(|form| -> Arc<dyn OnTensors> { Arc::new(form) }))
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let bias = self.bias.as_ref().map(|bias| bias.to_dtype(dtype)).transpose()?;
        Ok(Arc::new(Dense::new(self.weight.to_dtype(dtype)?, bias)?))
    }

    fn as_dense(&self) -> Option<&Dense> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, check_parameter_gradients, random_tensor, random_value};

    #[test]
    fn features_alone_and_over_time() {
        let dense = Dense::new(random_tensor(&[3, 5], 1), Some(random_tensor(&[3], 2))).unwrap();
        check_gradients(&dense, &[random_value(&[2, 5], 3)]);
        check_gradients(&dense, &[random_value(&[2, 4, 5], 4)]);
        check_parameter_gradients(&dense, &[random_value(&[2, 5], 3)]);
        check_parameter_gradients(&dense, &[random_value(&[2, 4, 5], 4)]);
        check_parameter_gradients(&Dense::new(random_tensor(&[3, 5], 1), None).unwrap(), &[random_value(&[2, 5], 3)]);
    }

    #[test]
    fn equals_the_definition() {
        let (weight, bias, input) = (random_tensor(&[3, 5], 1), random_tensor(&[3], 2), random_value(&[1, 5], 3));
        let output = Dense::new(weight.clone(), Some(bias.clone())).unwrap().forward(&[&input]).unwrap()[0]
            .to_f64_vec()
            .unwrap();
        let (weight, bias, x) =
            (weight.to_vec2::<f64>().unwrap(), bias.to_vec1::<f64>().unwrap(), input.to_f64_vec().unwrap());
        for j in 0..3 {
            let expected = bias[j] + (0..5).map(|i| weight[j][i] * x[i]).sum::<f64>();
            assert!((output[j] - expected).abs() < 1e-12);
        }
    }
}
