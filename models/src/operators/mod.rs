//! Operators: a file each, with its shapes and axes, its forward, its gradient to its inputs and to its parameters, and
//! its tests.
//!
//! All are generic over f32 and f64. A new operator is a file here, a line in the list below, and a line in the
//! loaders that can produce it. What kind an operator is ([`Operator::family`]) decides which rule it gets on a
//! backward walk.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::device::OnTensors;
use crate::error::{ModelError, Result};
use crate::value::Value;

mod activation;
mod arithmetic;
mod average_pool;
mod batch_norm;
mod choice;
mod concat;
mod convolution;
mod dense;
mod dropout;
mod extend;
mod flatten;
mod gather;
mod group_norm;
mod gru;
mod identity;
mod input;
mod largest;
mod last_state;
mod layer_norm;
mod lstm;
mod matmul;
mod max_pool;
mod mean;
mod moments;
mod pad;
mod pool_window;
mod prelu;
mod recurrent;
mod recurrent_gradients;
mod resample;
mod reshape;
mod reweighting;
mod softmax;
mod transpose;
mod transposed_convolution;

pub use activation::{Activation, PointwiseFunction, combine_rows, combine_with_rows};
pub use arithmetic::{Arithmetic, ArithmeticFunction, Operand};
pub use average_pool::{AdaptiveAveragePool, AveragePool};
pub use batch_norm::BatchNorm;
pub use choice::{Choice, Compare, Comparison};
pub use concat::Concat;
pub use convolution::{Convolution, ConvolutionParams};
pub use dense::Dense;
pub use dropout::Dropout;
pub use extend::Extend;
pub use flatten::Flatten;
pub use gather::{Gather, Slice};
pub use group_norm::GroupNorm;
pub use gru::Gru;
pub use identity::Identity;
pub use input::Input;
pub use largest::Largest;
pub use last_state::LastState;
pub use layer_norm::LayerNorm;
pub use lstm::Lstm;
pub use matmul::MatMul;
pub use max_pool::MaxPool;
pub use mean::Mean;
pub use moments::{Moments, NormByMoments};
pub use pad::Pad;
pub use pool_window::PoolWindow;
pub use prelu::Prelu;
pub use recurrent::{Direction, RecurrentParams};
pub use resample::{Coordinates, Resample, Resampling, Rounding};
pub use reshape::{Reshape, Squeeze, Unsqueeze};
pub(crate) use reweighting::Reweighted;
pub use reweighting::Reweighting;
pub use softmax::{LogSoftmax, Softmax};
pub use transpose::Transpose;
pub use transposed_convolution::TransposedConvolution;

/// What the numbers along an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AxisKind {
    Batch,
    Channel,
    Time,
    Row,
    Column,
    Feature,
    /// Of no meaning that we know.
    Other,
}

impl AxisKind {
    /// Axes of a value with `n_spatial` spatial axes, channels first.
    pub fn spatial(n_spatial: usize) -> Vec<AxisKind> {
        match n_spatial {
            1 => vec![AxisKind::Batch, AxisKind::Channel, AxisKind::Time],
            2 => vec![AxisKind::Batch, AxisKind::Channel, AxisKind::Row, AxisKind::Column],
            n => [AxisKind::Batch, AxisKind::Channel]
                .into_iter()
                .chain(std::iter::repeat_n(AxisKind::Other, n))
                .collect(),
        }
    }

    /// Axes as their rank suggests: features, or channels before spatial axes.
    pub fn by_rank(rank: usize) -> Vec<AxisKind> {
        match rank {
            0 => vec![],
            1 => vec![AxisKind::Batch],
            2 => vec![AxisKind::Batch, AxisKind::Feature],
            _ => AxisKind::spatial(rank - 2),
        }
    }
}

/// What kind an operator is, as far as rules of a backward walk care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    Input,
    Convolution,
    Dense,
    BatchNorm,
    /// Relu, a clip from zero, leaky Relu: what guided backpropagation and deconvnet change.
    Rectifier,
    /// Any other point-wise function; softmax and layer norm among them.
    Activation,
    MaxPool,
    AveragePool,
    /// A sum of branches of the graph.
    Sum,
    Product,
    Concat,
    /// LSTM, GRU.
    Recurrent,
    /// Moves numbers without changing them.
    Rearrangement,
}

/// How far an operator sees along one spatial axis, in steps of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisWindow {
    /// Extent of its kernel, dilation included.
    pub extent: usize,
    /// Input steps from one output to the next.
    pub stride: usize,
    /// Padding before the first input.
    pub padding: usize,
}

/// How an operator's output depends on places of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Each place on the same place alone.
    Pointwise,
    /// Each place on a window, one an axis.
    Window(Vec<AxisWindow>),
    /// On all places, or the spatial axes end here.
    Global,
}

