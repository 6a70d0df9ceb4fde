//! Point-wise functions, and sums and products of two branches.

use candle_core::{Device, Tensor};

use super::{OnTensors, channels_last};
use crate::error::{ModelError, Result};
use crate::operators::{Arithmetic, ArithmeticFunction, Backward, Operand, PointwiseFunction, RectifierBelow};
use crate::value::{Layout, Value};

/// Brought between two bounds.
pub(super) fn clamped(tensor: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    let raised = if low == f64::NEG_INFINITY { tensor.clone() } else { tensor.maximum(low)? };
    Ok(if high == f64::INFINITY { raised } else { raised.minimum(high)? })
}

/// 1 where strictly between two bounds, else 0.
fn is_between(tensor: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    let above = tensor.gt(low)?.to_dtype(tensor.dtype())?;
    Ok(if high == f64::INFINITY { above } else { (above * tensor.lt(high)?.to_dtype(tensor.dtype())?)? })
}

/// What passes on through a rectifier of that output.
pub(super) fn through_rectifier(
    gradient: &Value,
    rows: &[usize],
    rectifier: &RectifierBelow<'_>,
    device: &Device,
) -> Result<Value> {
    let output = rectifier.output.to_device(device)?.to_layout(gradient.layout())?.select_rows(rows)?;
    let mut passed = (gradient.tensor() * is_between(output.tensor(), rectifier.low, rectifier.high)?)?;
    if rectifier.only_positive {
        passed = passed.relu()?;
    }
    Value::laid_out(&passed, gradient.shape(), gradient.layout())
}

/// A function of one number, where tensors have it.
#[derive(Clone, Debug)]
pub(crate) struct ActivationOnDevice {
    function: PointwiseFunction,
    device: Device,
}

impl ActivationOnDevice {
    /// `None` for functions that are computed on the processor.
    pub(crate) fn of(function: PointwiseFunction, device: &Device) -> Option<Self> {
        let is_known = function.bounds().is_some()
            || matches!(function, PointwiseFunction::Sigmoid | PointwiseFunction::Tanh | PointwiseFunction::Silu)
            || matches!(function, PointwiseFunction::LeakyRelu { .. } | PointwiseFunction::GeluTanh)
            || matches!(function, PointwiseFunction::HardSwish | PointwiseFunction::HardSigmoid { .. });
        is_known.then(|| ActivationOnDevice { function, device: device.clone() })
    }

    fn value(&self, x: &Tensor) -> Result<Tensor> {
        if let Some((low, high)) = self.function.bounds() {
            return clamped(x, low, high);
        }
        Ok(match self.function {
            PointwiseFunction::Sigmoid => sigmoid(x)?,
            PointwiseFunction::Tanh => x.tanh()?,
            PointwiseFunction::Silu => (x * sigmoid(x)?)?,
            PointwiseFunction::LeakyRelu { alpha } => (x.relu()? - (x.neg()?.relu()? * alpha)?)?,
            PointwiseFunction::GeluTanh => (x.affine(0.5, 0.0)? * (gelu_argument(x)?.tanh()? + 1.0)?)?,
            PointwiseFunction::HardSwish => (x * clamped(&x.affine(1.0 / 6.0, 0.5)?, 0.0, 1.0)?)?,
            PointwiseFunction::HardSigmoid { alpha, beta } => clamped(&x.affine(alpha, beta)?, 0.0, 1.0)?,
            _ => return Err(self.unknown()),
        })
    }

