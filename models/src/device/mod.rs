//! Operators on a device other than the processor, in tensors of candle.
//!
//! [`Graph::on_device`](crate::Graph::on_device) puts an [`OnDevice`] in the place of each operator that has a form here;
//! its weights lie on the device, what it computes stays there, and so a trace of such a graph is resident. Any other
//! operator is left as it is: it asks a value for its numbers, gets a copy ([`Value::numbers`]), and what it computes
//! goes to the device again at the next operator that has a form. All methods work so, whatever a network holds.
//!
//! A form is written in tensors, not for CUDA: on the processor it computes the same, which is how every operator's
//! tests check it where no GPU is. Convolutions come down to products of flat rows (`rows.rs`), as the kernels of the
//! processor do, and so do their gradients: with kernels turned around.

mod convolution;
mod dense;
mod norms;
mod pointwise;
mod pools;
mod reductions;
mod rows;

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

pub(crate) use convolution::ConvolutionOnDevice;
pub(crate) use dense::DenseOnDevice;
pub(crate) use norms::{AffineOnDevice, DropoutOnDevice, MomentsOnDevice, NormByMomentsOnDevice};
pub(crate) use pointwise::{ActivationOnDevice, ArithmeticOnDevice};
pub(crate) use pools::MaxPoolOnDevice;
pub(crate) use reductions::MeanOnDevice;

use crate::error::{ModelError, Result};
use crate::operators::{
    Activation, Arithmetic, AxisKind, Backward, BatchNorm, Convolution, Dense, Dropout, Family, Gru, Input, Lstm,
    NormByMoments, Operator, ParameterGradients, Reach, RectifierBelow, Reweighted, Reweighting,
};
use crate::value::{Layout, Value};

/// A device that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no device `{name}` here: {reason}")]
pub struct NoDevice {
    pub name: String,
    pub reason: String,
}

/// The device of a name: `cpu`, `cuda` or `cuda:N`; the error says what there is.
pub fn device_named(name: &str) -> Result<Device, NoDevice> {
    let refuse = |reason: String| NoDevice { name: name.to_owned(), reason };
    let nth = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => 0,
        Some(("cuda", nth)) => nth.parse().map_err(|_| refuse(format!("`{nth}` is no number of a device")))?,
        _ => return Err(refuse("devices are `cpu`, `cuda`, `cuda:1` and so on".to_owned())),
    };
    cuda(nth).map_err(refuse)
}

/// How many devices of CUDA there are.
pub fn n_cuda() -> usize {
    #[cfg(feature = "cuda")]
    // SAFETY: it looks for a library and calls nothing in it.
    if unsafe { candle_core::cuda_backend::cudarc::driver::sys::is_culib_present() } {
        let count = candle_core::cuda_backend::cudarc::driver::CudaContext::device_count();
        return count.map_or(0, |count| usize::try_from(count).unwrap_or(0));
    }
    0
}

#[cfg(feature = "cuda")]
fn cuda(nth: usize) -> Result<Device, String> {
    // candle panics where the driver's library is missing.
    // SAFETY: it looks for a library and calls nothing in it.
    if !unsafe { candle_core::cuda_backend::cudarc::driver::sys::is_culib_present() } {
        return Err("no driver of CUDA is installed; `cpu` is there".to_owned());
    }
    let device = Device::new_cuda(nth).map_err(|error| error.to_string())?;
    if let Device::Cuda(cuda) = &device {
        // SAFETY: all that a device is asked goes through its one stream, in order, so that nothing waits for another
        // stream; to note who does what would cost as much as a small kernel.
        unsafe { cuda.disable_event_tracking() };
    }
    Ok(device)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_nth: usize) -> Result<Device, String> {
    Err("this program was built without the feature `cuda`; `cpu` is there".to_owned())
}

/// Whether products of single precision may be rounded to ten bits (TF32), for all of this process: faster by much, and
/// good enough to train with.
pub fn round_products(rounds: bool) {
    candle_core::cuda::set_gemm_reduced_precision_f32(rounds);
}

/// What an operator computes, in tensors.
pub trait OnTensors: Debug + Send + Sync {
    /// The only output.
    fn forward(&self, inputs: &[&Value]) -> Result<Value>;

    /// The output brought between two bounds, where a rectifier behind need not be an operator of its own.
    fn forward_clamped(&self, _inputs: &[&Value], _low: f64, _high: f64) -> Option<Result<Value>> {
        None
    }

    /// As [`Operator::input_gradients`].
    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>>;

    /// As [`Operator::input_and_parameter_gradients`].
    fn both_gradients(&self, backward: &Backward<'_>) -> Result<(Vec<Option<Value>>, ParameterGradients)> {
        Ok((self.input_gradients(backward)?, Vec::new()))
    }

