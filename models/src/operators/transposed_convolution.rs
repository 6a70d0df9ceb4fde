//! Transposed convolution: a convolution run backwards, from few places to many.
//!
//! `y[o, p·s + k·d - pad] += Σ_i w[i, o, k] x[i, p]`, as PyTorch and ONNX have it (Zeiler et al. 2010). Its forward pass
//! is the gradient to the input of a convolution from its outputs to its inputs with the same weights, and its gradient
//! is that convolution, so that both are computed by the same kernels.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::convolution::{Convolution, ConvolutionParams};
use super::reweighting::{Reweighted, Reweighting};
use super::{AxisKind, Backward, Family, NodeValues, Operator, Reach};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::Value;

/// A transposed convolution over one or two spatial axes.
#[derive(Clone, Debug)]
pub struct TransposedConvolution {
    /// From our outputs to our inputs, without a bias.
    backwards: Arc<Convolution>,
    bias: Option<Tensor>,
    /// Places more at the end of each axis, which the strides leave open.
    output_padding: Vec<usize>,
    reweighted: Arc<Reweighted<TransposedConvolution>>,
}

/// What a convolution is told of a gradient: the shape of the input that it wants.
#[derive(Debug)]
struct ShapeAlone(Vec<usize>);

impl NodeValues for ShapeAlone {
    fn input_shape(&self, _nth: usize) -> Vec<usize> {
        self.0.clone()
    }

    fn input(&self, _nth: usize) -> Result<Value> {
        Err(ModelError::operator("ConvTranspose", "a convolution's gradient depends on no value"))
    }

    fn output(&self, nth: usize) -> Result<Value> {
        self.input(nth)
    }
}

impl TransposedConvolution {
    /// `params.weight` is `[in, out / groups, kernel…]` and `params.bias` `[out]`; padding takes places away at the ends,
    /// output padding, less than the stride, leaves more of them.
    pub fn new(params: ConvolutionParams, output_padding: Vec<usize>) -> Result<Self> {
        let n_out = params.weight.dims().get(1).copied().unwrap_or(0) * params.groups;
        let bias = params.bias.clone();
        let backwards = Convolution::new(ConvolutionParams { bias: None, ..params })?;
        let params = backwards.params();
        let is_open = output_padding.len() == backwards.n_spatial()
            && output_padding.iter().zip(&params.stride).all(|(padding, stride)| padding < stride);
        let has_bias = bias.as_ref().is_none_or(|bias| bias.dims() == [n_out]);
        if !is_open || !has_bias {
            let bias = bias.as_ref().map(|bias| bias.dims().to_vec());
            let reason = format!(
                "output padding {output_padding:?} for strides {:?} and bias {bias:?} for {n_out} outputs; a number below \
                 the stride for each axis, and [outputs], are needed",
                params.stride
            );
            return Err(ModelError::operator("ConvTranspose", reason));
        }
        Ok(TransposedConvolution { backwards: Arc::new(backwards), bias, output_padding, reweighted: Arc::default() })
    }

    fn params(&self) -> &ConvolutionParams {
        self.backwards.params()
    }

    fn with_weights(&self, weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let params = ConvolutionParams { weight, bias, ..self.params().clone() };
        TransposedConvolution::new(params, self.output_padding.clone())
    }

    fn forward_value(&self, input: &Value) -> Result<Value> {
        let values = ShapeAlone(self.output_shapes(&[input.shape()])?.remove(0));
        let (gradients, rows): (_, Vec<usize>) = ([Some(input.clone())], (0..input.batch()).collect());
        let backward = Backward { values: &values, gradients: &gradients, rows: &rows, wanted: &[true] };
        let output = self.backwards.input_gradients(&backward)?.swap_remove(0);
        let output = output.expect("a gradient that is wanted is answered");
        match &self.bias {
            None => Ok(output),
            Some(bias) => with_element!(output.dtype(), T => with_bias::<T>(&output, bias)),
        }
    }
}

fn with_bias<T: Element>(output: &Value, bias: &Tensor) -> Result<Value> {
    let output = output.to_channels_last()?;
    let bias = Value::from_tensor(bias)?;
    let bias = bias.numbers::<T>()?;
    let mut numbers = output.numbers::<T>()?.to_vec();
    let add = |place: &mut [T]| place.iter_mut().zip(bias.iter()).for_each(|(sum, &bias)| *sum += bias);
    numbers.chunks_exact_mut(bias.len()).for_each(add);
    Value::from_vec(numbers, output.shape(), output.layout())
}