    /// At a kink as the processor has it.
    fn derivative(&self, x: &Tensor) -> Result<Tensor> {
        if let Some((low, high)) = self.function.bounds() {
            return is_between(x, low, high);
        }
        Ok(match self.function {
            PointwiseFunction::Sigmoid => {
                let y = sigmoid(x)?;
                (&y * y.affine(-1.0, 1.0)?)?
            }
            PointwiseFunction::Tanh => x.tanh()?.sqr()?.affine(-1.0, 1.0)?,
            PointwiseFunction::Silu => {
                let y = sigmoid(x)?;
                (&y * ((x * y.affine(-1.0, 1.0)?)? + 1.0)?)?
            }
            PointwiseFunction::LeakyRelu { alpha } => is_between(x, 0.0, f64::INFINITY)?.affine(1.0 - alpha, alpha)?,
            PointwiseFunction::GeluTanh => {
                let tanh = gelu_argument(x)?.tanh()?;
                let inner = x.sqr()?.affine(3.0 * GELU_SCALE * GELU_CUBIC, GELU_SCALE)?;
                let slope = ((x * tanh.sqr()?.affine(-0.5, 0.5)?)? * inner)?;
                (slope + tanh.affine(0.5, 0.5)?)?
            }
            PointwiseFunction::HardSwish => {
                let within = (is_between(x, -3.0, 3.0)? * x.affine(1.0 / 3.0, 0.5)?)?;
                (within + x.ge(3.0)?.to_dtype(x.dtype())?)?
            }
            PointwiseFunction::HardSigmoid { alpha, beta } => {
                is_between(&x.affine(alpha, beta)?, 0.0, 1.0)?.affine(alpha, 0.0)?
            }
            _ => return Err(self.unknown()),
        })
    }

    fn unknown(&self) -> ModelError {
        ModelError::operator("activation", format!("{:?} is not computed in tensors", self.function))
    }
}

const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;

fn gelu_argument(x: &Tensor) -> candle_core::Result<Tensor> {
    (x * GELU_SCALE)? * x.sqr()?.affine(GELU_CUBIC, 1.0)?
}

/// `(1 + tanh(x / 2)) / 2`, in which nothing overflows.
fn sigmoid(x: &Tensor) -> candle_core::Result<Tensor> {
    x.affine(0.5, 0.0)?.tanh()?.affine(0.5, 0.5)
}

impl OnTensors for ActivationOnDevice {
    fn forward(&self, inputs: &[&Value]) -> Result<Value> {
        let input = inputs[0].to_device(&self.device)?;
        Value::laid_out(&self.value(input.tensor())?, input.shape(), input.layout())
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let gradient = backward.gradient()?.to_device(&self.device)?;
        // A rectifier's output says where it passes.
        let seen = match self.function.bounds() {
            Some(_) => backward.values.output(0)?,
            None => backward.values.input(0)?,
        };
        let seen = seen.to_device(&self.device)?.to_layout(gradient.layout())?.select_rows(backward.rows)?;
        let passed = (gradient.tensor() * self.derivative(seen.tensor())?)?;
        Backward::only(Value::laid_out(&passed, gradient.shape(), gradient.layout())?)
    }
}

/// A sum, difference, product or quotient of two branches, or of one and a constant.
#[derive(Clone, Debug)]
pub(crate) struct ArithmeticOnDevice {
    function: ArithmeticFunction,
    operand: Operand,
    device: Device,
}

impl ArithmeticOnDevice {
    /// `None` where one of both is chosen.
    pub(crate) fn of(arithmetic: &Arithmetic, device: &Device) -> Option<Result<Self>> {
        let function = arithmetic.function();
        if matches!(function, ArithmeticFunction::Maximum | ArithmeticFunction::Minimum) {
            return None;
        }
        let operand = match arithmetic.operand() {
            Operand::Graph => Ok(Operand::Graph),
            Operand::Left(tensor) => tensor.to_device(device).map(Operand::Left),
            Operand::Right(tensor) => tensor.to_device(device).map(Operand::Right),
        };
        let made = |operand| ArithmeticOnDevice { function, operand, device: device.clone() };
        Some(operand.map(made).map_err(ModelError::from))
    }

    /// Both operands with as many axes, in one layout.
    fn operands(&self, inputs: &[&Value]) -> Result<(Value, Value)> {
        let rank = inputs[0].shape().len();
        let of_input = |nth: usize| channels_last(inputs[nth], &self.device);
        let of_constant = |tensor: &Tensor| -> Result<Value> {
            let missing = rank.saturating_sub(tensor.rank());
            let shape: Vec<usize> = std::iter::repeat_n(1, missing).chain(tensor.dims().iter().copied()).collect();
            Value::from_tensor(&tensor.reshape(shape)?)?.to_channels_last()
        };
        Ok(match &self.operand {
            Operand::Graph => (of_input(0)?, of_input(1)?),
            Operand::Left(tensor) => (of_constant(tensor)?, of_input(0)?),
            Operand::Right(tensor) => (of_input(0)?, of_constant(tensor)?),
        })
    }
}

