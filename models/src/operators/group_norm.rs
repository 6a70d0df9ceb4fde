//! Group normalisation (Wu and He 2018) and instance normalisation (Ulyanov et al. 2016), which has a group for each
//! channel: each input's own mean and variance, over all places of a group's channels.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::{Backward, Family, Operator, Reach};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::value::{Layout, Value};

/// `(x - mean) / √(variance + ε) · scale + shift`, with a scale and a shift for each channel.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    kind: &'static str,
    groups: usize,
    scale: Tensor,
    shift: Tensor,
    epsilon: f64,
}

impl GroupNorm {
    /// Channels in so many groups; `scale` and `shift` are `[channel]`.
    pub fn new(groups: usize, scale: Tensor, shift: Tensor, epsilon: f64) -> Result<Self> {
        let n_channels = scale.dims().first().copied().unwrap_or(0);
        let fits = scale.rank() == 1 && scale.dims() == shift.dims() && groups > 0 && n_channels.is_multiple_of(groups);
        if fits {
            return Ok(GroupNorm { kind: "GroupNormalization", groups, scale, shift, epsilon });
        }
        let reason = format!(
            "scale {:?} and shift {:?} in {groups} groups; both must be [channel], and the groups of one size",
            scale.dims(),
            shift.dims()
        );
        Err(ModelError::operator("GroupNormalization", reason))
    }

    /// Each channel by itself.
    pub fn of_instances(scale: Tensor, shift: Tensor, epsilon: f64) -> Result<Self> {
        let groups = scale.dims().first().copied().unwrap_or(0);
        Ok(GroupNorm { kind: "InstanceNormalization", ..GroupNorm::new(groups, scale, shift, epsilon)? })
    }

    fn n_channels(&self) -> usize {
        self.scale.dims()[0]
    }

    /// A group's mean, and one over its standard deviation.
    fn moments<T: Element>(&self, group: &[T]) -> (T, T) {
        let n = T::of(group.len() as f64);
        let mean = group.iter().copied().sum::<T>() / n;
        let variance = group.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / n;
        (mean, T::one() / (variance + T::of(self.epsilon)).sqrt())
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        self.output_shapes(&[input.shape()])?;
        let input = input.to_logical()?;
        let (scale, shift) = (Value::from_tensor(&self.scale)?, Value::from_tensor(&self.shift)?);
        let (scale, shift) = (scale.numbers::<T>()?, shift.numbers::<T>()?);
        let (scale, shift): (&[T], &[T]) = (&scale, &shift);
        let mut output = input.numbers::<T>()?.to_vec();
        let (per_channel, per_group) = self.lengths(input.shape());
        output.par_chunks_exact_mut(per_group * per_channel).enumerate().for_each(|(nth, group)| {
            let (mean, inverse) = self.moments(group);
            let first = nth % self.groups * per_group;
            for (channel, numbers) in group.chunks_exact_mut(per_channel).enumerate() {
                let (scale, shift) = (scale[first + channel], shift[first + channel]);
                numbers.iter_mut().for_each(|x| *x = (*x - mean) * inverse * scale + shift);
            }
        });
        Value::from_vec(output, input.shape(), Layout::Logical)
    }

    /// Places of a channel, and channels of a group.
    fn lengths(&self, shape: &[usize]) -> (usize, usize) {
        (shape[2..].iter().product(), self.n_channels() / self.groups)
    }

    /// `(u - mean(u) - x̂ mean(u ⊙ x̂)) / √(variance + ε)` with `u = g ⊙ scale` and `x̂` the normalised group.
    fn input_gradient_as<T: Element>(&self, backward: &Backward<'_>) -> Result<Value> {
        let (input, gradient) = (backward.values.input(0)?.to_logical()?, backward.gradient()?.to_logical()?);
        let (numbers, scale) = (input.numbers::<T>()?, Value::from_tensor(&self.scale)?);
        let scale = scale.numbers::<T>()?;
        let (numbers, scale): (&[T], &[T]) = (&numbers, &scale);
        let (per_channel, per_group) = self.lengths(input.shape());
        let n = per_group * per_channel;
        let mut passed = gradient.numbers::<T>()?.to_vec();
        passed.par_chunks_exact_mut(n).enumerate().for_each(|(nth, passed)| {
            let (row, group) = (backward.rows[nth / self.groups], nth % self.groups);
            let read = &numbers[(row * self.groups + group) * n..][..n];
            let (mean, inverse) = self.moments(read);
            for (channel, passed) in passed.chunks_exact_mut(per_channel).enumerate() {
                passed.iter_mut().for_each(|u| *u *= scale[group * per_group + channel]);
            }
            let normalised = |x: T| (x - mean) * inverse;
            let share = T::one() / T::of(n as f64);
            let of_mean = passed.iter().copied().sum::<T>() * share;
            let of_variance = passed.iter().zip(read).map(|(&u, &x)| u * normalised(x)).sum::<T>() * share;
            let through = |u: T, x: T| (u - of_mean - normalised(x) * of_variance) * inverse;
            passed.iter_mut().zip(read).for_each(|(u, &x)| *u = through(*u, x));
        });
        Value::from_vec(passed, gradient.shape(), Layout::Logical)
    }
}

impl Operator for GroupNorm {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn family(&self) -> Family {
        Family::Activation
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        if inputs[0].len() < 3 || inputs[0][1] != self.n_channels() || inputs[0][2..].contains(&0) {
            let reason =
                format!("input must be [batch, {} channels, places…] but has shape {:?}", self.n_channels(), inputs[0]);
            return Err(ModelError::operator(self.kind, reason));
        }
        Ok(vec![inputs[0].to_vec()])
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
        vec![("scale", &self.scale), ("shift", &self.shift)]
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let (scale, shift) = (self.scale.to_dtype(dtype)?, self.shift.to_dtype(dtype)?);
        Ok(Arc::new(GroupNorm { scale, shift, ..self.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_tensor, random_value};

    #[test]
    fn groups_of_channels_and_channels_alone() {
        let image = random_value(&[2, 6, 3, 4], 1).to_channels_last().unwrap();
        for groups in [1, 2, 6] {
            let norm = GroupNorm::new(groups, random_tensor(&[6], 2), random_tensor(&[6], 3), 1e-2).unwrap();
            check_gradients(&norm, std::slice::from_ref(&image));
        }
        let norm = GroupNorm::of_instances(random_tensor(&[3], 4), random_tensor(&[3], 5), 1e-2).unwrap();
        check_gradients(&norm, &[random_value(&[2, 3, 5], 6)]);
    }

    /// Mean 2 and variance 1 of 1, 3, and mean 5 and variance 4 of 3, 7.
    #[test]
    fn channels_by_hand() {
        let list = |numbers: &[f64]| Tensor::new(numbers, &candle_core::Device::Cpu).unwrap();
        let norm = GroupNorm::of_instances(list(&[2.0, 1.0]), list(&[0.0, 0.5]), 0.0).unwrap();
        let input = Value::from_vec(vec![1.0, 3.0, 3.0, 7.0], &[1, 2, 2], Layout::Logical).unwrap();
        assert_eq!(norm.forward(&[&input]).unwrap()[0].to_f64_vec().unwrap(), [-2.0, 2.0, -0.5, 1.5]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = GroupNorm::new(4, random_tensor(&[6], 1), random_tensor(&[6], 2), 1e-5).unwrap_err();
        assert_eq!(
            error.to_string(),
            "GroupNormalization: scale [6] and shift [6] in 4 groups; both must be [channel], and the groups of one size"
        );
    }
}