    /// Those on the device.
    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        Vec::new()
    }

    /// The same with other parameters, of the same shapes.
    fn with_parameters(&self, _parameters: &[Tensor]) -> Result<Arc<dyn OnTensors>> {
        Err(ModelError::operator("device", "parameters for an operator that has none"))
    }
}

/// An operator that computes on a device.
#[derive(Debug)]
pub struct OnDevice {
    /// It says all that is not computing; where a run of training has moved the parameters, its own are those of before.
    operator: Arc<dyn Operator>,
    form: Arc<dyn OnTensors>,
    device: Device,
    reweighted: Reweighted<OnDevice>,
}

impl OnDevice {
    /// An operator with a form for the device; `None` where it has none and stays as it is.
    pub fn of(operator: &Arc<dyn Operator>, device: &Device) -> Option<Result<OnDevice>> {
        let with_form = |form| OnDevice {
            operator: operator.clone(),
            form,
            device: device.clone(),
            reweighted: Reweighted::default(),
        };
        Some(operator.on_tensors(device)?.map(with_form))
    }
}

/// An operator on a device; one without a form for it stays as it is.
pub fn on_device(operator: &Arc<dyn Operator>, device: &Device) -> Result<Arc<dyn Operator>> {
    match OnDevice::of(operator, device) {
        None => Ok(operator.clone()),
        Some(on_device) => Ok(Arc::new(on_device?)),
    }
}

impl Operator for OnDevice {
    fn kind(&self) -> &'static str {
        self.operator.kind()
    }

    fn family(&self) -> Family {
        self.operator.family()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        self.operator.output_shapes(inputs)
    }

    fn output_axes(&self, inputs: &[&[AxisKind]], rank: usize) -> Vec<AxisKind> {
        self.operator.output_axes(inputs, rank)
    }

    fn reach(&self) -> Reach {
        self.operator.reach()
    }

    fn outside(&self) -> f64 {
        self.operator.outside()
    }

    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>> {
        Ok(vec![self.form.forward(inputs)?])
    }

    fn forward_clamped(&self, inputs: &[&Value], low: f64, high: f64) -> Option<Result<Vec<Value>>> {
        Some(self.form.forward_clamped(inputs, low, high)?.map(|output| vec![output]))
    }

    fn prepared_bytes(&self) -> usize {
        let bytes = |(_, tensor): (_, &Tensor)| tensor.elem_count() * tensor.dtype().size_in_bytes();
        self.operator.prepared_bytes()
            + self.form.parameters().into_iter().map(bytes).sum::<usize>()
            + self.reweighted.bytes()
    }

    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>> {
        self.form.input_gradients(backward)
    }

    fn gradient_through(&self, backward: &Backward<'_>, rectifier: &RectifierBelow<'_>) -> Option<Result<Value>> {
        self.operator.as_convolution()?;
        let passed = || {
            let mut gradients = self.form.input_gradients(backward)?;
            let gradient =
                gradients.swap_remove(0).ok_or_else(|| ModelError::operator("Conv", "no gradient passed"))?;
            pointwise::through_rectifier(&gradient, backward.rows, rectifier, &self.device)
        };
        Some(passed())
    }

    fn reweighted_bytes(&self) -> usize {
        self.operator.reweighted_bytes() + self.reweighted.bytes()
    }

    fn release_reweighted(&self) {
        self.operator.release_reweighted();
        self.reweighted.release();
    }

    fn reweighted(&self, weights: Reweighting, bias: Option<Reweighting>) -> Option<Result<Arc<dyn Operator>>> {
        let changed = match self.operator.reweighted(weights, bias)? {
            Ok(changed) => changed,
            Err(error) => return Some(Err(error)),
        };
        let make = || OnDevice::of(&changed, &self.device).expect("its own kind has a form");
        let made = self.reweighted.get_or_make((weights, bias), make);
        Some(made.map(|made| -> Arc<dyn Operator> { made }))
    }

    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        let on_device = self.form.parameters();
        if on_device.is_empty() { self.operator.parameters() } else { on_device }
    }

    fn parameter_gradients(&self, backward: &Backward<'_>) -> Result<ParameterGradients> {
        if self.form.parameters().is_empty() {
            return self.operator.parameter_gradients(backward);
        }
        let wanted = vec![false; backward.wanted.len()];
        Ok(self.form.both_gradients(&Backward { wanted: &wanted, ..*backward })?.1)
    }

    fn input_and_parameter_gradients(
        &self,
        backward: &Backward<'_>,
    ) -> Result<(Vec<Option<Value>>, ParameterGradients)> {
        if self.form.parameters().is_empty() {
            return Ok((self.form.input_gradients(backward)?, self.parameter_gradients(backward)?));
        }
        self.form.both_gradients(backward)
    }

    fn with_parameters(&self, parameters: &[Tensor]) -> Result<Arc<dyn Operator>> {
        if self.form.parameters().is_empty() {
            let changed = self.operator.with_parameters(parameters)?;
            return on_device(&changed, &self.device);
        }
        crate::operators::check_parameters(self, parameters)?;
        let on_device =
            parameters.iter().map(|tensor| tensor.to_device(&self.device)).collect::<candle_core::Result<Vec<_>>>()?;
        let (operator, device) = (self.operator.clone(), self.device.clone());
        let form = self.form.with_parameters(&on_device)?;
        Ok(Arc::new(OnDevice { operator, form, device, reweighted: Reweighted::default() }))
    }

    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>> {
        let on_processor = self.on_processor().expect("it is on a device")?.to_dtype(dtype)?;
        on_device(&on_processor, &self.device)
    }

    fn on_processor(&self) -> Option<Result<Arc<dyn Operator>>> {
        let parameters = self.form.parameters();
        if parameters.is_empty() {
            return Some(Ok(self.operator.clone()));
        }
        let copied: candle_core::Result<Vec<Tensor>> =
            parameters.into_iter().map(|(_, tensor)| tensor.to_device(&Device::Cpu)).collect();
        Some(copied.map_err(ModelError::from).and_then(|copied| self.operator.with_parameters(&copied)))
    }

    fn is_output_normalizer(&self) -> bool {
        self.operator.is_output_normalizer()
    }

    fn as_input(&self) -> Option<&Input> {
        self.operator.as_input()
    }

    fn as_convolution(&self) -> Option<&Convolution> {
        self.operator.as_convolution()
    }

    fn as_dense(&self) -> Option<&Dense> {
        self.operator.as_dense()
    }

    fn as_batch_norm(&self) -> Option<&BatchNorm> {
        self.operator.as_batch_norm()
    }

    fn as_norm_by_moments(&self) -> Option<&NormByMoments> {
        self.operator.as_norm_by_moments()
    }

    fn as_dropout(&self) -> Option<&Dropout> {
        self.operator.as_dropout()
    }

    fn as_arithmetic(&self) -> Option<&Arithmetic> {
        self.operator.as_arithmetic()
    }

    fn as_activation(&self) -> Option<&Activation> {
        self.operator.as_activation()
    }

    fn as_lstm(&self) -> Option<&Lstm> {
        self.operator.as_lstm()
    }

    fn as_gru(&self) -> Option<&Gru> {
        self.operator.as_gru()
    }
}

