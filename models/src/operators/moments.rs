//! Batch normalisation as it is while training (Ioffe and Szegedy 2015, algorithm 1), as two operators: the moments of a
//! batch, and the norm that reads them beside the batch. The moments stay in the trace, where running averages are fed
//! from them.
//!
//! Rows of a batch are not independent here, so that both see whole batches alone.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::{AxisKind, Backward, Family, Operator, ParameterGradients, Reach, check_parameters};
use crate::device::{MomentsOnDevice, NormByMomentsOnDevice, OnTensors};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::kernels::zeros;
use crate::value::{Layout, Value};

/// Places that one task works on.
const PLACES: usize = 256;

/// Mean and (biased) variance of each channel over batch and places.
///
/// # Shapes
/// - input: `[batch, channel, …]`, output: `[2, channel]`, which has no batch axis
#[derive(Clone, Copy, Debug)]
pub struct Moments;

impl Operator for Moments {
    fn kind(&self) -> &'static str {
        "Moments"
    }

    fn family(&self) -> Family {
        Family::BatchNorm
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        match inputs[0] {
            [_, channels, ..] => Ok(vec![vec![2, *channels]]),
            shape => Err(ModelError::operator("Moments", format!("input {shape:?} has no channels"))),
        }
    }

    fn output_axes(&self, _inputs: &[&[AxisKind]], _rank: usize) -> Vec<AxisKind> {
        vec![AxisKind::Other, AxisKind::Channel]
    }

    fn reach(&self) -> Reach {
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        let input = inputs[0].to_channels_last()?;
        let n = input.shape()[1];
        with_element!(input.dtype(), T => {
            let numbers = input.numbers::<T>()?;
            // Squares are taken around the first place, so that a mean far from zero costs no digits.
            let around: Vec<T> = numbers.get(..n).map_or_else(|| vec![num_traits::Zero::zero(); n], <[T]>::to_vec);
            let [sums, squares] = sums_of_two::<T>(n, &numbers, &numbers, |x, _, channel| {
                let from_first = x - around[channel];
                [from_first, from_first * from_first]
            });
            let share = 1.0 / (numbers.len() / n).max(1) as f64;
            let mut moments: Vec<T> =
                sums.iter().zip(&around).map(|(sum, &around)| T::of(sum * share + around.wide())).collect();
            let variances = sums.iter().zip(&squares).map(|(sum, square)| (square - sum * sum * share) * share);
            moments.extend(variances.map(|variance| T::of(variance.max(0.0))));
            Ok(vec![Value::from_vec::<T>(moments, &[2, n], Layout::Logical)?])
        })
    }

    /// None: the norm that reads them answers for both of the ways on which its output depends on the batch.
    fn input_gradients(&self, _backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![None])
    }

    fn on_tensors(&self, device: &Device) -> Option<Result<Arc<dyn OnTensors>>> {
        Some(Ok(Arc::new(MomentsOnDevice { device: device.clone() })))
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(*self))
    }
}

/// `(x - mean) / √(variance + ε) · scale + shift`, with the moments as second input.
///
/// Its gradient to the first input counts that the moments are this input's own; the second gets none.
#[derive(Clone, Debug)]
pub struct NormByMoments {
    scale: Tensor,
    shift: Tensor,
    epsilon: f64,
}

/// `Σ g` and `Σ g (x - mean)` of each channel.
struct Sums {
    gradient: Vec<f64>,
    product: Vec<f64>,
}

impl NormByMoments {
    /// Checks that scale and shift are `[channel]` both.
    pub fn new(scale: Tensor, shift: Tensor, epsilon: f64) -> Result<Self> {
        if scale.rank() != 1 || scale.dims() != shift.dims() {
            let reason = format!("scale {:?} and shift {:?}; both must be [channels]", scale.dims(), shift.dims());
            return Err(ModelError::operator("BatchNormalization", reason));
        }
        Ok(NormByMoments { scale, shift, epsilon })
    }

    /// Scale, shift and ε.
    pub fn parts(&self) -> (&Tensor, &Tensor, f64) {
        (&self.scale, &self.shift, self.epsilon)
    }

