//! Convolution over one or two spatial axes, any stride, padding, dilation and groups.
//!
//! As PyTorch and ONNX have it (a cross-correlation): `y[o, p] = b[o] + Σ_i Σ_k w[o, i, k] x[i, p·s + k·d - pad]`.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::reweighting::{Reweighted, Reweighting};
use super::{
    AxisKind, AxisWindow, Backward, Family, Operator, ParameterGradients, Reach, RectifierBelow, check_parameters,
};
use crate::device::{ConvolutionOnDevice, OnTensors};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::kernels::Prepared;
use crate::kernels::convolution::{BackwardWeights, ForwardWeights, Geometry, spread_gradient};
use crate::kernels::frequency::FrequencyWeights;
use crate::kernels::sequence::Sequence;
use crate::kernels::vectorized::finish::{Clamp, Finish, Gate};
use crate::kernels::weight_gradient::{sum_of_rows, weight_gradient};
use crate::kernels::winograd::{self, Tiling, WinogradWeights};
use crate::value::{Layout, Value};

/// What a convolution is made from, unchecked; vectors have an entry for each spatial axis.
#[derive(Clone, Debug)]
pub struct ConvolutionParams {
    /// `[out, in / groups, kernel…]`
    pub weight: Tensor,
    /// `[out]`
    pub bias: Option<Tensor>,
    pub stride: Vec<usize>,
    /// Zeros before and behind.
    pub padding: Vec<(usize, usize)>,
    pub dilation: Vec<usize>,
    pub groups: usize,
}

impl ConvolutionParams {
    /// Stride and dilation 1, no padding, one group.
    pub fn plain(weight: Tensor, bias: Option<Tensor>) -> Self {
        let n_spatial = weight.rank().saturating_sub(2);
        ConvolutionParams {
            weight,
            bias,
            stride: vec![1; n_spatial],
            padding: vec![(0, 0); n_spatial],
            dilation: vec![1; n_spatial],
            groups: 1,
        }
    }
}

/// A convolution; see the module's documentation.
#[derive(Debug)]
pub struct Convolution {
    params: ConvolutionParams,
    prepared: Arc<PreparedWeights>,
}

impl Convolution {
    /// Checks that the parameters fit each other.
    pub fn new(params: ConvolutionParams) -> Result<Self> {
        let refuse = |reason: String| Err(ModelError::operator("Conv", reason));
        let dims = params.weight.dims().to_vec();
        let n_spatial = dims.len().saturating_sub(2);
        if !(1..=2).contains(&n_spatial) {
            return refuse(format!("weights of shape {dims:?}; convolutions have one or two spatial axes"));
        }
        let lengths = [params.stride.len(), params.padding.len(), params.dilation.len()];
        if lengths.iter().any(|&length| length != n_spatial) {
            return refuse(format!("{n_spatial} spatial axes but {lengths:?} strides, paddings and dilations"));
        }
        let has_zero = dims.contains(&0) || params.stride.contains(&0) || params.dilation.contains(&0);
        if has_zero || params.groups == 0 || !dims[0].is_multiple_of(params.groups) {
            return refuse(format!(
                "weights {dims:?}, groups {}, stride {:?}, dilation {:?}: none may be 0, and groups must divide the outputs",
                params.groups, params.stride, params.dilation
            ));
        }
        if let Some(bias) = &params.bias
            && bias.dims() != [dims[0]]
        {
            return refuse(format!("bias of shape {:?} for {} outputs", bias.dims(), dims[0]));
        }
        let params = ConvolutionParams {
            weight: params.weight.contiguous()?,
            bias: params.bias.map(|bias| bias.contiguous()).transpose()?,
            ..params
        };
        Ok(Convolution { params, prepared: Arc::default() })
    }

    /// What it was made from.
    pub fn params(&self) -> &ConvolutionParams {
        &self.params
    }

    /// How many spatial axes it has.
    pub fn n_spatial(&self) -> usize {
        self.params.stride.len()
    }

