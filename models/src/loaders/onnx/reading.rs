//! A node while it is read, with what is known of its inputs; what it says is checked here, once for all operators.

use candle_core::{Device, Tensor};

use super::arrays::{self, first, whole};
use super::attributes::Attributes;
use super::axes::FileAxes;
use super::convert::Source;
use super::folding::{self, Known, Scenarios};
use super::proto::NodeProto;
use super::tensor::{Constant, Numbers};
use super::{operators, tensor};
use crate::error::{ModelError, UnsupportedNode};
use crate::graph::Outlet;
use crate::loaders::{LoadError, NoSiblings};

/// A value while the network is read.
#[derive(Clone, Debug)]
pub(super) enum Read {
    /// Known at load.
    Known(Known),
    /// A node's output, with its shape in each scenario, and of which of its axes the file's are made.
    Computed { outlet: Outlet, shapes: Scenarios<Vec<usize>>, axes: FileAxes },
    /// Comes, maybe by others, from a node that we lack or refuse.
    Unsupported,
}

/// What a node is called: its name, else its first output's.
pub(super) fn layer_name(node: &NodeProto) -> &str {
    match node.output.first() {
        Some(output) if node.name.is_empty() => output,
        _ => &node.name,
    }
}

/// A constant's numbers as weights.
pub(super) fn tensor(constant: &Constant) -> Result<Tensor, candle_core::Error> {
    let numbers = match &constant.numbers {
        Numbers::Float(numbers) => numbers.clone(),
        Numbers::Whole(numbers) => numbers.iter().map(|&number| number as f32).collect(),
    };
    Tensor::from_vec(numbers, constant.shape.as_slice(), &Device::Cpu)
}