fn layout_of(rank: usize) -> Layout {
    if rank < 3 { Layout::Logical } else { Layout::ChannelsLast }
}

/// A gradient in the layout's order summed over the axes along which an operand of this shape was broadcast; the batch
/// axis stays the gradient's own.
fn summed(gradient: &Tensor, operand: &[usize]) -> Result<Value> {
    let layout = layout_of(operand.len());
    let mut shape = operand.to_vec();
    shape[0] = gradient.dims()[0];
    let mut summed = gradient.clone();
    for (axis, length) in layout.physical_shape(&shape).into_iter().enumerate() {
        if summed.dims()[axis] != length {
            summed = summed.sum_keepdim(axis)?;
        }
    }
    Value::laid_out(&summed, &shape, layout)
}

impl OnTensors for ArithmeticOnDevice {
    fn forward(&self, inputs: &[&Value]) -> Result<Value> {
        let (left, right) = self.operands(inputs)?;
        let shape: Vec<usize> = left
            .shape()
            .iter()
            .zip(right.shape())
            .map(|(&left, &right)| if left == 1 { right } else { left })
            .collect();
        let (l, r) = (left.tensor(), right.tensor());
        let computed = match self.function {
            ArithmeticFunction::Add => l.broadcast_add(r)?,
            ArithmeticFunction::Subtract => l.broadcast_sub(r)?,
            ArithmeticFunction::Multiply => l.broadcast_mul(r)?,
            ArithmeticFunction::Divide => l.broadcast_div(r)?,
            ArithmeticFunction::Maximum => l.broadcast_maximum(r)?,
            ArithmeticFunction::Minimum => l.broadcast_minimum(r)?,
        };
        Value::laid_out(&computed, &shape, layout_of(shape.len()))
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        let gradient = channels_last(backward.gradient()?, &self.device)?;
        let g = gradient.tensor();
        let is_sum = matches!(self.function, ArithmeticFunction::Add | ArithmeticFunction::Subtract);
        // The operands of the walk's pairs; a constant, and what was broadcast over the batch, is one row for all.
        let operands = || -> Result<(Tensor, Tensor)> {
            let inputs =
                (0..backward.wanted.len()).map(|nth| backward.values.input(nth)).collect::<Result<Vec<_>>>()?;
            let (left, right) = self.operands(&inputs.iter().collect::<Vec<_>>())?;
            let of_pairs = |value: Value| if value.batch() == 1 { Ok(value) } else { value.select_rows(backward.rows) };
            Ok((of_pairs(left)?.tensor().clone(), of_pairs(right)?.tensor().clone()))
        };
        let operands = if is_sum { None } else { Some(operands()?) };
        let to_left = || -> Result<Tensor> {
            Ok(match (self.function, &operands) {
                (ArithmeticFunction::Multiply, Some((_, right))) => g.broadcast_mul(right)?,
                (ArithmeticFunction::Divide, Some((_, right))) => g.broadcast_div(right)?,
                _ => g.clone(),
            })
        };
        let to_right = || -> Result<Tensor> {
            Ok(match (self.function, &operands) {
                (ArithmeticFunction::Multiply, Some((left, _))) => g.broadcast_mul(left)?,
                (ArithmeticFunction::Divide, Some((left, right))) => {
                    g.broadcast_mul(&left.broadcast_div(&right.sqr()?)?)?.neg()?
                }
                (ArithmeticFunction::Subtract, _) => g.neg()?,
                _ => g.clone(),
            })
        };
        let to = |passed: Result<Tensor>, input: usize| -> Result<Option<Value>> {
            Ok(Some(summed(&passed?, &backward.values.input_shape(input))?))
        };
        let wanted = |input: usize| backward.wanted[input];
        Ok(match &self.operand {
            Operand::Graph => vec![
                if wanted(0) { to(to_left(), 0)? } else { None },
                if wanted(1) { to(to_right(), 1)? } else { None },
            ],
            Operand::Left(_) => vec![to(to_right(), 0)?],
            Operand::Right(_) => vec![to(to_left(), 0)?],
        })
    }
}
