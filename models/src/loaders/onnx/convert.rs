//! Turns each node into an operator of ours.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::attributes::Attributes;
use super::folding::{self, Known, N_SCENARIOS, Scenarios, axes, from_start, whole};
use super::proto::{GraphProto, NodeProto};
use super::tensor::{Constant, Numbers};
use crate::error::ModelError;
use crate::graph::{Dim, Graph, GraphBuilder, Outlet};
use crate::loaders::LoadError;
use crate::operators::{
    Activation, Arithmetic, ArithmeticFunction, AveragePool, BatchNorm, Concat, Convolution, ConvolutionParams, Dense,
    Flatten, Identity, LogSoftmax, MaxPool, Mean, Operand, Operator, Pad, PointwiseFunction, PoolWindow, Reshape,
    Softmax, Squeeze, Transpose, Unsqueeze,
};

/// Operators that may stand in a network, folded or evaluated.
const KNOWN: &[&str] = &[
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Pad",
    "Range",
    "ReduceMean",
    "ReduceProd",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Whether an operator's type is understood at all.
pub(super) fn is_known(operator: &str) -> bool {
    KNOWN.contains(&operator)
}

/// What a node is called: its name, else its first output's.
pub(super) fn layer_name(node: &NodeProto) -> &str {
    match node.output.first() {
        Some(output) if node.name.is_empty() => output,
        _ => &node.name,
    }
}

/// A constant node's value where it is no tensor.
pub(super) fn plain_constant(attributes: &Attributes<'_>) -> Option<Constant> {
    if attributes.has("value_int") {
        return Some(Constant { shape: vec![], numbers: Numbers::Whole(vec![attributes.int("value_int", 0)]) });
    }
    if attributes.has("value_float") {
        return Some(Constant {
            shape: vec![],
            numbers: Numbers::Float(vec![attributes.float("value_float", 0.0) as f32]),
        });
    }
    if let Some(ints) = attributes.ints("value_ints") {
        return Some(folding::vector(ints));
    }
    attributes
        .floats("value_floats")
        .map(|floats| Constant { shape: vec![floats.len()], numbers: Numbers::Float(floats) })
}

/// A value while the network is read.
#[derive(Clone, Debug)]
enum Read {
    Known(Known),
    /// A node's output, with its shape in each scenario.
    Computed {
        outlet: Outlet,
        shapes: Scenarios<Vec<usize>>,
    },
}

/// What a node becomes: an operator over some of its inputs.
struct Converted {
    operator: Arc<dyn Operator>,
    inputs: Vec<usize>,
}

fn operator(operator: impl Operator + 'static, inputs: &[usize]) -> Result<Converted, LoadError> {
    Ok(Converted { operator: Arc::new(operator), inputs: inputs.to_vec() })
}

/// Reads one network with inputs of given lengths.
pub(super) struct Converter<'a> {
    graph: &'a GraphProto,
    opset: i64,
    constants: &'a HashMap<String, Known>,
    values: HashMap<String, Read>,
    builder: GraphBuilder,
    names: HashMap<String, usize>,
    /// How many nodes and outputs read each value.
    n_readers: HashMap<&'a str, usize>,
    /// Sums that a dense layer took in, by the name of their value.
    taken_in: HashMap<String, Read>,
}

/// A node with what is known of its inputs.
struct Reading<'a> {
    node: &'a NodeProto,
    attributes: Attributes<'a>,
    inputs: Vec<Option<Read>>,
    opset: i64,
}

impl<'a> Converter<'a> {
    pub(super) fn new(graph: &'a GraphProto, opset: i64, constants: &'a HashMap<String, Known>) -> Self {
        let mut n_readers = HashMap::new();
        let read =
            graph.node.iter().flat_map(|node| node.input.iter()).chain(graph.output.iter().map(|output| &output.name));
        for name in read {
            *n_readers.entry(name.as_str()).or_insert(0) += 1;
        }
        Converter {
            graph,
            opset,
            constants,
            values: HashMap::new(),
            builder: GraphBuilder::new(),
            names: HashMap::new(),
            n_readers,
            taken_in: HashMap::new(),
        }
    }