    /// The same convolution with other weights of the same shape, and another bias.
    pub fn with_weights(&self, weight: Tensor, bias: Option<Tensor>) -> Result<Convolution> {
        Convolution::new(ConvolutionParams { weight, bias, ..self.params.clone() })
    }

    fn n_in(&self) -> usize {
        self.params.weight.dims()[1] * self.params.groups
    }

    fn n_out(&self) -> usize {
        self.params.weight.dims()[0]
    }

    fn spatial_output(&self, axis: usize, length: usize) -> Result<usize> {
        let params = &self.params;
        let extent = params.dilation[axis] * (params.weight.dims()[axis + 2] - 1) + 1;
        let padded = length + params.padding[axis].0 + params.padding[axis].1;
        match padded.checked_sub(extent) {
            Some(rest) => Ok(rest / params.stride[axis] + 1),
            None => Err(ModelError::operator(
                "Conv",
                format!("a kernel of extent {extent} needs more than the {padded} steps it is given, padding included"),
            )),
        }
    }

    fn geometry(&self, input: &[usize]) -> Result<Geometry> {
        let output = self.output_shapes(&[input])?.remove(0);
        let params = &self.params;
        let pair = |last: usize, of_axis: &dyn Fn(usize) -> usize| match self.n_spatial() {
            1 => [last, of_axis(0)],
            _ => [of_axis(0), of_axis(1)],
        };
        Ok(Geometry {
            batch: input[0],
            input: pair(1, &|axis| input[axis + 2]),
            output: pair(1, &|axis| output[axis + 2]),
            channels_in: self.n_in(),
            channels_out: self.n_out(),
            groups: params.groups,
            kernel: pair(1, &|axis| params.weight.dims()[axis + 2]),
            stride: pair(1, &|axis| params.stride[axis]),
            dilation: pair(1, &|axis| params.dilation[axis]),
            padding: pair(0, &|axis| params.padding[axis].0),
        })
    }

    fn forward_as<T: Element>(&self, input: &Value, low: f64, high: f64) -> Result<Value> {
        let (geometry, prepared) = (self.geometry(input.shape())?, &self.prepared);
        let bias = self.params.bias.as_ref().map(Value::from_tensor).transpose()?;
        let bias = bias.as_ref().map(|bias| bias.numbers::<T>()).transpose()?;
        let weights = Value::from_tensor(&self.params.weight)?;
        let (weights, bias) = (weights.numbers::<T>()?, bias.as_deref());
        let input = input.to_channels_last()?;
        let numbers = input.numbers::<T>()?;
        let clamp = Clamp { low: T::of(low), high: T::of(high) };
        let output = match geometry.sequence().filter(Sequence::pays_in_frequency_domain) {
            Some(sequence) => {
                let weights = prepared.in_frequencies(&sequence, &weights, bias);
                weights.convolve(&sequence, &numbers, clamp)
            }
            None => match winograd::worth_it(&geometry) {
                Some(tiling) => {
                    let make = || WinogradWeights::forward(tiling, &geometry, &weights, bias);
                    let weights = prepared.forward_winograd.of(tiling).get_or_make(WinogradWeights::bytes, make);
                    weights.convolve(&geometry, &numbers, Finish::clamp(clamp))
                }
                None => {
                    let make = || ForwardWeights::new(&geometry, &weights, bias);
                    prepared.forward.get_or_make(ForwardWeights::bytes, make).convolve(&geometry, &numbers, clamp)
                }
            },
        };
        Value::from_vec(output, &self.output_shapes(&[input.shape()])?[0], Layout::ChannelsLast)
    }