impl Operator for TransposedConvolution {
    fn kind(&self) -> &'static str {
        "ConvTranspose"
    }

    fn family(&self) -> Family {
        Family::Convolution
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let (input, params) = (inputs[0], self.params());
        let (n_in, n_out) = (params.weight.dims()[0], params.weight.dims()[1] * params.groups);
        let refuse = |reason: String| Err(ModelError::operator("ConvTranspose", reason));
        if input.len() != self.backwards.n_spatial() + 2 || input[1] != n_in || input[2..].contains(&0) {
            return refuse(format!("input must be [batch, {n_in} channels, places…] but has shape {input:?}"));
        }
        let mut shape = vec![input[0], n_out];
        for (axis, &length) in input[2..].iter().enumerate() {
            let extent = params.dilation[axis] * (params.weight.dims()[axis + 2] - 1) + 1;
            let all = (length - 1) * params.stride[axis] + extent + self.output_padding[axis];
            let (before, behind) = params.padding[axis];
            match all.checked_sub(before + behind).filter(|length| *length > 0) {
                Some(length) => shape.push(length),
                None => return refuse(format!("padding {before} and {behind} leave nothing of {all} places")),
            }
        }
        Ok(vec![shape])
    }

    fn output_axes(&self, _inputs: &[&[AxisKind]], _rank: usize) -> Vec<AxisKind> {
        AxisKind::spatial(self.backwards.n_spatial())
    }

    fn reach(&self) -> Reach {
        // Its windows advance by less than a step of its input, which `AxisWindow` has no words for.
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        Ok(vec![self.forward_value(inputs[0])?])
    }

    fn prepared_bytes(&self) -> usize {
        self.backwards.prepared_bytes() + self.reweighted.bytes()
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let passed = self.backwards.forward(&[backward.gradient()?])?.swap_remove(0);
        debug_assert_eq!(passed.shape(), backward.gradient_shape(0));
        Backward::only(passed)
    }

    fn reweighted_bytes(&self) -> usize {
        self.reweighted.bytes()
    }

    fn release_reweighted(&self) {
        self.reweighted.release();
    }

    fn reweighted(&self, weights: Reweighting, bias: Option<Reweighting>) -> Option<Result<Arc<dyn Operator>>> {
        let make = || {
            let of_bias = bias.zip(self.bias.as_ref()).map(|(change, bias)| change.of_tensor(bias)).transpose()?;
            self.with_weights(weights.of_tensor(&self.params().weight)?, of_bias)
        };
        let made = self.reweighted.get_or_make((weights, bias), make);
        Some(made.map(|made| -> Arc<dyn Operator> { made }))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        [("weight", &self.params().weight)].into_iter().chain(self.bias.iter().map(|bias| ("bias", bias))).collect()
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let bias = self.bias.as_ref().map(|bias| bias.to_dtype(dtype)).transpose()?;
        Ok(Arc::new(self.with_weights(self.params().weight.to_dtype(dtype)?, bias)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_tensor, random_value};

    /// The definition, one product at a time, for `[batch, in, time]`.
    fn slow_twin(params: &ConvolutionParams, input: &Value, length: usize) -> Vec<f64> {
        let (w, x) = (params.weight.flatten_all().unwrap().to_vec1::<f64>().unwrap(), input.to_f64_vec().unwrap());
        let bias = params.bias.as_ref().unwrap().to_vec1::<f64>().unwrap();
        let [n_in, per_group, kernel] = *params.weight.dims() else { unreachable!("one spatial axis") };
        let (batch, steps) = (input.shape()[0], input.shape()[2]);
        let n_out = per_group * params.groups;
        let mut y: Vec<f64> = (0..batch * n_out * length).map(|at| bias[at / length % n_out]).collect();
        for row in 0..batch {
            for i in 0..n_in {
                for o in 0..per_group {
                    let out = i / (n_in / params.groups) * per_group + o;
                    for step in 0..steps {
                        for tap in 0..kernel {
                            let place = step * params.stride[0] + tap * params.dilation[0];
                            let Some(place) = place.checked_sub(params.padding[0].0) else { continue };
                            if place < length {
                                y[(row * n_out + out) * length + place] +=
                                    w[(i * per_group + o) * kernel + tap] * x[(row * n_in + i) * steps + step];
                            }
                        }
                    }
                }
            }
        }
        y
    }

    fn params(weight: &[usize], n_out: usize, groups: usize) -> ConvolutionParams {
        ConvolutionParams {
            groups,
            ..ConvolutionParams::plain(random_tensor(weight, 1), Some(random_tensor(&[n_out], 2)))
        }
    }

    #[test]
    fn equals_the_definition() {
        for (stride, padding, dilation, groups, output_padding) in
            [(1, (0, 0), 1, 1, 0), (2, (1, 1), 1, 2, 1), (3, (0, 2), 2, 1, 0), (3, (2, 1), 1, 2, 2)]
        {
            let params = ConvolutionParams {
                stride: vec![stride],
                padding: vec![padding],
                dilation: vec![dilation],
                ..params(&[4, 3, 4], 3 * groups, groups)
            };
            let input = random_value(&[2, 4, 5], 3);
            let transposed = TransposedConvolution::new(params.clone(), vec![output_padding]).unwrap();
            let output = transposed.forward(&[&input]).unwrap().remove(0);
            let expected = slow_twin(&params, &input, output.shape()[2]);
            for (found, expected) in output.to_f64_vec().unwrap().iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
            }
            check_gradients(&transposed, &[input]);
        }
    }

    #[test]
    fn images() {
        let stride =
            ConvolutionParams { stride: vec![2, 3], padding: vec![(1, 0), (0, 1)], ..params(&[3, 2, 3, 3], 2, 1) };
        let transposed = TransposedConvolution::new(stride, vec![1, 2]).unwrap();
        check_gradients(&transposed, &[random_value(&[2, 3, 4, 3], 3).to_channels_last().unwrap()]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = TransposedConvolution::new(params(&[3, 2, 3], 2, 1), vec![1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ConvTranspose: output padding [1] for strides [1] and bias Some([2]) for 2 outputs; a number below the stride \
             for each axis, and [outputs], are needed"
        );
    }
}