    pub(super) fn convert(mut self, inputs: &[(String, Vec<Dim>)]) -> Result<Graph, LoadError> {
        for (name, dims) in inputs {
            let outlet = self.builder.input(name, dims)?;
            self.names.insert(name.clone(), 1);
            self.values.insert(name.clone(), Read::Computed { outlet, shapes: scenarios(dims) });
        }
        for node in &self.graph.node {
            if node.op_type != "Constant" {
                self.read(node)?;
            }
        }
        let mut outputs = Vec::new();
        for output in &self.graph.output {
            match self.value(&output.name) {
                Some(Read::Computed { outlet, .. }) => outputs.push((output.name.as_str(), outlet)),
                Some(Read::Known(_)) => {}
                None => return Err(corrupt(&output.name, "no node computes this output")),
            }
        }
        if outputs.is_empty() {
            return Err(LoadError::UnsupportedFormat("no output of the network depends on its input".to_owned()));
        }
        Ok(self.builder.finish(&outputs)?)
    }

    fn value(&self, name: &str) -> Option<Read> {
        self.values.get(name).cloned().or_else(|| self.constants.get(name).cloned().map(Read::Known))
    }

    fn read(&mut self, node: &'a NodeProto) -> Result<(), LoadError> {
        let Some(output) = node.output.first() else { return Ok(()) };
        if let Some(taken) = self.taken_in.remove(output) {
            self.values.insert(output.clone(), taken);
            return Ok(());
        }
        let mut inputs = Vec::new();
        for name in &node.input {
            inputs.push(if name.is_empty() {
                None
            } else {
                Some(self.value(name).ok_or_else(|| {
                    corrupt(layer_name(node), &format!("it reads `{name}`, which nothing before it computes"))
                })?)
            });
        }
        let reading = Reading { node, attributes: Attributes(&node.attribute), inputs, opset: self.opset };
        if let Some(known) = reading.folded()? {
            self.values.insert(output.clone(), Read::Known(known));
            return Ok(());
        }
        if let Some(second) = node.output[1..].iter().find(|name| self.n_readers.contains_key(name.as_str())) {
            return Err(corrupt(
                layer_name(node),
                &format!("its second output `{second}` is read; only first outputs are computed"),
            ));
        }
        if node.op_type == "MatMul" {
            return self.read_dense(reading, output);
        }
        let converted = reading.converted()?;
        self.add(&reading, output, converted)
    }

    /// Adds a node under its own name, or a new one where that is taken.
    fn add(&mut self, reading: &Reading<'_>, output: &str, converted: Converted) -> Result<(), LoadError> {
        let wanted = layer_name(reading.node);
        let count = self.names.entry(wanted.to_owned()).or_insert(0);
        *count += 1;
        let name = if *count == 1 { wanted.to_owned() } else { format!("{wanted}#{count}") };
        let mut outlets = Vec::new();
        let mut shapes_of: Vec<&Scenarios<Vec<usize>>> = Vec::new();
        for &nth in &converted.inputs {
            let (outlet, shapes) = reading.computed(nth)?;
            outlets.push(outlet);
            shapes_of.push(shapes);
        }
        let operator = converted.operator;
        let mut shapes: Scenarios<Vec<usize>> = Default::default();
        for (scenario, shape) in shapes.iter_mut().enumerate() {
            let inputs: Vec<&[usize]> = shapes_of.iter().map(|shapes| shapes[scenario].as_slice()).collect();
            *shape = operator.output_shapes(&inputs).map_err(|error| error.at_node(&name))?.swap_remove(0);
        }
        let outlet = self.builder.add_shared(&name, operator, &outlets)?;
        self.values.insert(output.to_owned(), Read::Computed { outlet, shapes });
        Ok(())
    }

