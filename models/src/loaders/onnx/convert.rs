//! Walks a network's nodes in the file's order and puts the graph together.
//!
//! Each value is either known at load or computed by a node of ours, with its shape in each scenario (see `folding`).
//! What one node becomes is in `operators`; here are names, and the one case where two nodes become one layer.

use std::collections::{HashMap, HashSet};

use super::axes::FileAxes;
use super::folding::{Known, Scenarios};
use super::operators::{Converted, layer};
use super::proto::NodeProto;
use super::reading::{Read, Reading, layer_name, tensor};
use super::recurrent::RecurrentLayer;
use crate::error::{ModelError, UnsupportedNode};
use crate::graph::{Dim, Graph, GraphBuilder, Outlet};
use crate::loaders::LoadError;
use crate::operators::{Dense, LastState, MatMul, Operator};

/// A network as the file has it: nodes that its outputs need, in order, and what is stored.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) nodes: Vec<NodeProto>,
    /// Names of the values that are the network's outputs.
    pub(super) outputs: Vec<String>,
    /// Initialisers and constant nodes by the names of their values.
    pub(super) constants: HashMap<String, Known>,
    pub(super) opset: i64,
    /// The batch that the exporter was shown, where the file fixes it.
    pub(super) declared_batch: Option<i64>,
}

/// The most numbers that a value of a network may have for a batch of two; beyond it, shapes are nonsense.
const MOST_NUMBERS: usize = 1 << 34;

/// Converts a network whose inputs have these lengths behind the batch.
pub(super) fn convert(source: &Source, inputs: &[(String, Vec<Dim>)]) -> Result<Graph, LoadError> {
    let mut converter = Converter::new(source);
    for (name, dims) in inputs {
        let outlet = converter.builder.input(name, dims)?;
        converter.names.insert(name.clone());
        let axes = FileAxes::plain(dims.len() + 1);
        converter.values.insert(name.clone(), Read::Computed { outlet, shapes: scenarios(dims), axes });
    }
    for node in source.nodes.iter().filter(|node| node.op_type != "Constant") {
        converter.read(node)?;
    }
    converter.finish()
}

struct Converter<'a> {
    source: &'a Source,
    values: HashMap<String, Read>,
    builder: GraphBuilder,
    names: HashSet<String>,
    /// How many nodes and outputs read each value.
    n_readers: HashMap<&'a str, usize>,
    /// Sums that a dense layer took in, by the name of their value.
    taken_in: HashMap<String, Read>,
    unsupported: Vec<UnsupportedNode>,
    /// The first node that is refused for another reason.
    refused: Option<ModelError>,
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

/// The batch in each scenario.
const BATCHES: Scenarios<usize> = [1, 1, 2];

impl<'a> Converter<'a> {
    fn new(source: &'a Source) -> Self {
        let mut n_readers = HashMap::new();
        for name in source.nodes.iter().flat_map(|node| &node.input).chain(&source.outputs) {
            *n_readers.entry(name.as_str()).or_insert(0) += 1;
        }
        Converter {
            source,
            values: HashMap::new(),
            builder: GraphBuilder::new(),
            names: HashSet::new(),
            n_readers,
            taken_in: HashMap::new(),
            unsupported: Vec::new(),
            refused: None,
        }
    }

    fn value(&self, name: &str) -> Option<Read> {
        self.values.get(name).cloned().or_else(|| self.source.constants.get(name).cloned().map(Read::Known))
    }

    fn finish(self) -> Result<Graph, LoadError> {
        if !self.unsupported.is_empty() {
            return Err(LoadError::Unsupported { nodes: self.unsupported });
        }
        if let Some(refused) = self.refused {
            return Err(refused.into());
        }
        let mut outputs = Vec::new();
        for name in &self.source.outputs {
            match self.value(name) {
                Some(Read::Computed { outlet, .. }) => outputs.push((name.as_str(), outlet)),
                Some(_) => {}
                None => {
                    let reason = "no node computes this output".to_owned();
                    return Err(LoadError::Corrupt { what: format!("`{name}`"), reason });
                }
            }
        }
        if outputs.is_empty() {
            return Err(LoadError::UnsupportedFormat("no output of the network depends on its input".to_owned()));
        }
        Ok(self.builder.finish(&outputs)?)
    }