    fn input_gradient_as<T: Element>(
        &self,
        input: &[usize],
        gradient: &Value,
        rows: &[usize],
        rectifier: Option<&RectifierBelow<'_>>,
    ) -> Result<Value> {
        let below = rectifier.map(|rectifier| rectifier.output.to_channels_last()).transpose()?;
        let values = below.as_ref().map(|below| below.numbers::<T>()).transpose()?;
        let gate = rectifier.zip(values.as_deref()).map(|(rectifier, values)| Gate {
            values,
            bounds: Clamp { low: T::of(rectifier.low), high: T::of(rectifier.high) },
            image: input[1..].iter().product(),
            rows,
        });
        let only_positive = rectifier.is_some_and(|rectifier| rectifier.only_positive);
        let lowest = if only_positive { T::zero() } else { T::neg_infinity() };
        let finish = Finish { clamp: Clamp { low: lowest, high: T::infinity() }, gate };
        let geometry = self.geometry(input)?;
        let gradient = gradient.to_channels_last()?;
        let arrived = gradient.numbers::<T>()?;
        let (weights, prepared) = (Value::from_tensor(&self.params.weight)?, &self.prepared);
        let weights = weights.numbers::<T>()?;
        let finished = |mut numbers: Vec<T>| {
            finish.apply(&mut numbers);
            numbers
        };
        let sequence = geometry.sequence().filter(Sequence::gradient_pays_in_frequency_domain);
        let tiled = winograd::backward(&geometry).and_then(|back| Some((winograd::worth_it(&back)?, back)));
        let numbers = match (sequence, tiled) {
            _ if geometry.has_few_outputs() => finished(spread_gradient(&geometry, &arrived, &weights)),
            (Some(sequence), _) => {
                let bias = self.params.bias.as_ref().map(Value::from_tensor).transpose()?;
                let bias = bias.as_ref().map(|bias| bias.numbers::<T>()).transpose()?;
                let weights = prepared.in_frequencies(&sequence, &weights, bias.as_deref());
                finished(weights.input_gradient(&sequence, &arrived))
            }
            (None, Some((tiling, tiled))) => {
                let make = || WinogradWeights::backward(tiling, &geometry, &weights);
                let weights = prepared.backward_winograd.of(tiling).get_or_make(WinogradWeights::bytes, make);
                weights.convolve(&tiled, &arrived, finish)
            }
            (None, None) => {
                let make = || BackwardWeights::new(&geometry, &weights);
                let weights = prepared.backward.get_or_make(BackwardWeights::bytes, make);
                weights.input_gradient(&geometry, &arrived, finish)
            }
        };
        Value::from_vec(numbers, input, Layout::ChannelsLast)
    }
}

impl Convolution {
    fn parameter_gradients_as<T: Element>(&self, backward: &Backward<'_>) -> Result<ParameterGradients> {
        let (input, gradient) =
            (backward.input_of_pairs(0)?.to_channels_last()?, backward.gradient()?.to_channels_last()?);
        let geometry = self.geometry(input.shape())?;
        let (x, arrived) = (input.numbers::<T>()?, gradient.numbers::<T>()?);
        let weight =
            Tensor::from_vec(weight_gradient(&geometry, &x, &arrived), self.params.weight.dims(), &Device::Cpu)?;
        let n_out = self.n_out();
        let bias =
            self.params.bias.as_ref().map(|_| Tensor::from_vec(sum_of_rows(&arrived, n_out), n_out, &Device::Cpu));
        Ok([("weight", weight)].into_iter().chain(bias.transpose()?.map(|bias| ("bias", bias))).collect())
    }
}

/// Weights as the kernels want them, shared by all forms of one convolution.
#[derive(Debug, Default)]
struct PreparedWeights {
    forward: Prepared,
    forward_winograd: OfTilings,
    backward: Prepared,
    backward_winograd: OfTilings,
    /// For both directions.
    frequency: Prepared,
    reweighted: Reweighted<Convolution>,
}

/// Weights for tiles of either size.
#[derive(Debug, Default)]
struct OfTilings {
    two: Prepared,
    four: Prepared,
}

impl OfTilings {
    fn of(&self, tiling: Tiling) -> &Prepared {
        match tiling {
            Tiling::Two => &self.two,
            Tiling::Four => &self.four,
        }
    }

    fn bytes(&self) -> usize {
        self.two.bytes() + self.four.bytes()
    }
}