    /// A product with constant weights is a dense layer, and so is one with the constant sum behind it.
    fn read_dense(&mut self, reading: Reading<'_>, output: &str) -> Result<(), LoadError> {
        let weight = reading.constant(1)?;
        let [_, n_out] = weight.shape[..] else {
            return Err(reading.refused(format!("its weights have shape {:?}; a matrix is needed", weight.shape)));
        };
        let weight = tensor(weight, &reading)?.t()?.contiguous()?;
        let sum =
            self.graph.node.iter().find(|node| node.op_type == "Add" && node.input.iter().any(|input| input == output));
        let only_reader = self.n_readers.get(output) == Some(&1);
        let bias = sum.filter(|_| only_reader).and_then(|sum| {
            let other = sum.input.iter().find(|input| *input != output)?;
            let constant = self.constants.get(other)?.same()?;
            let is_row = constant.numbers.len() == n_out && constant.shape.last() == Some(&n_out);
            is_row.then(|| (sum, constant.clone()))
        });
        let bias_tensor = bias
            .as_ref()
            .map(|(_, constant)| tensor(constant, &reading)?.reshape(n_out).map_err(LoadError::from))
            .transpose()?;
        let dense = Dense::new(weight, bias_tensor).map_err(|error| error.at_node(layer_name(reading.node)))?;
        self.add(&reading, output, operator(dense, &[0])?)?;
        if let (Some((sum, _)), Some(Read::Computed { outlet, shapes })) = (bias, self.values.get(output).cloned()) {
            self.builder.alias(outlet, layer_name(sum));
            if let Some(of_sum) = sum.output.first() {
                self.taken_in.insert(of_sum.clone(), Read::Computed { outlet, shapes });
            }
        }
        Ok(())
    }
}

/// The declared lengths, others where they are free, and a batch of two.
fn scenarios(dims: &[Dim]) -> Scenarios<Vec<usize>> {
    let declared = |batch: usize| std::iter::once(batch).chain(dims.iter().map(|dim| dim.hint())).collect();
    let longer = |dim: &Dim| match dim {
        Dim::Known(length) => *length,
        Dim::Any(length) => length + length / 2 + 32,
    };
    [declared(1), std::iter::once(1).chain(dims.iter().map(longer)).collect(), declared(2)]
}

fn corrupt(what: &str, reason: &str) -> LoadError {
    LoadError::Corrupt { what: format!("`{what}`"), reason: reason.to_owned() }
}

/// A constant's numbers as weights.
fn tensor(constant: &Constant, reading: &Reading<'_>) -> Result<Tensor, LoadError> {
    let numbers = match &constant.numbers {
        Numbers::Float(numbers) => numbers.clone(),
        Numbers::Whole(numbers) => numbers.iter().map(|&number| number as f32).collect(),
    };
    Tensor::from_vec(numbers, constant.shape.as_slice(), &Device::Cpu)
        .map_err(|error| reading.refused(error.to_string()))
}