    /// Reads one node. What we lack or refuse is noted and the walk goes on, so that all missing operators are found.
    fn read(&mut self, node: &'a NodeProto) -> Result<(), LoadError> {
        let Some(output) = node.output.first() else { return Ok(()) };
        if let Some(taken) = self.taken_in.remove(output) {
            self.values.insert(output.clone(), taken);
            return Ok(());
        }
        match self.read_supported(node, output) {
            Err(LoadError::Unsupported { nodes }) => self.unsupported.extend(nodes),
            Err(LoadError::Model(error)) => {
                self.refused.get_or_insert(error);
            }
            other => return other,
        }
        self.set_unsupported(node);
        Ok(())
    }

    fn set_unsupported(&mut self, node: &NodeProto) {
        let outputs = node.output.iter().filter(|output| !output.is_empty());
        self.values.extend(outputs.map(|output| (output.clone(), Read::Unsupported)));
    }

    fn read_supported(&mut self, node: &'a NodeProto, output: &str) -> Result<(), LoadError> {
        let mut inputs = Vec::new();
        for name in &node.input {
            let value = self.value(name);
            if value.is_none() && !name.is_empty() {
                let reason = format!("it reads `{name}`, which nothing before it computes");
                return Err(LoadError::Corrupt { what: format!("layer `{}`", layer_name(node)), reason });
            }
            inputs.push(value);
        }
        let reading = Reading::new(node, inputs, self.source);
        reading.check_type()?;
        if reading.inputs.iter().flatten().any(|input| matches!(input, Read::Unsupported)) {
            self.set_unsupported(node);
            return Ok(());
        }
        if reading.is_recurrent() {
            return self.read_recurrent(&reading);
        }
        if let Some(known) = reading.folded()? {
            self.values.insert(output.to_owned(), Read::Known(known));
            return Ok(());
        }
        if node.op_type == "Split" {
            return self.read_split(&reading);
        }
        if let Some(second) = node.output[1..].iter().find(|name| self.n_readers.contains_key(name.as_str())) {
            return Err(reading.refused(format!("its output `{second}` is read; only first outputs are computed")));
        }
        reading.check_batch()?;
        if node.op_type == "MatMul" {
            return self.read_product(&reading, output);
        }
        if let Some(steps) = reading.in_steps()? {
            return self.add_in_steps(&reading, output, steps);
        }
        let name = self.free_name(layer_name(node));
        let value = self.add(&name, &reading, reading.converted()?)?;
        self.values.insert(output.to_owned(), value);
        Ok(())
    }

    /// A name that no layer has yet.
    fn free_name(&mut self, wanted: &str) -> String {
        let numbered = (2..).map(|number| format!("{wanted}#{number}"));
        let name = std::iter::once(wanted.to_owned()).chain(numbered).find(|name| !self.names.contains(name));
        let name = name.expect("there are more numbers than layers");
        self.names.insert(name.clone());
        name
    }

    fn add(&mut self, name: &str, reading: &Reading<'_>, converted: Converted) -> Result<Read, LoadError> {
        let mut inputs = Vec::new();
        for &nth in &converted.inputs {
            inputs.push(reading.computed(nth)?);
        }
        let first = converted.inputs.first().and_then(|&nth| reading.axes_of(nth)).cloned();
        let converted = Converted { axes: converted.axes.or(first.filter(|axes| !axes.is_plain())), ..converted };
        self.add_behind(name, converted, &inputs)
    }

    /// Adds a node, once the shapes of its outputs are seen to make sense and to leave the batch alone; answers the
    /// first of them.
    fn add_behind(
        &mut self,
        name: &str,
        converted: Converted,
        inputs: &[(Outlet, &Scenarios<Vec<usize>>)],
    ) -> Result<Read, LoadError> {
        let Converted { operator, axes, .. } = converted;
        let shapes = self.output_shapes(name, &*operator, 0, inputs)?;
        let outlets: Vec<_> = inputs.iter().map(|(outlet, _)| *outlet).collect();
        let outlet = self.builder.add_shared(name, operator, &outlets)?;
        let axes = axes.unwrap_or_else(|| FileAxes::plain(shapes[0].len()));
        Ok(Read::Computed { outlet, shapes, axes })
    }

