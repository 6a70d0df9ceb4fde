//! What each of ONNX's operators becomes among ours. A new one is a line in the list and in the match.
//!
//! Convolutions and pools are in `windows`.

use std::sync::Arc;

use super::arrays::{is_float, reshaped, whole};
use super::folding::{Known, N_SCENARIOS, Scenarios};
use super::reading::{Read, Reading, layer_name};
use crate::error::ModelError;
use crate::loaders::LoadError;
use crate::operators::{
    Activation, Arithmetic, ArithmeticFunction, AveragePool, BatchNorm, Concat, Dense, Flatten, Identity, LogSoftmax,
    MaxPool, Mean, Operand, Operator, Pad, PointwiseFunction, Reshape, Softmax, Squeeze, Transpose, Unsqueeze,
};

/// Operators that are evaluated on what a network computes; more are folded, see `folding`.
const EVALUATED: &[&str] = &[
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Conv",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Flatten",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "LogSoftmax",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// Whether an operator's type is one of those that are evaluated.
pub(super) fn is_evaluated(operator: &str) -> bool {
    EVALUATED.contains(&operator)
}

/// What a node becomes: an operator over some of the node's inputs, by their places.
pub(super) struct Converted {
    pub(super) operator: Arc<dyn Operator>,
    pub(super) inputs: Vec<usize>,
}

/// An operator over inputs at these places.
pub(super) fn layer(operator: impl Operator + 'static, inputs: &[usize]) -> Result<Converted, LoadError> {
    Ok(Converted { operator: Arc::new(operator), inputs: inputs.to_vec() })
}

impl Reading<'_> {
    /// What the node becomes.
    pub(super) fn converted(&self) -> Result<Converted, LoadError> {
        let pointwise = |function: PointwiseFunction| layer(Activation::new(function), &[0]);
        let attributes = &self.attributes;
        match self.node.op_type.as_str() {
            "Relu" => pointwise(PointwiseFunction::Relu),
            "Sigmoid" => pointwise(PointwiseFunction::Sigmoid),
            "Tanh" => pointwise(PointwiseFunction::Tanh),
            "Softplus" => pointwise(PointwiseFunction::Softplus),
            "Erf" => pointwise(PointwiseFunction::Erf),
            "HardSwish" => pointwise(PointwiseFunction::HardSwish),
            "LeakyRelu" => pointwise(PointwiseFunction::LeakyRelu { alpha: attributes.float("alpha", 0.01) }),
            "Elu" => pointwise(PointwiseFunction::Elu { alpha: attributes.float("alpha", 1.0) }),
            "HardSigmoid" => pointwise(PointwiseFunction::HardSigmoid {
                alpha: attributes.float("alpha", 0.2),
                beta: attributes.float("beta", 0.5),
            }),
            "Gelu" if attributes.text("approximate") == Some("tanh") => pointwise(PointwiseFunction::GeluTanh),
            "Gelu" => pointwise(PointwiseFunction::Gelu),
            "Clip" => pointwise(PointwiseFunction::Clip {
                low: self.scalar(1)?.unwrap_or(attributes.float("min", f64::NEG_INFINITY)),
                high: self.scalar(2)?.unwrap_or(attributes.float("max", f64::INFINITY)),
            }),
            "Add" => self.arithmetic(ArithmeticFunction::Add),
            "Sub" => self.arithmetic(ArithmeticFunction::Subtract),
            "Mul" => self.arithmetic(ArithmeticFunction::Multiply),
            "Div" => self.arithmetic(ArithmeticFunction::Divide),
            "Identity" => layer(Identity { kind: "Identity" }, &[0]),
            "Dropout" if self.scalar(2)?.unwrap_or(0.0) != 0.0 => Err(self.refused_training()),
            "Dropout" => layer(Identity { kind: "Dropout" }, &[0]),
            "Cast" if is_float(attributes.int("to", 0)) => layer(Identity { kind: "Cast" }, &[0]),
            "Conv" => self.convolution(),
            "Gemm" => self.gemm(),
            "BatchNormalization" => self.batch_norm(),
            "MaxPool" => layer(MaxPool::new(self.pool_window()?).map_err(|error| self.at_node(error))?, &[0]),
            "AveragePool" => {
                let pool = AveragePool::new(self.pool_window()?, attributes.int("count_include_pad", 0) != 0);
                layer(pool.map_err(|error| self.at_node(error))?, &[0])
            }
            "GlobalAveragePool" => layer(Mean::global_average_pool(), &[0]),
            "ReduceMean" => match self.axes(18)? {
                Some(axes) if !axes.is_empty() => layer(Mean::over(&axes, attributes.int("keepdims", 1) != 0), &[0]),
                _ if attributes.int("noop_with_empty_axes", 0) != 0 => layer(Identity { kind: "Identity" }, &[0]),
                _ => Err(self.refused("without axes it takes the mean over the batch too")),
            },
            "Softmax" => layer(Softmax { axis: self.softmax_axis()? }, &[0]),
            "LogSoftmax" => layer(LogSoftmax { axis: self.softmax_axis()? }, &[0]),
            "Flatten" => {
                let axis = attributes.int("axis", 1);
                let axis = if axis == self.rank()? as i64 { self.rank()? } else { self.axis(axis)? };
                self.flatten(axis)
            }
            "Transpose" => {
                let reversed = || -> Result<Vec<i64>, LoadError> { Ok((0..self.rank()? as i64).rev().collect()) };
                let order = attributes.ints("perm").map_or_else(reversed, Ok)?;
                let order = order.into_iter().map(|axis| self.axis(axis)).collect::<Result<_, _>>()?;
                layer(Transpose { order }, &[0])
            }
            "Squeeze" => {
                let shape = &self.shapes()?[0];
                let all = || (1..shape.len()).filter(|&axis| shape[axis] == 1).map(|axis| axis as isize).collect();
                layer(Squeeze { axes: self.axes(13)?.unwrap_or_else(all) }, &[0])
            }
            "Unsqueeze" => match self.axes(13)? {
                Some(axes) => layer(Unsqueeze { axes }, &[0]),
                None => Err(self.refused("it does not say its axes")),
            },
            "Concat" => {
                let all: Vec<usize> = (0..self.inputs.len()).collect();
                layer(Concat { axis: attributes.int("axis", 1) as isize }, &all)
            }
            "Reshape" => self.reshape(),
            "Pad" => self.pad(),
            operator => Err(self.unsupported(format!("{operator} of computed values"))),
        }
    }

    /// An operator's own refusal, with the node's name.
    pub(super) fn at_node(&self, error: ModelError) -> LoadError {
        error.at_node(layer_name(self.node)).into()
    }

    fn refused_training(&self) -> LoadError {
        self.refused("it is in training mode; export the network for inference")
    }

    fn arithmetic(&self, function: ArithmeticFunction) -> Result<Converted, LoadError> {
        match (self.inputs.first(), self.inputs.get(1)) {
            (Some(Some(Read::Computed { .. })), Some(Some(Read::Computed { .. }))) => {
                layer(Arithmetic::new(function, Operand::Graph), &[0, 1])
            }
            (_, Some(Some(Read::Computed { .. }))) => {
                layer(Arithmetic::new(function, Operand::Left(self.weights(0)?)), &[1])
            }
            _ => layer(Arithmetic::new(function, Operand::Right(self.weights(1)?)), &[0]),
        }
    }

    fn gemm(&self) -> Result<Converted, LoadError> {
        let attributes = &self.attributes;
        if attributes.int("transA", 0) != 0 {
            return Err(self.refused("`transA` would transpose the batch"));
        }
        if self.rank()? != 2 {
            return Err(self.refused(format!("its input has shape {:?}; a matrix is needed", self.shapes()?[0])));
        }
        let weight = self.weights(1)?;
        if weight.rank() != 2 {
            return Err(self.refused(format!("its weights have shape {:?}; a matrix is needed", weight.dims())));
        }
        let weight = if attributes.int("transB", 0) != 0 { weight } else { weight.t()?.contiguous()? };
        let scaled = |tensor: candle_core::Tensor, factor: f64| {
            if factor == 1.0 { Ok(tensor) } else { tensor.affine(factor, 0.0) }
        };
        let n_out = weight.dims()[0];
        let bias = match self.optional_weights(2)? {
            None => None,
            Some(bias) => {
                let row = bias.broadcast_as((1, n_out)).and_then(|row| row.contiguous()?.reshape(n_out));
                let reason = || self.refused(format!("a bias of shape {:?} for {n_out} outputs", bias.dims()));
                Some(scaled(row.map_err(|_| reason())?, attributes.float("beta", 1.0))?)
            }
        };
        let dense = Dense::new(scaled(weight, attributes.float("alpha", 1.0))?, bias);
        layer(dense.map_err(|error| self.at_node(error))?, &[0])
    }

    fn batch_norm(&self) -> Result<Converted, LoadError> {
        if self.attributes.int("training_mode", 0) != 0 {
            return Err(self.refused_training());
        }
        let epsilon = self.attributes.float("epsilon", 1e-5);
        let norm = BatchNorm::new(self.weights(1)?, self.weights(2)?, self.weights(3)?, self.weights(4)?, epsilon);
        layer(norm.map_err(|error| self.at_node(error))?, &[0])
    }

    fn softmax_axis(&self) -> Result<isize, LoadError> {
        let default = if self.opset < 13 { 1 } else { -1 };
        Ok(self.axis(self.attributes.int("axis", default))? as isize)
    }

    /// Before opset 13 a softmax goes over all axes from its own on as if they were one; where they are several, these
    /// are the steps that say so.
    pub(super) fn softmax_over_several_axes(&self) -> Result<Option<Vec<(&'static str, Converted)>>, LoadError> {
        let is_log = match self.node.op_type.as_str() {
            "Softmax" => false,
            "LogSoftmax" => true,
            _ => return Ok(None),
        };
        let axis = self.softmax_axis()? as usize;
        let shapes = self.shapes()?;
        if self.opset >= 13 || shapes[0][axis + 1..].iter().all(|&length| length == 1) {
            return Ok(None);
        }
        if axis == 0 {
            return Err(self.refused("axis 0 before opset 13 joins the batch with the other axes"));
        }
        let flat: Scenarios<Vec<usize>> = shapes
            .each_ref()
            .map(|shape| shape[..axis].iter().copied().chain([shape[axis..].iter().product::<usize>()]).collect());
        let back = Reshape { shape: self.target(&flat, shapes)? };
        let softmax = if is_log { layer(LogSoftmax { axis: -1 }, &[0])? } else { layer(Softmax { axis: -1 }, &[0])? };
        Ok(Some(vec![("/Flatten", layer(Flatten { axis }, &[0])?), ("/Softmax", softmax), ("", layer(back, &[0])?)]))
    }

    /// ONNX's flatten makes a matrix; ours keeps the axes before its own, which for a matrix is only the batch.
    fn flatten(&self, axis: usize) -> Result<Converted, LoadError> {
        let joins_batch = self.shapes()?.iter().any(|shape| shape[1..axis.max(1)].iter().any(|&length| length != 1));
        if axis == 0 || joins_batch {
            return Err(self.refused(format!("axis {axis} would join the batch with other axes")));
        }
        layer(Flatten { axis: 1 }, &[0])
    }

    fn reshape(&self) -> Result<Converted, LoadError> {
        let Some(Some(Read::Known(target))) = self.inputs.get(1) else {
            return Err(self.refused("its shape is computed from the numbers of the input"));
        };
        let shapes = self.shapes()?;
        let mut results: Scenarios<Vec<usize>> = Default::default();
        for (scenario, shape) in shapes.iter().enumerate() {
            let mut numbers = whole(target.at(scenario)).map_err(|reason| self.refused(reason))?;
            if self.attributes.int("allowzero", 0) != 0 && numbers.contains(&0) {
                return Err(self.refused(format!("{numbers:?} with `allowzero` has no numbers")));
            }
            // An exporter that was shown a fixed batch writes it as a number; the batch is meant.
            let is_batch = numbers.first().is_some_and(|first| *first == 1 || Some(*first) == self.declared_batch);
            if is_batch && matches!(target, Known::Constant(_)) {
                numbers[0] = shape[0] as i64;
            }
            results[scenario] = reshaped(shape, &numbers).map_err(|reason| self.refused(reason))?;
        }
        let shape = self.target(shapes, &results)?;
        if shape.len() == 2 && shape[0] == 0 && shapes[0].len() >= 2 {
            return layer(Flatten { axis: 1 }, &[0]);
        }
        layer(Reshape { shape }, &[0])
    }

    /// The entries of a reshape that turns these shapes into those: what is the same for all inputs is a number, what
    /// is kept is 0, and one axis may take what is left.
    fn target(&self, from: &Scenarios<Vec<usize>>, to: &Scenarios<Vec<usize>>) -> Result<Vec<isize>, LoadError> {
        let entry = |axis: usize| {
            let is_kept = (0..N_SCENARIOS).all(|scenario| from[scenario].get(axis) == Some(&to[scenario][axis]));
            let is_constant = to.iter().all(|shape| shape[axis] == to[0][axis]);
            match (is_kept, is_constant) {
                (_, true) if axis > 0 => to[0][axis] as isize,
                (true, _) => 0,
                _ => -1,
            }
        };
        let shape: Vec<isize> = (0..to[0].len()).map(entry).collect();
        if shape.first() != Some(&0) {
            return Err(self.refused(format!("{:?} to {:?} does not keep the batch as the first axis", from[2], to[2])));
        }
        if shape.iter().filter(|entry| **entry == -1).count() > 1 {
            return Err(self.refused(format!("several axes of {:?} depend on the input's lengths", to[0])));
        }
        Ok(shape)
    }

    fn pad(&self) -> Result<Converted, LoadError> {
        if let Some(mode) = self.attributes.text("mode").filter(|mode| *mode != "constant") {
            return Err(self.unsupported(format!("Pad by `{mode}`")));
        }
        let (pads, rank) = (self.whole(1)?, self.rank()?);
        let axes = match self.optional_constant(3)? {
            Some(_) => self.whole(3)?,
            None => (0..rank as i64).collect(),
        };
        if pads.len() != 2 * axes.len() || pads.iter().any(|&pad| !(0..1 << 24).contains(&pad)) {
            return Err(self.refused(format!("pads {pads:?} for axes {axes:?}; two numbers from 0 an axis are needed")));
        }
        let mut padding = vec![(0, 0); rank];
        for (nth, &axis) in axes.iter().enumerate() {
            padding[self.axis(axis)?] = (pads[nth] as usize, pads[axes.len() + nth] as usize);
        }
        layer(Pad { padding, value: self.scalar(2)?.unwrap_or(0.0) }, &[0])
    }
}