    /// Mean, and one over the standard deviation, of each channel.
    fn centre_and_inverse(&self, moments: &Value) -> Result<(Vec<f64>, Vec<f64>)> {
        let mut mean = moments.to_f64_vec()?;
        let variance = mean.split_off(mean.len() / 2);
        Ok((mean, variance.into_iter().map(|variance| 1.0 / (variance + self.epsilon).sqrt()).collect()))
    }

    fn wide(tensor: &Tensor) -> Result<Vec<f64>> {
        Ok(tensor.to_dtype(DType::F64)?.to_vec1::<f64>()?)
    }

    fn forward_as<T: Element>(&self, inputs: &[&Value], low: f64, high: f64) -> Result<Vec<Value>> {
        let input = inputs[0].to_channels_last()?;
        let (mean, inverse) = self.centre_and_inverse(inputs[1])?;
        let (scale, shift) = (Self::wide(&self.scale)?, Self::wide(&self.shift)?);
        let factor: Vec<T> = scale.iter().zip(&inverse).map(|(scale, inverse)| T::of(scale * inverse)).collect();
        let term: Vec<T> = (0..mean.len()).map(|at| T::of(shift[at] - mean[at] * scale[at] * inverse[at])).collect();
        let (numbers, low, high) = (input.numbers::<T>()?, T::of(low), T::of(high));
        let numbers: &[T] = &numbers;
        let mut output = zeros(numbers.len());
        let n = factor.len();
        output.par_chunks_mut(PLACES * n).zip(numbers.par_chunks(PLACES * n)).for_each(|(output, numbers)| {
            for (output, numbers) in output.chunks_exact_mut(n).zip(numbers.chunks_exact(n)) {
                let parameters = factor.iter().zip(&term);
                output.iter_mut().zip(numbers).zip(parameters).for_each(|((y, &x), (&factor, &term))| {
                    let sum = x * factor + term;
                    let raised = if sum > low { sum } else { low };
                    *y = if raised < high { raised } else { high };
                });
            }
        });
        Ok(vec![Value::from_vec(output, input.shape(), input.layout())?])
    }

    fn sums<T: Element>(&self, x: &[T], gradient: &[T], mean: &[f64]) -> Sums {
        let mean: Vec<T> = mean.iter().map(|&mean| T::of(mean)).collect();
        let [gradient, product] =
            sums_of_two::<T>(mean.len(), gradient, x, |g, x, channel| [g, g * (x - mean[channel])]);
        Sums { gradient, product }
    }

    fn gradients_as<T: Element>(&self, backward: &Backward<'_>) -> Result<(Vec<Option<Value>>, ParameterGradients)> {
        let (input, gradient) =
            (backward.values.input(0)?.to_channels_last()?, backward.gradient()?.to_channels_last()?);
        if backward.rows.len() != input.batch() || backward.rows.iter().enumerate().any(|(nth, &row)| nth != row) {
            return Err(ModelError::operator(self.kind(), "the moments are those of a batch, and so is the gradient"));
        }
        let (mean, inverse) = self.centre_and_inverse(&backward.values.input(1)?)?;
        let (x, arrived) = (input.numbers::<T>()?, gradient.numbers::<T>()?);
        let (x, arrived): (&[T], &[T]) = (&x, &arrived);
        let sums = self.sums(x, arrived, &mean);
        let n = mean.len();
        let of_scale: Vec<f64> = sums.product.iter().zip(&inverse).map(|(sum, inverse)| sum * inverse).collect();
        let tensor = |sums: &[f64]| Tensor::from_vec(sums.to_vec(), n, &Device::Cpu)?.to_dtype(self.scale.dtype());
        let to_parameters = vec![("scale", tensor(&of_scale)?), ("shift", tensor(&sums.gradient)?)];
        if backward.wanted.first() != Some(&true) {
            return Ok((vec![None, None], to_parameters));
        }
        // `scale / σ · (g - mean(g) - x̂ mean(g x̂))`, written as `a g + b x + c`.
        let (share, scale) = (n as f64 / x.len().max(1) as f64, Self::wide(&self.scale)?);
        let mut factors = vec![[T::zero(); 3]; n];
        for (channel, factors) in factors.iter_mut().enumerate() {
            let a = scale[channel] * inverse[channel];
            let b = -a * inverse[channel] * of_scale[channel] * share;
            let c = -a * sums.gradient[channel] * share - b * mean[channel];
            *factors = [a, b, c].map(T::of);
        }
        let [a, b, c] = [0, 1, 2].map(|nth| factors.iter().map(|factors| factors[nth]).collect::<Vec<T>>());
        let mut passed = zeros(x.len());
        let chunks =
            passed.par_chunks_mut(PLACES * n).zip(x.par_chunks(PLACES * n)).zip(arrived.par_chunks(PLACES * n));
        chunks.for_each(|((passed, x), arrived)| {
            for ((passed, x), arrived) in passed.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(arrived.chunks_exact(n))
            {
                for channel in 0..n {
                    passed[channel] = a[channel] * arrived[channel] + (b[channel] * x[channel] + c[channel]);
                }
            }
        });
        Ok((vec![Some(Value::from_vec(passed, input.shape(), input.layout())?), None], to_parameters))
    }
}

