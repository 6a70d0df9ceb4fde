//! Means and sums over whole axes.

use candle_core::Device;

use super::{OnTensors, channels_last};
use crate::error::Result;
use crate::operators::{Backward, Mean, Operator};
use crate::value::{Layout, Value};

/// A mean or a sum over whole axes.
#[derive(Clone, Debug)]
pub(crate) struct MeanOnDevice {
    mean: Mean,
    device: Device,
}

impl MeanOnDevice {
    pub(crate) fn of(mean: &Mean, device: &Device) -> Self {
        MeanOnDevice { mean: mean.clone(), device: device.clone() }
    }
}

impl OnTensors for MeanOnDevice {
    fn forward(&self, inputs: &[&Value]) -> Result<Value> {
        let input = channels_last(inputs[0], &self.device)?;
        let kept = self.mean.kept_shape(input.shape())?;
        let mut summed = input.tensor().clone();
        for (axis, length) in input.layout().physical_shape(&kept).into_iter().enumerate() {
            if summed.dims()[axis] != length {
                summed = summed.sum_keepdim(axis)?;
            }
        }
        let share = self.mean.share(kept.iter().product(), input.len());
        let output = Value::laid_out(&(summed * share)?, &kept, input.layout())?;
        output.reshape(&self.mean.output_shapes(&[inputs[0].shape()])?[0])
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let shape = backward.gradient_shape(0);
        let kept = self.mean.kept_shape(&shape)?;
        let share = self.mean.share(kept.iter().product(), shape.iter().product());
        let gradient = backward.gradient()?.to_device(&self.device)?.reshape(&kept)?.to_channels_last()?;
        let layout = if shape.len() < 3 { Layout::Logical } else { Layout::ChannelsLast };
        let passed = (gradient.tensor() * share)?.broadcast_as(layout.physical_shape(&shape))?;
        Backward::only(Value::laid_out(&passed, &shape, layout)?)
    }
}