/// What a node read and computed on the forward pass; computed again where it was not kept, so ask only for what is
/// needed. Batch axis: the trace's rows.
pub trait NodeValues: std::fmt::Debug {
    /// The shape of an input.
    fn input_shape(&self, nth: usize) -> Vec<usize>;

    /// The value of an input.
    fn input(&self, nth: usize) -> Result<Value>;

    /// The value of an output.
    fn output(&self, nth: usize) -> Result<Value>;
}

/// What an operator is given on a backward walk.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// What it read and computed.
    pub values: &'a dyn NodeValues,
    /// What arrives at each output; `None` where nothing does. Batch axis: the walk's pairs.
    pub gradients: &'a [Option<Value>],
    /// For each pair of the walk the row of the trace that it is about.
    pub rows: &'a [usize],
    /// Which inputs' gradients are asked for.
    pub wanted: &'a [bool],
}

impl Backward<'_> {
    /// The shape of an input's gradient: the input's, with the walk's pairs as batch axis.
    pub fn gradient_shape(&self, input: usize) -> Vec<usize> {
        let mut shape = self.values.input_shape(input);
        shape[0] = self.rows.len();
        shape
    }

    /// The gradient at the only output.
    pub fn gradient(&self) -> Result<&Value> {
        self.gradients
            .first()
            .and_then(Option::as_ref)
            .ok_or_else(|| ModelError::operator("backward walk", "no gradient arrived at the first output"))
    }

    /// An input's value for each pair of the walk.
    pub fn input_of_pairs(&self, input: usize) -> Result<Value> {
        self.values.input(input)?.select_rows(self.rows)
    }

    /// The answer of an operator with one input.
    pub fn only(gradient: Value) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(gradient)])
    }
}

/// Fails unless new parameters are as many as the old ones and of their shapes.
pub(crate) fn check_parameters(operator: &dyn Operator, new: &[Tensor]) -> Result<()> {
    let shapes = |tensors: &mut dyn Iterator<Item = &Tensor>| -> Vec<Vec<usize>> {
        tensors.map(|tensor| tensor.dims().to_vec()).collect()
    };
    let (own, new) =
        (shapes(&mut operator.parameters().into_iter().map(|(_, tensor)| tensor)), shapes(&mut new.iter()));
    if own == new {
        return Ok(());
    }
    Err(ModelError::operator(operator.kind(), format!("parameters of shapes {new:?}; they must be {own:?}")))
}

/// A rectifier that computed an operator's only input, and through which a gradient passes on to what it read.
#[derive(Clone, Copy, Debug)]
pub struct RectifierBelow<'a> {
    /// What it computed, from the trace.
    pub output: &'a Value,
    /// Its bounds; a gradient passes strictly between them.
    pub low: f64,
    pub high: f64,
    /// Whether only what is positive passes (guided backpropagation).
    pub only_positive: bool,
}