/// A node with its inputs.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) attributes: Attributes<'a>,
    /// `None` where the node leaves an optional input out.
    pub(super) inputs: Vec<Option<Read>>,
    pub(super) opset: i64,
    pub(super) declared_batch: Option<i64>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(node: &'a NodeProto, inputs: Vec<Option<Read>>, source: &Source) -> Self {
        let attributes = Attributes(&node.attribute);
        Reading { node, attributes, inputs, opset: source.opset, declared_batch: source.declared_batch }
    }

    /// What the node says is not understood, or makes no sense.
    pub(super) fn refused(&self, reason: impl Into<String>) -> LoadError {
        let reason = format!("{}: {}", self.node.op_type, reason.into());
        LoadError::Model(ModelError::Node { node: layer_name(self.node).to_owned(), reason })
    }

    /// The node asks for something that we lack.
    pub(super) fn unsupported(&self, operator: impl Into<String>) -> LoadError {
        let node = layer_name(self.node).to_owned();
        LoadError::Unsupported { nodes: vec![UnsupportedNode { node, operator: operator.into() }] }
    }

    /// Fails where the operator's type is not known at all.
    pub(super) fn check_type(&self) -> Result<(), LoadError> {
        let (domain, operator) = (&self.node.domain, &self.node.op_type);
        let is_standard = domain.is_empty() || domain == "ai.onnx";
        if !is_standard {
            return Err(self.unsupported(format!("{domain}.{operator}")));
        }
        let is_known = operators::is_evaluated(operator) || folding::is_folded(operator);
        if is_known { Ok(()) } else { Err(self.unsupported(operator)) }
    }

    /// The node's value, where it does not depend on the numbers of any input of the network.
    pub(super) fn folded(&self) -> Result<Option<Known>, LoadError> {
        let refused = |reason: String| self.refused(reason);
        if let ("Shape" | "Size", Some(Some(Read::Computed { shapes, axes, .. }))) =
            (self.node.op_type.as_str(), self.inputs.first())
        {
            let shapes = shapes.each_ref().map(|shape| axes.shape(shape));
            let length = |shape: &[usize]| arrays::vector(vec![shape.iter().product::<usize>() as i64]);
            let of = |scenario: usize| match self.node.op_type.as_str() {
                "Size" => Constant { shape: vec![], ..length(&shapes[scenario]) },
                _ => folding::shape_of(&shapes[scenario], &self.attributes),
            };
            return folding::in_each_scenario(|scenario| Ok(of(scenario))).map(Some).map_err(refused);
        }
        let known = |input: &Option<Read>| match input {
            None => Some(None),
            Some(Read::Known(known)) => Some(Some(known.clone())),
            Some(_) => None,
        };
        let known: Option<Vec<Option<Known>>> = self.inputs.iter().map(known).collect();
        let Some(known) = known.filter(|known| !known.is_empty()) else { return Ok(None) };
        if self.node.op_type == "ConstantOfShape" {
            return self.constant_of_shape(known[0].as_ref()).map(Some);
        }
        match folding::fold(&self.node.op_type, &self.attributes, &known, self.opset) {
            Some(folded) => folded.map(Some).map_err(refused),
            None => Err(self.refused("all its inputs are constants, which is not folded for this operator")),
        }
    }

    fn constant_of_shape(&self, shape: Option<&Known>) -> Result<Known, LoadError> {
        let value = self.attributes.tensor("value");
        let value = value.map(|value| tensor::read(value, layer_name(self.node), &NoSiblings)).transpose()?;
        let at = |scenario: usize| {
            arrays::constant_of_shape(first(&[shape.map(|shape| shape.at(scenario))])?, value.as_ref())
        };
        let known = match shape {
            Some(Known::FromShapes(_)) => folding::in_each_scenario(at),
            _ => at(0).map(Known::constant),
        };
        known.map_err(|reason| self.refused(reason))
    }

    /// An input that the network computes, with its shapes.
    pub(super) fn computed(&self, nth: usize) -> Result<(Outlet, &Scenarios<Vec<usize>>), LoadError> {
        match self.inputs.get(nth) {
            Some(Some(Read::Computed { outlet, shapes, .. })) => Ok((*outlet, shapes)),
            _ => {
                Err(self
                    .refused(format!("input {nth} must be computed by the network, but it is a constant or missing")))
            }
        }
    }

    /// The file's axes of an input, where the network computes it.
    pub(super) fn axes_of(&self, nth: usize) -> Option<&FileAxes> {
        match self.inputs.get(nth) {
            Some(Some(Read::Computed { axes, .. })) => Some(axes),
            _ => None,
        }
    }

    /// The file's axes of the first input.
    pub(super) fn axes(&self) -> Result<&FileAxes, LoadError> {
        self.computed(0)?;
        Ok(self.axes_of(0).expect("the input is computed"))
    }

    /// Our shapes of the first input.
    pub(super) fn shapes(&self) -> Result<&Scenarios<Vec<usize>>, LoadError> {
        Ok(self.computed(0)?.1)
    }

    /// How many axes the first input has in the file.
    pub(super) fn rank(&self) -> Result<usize, LoadError> {
        Ok(self.axes()?.rank())
    }

    /// An axis of the first input in the file, counted from the start.
    pub(super) fn file_axis(&self, axis: i64) -> Result<usize, LoadError> {
        arrays::from_start(axis, self.rank()?).map_err(|reason| self.refused(reason))
    }

    /// Which of our axes the file means; 0 is the batch.
    pub(super) fn axis(&self, axis: i64) -> Result<usize, LoadError> {
        let axis = self.file_axis(axis)?;
        let joined = || self.refused(format!("axis {axis} joins the batch with another axis in the file"));
        self.axes()?.alone(axis).ok_or_else(joined)
    }

    /// Which of our axes one of the file's is; it may not hold the batch.
    pub(super) fn own_axis(&self, axis: usize) -> Result<usize, LoadError> {
        self.axes()?.own(axis).ok_or_else(|| self.refused(format!("axis {axis} is the batch, or holds it")))
    }

    /// An input that must be a constant.
    pub(super) fn constant(&self, nth: usize) -> Result<&Constant, LoadError> {
        let constant = self.optional_constant(nth)?;
        constant.ok_or_else(|| self.refused(format!("input {nth} is missing")))
    }

    /// An input that must be a constant where it is there.
    pub(super) fn optional_constant(&self, nth: usize) -> Result<Option<&Constant>, LoadError> {
        match self.inputs.get(nth) {
            None | Some(None) => Ok(None),
            Some(Some(Read::Known(known))) => {
                let depends = || self.refused(format!("input {nth} depends on the input's lengths or its batch"));
                known.same().map(Some).ok_or_else(depends)
            }
            Some(Some(_)) => {
                let name = self.node.input.get(nth).map_or("", String::as_str);
                let reason =
                    format!("input {nth}, `{name}`, is computed by the network; only constants are supported here");
                Err(self.refused(reason))
            }
        }
    }

    /// A constant that meets an input place by place, with its axes where ours are.
    pub(super) fn weights_beside(&self, nth: usize, input: usize) -> Result<Tensor, LoadError> {
        let (weights, (_, shapes)) = (self.weights(nth)?, self.computed(input)?);
        let axes = self.axes_of(input).expect("the input is computed");
        if axes.is_plain() || weights.rank() > axes.rank() {
            return Ok(weights);
        }
        let n_missing = axes.rank() - weights.rank();
        let mut shape = vec![1; shapes[0].len()];
        for (place, &length) in weights.dims().iter().enumerate() {
            match axes.own(n_missing + place) {
                Some(ours) => shape[ours] = length,
                None if length == 1 => {}
                None => {
                    let reason = format!("a constant of shape {:?} that differs within the batch", weights.dims());
                    return Err(self.refused(reason));
                }
            }
        }
        Ok(weights.reshape(shape)?)
    }

    pub(super) fn weights(&self, nth: usize) -> Result<Tensor, LoadError> {
        Ok(tensor(self.constant(nth)?)?)
    }

    pub(super) fn optional_weights(&self, nth: usize) -> Result<Option<Tensor>, LoadError> {
        Ok(self.optional_constant(nth)?.map(tensor).transpose()?)
    }

    /// A single number among the inputs.
    pub(super) fn scalar(&self, nth: usize) -> Result<Option<f64>, LoadError> {
        let number = |constant: &Constant| match &constant.numbers {
            Numbers::Float(numbers) => numbers.first().map(|&number| f64::from(number)),
            Numbers::Whole(numbers) => numbers.first().map(|&number| number as f64),
        };
        Ok(self.optional_constant(nth)?.and_then(number))
    }

    /// Whole numbers among the inputs.
    pub(super) fn whole(&self, nth: usize) -> Result<Vec<i64>, LoadError> {
        whole(self.constant(nth)?).map_err(|reason| self.refused(reason))
    }

    /// Axes from an attribute, or from opset `since` on from the second input.
    pub(super) fn named_axes(&self, since: i64) -> Result<Option<Vec<i64>>, LoadError> {
        let second = if self.opset >= since { self.optional_constant(1)? } else { None };
        let axes = folding::axes(&self.attributes, &[None, second], self.opset, since);
        axes.map_err(|reason| self.refused(reason))
    }
}