    /// The shapes of one output.
    fn output_shapes(
        &self,
        name: &str,
        operator: &dyn Operator,
        port: usize,
        inputs: &[(Outlet, &Scenarios<Vec<usize>>)],
    ) -> Result<Scenarios<Vec<usize>>, LoadError> {
        let mut shapes: Scenarios<Vec<usize>> = Default::default();
        for (scenario, shape) in shapes.iter_mut().enumerate() {
            let of_inputs: Vec<&[usize]> = inputs.iter().map(|(_, shapes)| shapes[scenario].as_slice()).collect();
            *shape = operator.output_shapes(&of_inputs).map_err(|error| error.at_node(name))?.swap_remove(port);
            let length = shape.iter().try_fold(1usize, |n, &length| n.checked_mul(length));
            let is_sound = length.is_some_and(|length| (1..=MOST_NUMBERS).contains(&length));
            if !is_sound || shape.first() != Some(&BATCHES[scenario]) {
                let reason = format!(
                    "{}: its output has shape {shape:?} for a batch of {}, which no layer of a network that takes \
                     batches can have",
                    operator.kind(),
                    BATCHES[scenario]
                );
                return Err(ModelError::Node { node: name.to_owned(), reason }.into());
            }
        }
        Ok(shapes)
    }

    /// Adds a node that takes several of our operators; the last has its name, the others it with what they do.
    fn add_in_steps(
        &mut self,
        reading: &Reading<'_>,
        output: &str,
        steps: Vec<(String, Converted)>,
    ) -> Result<(), LoadError> {
        let ((outlet, shapes), axes) = (reading.computed(0)?, reading.axes()?);
        let mut value = Read::Computed { outlet, shapes: shapes.clone(), axes: axes.clone() };
        for (step, converted) in steps {
            let name = self.free_name(&format!("{}{step}", layer_name(reading.node)));
            if let Read::Computed { outlet, shapes, .. } = &value {
                let axes = converted.axes.clone().or_else(|| (!axes.is_plain()).then(|| axes.clone()));
                value = self.add_behind(&name, Converted { axes, ..converted }, &[(*outlet, shapes)])?;
            }
        }
        self.values.insert(output.to_owned(), value);
        Ok(())
    }

    /// A recurrent layer: a node for it, whose states and gates have names of their own, and one for each state that it
    /// ends with, where that is read.
    fn read_recurrent(&mut self, reading: &Reading<'_>) -> Result<(), LoadError> {
        let node = reading.node;
        let RecurrentLayer { operator, direction, states } = reading.recurrent()?;
        let name = self.free_name(layer_name(node));
        let sequence = [reading.computed(0)?];
        let mut shapes = Vec::new();
        for port in 0..operator.n_outputs() {
            shapes.push(self.output_shapes(&name, &*operator, port, &sequence)?);
        }
        let hidden = self.builder.add_shared(&name, operator, &[sequence[0].0])?;
        let port = |port: usize| Outlet { node: hidden.node, port };
        for (nth, state) in states.iter().enumerate() {
            let alias = self.free_name(&format!("{name}/{state}"));
            self.builder.alias(port(nth + 1), &alias);
        }
        // In the file `[time, direction, batch, unit]`.
        let all = Read::Computed { outlet: hidden, shapes: shapes[0].clone(), axes: FileAxes::of(&[1, 2, 0, 3]) };
        self.set_output(node, 0, all);
        for (nth, last) in [(1, "Y_h"), (2, "Y_c")] {
            let is_read = node.output.get(nth).is_some_and(|output| self.n_readers.contains_key(output.as_str()));
            if is_read && nth < shapes.len() {
                let name = self.free_name(&format!("{name}/{last}"));
                // In the file `[direction, batch, unit]`.
                let last = layer(LastState { direction }, &[])?;
                let last = Converted { axes: Some(FileAxes::of(&[1, 0, 2])), ..last };
                let value = self.add_behind(&name, last, &[(port(nth - 1), &shapes[nth - 1])])?;
                self.set_output(node, nth, value);
            }
        }
        Ok(())
    }