/// The gradient to each parameter, by the parameter's name.
pub type ParameterGradients = Vec<(&'static str, Tensor)>;

/// One kind of computation with its parameters.
///
/// Shapes are logical and have the batch axis first.
pub trait Operator: std::fmt::Debug + Send + Sync {
    /// Its name in the field (`Conv`, `MaxPool`, …).
    fn kind(&self) -> &'static str;

    /// What kind it is, for rules.
    fn family(&self) -> Family;

    /// How many outputs it has.
    fn n_outputs(&self) -> usize {
        1
    }

    /// The shapes of its outputs.
    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>>;

    /// What the axes of its first output mean; by default what those of its first input do where the rank is the same.
    fn output_axes(&self, inputs: &[&[AxisKind]], rank: usize) -> Vec<AxisKind> {
        match inputs.first() {
            Some(axes) if axes.len() == rank => axes.to_vec(),
            _ => AxisKind::by_rank(rank),
        }
    }

    /// How its output depends on places of its input.
    fn reach(&self) -> Reach {
        Reach::Pointwise
    }

    /// Its outputs.
    fn forward(&self, inputs: &[&Value]) -> Result<Vec<Value>>;

    /// Its outputs with every number brought between two bounds as it is stored, where that saves a pass over them;
    /// `None` where it does not.
    fn forward_clamped(&self, _inputs: &[&Value], _low: f64, _high: f64) -> Option<Result<Vec<Value>>> {
        None
    }

    /// The operator for windows cut from the spatial axes (those behind batch and channel) of its inputs and outputs,
    /// its own padding left out; `None` where it has to see whole values.
    fn on_windows(&self, _n_spatial: usize) -> Option<Arc<dyn Operator>> {
        None
    }

    /// What stands in a window where it reaches beyond the input.
    fn outside(&self) -> f64 {
        0.0
    }

    /// Bytes that it holds beside its parameters, such as packed weights.
    fn prepared_bytes(&self) -> usize {
        0
    }

    /// The gradient at each input that is wanted, from those at its outputs.
    fn input_gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Value>>>;

    /// The gradient at what a rectifier read that computed the only input, where that saves a pass over the gradient;
    /// `None` where it does not.
    fn gradient_through(&self, _backward: &Backward<'_>, _rectifier: &RectifierBelow<'_>) -> Option<Result<Value>> {
        None
    }

    /// Itself with weights and bias changed number by number (`None`: without bias), kept for the next time; `None`
    /// where its output is no weighted sum of its input.
    fn reweighted(&self, _weights: Reweighting, _bias: Option<Reweighting>) -> Option<Result<Arc<dyn Operator>>> {
        None
    }

    /// Bytes of the reweighted forms that it keeps; they are among [`Operator::prepared_bytes`].
    fn reweighted_bytes(&self) -> usize {
        0
    }

    /// Lets the reweighted forms go; whoever asks for one again waits until it is made anew.
    fn release_reweighted(&self) {}

    /// What it learned, by name.
    fn parameters(&self) -> Vec<(&'static str, &Tensor)> {
        Vec::new()
    }

    /// The gradient to each parameter that is learned by descent, by name, summed over the walk's pairs; what the walk
    /// does not learn, such as the statistics of a batch norm, is left out.
    fn parameter_gradients(&self, _backward: &Backward<'_>) -> Result<ParameterGradients> {
        match self.parameters()[..] {
            [] => Ok(Vec::new()),
            _ => Err(ModelError::operator(
                self.kind(),
                "it knows no gradient to its parameters, so it cannot be trained",
            )),
        }
    }

    /// Both at once, for a step of training; operators that would compute the same for either do it here once.
    fn input_and_parameter_gradients(
        &self,
        backward: &Backward<'_>,
    ) -> Result<(Vec<Option<Value>>, ParameterGradients)> {
        let to_inputs = match backward.wanted.contains(&true) {
            true => self.input_gradients(backward)?,
            false => vec![None; backward.wanted.len()],
        };
        Ok((to_inputs, self.parameter_gradients(backward)?))
    }

    /// Itself with other parameters, in the order and the shapes of [`Operator::parameters`].
    fn with_parameters(&self, parameters: &[Tensor]) -> Result<Arc<dyn Operator>> {
        let n_parameters = parameters.len();
        Err(ModelError::operator(self.kind(), format!("{n_parameters} parameters for an operator whose own are fixed")))
    }

    /// How many numbers it learned.
    fn n_parameters(&self) -> usize {
        self.parameters().iter().map(|(_, tensor)| tensor.elem_count()).sum()
    }

    /// What computes the same in tensors of a device; `None` where that is left to the processor.
    fn on_tensors(&self, _device: &Device) -> Option<Result<Arc<dyn OnTensors>>> {
        None
    }

    /// The operator of the processor, with the parameters of now, for one that computes on a device.
    fn on_processor(&self) -> Option<Result<Arc<dyn Operator>>> {
        None
    }

    /// Itself with parameters of another element type.
    fn to_dtype(&self, dtype: DType) -> Result<Arc<dyn Operator>>;

    /// Whether it is a softmax, log-softmax or sigmoid, before which the logits stand where it ends a network.
    fn is_output_normalizer(&self) -> bool {
        false
    }

    /// The declared input, where it is one.
    fn as_input(&self) -> Option<&Input> {
        None
    }

    /// The convolution, where it is one; for passes.
    fn as_convolution(&self) -> Option<&Convolution> {
        None
    }

    /// The dense layer, where it is one; for passes.
    fn as_dense(&self) -> Option<&Dense> {
        None
    }

    /// The batch norm, where it is one; for passes.
    fn as_batch_norm(&self) -> Option<&BatchNorm> {
        None
    }

    /// The batch norm in training, where it is one.
    fn as_norm_by_moments(&self) -> Option<&NormByMoments> {
        None
    }

    /// The dropout, where it is one; each step of training leaves out other numbers.
    fn as_dropout(&self) -> Option<&Dropout> {
        None
    }

    /// The sum, difference, product or quotient, where it is one; for rules.
    fn as_arithmetic(&self) -> Option<&Arithmetic> {
        None
    }

    /// The point-wise function, where it is one; for rules.
    fn as_activation(&self) -> Option<&Activation> {
        None
    }

    /// The LSTM, where it is one; for rules.
    fn as_lstm(&self) -> Option<&Lstm> {
        None
    }

    /// The GRU, where it is one; for rules.
    fn as_gru(&self) -> Option<&Gru> {
        None
    }
}

#[cfg(test)]
pub(crate) mod gradient_check;