/// A value with channels last, where it has places, on a device.
fn channels_last(value: &Value, device: &Device) -> Result<Value> {
    value.to_device(device)?.to_channels_last()
}

/// A value of one or two spatial axes as `[batch, row, column, channel]`; a sequence is one row.
fn plane(value: &Value, device: &Device) -> Result<Tensor> {
    let value = channels_last(value, device)?;
    let tensor = value.tensor();
    Ok(if tensor.rank() == 3 { tensor.unsqueeze(1)? } else { tensor.clone() })
}

/// Back from `[batch, row, column, channel]` to a value of this logical shape.
fn of_plane(tensor: &Tensor, shape: &[usize]) -> Result<Value> {
    let tensor = tensor.reshape(Layout::ChannelsLast.physical_shape(shape))?;
    Value::laid_out(&tensor, shape, Layout::ChannelsLast)
}

/// The sum of each column, as a product with ones: rows are added where they lie.
///
/// # Shapes
/// - `rows`: `[row, column]`; returns `[column]`
fn column_sums(rows: &Tensor) -> Result<Tensor> {
    let ones = Tensor::ones((1, rows.dims()[0]), rows.dtype(), rows.device())?;
    Ok(ones.matmul(&rows.contiguous()?)?.squeeze(0)?)
}

/// One more term of a sum.
fn add_to(sum: &mut Option<Tensor>, more: Tensor) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(sum) => (sum + more)?,
        None => more,
    });
    Ok(())
}

/// Zeros before and behind along an axis.
fn with_zeros(tensor: &Tensor, axis: usize, before: usize, behind: usize) -> Result<Tensor> {
    with_number(tensor, axis, before, behind, 0.0)
}

/// A number before and behind along an axis.
fn with_number(tensor: &Tensor, axis: usize, before: usize, behind: usize, number: f64) -> Result<Tensor> {
    if before + behind == 0 {
        return Ok(tensor.contiguous()?);
    }
    let of_length = |length: usize| -> Result<Tensor> {
        let mut shape = tensor.dims().to_vec();
        shape[axis] = length;
        if number == 0.0 {
            return Ok(Tensor::zeros(shape, tensor.dtype(), tensor.device())?);
        }
        let filled = Tensor::full(number as f32, shape, tensor.device())?;
        Ok(filled.to_dtype(tensor.dtype())?)
    };
    let mut parts = Vec::with_capacity(3);
    if before > 0 {
        parts.push(of_length(before)?);
    }
    parts.push(tensor.clone());
    if behind > 0 {
        parts.push(of_length(behind)?);
    }
    Ok(Tensor::cat(&parts, axis)?.contiguous()?)
}
