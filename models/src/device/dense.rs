//! A dense layer as one product.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::{OnTensors, column_sums};
use crate::error::Result;
use crate::operators::{Backward, Dense, ParameterGradients};
use crate::value::{Layout, Value};

/// `y = W x + b` over the last axis.
#[derive(Clone, Debug)]
pub(crate) struct DenseOnDevice {
    /// `[out, in]`
    weight: Tensor,
    bias: Option<Tensor>,
    device: Device,
}

impl DenseOnDevice {
    pub(crate) fn of(dense: &Dense, device: &Device) -> Result<Self> {
        let bias = dense.bias().map(|bias| bias.to_device(device)).transpose()?;
        Ok(DenseOnDevice { weight: dense.weight().to_device(device)?, bias, device: device.clone() })
    }

    /// A value as rows of its last axis.
    fn lines(&self, value: &Value) -> Result<Tensor> {
        let value = value.to_device(&self.device)?.to_logical()?;
        let last = value.shape().last().copied().unwrap_or(1);
        Ok(value.tensor().reshape((value.len() / last.max(1), last))?)
    }

    /// Rows as a value with another last axis.
    fn with_last(lines: &Tensor, shape: &[usize]) -> Result<Value> {
        let mut shape = shape.to_vec();
        *shape.last_mut().expect("it has a last axis") = lines.dims()[1];
        Value::laid_out(&lines.reshape(shape.as_slice())?, &shape, Layout::Logical)
    }
}

impl OnTensors for DenseOnDevice {
    fn forward(&self, inputs: &[&Value]) -> Result<Value> {
        let mut lines = self.lines(inputs[0])?.matmul(&self.weight.t()?)?;
        if let Some(bias) = &self.bias {
            lines = lines.broadcast_add(bias)?;
        }
        Self::with_last(&lines, inputs[0].shape())
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let gradient = backward.gradient()?;
        Backward::only(Self::with_last(&self.lines(gradient)?.matmul(&self.weight)?, gradient.shape())?)
    }

    fn both_gradients(&self, backward: &Backward<'_>) -> Result<(Vec<Option<Value>>, ParameterGradients)> {
        let to_input = match backward.wanted {
            [true] => self.input_gradients(backward)?,
            _ => vec![None],
        };
        let (x, arrived) = (self.lines(&backward.input_of_pairs(0)?)?, self.lines(backward.gradient()?)?);
        let mut to_parameters = vec![("weight", arrived.t()?.matmul(&x)?)];
        if self.bias.is_some() {
            to_parameters.push(("bias", column_sums(&arrived)?));
        }
        Ok((to_input, to_parameters))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        [("weight", &self.weight)].into_iter().chain(self.bias.iter().map(|bias| ("bias", bias))).collect()
    }

    fn with_parameters(&self, parameters: &[Tensor]) -> Result<Arc<dyn OnTensors>> {
        let (weight, bias) = (parameters[0].contiguous()?, parameters.get(1).cloned());
        Ok(Arc::new(DenseOnDevice { weight, bias, ..self.clone() }))
    }
}