impl Reading<'_> {
    fn refused(&self, reason: impl Into<String>) -> LoadError {
        let reason = format!("{}: {}", self.node.op_type, reason.into());
        LoadError::Model(ModelError::Node { node: layer_name(self.node).to_owned(), reason })
    }

    /// The node's value, where it does not depend on the numbers of any input of the network.
    fn folded(&self) -> Result<Option<Known>, LoadError> {
        let refused = |reason: String| self.refused(reason);
        if self.node.op_type == "Shape"
            && let Some(Some(Read::Computed { shapes, .. })) = self.inputs.first()
        {
            let of = |shape: &Vec<usize>| folding::shape_of(shape, &self.attributes).map_err(refused);
            return Ok(Some(Known::FromShapes([of(&shapes[0])?, of(&shapes[1])?, of(&shapes[2])?])));
        }
        let known: Option<Vec<Option<Known>>> = self
            .inputs
            .iter()
            .map(|input| match input {
                None => Some(None),
                Some(Read::Known(known)) => Some(Some(known.clone())),
                Some(Read::Computed { .. }) => None,
            })
            .collect();
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
        let shape = shape.and_then(Known::same).ok_or_else(|| self.refused("its shape depends on the input"))?;
        let shape: Option<Vec<usize>> = whole(shape)
            .map_err(|reason| self.refused(reason))?
            .iter()
            .map(|&length| usize::try_from(length).ok())
            .collect();
        let shape = shape.filter(|shape| {
            shape.iter().try_fold(1usize, |n, &length| n.checked_mul(length)).is_some_and(|n| n <= 1 << 26)
        });
        let shape = shape.ok_or_else(|| self.refused("its shape is negative or too large"))?;
        let length: usize = shape.iter().product();
        let numbers = match self.attributes.tensor("value") {
            None => Numbers::Float(vec![0.0; length]),
            Some(value) => {
                match super::tensor::read(value, layer_name(self.node), &crate::loaders::NoSiblings)?.numbers {
                    Numbers::Float(value) => Numbers::Float(vec![value.first().copied().unwrap_or(0.0); length]),
                    Numbers::Whole(value) => Numbers::Whole(vec![value.first().copied().unwrap_or(0); length]),
                }
            }
        };
        Ok(Known::constant(Constant { shape, numbers }))
    }

    /// The input that is computed, with its shapes.
    fn computed(&self, nth: usize) -> Result<(Outlet, &Scenarios<Vec<usize>>), LoadError> {
        match self.inputs.get(nth) {
            Some(Some(Read::Computed { outlet, shapes })) => Ok((*outlet, shapes)),
            _ => {
                Err(self
                    .refused(format!("input {nth} must be computed by the network, but it is a constant or missing")))
            }
        }
    }

    fn shapes(&self) -> Result<&Scenarios<Vec<usize>>, LoadError> {
        Ok(self.computed(0)?.1)
    }

    fn rank(&self) -> Result<usize, LoadError> {
        Ok(self.shapes()?[0].len())
    }

    /// The input that must be a constant.
    fn constant(&self, nth: usize) -> Result<&Constant, LoadError> {
        let constant = self.optional_constant(nth)?;
        constant.ok_or_else(|| self.refused(format!("input {nth} is missing")))
    }

    fn optional_constant(&self, nth: usize) -> Result<Option<&Constant>, LoadError> {
        match self.inputs.get(nth) {
            None | Some(None) => Ok(None),
            Some(Some(Read::Known(known))) => {
                known.same().map(Some).ok_or_else(|| self.refused(format!("input {nth} depends on the input's shape")))
            }
            Some(Some(Read::Computed { .. })) => {
                Err(self.refused(format!("input {nth} is computed by the network; only constants are understood here")))
            }
        }
    }

    fn optional_tensor(&self, nth: usize) -> Result<Option<Tensor>, LoadError> {
        self.optional_constant(nth)?.map(|constant| tensor(constant, self)).transpose()
    }

    fn weights(&self, nth: usize) -> Result<Tensor, LoadError> {
        tensor(self.constant(nth)?, self)
    }

    /// A single number among the inputs.
    fn scalar(&self, nth: usize) -> Result<Option<f64>, LoadError> {
        let number = |constant: &Constant| match &constant.numbers {
            Numbers::Float(numbers) => numbers.first().map(|&number| f64::from(number)),
            Numbers::Whole(numbers) => numbers.first().map(|&number| number as f64),
        };
        Ok(self.optional_constant(nth)?.and_then(number))
    }

    /// Axes from an attribute, or from opset `since` on from the second input.
    fn axes(&self, since: i64) -> Result<Option<Vec<isize>>, LoadError> {
        let second = if self.opset >= since { self.optional_constant(1)? } else { None };
        let axes = axes(&self.attributes, &[None, second], self.opset, since).map_err(|reason| self.refused(reason))?;
        Ok(axes.map(|axes| axes.into_iter().map(|axis| axis as isize).collect()))
    }

    fn converted(&self) -> Result<Converted, LoadError> {
        let pointwise = |function: PointwiseFunction| operator(Activation::new(function), &[0]);
        let attributes = &self.attributes;
        match self.node.op_type.as_str() {
            "Relu" => pointwise(PointwiseFunction::Relu),
            "Sigmoid" => pointwise(PointwiseFunction::Sigmoid),
            "Tanh" => pointwise(PointwiseFunction::Tanh),
            "Softplus" => pointwise(PointwiseFunction::Softplus),
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
                low: self.scalar(1)?.unwrap_or(f64::NEG_INFINITY),
                high: self.scalar(2)?.unwrap_or(f64::INFINITY),
            }),
            "Add" => self.arithmetic(ArithmeticFunction::Add),
            "Sub" => self.arithmetic(ArithmeticFunction::Subtract),
            "Mul" => self.arithmetic(ArithmeticFunction::Multiply),
            "Div" => self.arithmetic(ArithmeticFunction::Divide),
            "Identity" => operator(Identity { kind: "Identity" }, &[0]),
            "Dropout" => operator(Identity { kind: "Dropout" }, &[0]),
            "Cast" => operator(Identity { kind: "Cast" }, &[0]),
            "Conv" => self.convolution(),
            "Gemm" => self.gemm(),
            "BatchNormalization" => self.batch_norm(),
            "MaxPool" => operator(MaxPool::new(self.pool_window()?)?, &[0]),
            "AveragePool" => {
                operator(AveragePool::new(self.pool_window()?, attributes.int("count_include_pad", 0) != 0)?, &[0])
            }
            "GlobalAveragePool" => operator(Mean::global_average_pool(), &[0]),
            "ReduceMean" => {
                let axes = self.axes(18)?.unwrap_or_else(|| (1..self.rank().unwrap_or(1) as isize).collect());
                operator(Mean::over(&axes, attributes.int("keepdims", 1) != 0), &[0])
            }
            "Softmax" => operator(Softmax { axis: self.softmax_axis()? }, &[0]),
            "LogSoftmax" => operator(LogSoftmax { axis: self.softmax_axis()? }, &[0]),
            "Flatten" => {
                let axis = attributes.int("axis", 1);
                operator(
                    Flatten { axis: from_start(axis, self.rank()? + 1).map_err(|reason| self.refused(reason))? },
                    &[0],
                )
            }
            "Transpose" => {
                let order =
                    attributes.ints("perm").unwrap_or_else(|| (0..self.rank().unwrap_or(0) as i64).rev().collect());
                operator(Transpose { order: order.into_iter().map(|axis| axis as usize).collect() }, &[0])
            }
            "Squeeze" => {
                let shape = &self.shapes()?[0];
                let all = || (1..shape.len()).filter(|&axis| shape[axis] == 1).map(|axis| axis as isize).collect();
                operator(Squeeze { axes: self.axes(13)?.unwrap_or_else(all) }, &[0])
            }
            "Unsqueeze" => operator(Unsqueeze { axes: self.axes(13)?.unwrap_or_default() }, &[0]),
            "Concat" => {
                let all: Vec<usize> = (0..self.inputs.len()).collect();
                operator(Concat { axis: attributes.int("axis", 1) as isize }, &all)
            }
            "Reshape" => self.reshape(),
            "Pad" => self.pad(),
            _ => Err(self.refused("it is understood only where its inputs are constants or shapes")),
        }
    }

    fn arithmetic(&self, function: ArithmeticFunction) -> Result<Converted, LoadError> {
        match (&self.inputs.first(), &self.inputs.get(1)) {
            (Some(Some(Read::Computed { .. })), Some(Some(Read::Computed { .. }))) => {
                operator(Arithmetic::new(function, Operand::Graph), &[0, 1])
            }
            (_, Some(Some(Read::Computed { .. }))) => {
                operator(Arithmetic::new(function, Operand::Left(self.weights(0)?)), &[1])
            }
            _ => operator(Arithmetic::new(function, Operand::Right(self.weights(1)?)), &[0]),
        }
    }

    fn convolution(&self) -> Result<Converted, LoadError> {
        let weight = self.weights(1)?;
        let kernel: Vec<usize> = weight.dims().get(2..).unwrap_or_default().to_vec();
        let (stride, dilation) = (self.per_axis("strides", kernel.len())?, self.per_axis("dilations", kernel.len())?);
        let padding = self.padding(&kernel, &stride, &dilation)?;
        let groups = self.attributes.int("group", 1).max(0) as usize;
        let params = ConvolutionParams { weight, bias: self.optional_tensor(2)?, stride, padding, dilation, groups };
        operator(Convolution::new(params).map_err(|error| error.at_node(layer_name(self.node)))?, &[0])
    }

    fn pool_window(&self) -> Result<PoolWindow, LoadError> {
        let kernel = self.attributes.ints("kernel_shape").ok_or_else(|| self.refused("`kernel_shape` is missing"))?;
        let kernel: Vec<usize> = kernel.into_iter().map(|length| length.max(0) as usize).collect();
        let (stride, dilation) = (self.per_axis("strides", kernel.len())?, self.per_axis("dilations", kernel.len())?);
        let padding = self.padding(&kernel, &stride, &dilation)?;
        Ok(PoolWindow { kernel, stride, padding, dilation, ceil_mode: self.attributes.int("ceil_mode", 0) != 0 })
    }

    /// A positive number for each spatial axis, 1 by default.
    fn per_axis(&self, name: &str, n_spatial: usize) -> Result<Vec<usize>, LoadError> {
        let numbers = self.attributes.ints(name).unwrap_or_else(|| vec![1; n_spatial]);
        if numbers.len() != n_spatial || numbers.iter().any(|&number| !(1..1 << 24).contains(&number)) {
            return Err(self.refused(format!("`{name}` is {numbers:?}; {n_spatial} positive numbers are needed")));
        }
        Ok(numbers.into_iter().map(|number| number as usize).collect())
    }

    fn padding(
        &self,
        kernel: &[usize],
        stride: &[usize],
        dilation: &[usize],
    ) -> Result<Vec<(usize, usize)>, LoadError> {
        let n_spatial = kernel.len();
        match self.attributes.text("auto_pad") {
            Some(same @ ("SAME_UPPER" | "SAME_LOWER")) => {
                let of_scenario = |shape: &Vec<usize>| -> Vec<(usize, usize)> {
                    let of_axis = |axis: usize| {
                        let length = shape.get(2 + axis).copied().unwrap_or(1);
                        let extent = dilation[axis] * (kernel[axis].max(1) - 1) + 1;
                        let total =
                            ((length.div_ceil(stride[axis]) - 1) * stride[axis] + extent).saturating_sub(length);
                        if same == "SAME_UPPER" {
                            (total / 2, total - total / 2)
                        } else {
                            (total - total / 2, total / 2)
                        }
                    };
                    (0..n_spatial).map(of_axis).collect()
                };
                let paddings: Vec<_> = self.shapes()?.iter().map(of_scenario).collect();
                if paddings.iter().any(|padding| *padding != paddings[0]) {
                    return Err(self.refused(format!("`auto_pad` {same} pads inputs of different lengths differently")));
                }
                Ok(paddings[0].clone())
            }
            Some("VALID") => Ok(vec![(0, 0); n_spatial]),
            _ => {
                let pads = self.attributes.ints("pads").unwrap_or_else(|| vec![0; 2 * n_spatial]);
                if pads.len() != 2 * n_spatial || pads.iter().any(|&pad| !(0..1 << 24).contains(&pad)) {
                    return Err(
                        self.refused(format!("`pads` is {pads:?}; {} numbers from 0 are needed", 2 * n_spatial))
                    );
                }
                Ok((0..n_spatial).map(|axis| (pads[axis] as usize, pads[n_spatial + axis] as usize)).collect())
            }
        }
    }

    fn gemm(&self) -> Result<Converted, LoadError> {
        let attributes = &self.attributes;
        if attributes.int("transA", 0) != 0 {
            return Err(self.refused("`transA` would transpose the batch"));
        }
        let weight = self.weights(1)?;
        if weight.rank() != 2 {
            return Err(self.refused(format!("its weights have shape {:?}; a matrix is needed", weight.dims())));
        }
        let weight = if attributes.int("transB", 0) != 0 { weight } else { weight.t()?.contiguous()? };
        let scaled = |tensor: Tensor, factor: f64| if factor == 1.0 { Ok(tensor) } else { tensor.affine(factor, 0.0) };
        let n_out = weight.dims()[0];
        let bias = match self.optional_tensor(2)? {
            None => None,
            Some(bias) => {
                let row = bias.broadcast_as((1, n_out)).and_then(|row| row.reshape(n_out));
                let row =
                    row.map_err(|_| self.refused(format!("a bias of shape {:?} for {n_out} outputs", bias.dims())))?;
                Some(scaled(row.contiguous()?, attributes.float("beta", 1.0))?)
            }
        };
        let dense = Dense::new(scaled(weight, attributes.float("alpha", 1.0))?, bias);
        operator(dense.map_err(|error| error.at_node(layer_name(self.node)))?, &[0])
    }

    fn batch_norm(&self) -> Result<Converted, LoadError> {
        if self.attributes.int("training_mode", 0) != 0 {
            return Err(self.refused("it is in training mode; export the network for inference"));
        }
        let epsilon = self.attributes.float("epsilon", 1e-5);
        let norm = BatchNorm::new(self.weights(1)?, self.weights(2)?, self.weights(3)?, self.weights(4)?, epsilon);
        operator(norm.map_err(|error| error.at_node(layer_name(self.node)))?, &[0])
    }

    /// Before opset 13 a softmax goes over all axes from `axis` on as if they were one.
    fn softmax_axis(&self) -> Result<isize, LoadError> {
        if self.opset >= 13 {
            return Ok(self.attributes.int("axis", -1) as isize);
        }
        let shape = &self.shapes()?[0];
        let axis = from_start(self.attributes.int("axis", 1), shape.len()).map_err(|reason| self.refused(reason))?;
        if shape[axis + 1..].iter().any(|&length| length != 1) {
            let reason =
                format!("axis {axis} of shape {shape:?} before opset 13 joins several axes, which is not supported");
            return Err(self.refused(reason));
        }
        Ok(axis as isize)
    }

    fn reshape(&self) -> Result<Converted, LoadError> {
        let Some(Some(Read::Known(target))) = self.inputs.get(1) else {
            return Err(self.refused("its shape is computed from the numbers of the input"));
        };
        let shapes = self.shapes()?;
        let mut results: Vec<Vec<usize>> = Vec::new();
        for (scenario, shape) in shapes.iter().enumerate() {
            let mut numbers = whole(target.at(scenario)).map_err(|reason| self.refused(reason))?;
            // An exporter that was shown a batch of one writes 1; the batch is meant.
            if numbers.first() == Some(&1) && shape[0] != 1 {
                numbers[0] = shape[0] as i64;
            }
            results.push(folding::reshaped(shape, &numbers).map_err(|reason| self.refused(reason))?);
        }
        let rank = results[0].len();
        let entry = |axis: usize| {
            let is_kept = (0..N_SCENARIOS).all(|scenario| shapes[scenario].get(axis) == Some(&results[scenario][axis]));
            let is_constant = results.iter().all(|result| result[axis] == results[0][axis]);
            match (is_kept, is_constant) {
                (_, true) if axis > 0 => results[0][axis] as isize,
                (true, _) => 0,
                _ => -1,
            }
        };
        let shape: Vec<isize> = (0..rank).map(entry).collect();
        if shape.iter().filter(|entry| **entry == -1).count() > 1 {
            return Err(self.refused(format!("several axes of {:?} depend on the input's lengths", results[0])));
        }
        operator(Reshape { shape }, &[0])
    }

    fn pad(&self) -> Result<Converted, LoadError> {
        if let Some(mode) = self.attributes.text("mode").filter(|mode| *mode != "constant") {
            return Err(self.refused(format!("padding by `{mode}`; only constants are supported")));
        }
        let pads = whole(self.constant(1)?).map_err(|reason| self.refused(reason))?;
        let rank = self.rank()?;
        let axes = match self.optional_constant(3)? {
            Some(axes) => whole(axes).map_err(|reason| self.refused(reason))?,
            None => (0..rank as i64).collect(),
        };
        if pads.len() != 2 * axes.len() || pads.iter().any(|&pad| !(0..1 << 24).contains(&pad)) {
            return Err(self.refused(format!("pads {pads:?} for axes {axes:?}; two numbers from 0 an axis are needed")));
        }
        let mut padding = vec![(0, 0); rank];
        for (nth, &axis) in axes.iter().enumerate() {
            let axis = from_start(axis, rank).map_err(|reason| self.refused(reason))?;
            padding[axis] = (pads[nth] as usize, pads[axes.len() + nth] as usize);
        }
        operator(Pad { padding, value: self.scalar(2)?.unwrap_or(0.0) }, &[0])
    }
}
