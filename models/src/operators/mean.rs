//! The mean or sum over whole axes: global average pools, ONNX's `ReduceMean` and `ReduceSum`.

use std::sync::Arc;

use candle_core::{DType, Device};

use super::{AxisKind, Backward, Family, Operator, Reach};
use crate::device::{MeanOnDevice, OnTensors};
use crate::element::{Element, with_element};
use crate::error::{ModelError, Result};
use crate::kernels::broadcasting::for_each_run;
use crate::value::{Layout, Value};

/// Over which axes a mean goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Axes {
    /// All behind the channels.
    Spatial,
    /// These; negative ones count from the end.
    Listed(Vec<isize>),
}

/// A mean or a sum over whole axes.
#[derive(Clone, Debug)]
pub struct Mean {
    axes: Axes,
    keep_dims: bool,
    is_sum: bool,
}

impl Mean {
    /// A global average pool: over all spatial axes, which stay with length 1.
    pub fn global_average_pool() -> Self {
        Mean { axes: Axes::Spatial, keep_dims: true, is_sum: false }
    }

    /// Over the axes listed, negative ones counted from the end; the batch axis cannot be among them.
    pub fn over(axes: &[isize], keep_dims: bool) -> Self {
        Mean { axes: Axes::Listed(axes.to_vec()), keep_dims, is_sum: false }
    }

    /// The sum where [`Mean::over`] takes the mean.
    pub fn sum_over(axes: &[isize], keep_dims: bool) -> Self {
        Mean { is_sum: true, ..Mean::over(axes, keep_dims) }
    }

    /// The part of the result that each of so many numbers is.
    pub(crate) fn share(&self, n_kept: usize, n: usize) -> f64 {
        if self.is_sum { 1.0 } else { n_kept as f64 / n as f64 }
    }

    fn reduced(&self, shape: &[usize]) -> Result<Vec<usize>> {
        let rank = shape.len();
        let axes: Vec<usize> = match &self.axes {
            Axes::Spatial => (2..rank).collect(),
            Axes::Listed(axes) => axes
                .iter()
                .map(|&axis| if axis < 0 { (axis + rank as isize) as usize } else { axis as usize })
                .collect(),
        };
        let has_length = axes.iter().all(|&axis| axis != 0 && axis < rank && shape[axis] > 0);
        if !has_length {
            return Err(ModelError::operator(
                self.kind(),
                format!(
                    "{} over axes {axes:?} of shape {shape:?}; axis 0 is the batch",
                    if self.is_sum { "sum" } else { "mean" }
                ),
            ));
        }
        Ok(axes)
    }

    pub(crate) fn kept_shape(&self, shape: &[usize]) -> Result<Vec<usize>> {
        let mut kept = shape.to_vec();
        self.reduced(shape)?.into_iter().for_each(|axis| kept[axis] = 1);
        Ok(kept)
    }

    fn forward_as<T: Element>(&self, input: &Value) -> Result<Value> {
        let kept = self.kept_shape(input.shape())?;
        let share = T::of(self.share(kept.iter().product(), input.len()));
        let (physical, physical_kept) =
            (input.layout().physical_shape(input.shape()), input.layout().physical_shape(&kept));
        let numbers = input.numbers::<T>()?;
        let mut sums = vec![T::zero(); kept.iter().product()];
        for_each_run(&physical, [&physical_kept], |start, run, [(to, step)]| {
            numbers[start..start + run].iter().enumerate().for_each(|(i, &number)| sums[to + i * step] += number);
        });
        sums.iter_mut().for_each(|sum| *sum *= share);
        let output = Value::from_vec(sums, &kept, input.layout())?;
        if self.keep_dims { Ok(output) } else { output.reshape(&self.output_shapes(&[input.shape()])?[0]) }
    }