    fn set_output(&mut self, node: &NodeProto, nth: usize, value: Read) {
        if let Some(output) = node.output.get(nth).filter(|output| !output.is_empty()) {
            self.values.insert(output.clone(), value);
        }
    }

    /// A slice for each part that is read; the node's own name means what is split.
    fn read_split(&mut self, reading: &Reading<'_>) -> Result<(), LoadError> {
        let whole = self.free_name(layer_name(reading.node));
        self.builder.alias(reading.computed(0)?.0, &whole);
        for (nth, part) in reading.parts()?.into_iter().enumerate() {
            let name = self.free_name(&format!("{whole}/{nth}"));
            let value = self.add(&name, reading, part)?;
            self.set_output(reading.node, nth, value);
        }
        Ok(())
    }

    /// A product of two values, or of one and constant weights.
    fn read_product(&mut self, reading: &Reading<'_>, output: &str) -> Result<(), LoadError> {
        let (Some(left), Some(right)) = (reading.axes_of(0), reading.axes_of(1)) else {
            return self.read_dense(reading, output);
        };
        let ends_in_matrix = |axes: &FileAxes| {
            let rank = axes.rank();
            rank >= 2 && axes.own(rank - 1).is_some() && axes.own(rank - 2).is_some()
        };
        if !ends_in_matrix(left) || !ends_in_matrix(right) || !left.begins_like(right) {
            let shapes = [(0, left), (1, right)]
                .map(|(nth, axes)| reading.computed(nth).map(|(_, shapes)| axes.shape(&shapes[2])));
            let [left, right] = shapes;
            return Err(reading.refused(format!(
                "{:?} times {:?} of a batch of 2; the last two axes must not hold the batch, and those before must be \
                 the same in both",
                left?, right?
            )));
        }
        let name = self.free_name(layer_name(reading.node));
        let value = self.add(&name, reading, layer(MatMul, &[0, 1])?)?;
        self.values.insert(output.to_owned(), value);
        Ok(())
    }

    /// A product with constant weights is a dense layer, together with the sum with a constant behind it.
    fn read_dense(&mut self, reading: &Reading<'_>, output: &str) -> Result<(), LoadError> {
        let weight = reading.constant(1)?;
        let [_, n_out] = weight.shape[..] else {
            return Err(reading.refused(format!("its weights have shape {:?}; a matrix is needed", weight.shape)));
        };
        let weight = tensor(weight)?.t()?.contiguous()?;
        let rank = reading.rank()?;
        reading.own_axis(rank - 1)?;
        let is_only_reader = self.n_readers.get(output) == Some(&1);
        let is_sum = |node: &&NodeProto| node.op_type == "Add" && node.input.iter().any(|input| input == output);
        let sum = self.source.nodes.iter().find(is_sum).filter(|_| is_only_reader).and_then(|sum| {
            let other = sum.input.iter().find(|input| *input != output)?;
            let Read::Known(known) = self.value(other)? else { return None };
            let constant = known.same()?;
            let is_row = constant.numbers.len() == n_out
                && constant.shape.last() == Some(&n_out)
                && constant.shape.len() <= rank;
            is_row.then(|| constant.clone()).map(|constant| (sum, constant))
        });
        let bias = sum.as_ref().map(|(_, constant)| tensor(constant)?.reshape(n_out)).transpose()?;
        let dense = Dense::new(weight, bias).map_err(|error| error.at_node(layer_name(reading.node)))?;
        let name = self.free_name(layer_name(reading.node));
        let value = self.add(&name, reading, layer(dense, &[0])?)?;
        if let (Some((sum, _)), Read::Computed { outlet, .. }) = (sum, &value) {
            let alias = self.free_name(layer_name(sum));
            self.builder.alias(*outlet, &alias);
            self.taken_in.extend(sum.output.first().map(|of_sum| (of_sum.clone(), value.clone())));
        }
        self.values.insert(output.to_owned(), value);
        Ok(())
    }
}