impl PreparedWeights {
    fn bytes(&self) -> usize {
        let plain = [&self.forward, &self.backward, &self.frequency];
        let tiled = [&self.forward_winograd, &self.backward_winograd].map(OfTilings::bytes);
        let plain: usize = plain.into_iter().map(Prepared::bytes).sum();
        plain + tiled.iter().sum::<usize>() + self.reweighted.bytes()
    }

    fn in_frequencies<T: Element>(
        &self,
        sequence: &Sequence,
        weights: &[T],
        bias: Option<&[T]>,
    ) -> &FrequencyWeights<T> {
        self.frequency.get_or_make(FrequencyWeights::bytes, || FrequencyWeights::new(sequence, weights, bias))
    }
}

impl Operator for Convolution {
    fn kind(&self) -> &'static str {
        "Conv"
    }

    fn family(&self) -> Family {
        Family::Convolution
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let input = inputs[0];
        if input.len() != self.n_spatial() + 2 || input[1] != self.n_in() {
            let expected =
                if self.n_spatial() == 1 { "[batch, channel, time]" } else { "[batch, channel, row, column]" };
            return Err(ModelError::operator(
                "Conv",
                format!("input must be {expected} with {} channels but has shape {input:?}", self.n_in()),
            ));
        }
        let spatial = (0..self.n_spatial()).map(|axis| self.spatial_output(axis, input[axis + 2]));
        let shape = [Ok(input[0]), Ok(self.n_out())].into_iter().chain(spatial).collect::<Result<_>>()?;
        Ok(vec![shape])
    }

    fn output_axes(&self, _inputs: &[&[AxisKind]], _rank: usize) -> Vec<AxisKind> {
        AxisKind::spatial(self.n_spatial())
    }

    fn reach(&self) -> Reach {
        let params = &self.params;
        let window = |axis: usize| AxisWindow {
            extent: params.dilation[axis] * (params.weight.dims()[axis + 2] - 1) + 1,
            stride: params.stride[axis],
            padding: params.padding[axis].0,
        };
        Reach::Window((0..self.n_spatial()).map(window).collect())
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
        with_element!(self.params.weight.dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0], low, high)?]))
    }

    fn forward_clamped(&self, inputs: &[&Value], low: f64, high: f64) -> Option<Result<Vec<Value>>> {
        let clamped =
            || with_element!(self.params.weight.dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0], low, high)?]));
        Some(clamped())
    }

    fn on_windows(&self, n_spatial: usize) -> Option<Arc<dyn Operator>> {
        let params = ConvolutionParams { padding: vec![(0, 0); n_spatial], ..self.params.clone() };
        Some(Arc::new(Convolution { params, prepared: self.prepared.clone() }))
    }

    fn prepared_bytes(&self) -> usize {
        self.prepared.bytes()
    }

    fn reweighted_bytes(&self) -> usize {
        self.prepared.reweighted.bytes()
    }

    fn release_reweighted(&self) {
        self.prepared.reweighted.release();
    }

    fn reweighted(&self, weights: Reweighting, bias: Option<Reweighting>) -> Option<Result<Arc<dyn Operator>>> {
        let params = &self.params;
        let keeps_bias = params.bias.is_none() || bias == Some(Reweighting::ORIGINAL);
        if keeps_bias && weights == Reweighting::ORIGINAL {
            let same = Convolution { params: params.clone(), prepared: self.prepared.clone() };
            return Some(Ok(Arc::new(same)));
        }
        let make = || {
            let of_bias = bias.zip(params.bias.as_ref()).map(|(change, bias)| change.of_tensor(bias)).transpose()?;
            self.with_weights(weights.of_tensor(&params.weight)?, of_bias)
        };
        let in_own_padding = |made: Arc<Convolution>| -> Arc<dyn Operator> {
            let ConvolutionParams { weight, bias, .. } = made.params.clone();
            let params = ConvolutionParams { weight, bias, ..self.params.clone() };
            Arc::new(Convolution { params, prepared: made.prepared.clone() })
        };
        Some(self.prepared.reweighted.get_or_make((weights, bias), make).map(in_own_padding))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (shape, gradient) = (backward.gradient_shape(0), backward.gradient()?);
        with_element!(self.params.weight.dtype(), T => {
            Backward::only(self.input_gradient_as::<T>(&shape, gradient, backward.rows, None)?)
        })
    }

    fn gradient_through(&self, backward: &Backward<'_>, rectifier: &RectifierBelow<'_>) -> Option<Result<Value>> {
        let passed = || {
            let (shape, gradient) = (backward.gradient_shape(0), backward.gradient()?);
            with_element!(self.params.weight.dtype(), T => {
                self.input_gradient_as::<T>(&shape, gradient, backward.rows, Some(rectifier))
            })
        };
        Some(passed())
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        [("weight", &self.params.weight)]
            .into_iter()
            .chain(self.params.bias.iter().map(|bias| ("bias", bias)))
            .collect()
    }

    fn parameter_gradients(&self, backward: &Backward<'_>) -> Result<ParameterGradients> {
        with_element!(self.params.weight.dtype(), T => self.parameter_gradients_as::<T>(backward))
    }

    fn with_parameters(&self, parameters: &[Tensor]) -> Result<Arc<dyn Operator>> {
        check_parameters(self, parameters)?;
        Ok(Arc::new(self.with_weights(parameters[0].clone(), parameters.get(1).cloned())?))
    }

    fn on_tensors(&self, device: &Device) -> Option<Result<Arc<dyn OnTensors>>> {
        let form = ConvolutionOnDevice::of(self, device)?;
        Some(form.map(|form| -> Arc<dyn OnTensors> { Arc::new(form) }))
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let bias = self.params.bias.as_ref().map(|bias| bias.to_dtype(dtype)).transpose()?;
        Ok(Arc::new(self.with_weights(self.params.weight.to_dtype(dtype)?, bias)?))
    }

    fn as_convolution(&self) -> Option<&Convolution> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, check_parameter_gradients, random_tensor, random_value};

    /// The definition, one product at a time, for `[batch, in, rows, columns]` in f64.
    fn slow_twin(params: &ConvolutionParams, input: &Value) -> Vec<f64> {
        let convolution = Convolution::new(params.clone()).unwrap();
        let geometry = convolution.geometry(input.shape()).unwrap();
        let weights = params.weight.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let bias = params.bias.as_ref().map(|bias| bias.to_vec1::<f64>().unwrap());
        let x = input.to_f64_vec().unwrap();
        let (ins, outs) = (geometry.in_per_group(), geometry.out_per_group());
        let mut output = Vec::new();
        for image in 0..geometry.batch {
            for o in 0..geometry.channels_out {
                for row in 0..geometry.output[0] {
                    for column in 0..geometry.output[1] {
                        let mut sum = bias.as_ref().map_or(0.0, |bias| bias[o]);
                        for i in 0..ins {
                            for kr in 0..geometry.kernel[0] {
                                for kc in 0..geometry.kernel[1] {
                                    let r = (row * geometry.stride[0] + kr * geometry.dilation[0]) as isize
                                        - geometry.padding[0] as isize;
                                    let c = (column * geometry.stride[1] + kc * geometry.dilation[1]) as isize
                                        - geometry.padding[1] as isize;
                                    let [rows, columns] = geometry.input.map(|length| length as isize);
                                    if r < 0 || c < 0 || r >= rows || c >= columns {
                                        continue;
                                    }
                                    let channel = (o / outs * ins + i) as isize;
                                    let at = ((image as isize * geometry.channels_in as isize + channel) * rows + r)
                                        * columns
                                        + c;
                                    let weight = ((o * ins + i) * geometry.kernel[0] + kr) * geometry.kernel[1] + kc;
                                    sum += weights[weight] * x[at as usize];
                                }
                            }
                        }
                        output.push(sum);
                    }
                }
            }
        }
        output
    }

    fn check(
        weight: &[usize],
        input: &[usize],
        stride: &[usize],
        padding: &[(usize, usize)],
        dilation: &[usize],
        groups: usize,
    ) {
        let params = ConvolutionParams {
            weight: random_tensor(weight, 1),
            bias: Some(random_tensor(&weight[..1], 2)),
            stride: stride.to_vec(),
            padding: padding.to_vec(),
            dilation: dilation.to_vec(),
            groups,
        };
        let value = random_value(input, 3);
        let convolution = Convolution::new(params.clone()).unwrap();
        let output = convolution.forward(&[&value]).unwrap().remove(0);
        for (got, want) in output.to_f64_vec().unwrap().iter().zip(slow_twin(&params, &value)) {
            assert!((got - want).abs() < 1e-9, "{got} is not {want}");
        }
        check_parameter_gradients(&convolution, std::slice::from_ref(&value));
        check_gradients(&convolution, &[value]);
    }

    #[test]
    fn plain_on_odd_non_square_images_in_a_batch() {
        check(&[4, 3, 3, 3], &[2, 3, 7, 5], &[1, 1], &[(1, 1), (1, 1)], &[1, 1], 1);
    }

    #[test]
    fn strides_with_a_remainder_and_asymmetric_padding() {
        check(&[4, 3, 3, 2], &[2, 3, 8, 7], &[2, 3], &[(0, 1), (2, 0)], &[1, 1], 1);
    }

    #[test]
    fn dilation() {
        check(&[2, 3, 3, 2], &[1, 3, 9, 8], &[1, 1], &[(2, 2), (1, 0)], &[2, 3], 1);
    }

    #[test]
    fn groups_with_several_channels() {
        check(&[6, 2, 3, 3], &[2, 4, 5, 6], &[2, 1], &[(1, 1), (1, 1)], &[1, 1], 2);
        check(&[6, 2, 3, 3], &[2, 4, 5, 6], &[1, 1], &[(1, 1), (1, 1)], &[1, 1], 2);
    }

    #[test]
    fn depthwise_with_stride_and_dilation() {
        check(&[5, 1, 3, 3], &[2, 5, 7, 8], &[2, 2], &[(0, 1), (0, 1)], &[1, 1], 5);
        check(&[5, 1, 3, 3], &[1, 5, 9, 8], &[1, 2], &[(2, 2), (2, 2)], &[2, 2], 5);
    }

    #[test]
    fn a_depth_multiplier() {
        check(&[6, 1, 3, 3], &[2, 3, 5, 5], &[1, 1], &[(1, 1), (1, 1)], &[1, 1], 3);
    }

    #[test]
    fn pixelwise_and_strided_pixelwise() {
        check(&[4, 3, 1, 1], &[2, 3, 5, 4], &[1, 1], &[(0, 0), (0, 0)], &[1, 1], 1);
        check(&[4, 3, 1, 1], &[2, 3, 5, 4], &[2, 2], &[(0, 0), (0, 0)], &[1, 1], 1);
    }

    #[test]
    fn sequences_as_one_strided_product() {
        check(&[4, 3, 8], &[2, 3, 21], &[2], &[(3, 4)], &[1], 1);
        check(&[4, 3, 3], &[1, 3, 9], &[1], &[(0, 0)], &[1], 1);
        check(&[4, 3, 2], &[1, 3, 9], &[3], &[(0, 0)], &[2], 1);
    }

    #[test]
    fn length_one_and_a_kernel_as_long_as_its_input() {
        check(&[2, 3, 1], &[1, 3, 1], &[1], &[(0, 0)], &[1], 1);
        check(&[2, 3, 4], &[2, 3, 4], &[1], &[(0, 0)], &[1], 1);
    }

    #[test]
    fn more_padding_than_kernel() {
        check(&[2, 2, 2, 2], &[1, 2, 3, 3], &[1, 1], &[(3, 3), (2, 2)], &[1, 1], 1);
    }

    #[test]
    fn too_short_an_input_says_by_how_much() {
        let convolution = Convolution::new(ConvolutionParams::plain(random_tensor(&[2, 3, 5], 1), None)).unwrap();
        let error = convolution.output_shapes(&[&[1, 3, 4]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Conv: a kernel of extent 5 needs more than the 4 steps it is given, padding included"
        );
    }
}