    fn input_gradient_as<T: Element>(&self, shape: &[usize], gradient: &Value) -> Result<Value> {
        let kept = self.kept_shape(shape)?;
        let gradient = if self.keep_dims { gradient.clone() } else { gradient.reshape(&kept)? };
        let layout = if shape.len() < 4 { gradient.layout() } else { Layout::ChannelsLast };
        let gradient = gradient.to_layout(layout)?;
        let n: usize = shape.iter().product();
        let share = T::of(self.share(kept.iter().product(), n));
        let arrived = gradient.numbers::<T>()?;
        let mut passed = vec![T::zero(); n];
        for_each_run(&layout.physical_shape(shape), [&layout.physical_shape(&kept)], |start, run, [(from, step)]| {
            let passed = &mut passed[start..start + run];
            passed.iter_mut().enumerate().for_each(|(i, passed)| *passed = arrived[from + i * step] * share);
        });
        Value::from_vec(passed, shape, layout)
    }
}

impl Operator for Mean {
    fn kind(&self) -> &'static str {
        match (&self.axes, self.is_sum) {
            (Axes::Spatial, _) => "GlobalAveragePool",
            (_, false) => "ReduceMean",
            (_, true) => "ReduceSum",
        }
    }

    fn family(&self) -> Family {
        Family::AveragePool
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        let kept = self.kept_shape(inputs[0])?;
        if self.keep_dims {
            return Ok(vec![kept]);
        }
        let reduced = self.reduced(inputs[0])?;
        Ok(vec![
            kept.iter().enumerate().filter(|(axis, _)| !reduced.contains(axis)).map(|(_, &length)| length).collect(),
        ])
    }

    fn output_axes(&self, inputs: &[&[AxisKind]], rank: usize) -> Vec<AxisKind> {
        match inputs.first() {
            Some(axes) if axes.len() == rank => axes.to_vec(),
            Some(axes) => {
                let reduced = self.reduced(&vec![1; axes.len()]).unwrap_or_default();
                axes.iter().enumerate().filter(|(axis, _)| !reduced.contains(axis)).map(|(_, &kind)| kind).collect()
            }
            None => AxisKind::by_rank(rank),
        }
    }

    fn reach(&self) -> Reach {
        Reach::Global
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        with_element!(inputs[0].dtype(), T => Ok(vec![self.forward_as::<T>(inputs[0])?]))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (shape, gradient) = (backward.gradient_shape(0), backward.gradient()?);
        with_element!(gradient.dtype(), T => Backward::only(self.input_gradient_as::<T>(&shape, gradient)?))
    }

    fn on_tensors(&self, device: &Device) -> Option<Result<Arc<dyn OnTensors>>> {
        Some(Ok(Arc::new(MeanOnDevice::of(self, device))))
    }

    fn to_dtype(&self, _dtype: DType) -> Result<Arc<dyn Operator>> {
        Ok(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::gradient_check::{check_gradients, random_value};

    #[test]
    fn over_places_channels_and_features() {
        check_gradients(&Mean::global_average_pool(), &[random_value(&[2, 3, 5, 4], 1).to_channels_last().unwrap()]);
        check_gradients(&Mean::global_average_pool(), &[random_value(&[2, 3, 5], 2)]);
        check_gradients(&Mean::over(&[-1, 2], false), &[random_value(&[2, 3, 5, 4], 3).to_channels_last().unwrap()]);
        check_gradients(&Mean::over(&[1], true), &[random_value(&[2, 3, 5, 4], 4).to_channels_last().unwrap()]);
        check_gradients(&Mean::over(&[1], false), &[random_value(&[2, 3], 5)]);
        check_gradients(&Mean::sum_over(&[-1], true), &[random_value(&[2, 3, 5], 6)]);
        check_gradients(&Mean::sum_over(&[1, 2], false), &[random_value(&[2, 3, 5, 4], 7).to_channels_last().unwrap()]);
        let counted = Mean::sum_over(&[1], false).forward(&[&Value::full(0.5f64, &[1, 6], Layout::Logical).unwrap()]);
        assert_eq!(counted.unwrap()[0].to_f64_vec().unwrap(), [3.0]);
    }

    #[test]
    fn over_the_batch_is_refused() {
        let error = Mean::over(&[0], true).output_shapes(&[&[2, 3]]).unwrap_err();
        assert_eq!(error.to_string(), "ReduceMean: mean over axes [0] of shape [2, 3]; axis 0 is the batch");
    }
}
