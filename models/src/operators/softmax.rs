//! Softmax and its logarithm along one axis.

use std::sync::Arc;

use candle_core::DType;

use super::activation::combine_with_rows;
use super::{Backward, Family, Operator, Reach};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::Value;

/// `exp(x_i) / Σ_j exp(x_j)` along an axis; negative ones count from the end.
#[derive(Clone, Debug)]
pub struct Softmax {
    pub axis: isize,
}

/// `x_i - log Σ_j exp(x_j)` along an axis; negative ones count from the end.
#[derive(Clone, Debug)]
pub struct LogSoftmax {
    pub axis: isize,
}

fn checked_axis(operator: &'static str, axis: isize, rank: usize) -> Result<usize> {
    let from_start = if axis < 0 { axis + rank as isize } else { axis };
    if from_start < 1 || from_start >= rank as isize {
        return Err(ModelError::operator(
            operator,
            format!("axis {axis} of a value with {rank} axes; axis 0 is the batch"),
        ));
    }
    Ok(from_start as usize)
}

/// Over channels each place is by itself; over any other axis it sees all.
fn reach_along(axis: isize) -> Reach {
    if axis == 1 { Reach::Pointwise } else { Reach::Global }
}

/// Visits every line of numbers along an axis: its start, the step between its numbers, and how many there are.
fn for_each_line(value: &Value, axis: usize, mut visit: impl FnMut(usize, usize, usize)) {
    let rank = value.shape().len();
    let physical = value.layout().physical_shape(value.shape());
    let axis = value.layout().physical_axis(axis, rank);
    let step: usize = physical[axis + 1..].iter().product();
    let length = physical[axis];
    for outer in 0..physical[..axis].iter().product::<usize>() {
        for inner in 0..step {
            visit(outer * length * step + inner, step, length);
        }
    }
}

/// `log Σ exp`, with the maximum taken out so that nothing overflows.
fn log_softmax_line<T: Element>(numbers: &mut [T], start: usize, step: usize, length: usize) {
    let line = || (0..length).map(|i| start + i * step);
    let maximum = line().map(|i| numbers[i]).fold(T::neg_infinity(), T::at_least);
    let sum: T = line().map(|i| (numbers[i] - maximum).exp()).sum();
    line().for_each(|i| numbers[i] = (numbers[i] - maximum) - sum.ln());
}

fn log_softmax<T: Element>(input: &Value, axis: usize) -> Result<Value> {
    let mut numbers = input.numbers::<T>()?.to_vec();
    for_each_line(input, axis, |start, step, length| log_softmax_line(&mut numbers, start, step, length));
    Value::from_vec(numbers, input.shape(), input.layout())
}

fn exponential<T: Element>(value: &Value) -> Result<Value> {
    let numbers = value.numbers::<T>()?.iter().map(|number| number.exp()).collect();
    Value::from_vec::<T>(numbers, value.shape(), value.layout())
}

/// `g - weight · Σ g` along lines, where each pair's weights come from its row of the trace.
fn minus_weighted_sum<T: Element>(gradient: &Value, weights: &Value, axis: usize) -> Result<Value> {
    let weights = weights.to_layout(gradient.layout())?;
    let weights = weights.numbers::<T>()?;
    let mut numbers = gradient.numbers::<T>()?.to_vec();
    for_each_line(gradient, axis, |start, step, length| {
        let sum: T = (0..length).map(|i| numbers[start + i * step]).sum();
        (0..length).map(|i| start + i * step).for_each(|i| numbers[i] -= weights[i] * sum);
    });
    Value::from_vec(numbers, gradient.shape(), gradient.layout())
}

impl Operator for Softmax {
    fn kind(&self) -> &'static str {
        "Softmax"
    }

    fn family(&self) -> Family {
        Family::Activation
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        checked_axis("Softmax", self.axis, inputs[0].len())?;
        Ok(vec![inputs[0].to_vec()])
    }

    fn reach(&self) -> Reach {
        reach_along(self.axis)
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        let axis = checked_axis("Softmax", self.axis, inputs[0].shape().len())?;
        with_element!(inputs[0].dtype(), T => Ok(vec![exponential::<T>(&log_softmax::<T>(inputs[0], axis)?)?]))
    }

    /// `p ⊙ (g - Σ_j g_j p_j)`
    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (gradient, output) = (backward.gradient()?, &backward.values.output(0)?);
        let axis = checked_axis("Softmax", self.axis, gradient.shape().len())?;
        with_element!(gradient.dtype(), T => {
            let weighted = combine_with_rows::<T>(output, gradient, backward.rows, |p, g| p * g)?;
            Backward::only(minus_weighted_sum::<T>(&weighted, &output.select_rows(backward.rows)?, axis)?)
        })
    }

    fn on_windows(&self, _n_spatial: usize) -> Option<Arc<dyn Operator>> {
        (self.axis == 1).then(|| Arc::new(self.clone()) as Arc<dyn Operator>)
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }

    fn is_output_normalizer(&self) -> bool {
        true
    }
}

impl Operator for LogSoftmax {
    fn kind(&self) -> &'static str {
        "LogSoftmax"
    }

    fn family(&self) -> Family {
        Family::Activation
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        checked_axis("LogSoftmax", self.axis, inputs[0].len())?;
        Ok(vec![inputs[0].to_vec()])
    }

    fn reach(&self) -> Reach {
        reach_along(self.axis)
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        let axis = checked_axis("LogSoftmax", self.axis, inputs[0].shape().len())?;
        with_element!(inputs[0].dtype(), T => Ok(vec![log_softmax::<T>(inputs[0], axis)?]))
    }

    /// `g - p Σ_j g_j`
    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (gradient, output) = (backward.gradient()?, &backward.values.output(0)?);
        let axis = checked_axis("LogSoftmax", self.axis, gradient.shape().len())?;
        with_element!(gradient.dtype(), T => {
            let probabilities = exponential::<T>(&output.select_rows(backward.rows)?)?;
            Backward::only(minus_weighted_sum::<T>(gradient, &probabilities, axis)?)
        })
    }

    fn on_windows(&self, _n_spatial: usize) -> Option<Arc<dyn Operator>> {
        (self.axis == 1).then(|| Arc::new(self.clone()) as Arc<dyn Operator>)
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }

    fn is_output_normalizer(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_value};
    use crate::value::Layout;

    #[test]
    fn over_features_and_channels() {
        for axis in [1, -1] {
            let sequence = random_value(&[2, 3, 4], 1).to_channels_last().unwrap();
            check_gradients(&Softmax { axis }, &[random_value(&[2, 5], 2)]);
            check_gradients(&Softmax { axis }, std::slice::from_ref(&sequence));
            check_gradients(&LogSoftmax { axis }, &[random_value(&[2, 5], 3)]);
            check_gradients(&LogSoftmax { axis }, &[sequence]);
        }
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let input = Value::from_vec(vec![1000.0f32, 1000.0], &[1, 2], Layout::Logical).unwrap();
        assert_eq!(Softmax { axis: 1 }.forward(&[&input]).unwrap()[0].to_f32_vec().unwrap(), [0.5, 0.5]);
    }
}
