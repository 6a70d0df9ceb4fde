//! A leaky rectifier whose slope was learned (He et al. 2015), one for all or one for each channel.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::arithmetic::combine;
use super::{Backward, Family, Operator};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::Value;

/// `x` where positive, else `slope x`; the slopes are broadcast against the value as NumPy does.
#[derive(Clone, Debug)]
pub struct Prelu {
    slope: Tensor,
}

impl Prelu {
    /// Slopes of any shape that can be broadcast, without a batch of their own.
    pub fn new(slope: Tensor) -> Self {
        Prelu { slope }
    }

    fn refuse<V>(&self, reason: String) -> Result<V> {
        Err(ModelError::operator("PRelu", reason))
    }

    /// The slopes with as many axes as the value.
    fn slopes(&self, rank: usize) -> Result<Value> {
        let missing = rank.checked_sub(self.slope.rank());
        let Some(missing) = missing else {
            return self.refuse(format!("slopes of shape {:?} for a value with {rank} axes", self.slope.dims()));
        };
        let shape: Vec<usize> = std::iter::repeat_n(1, missing).chain(self.slope.dims().iter().copied()).collect();
        Value::from_tensor(&self.slope)?.reshape(&shape)
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let slopes = self.slopes(input.shape().len())?;
        combine::<T>(input, &slopes, |x, slope| if x > T::zero() { x } else { slope * x })
    }

    fn input_gradient_as<T: Element>(&self, backward: &Backward<'_>) -> Result<Value> {
        let input = backward.values.input(0)?;
        let slopes = self.slopes(input.shape().len())?;
        let derivatives = combine::<T>(&input, &slopes, |x, slope| if x > T::zero() { T::one() } else { slope })?;
        combine::<T>(backward.gradient()?, &derivatives.select_rows(backward.rows)?, |g, derivative| g * derivative)
    }
}

impl Operator for Prelu {
    fn kind(&self) -> &'static str {
        "PRelu"
    }

    fn family(&self) -> Family {
        Family::Activation
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let slopes = self.slopes(inputs[0].len())?;
        let fits = slopes.shape()[0] == 1
            && slopes.shape().iter().zip(inputs[0]).all(|(&slope, &length)| slope == 1 || slope == length);
        match fits {
            true => Ok(vec![inputs[0].to_vec()]),
            false => self.refuse(format!("slopes of shape {:?} for an input of shape {:?}", slopes.shape(), inputs[0])),
        }
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0])?]))
    }

    fn on_windows(&self, n_spatial: usize) -> Option<Arc<dyn Operator>> {
        let lengths = self.slope.dims();
        let is_same_everywhere = lengths.iter().rev().take(n_spatial).all(|&length| length == 1);
        is_same_everywhere.then(|| Arc::new(self.clone()) as Arc<dyn Operator>)
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        with_element!(backward.gradient()?.dtype(), T => Backward::only(self.input_gradient_as::<T>(backward)?))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("slope", &self.slope)]
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(Prelu { slope: self.slope.to_dtype(dtype)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_tensor, random_value};

    #[test]
    fn one_slope_and_one_for_each_channel() {
        let image = random_value(&[2, 3, 4, 5], 1).to_channels_last().unwrap();
        check_gradients(&Prelu::new(random_tensor(&[3, 1, 1], 2)), std::slice::from_ref(&image));
        check_gradients(&Prelu::new(random_tensor(&[1], 3)), &[image]);
        check_gradients(&Prelu::new(random_tensor(&[3, 1], 4)), &[random_value(&[2, 3, 5], 5)]);
    }

    #[test]
    fn slopes_that_fit_no_channel_are_refused() {
        let error = Prelu::new(random_tensor(&[4, 1], 1)).output_shapes(&[&[2, 3, 5]]).unwrap_err();
        assert_eq!(error.to_string(), "PRelu: slopes of shape [1, 4, 1] for an input of shape [2, 3, 5]");
    }
}