/// Two sums over all places for each channel, of numbers made of two arrays `[place, channel]`; added up in f64, in
/// an order that no thread changes.
fn sums_of_two<T: Element>(
    n: usize,
    left: &[T],
    right: &[T],
    make: impl Fn(T, T, usize) -> [T; 2] + Sync,
) -> [Vec<f64>; 2] {
    let of_chunk = |(left, right): (&[T], &[T])| {
        let (mut first, mut second) = (vec![T::zero(); n], vec![T::zero(); n]);
        for (left, right) in left.chunks_exact(n).zip(right.chunks_exact(n)) {
            for channel in 0..n {
                let [one, other] = make(left[channel], right[channel], channel);
                first[channel] += one;
                second[channel] += other;
            }
        }
        [first, second]
    };
    let chunks: Vec<[Vec<T>; 2]> =
        left.par_chunks(PLACES * n).zip(right.par_chunks(PLACES * n)).map(of_chunk).collect();
    let mut sums = [vec![0.0; n], vec![0.0; n]];
    for chunk in chunks {
        for (sums, part) in sums.iter_mut().zip(chunk) {
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part.wide());
        }
    }
    sums
}

impl Operator for NormByMoments {
    fn kind(&self) -> &'static str {
        "BatchNormalization"
    }

    fn family(&self) -> Family {
        Family::BatchNorm
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let n = self.scale.dims()[0];
        if inputs.len() != 2 || inputs[0].get(1) != Some(&n) || inputs[1] != [2, n] {
            let reason = format!("inputs {inputs:?}; they must be [batch, {n}, …] and its moments [2, {n}]");
            return Err(ModelError::operator(self.kind(), reason));
        }
        Ok(vec![inputs[0].to_vec()])
    }

    fn reach(&self) -> Reach {
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => self.forward_as::<T>(inputs, f64::NEG_INFINITY, f64::INFINITY))
    }

    fn forward_clamped(&self, inputs: &[&Value], low: f64, high: f64) -> Option<Result<Vec<Value>>> {
        let clamped = || with_element!(inputs[0].dtype(), T => self.forward_as::<T>(inputs, low, high));
        Some(clamped())
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        Ok(self.input_and_parameter_gradients(backward)?.0)
    }

    fn parameter_gradients(&self, backward: &Backward<'_>) -> Result<ParameterGradients> {
        Ok(self.input_and_parameter_gradients(&Backward { wanted: &[false, false], ..*backward })?.1)
    }

    fn input_and_parameter_gradients(
        &self,
        backward: &Backward<'_>,
    ) -> Result<(Vec<Option<Value>>, ParameterGradients)> {
        with_element!(backward.gradient()?.dtype(), T => self.gradients_as::<T>(backward))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("scale", &self.scale), ("shift", &self.shift)]
    }

    fn with_parameters(&self, parameters: &[Tensor]) -> Result<Arc<dyn Operator>> {
        check_parameters(self, parameters)?;
        Ok(Arc::new(NormByMoments::new(parameters[0].clone(), parameters[1].clone(), self.epsilon)?))
    }

    fn on_tensors(&self, device: &Device) -> Option<Result<Arc<dyn OnTensors>>> {
        Some(NormByMomentsOnDevice::of(self, device).map(|form| -> Arc<dyn OnTensors> { Arc::new(form) }))
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let (scale, shift) = (self.scale.to_dtype(dtype)?, self.shift.to_dtype(dtype)?);
        Ok(Arc::new(NormByMoments::new(scale, shift, self.epsilon)?))
    }

    fn as_norm_by_moments(&self) -> Option<&NormByMoments> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{Given, check_parameter_gradients_of_batch, random_tensor, random_value};

    fn norm() -> NormByMoments {
        NormByMoments::new(random_tensor(&[3], 1), random_tensor(&[3], 2), 1e-2).unwrap()
    }

    fn forward(norm: &NormByMoments, x: &Value) -> Value {
        let moments = Moments.forward(&[x]).unwrap().remove(0);
        norm.forward(&[x, &moments]).unwrap().remove(0)
    }

    #[test]
    fn moments_are_those_of_the_definition() {
        let x = random_value(&[2, 3, 301], 5).map(|x| x + 30.0).unwrap();
        let moments = Moments.forward(&[&x]).unwrap()[0].to_f64_vec().unwrap();
        let numbers = x.to_f64_vec().unwrap();
        for channel in 0..3 {
            let of_channel: Vec<f64> = numbers
                .chunks(301)
                .enumerate()
                .filter(|(nth, _)| nth % 3 == channel)
                .flat_map(|(_, row)| row.to_vec())
                .collect();
            let mean = of_channel.iter().sum::<f64>() / 602.0;
            let variance = of_channel.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 602.0;
            assert!((moments[channel] - mean).abs() < 1e-10 && (moments[3 + channel] - variance).abs() < 1e-10);
        }
    }

    #[test]
    fn the_gradient_counts_that_the_moments_move_too() {
        const STEP: f64 = 1e-5;
        for shape in [&[4, 3][..], &[2, 3, 5], &[2, 3, 2, 4]] {
            let (norm, x) = (norm(), random_value(shape, 3));
            let moments = Moments.forward(&[&x]).unwrap().remove(0);
            let inputs = [x.clone(), moments];
            check_parameter_gradients_of_batch(&norm, &inputs);
            let seed = random_value(shape, 4);
            let (outputs, rows) = ([forward(&norm, &x)], (0..shape[0]).collect::<Vec<_>>());
            let values = Given { inputs: &inputs, outputs: &outputs };
            let backward =
                Backward { values: &values, gradients: &[Some(seed.clone())], rows: &rows, wanted: &[true, true] };
            let found = norm.input_gradients(&backward).unwrap().remove(0).unwrap().to_f64_vec().unwrap();
            let (numbers, seed) = (x.to_f64_vec().unwrap(), seed.to_f64_vec().unwrap());
            let score_with = |index: usize, step: f64| -> f64 {
                let mut moved = numbers.clone();
                moved[index] += step;
                let output = forward(&norm, &Value::from_vec(moved, shape, Layout::Logical).unwrap());
                output.to_f64_vec().unwrap().iter().zip(&seed).map(|(output, seed)| output * seed).sum()
            };
            for (index, found) in found.iter().enumerate() {
                let expected = (score_with(index, STEP) - score_with(index, -STEP)) / (2.0 * STEP);
                assert!((found - expected).abs() < 1e-6 * expected.abs().max(1.0), "{found} is not {expected}");
            }
        }
    }

    #[test]
    fn a_part_of_a_batch_is_refused() {
        let (norm, x) = (norm(), random_value(&[4, 3], 3));
        let inputs = [x.clone(), Moments.forward(&[&x]).unwrap().remove(0)];
        let values = Given { inputs: &inputs, outputs: &[] };
        let gradients = [Some(random_value(&[1, 3], 4))];
        let backward = Backward { values: &values, gradients: &gradients, rows: &[2], wanted: &[true, false] };
        let error = norm.input_gradients(&backward).unwrap_err().to_string();
        assert_eq!(error, "BatchNormalization: the moments are those of a batch, and so is the gradient");
    }
}
