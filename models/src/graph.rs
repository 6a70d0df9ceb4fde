//! A network as named nodes, each an operator with its parameters, in an order in which they can be evaluated.
//!
//! Whatever the source (ONNX, `.pth` or safetensors with a builder of the zoo), the result is a [`Graph`]. A layer of
//! the protocol is a node's name or an alias of it. See `trace.rs` for evaluating one.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device};

use crate::device::on_device;
use crate::error::{ModelError, Result};
use crate::operators::{AxisKind, Input, Operator};

/// A node's place in the graph's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeIdx(pub usize);

/// One output of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Outlet {
    /// The node.
    pub node: NodeIdx,
    /// Which of its outputs.
    pub port: usize,
}

/// A length that a network's input has along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    /// This length and no other.
    Known(usize),
    /// Any length; the number is one that is known to work.
    Any(usize),
}

impl Dim {
    /// The length to plan with.
    pub fn hint(self) -> usize {
        match self {
            Dim::Known(length) | Dim::Any(length) => length,
        }
    }
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dim::Known(length) => write!(f, "{length}"),
            Dim::Any(_) => f.write_str("any"),
        }
    }
}

/// An operator with its name and where its inputs come from.
#[derive(Clone, Debug)]
pub struct Node {
    /// The layer's name, as the source wrote it.
    pub name: String,
    /// What it computes.
    pub operator: Arc<dyn Operator>,
    /// Where its inputs come from; always earlier nodes.
    pub inputs: Vec<Outlet>,
}

/// A network.
#[derive(Clone, Debug)]
pub struct Graph {
    nodes: Arc<Vec<Node>>,
    inputs: Vec<NodeIdx>,
    outputs: Vec<(String, Outlet)>,
    layers: HashMap<String, Outlet>,
    aliases: Vec<(String, Outlet)>,
    merged: Vec<(NodeIdx, Arc<dyn Operator>)>,
}

impl Graph {
    /// All nodes, in an order in which they can be evaluated; inputs are nodes too.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All nodes, to be held beside the graph.
    pub(crate) fn shared_nodes(&self) -> Arc<Vec<Node>> {
        self.nodes.clone()
    }

    /// One node.
    pub fn node(&self, idx: NodeIdx) -> &Node {
        &self.nodes[idx.0]
    }

    /// The nodes that stand for the network's inputs.
    pub fn inputs(&self) -> &[NodeIdx] {
        &self.inputs
    }

    /// The declared shape of an input, without the batch axis.
    pub fn input_shape(&self, input: NodeIdx) -> &[Dim] {
        self.node(input).operator.as_input().map_or(&[], |input| &input.shape)
    }

    /// The network's outputs by name; the first is what a target is about.
    pub fn outputs(&self) -> &[(String, Outlet)] {
        &self.outputs
    }

    /// The outlet that the first output names.
    pub fn output(&self) -> Outlet {
        self.outputs[0].1
    }

    /// The input of a final softmax, log-softmax or sigmoid, else the output itself.
    pub fn logits(&self) -> Outlet {
        self.logits_of(0)
    }

    /// The same of any output.
    pub fn logits_of(&self, output: usize) -> Outlet {
        let output = self.outputs[output].1;
        let node = self.node(output.node);
        if node.operator.is_output_normalizer() { node.inputs[0] } else { output }
    }

    /// Further names of layers (containers, merged batch norms), each with the outlet that it means.
    pub fn aliases(&self) -> &[(String, Outlet)] {
        &self.aliases
    }

    /// The operator that stood behind a node until a pass made it part of the node's own.
    pub fn merged_into(&self, idx: NodeIdx) -> Option<&Arc<dyn Operator>> {
        self.merged.iter().find(|(node, _)| *node == idx).map(|(_, operator)| operator)
    }

    /// The outlet that a layer's name or alias means.
    pub fn layer(&self, name: &str) -> Result<Outlet> {
        self.layers.get(name).copied().ok_or_else(|| ModelError::UnknownLayer { asked: name.to_owned() })
    }

    /// Every name that [`Graph::layer`] knows: nodes in order, then aliases.
    pub fn layer_names(&self) -> impl Iterator<Item = &str> {
        let nodes = self.nodes.iter().map(|node| node.name.as_str());
        nodes.chain(self.aliases.iter().map(|(name, _)| name.as_str()))
    }

    /// How many numbers were learned.
    pub fn n_parameters(&self) -> usize {
        self.nodes.iter().map(|node| node.operator.n_parameters()).sum()
    }

    /// The element type that it computes in: that of its parameters.
    pub fn dtype(&self) -> DType {
        let mut parameters = self.nodes.iter().flat_map(|node| node.operator.parameters());
        parameters.next().map_or(DType::F32, |(_, tensor)| tensor.dtype())
    }

    /// Bytes of all parameters.
    pub fn parameter_bytes(&self) -> usize {
        let parameters = self.nodes.iter().flat_map(|node| node.operator.parameters());
        parameters.map(|(_, tensor)| tensor.elem_count() * tensor.dtype().size_in_bytes()).sum()
    }

    /// Bytes that operators hold beside their parameters, such as packed weights; grows as they are used.
    pub fn prepared_bytes(&self) -> usize {
        self.nodes.iter().map(|node| node.operator.prepared_bytes()).sum()
    }

    /// Bytes of weights changed for rules of a backward walk, which are among [`Graph::prepared_bytes`].
    pub fn reweighted_bytes(&self) -> usize {
        self.nodes.iter().map(|node| node.operator.reweighted_bytes()).sum()
    }

    /// Lets them go; a walk that needs them makes them anew.
    pub fn release_reweighted(&self) {
        self.nodes.iter().for_each(|node| node.operator.release_reweighted());
    }

    /// For each node the nodes that read it.
    pub fn consumers(&self) -> Vec<Vec<NodeIdx>> {
        let mut consumers = vec![Vec::new(); self.nodes.len()];
        for (idx, node) in self.nodes.iter().enumerate() {
            for input in &node.inputs {
                consumers[input.node.0].push(NodeIdx(idx));
            }
        }
        consumers
    }

    /// For each node whether a change of one of `from` can change its value.
    pub fn descendants(&self, from: &[NodeIdx]) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        for idx in from {
            reached[idx.0] = true;
        }
        for (idx, node) in self.nodes.iter().enumerate() {
            reached[idx] |= node.inputs.iter().any(|input| reached[input.node.0]);
        }
        reached
    }

    /// For each node whether one of `to` is computed from it, or is it.
    pub fn ancestors(&self, to: &[NodeIdx]) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        for idx in to {
            needed[idx.0] = true;
        }
        for (idx, node) in self.nodes.iter().enumerate().rev() {
            if needed[idx] {
                node.inputs.iter().for_each(|input| needed[input.node.0] = true);
            }
        }
        needed
    }

    /// The logical output shapes of every node for inputs of these shapes (batch first).
    pub fn shapes(&self, inputs: &[Vec<usize>]) -> Result<Vec<Vec<Vec<usize>>>> {
        let mut shapes: Vec<Vec<Vec<usize>>> = Vec::with_capacity(self.nodes.len());
        let mut given = inputs.iter();
        for node in self.nodes.iter() {
            if node.operator.as_input().is_some() {
                let shape = given.next().ok_or_else(|| ModelError::Node {
                    node: node.name.clone(),
                    reason: format!("the network has {} inputs but {} were given", self.inputs.len(), inputs.len()),
                })?;
                self.check_input(node, shape)?;
                shapes.push(vec![shape.clone()]);
                continue;
            }
            let of_inputs: Vec<&[usize]> =
                node.inputs.iter().map(|input| shapes[input.node.0][input.port].as_slice()).collect();
            shapes.push(node.operator.output_shapes(&of_inputs).map_err(|error| error.at_node(&node.name))?);
        }
        Ok(shapes)
    }

    /// The shapes that [`Graph::shapes`] gives for a batch of one of the declared lengths.
    pub fn hinted_shapes(&self) -> Result<Vec<Vec<Vec<usize>>>> {
        self.shapes(&self.hinted_input_shapes())
    }

    /// A batch of one of the declared lengths, for each input.
    pub fn hinted_input_shapes(&self) -> Vec<Vec<usize>> {
        let shape_of =
            |&input: &NodeIdx| std::iter::once(1).chain(self.input_shape(input).iter().map(|dim| dim.hint())).collect();
        self.inputs.iter().map(shape_of).collect()
    }

    /// What each axis of each node's first output means, batch first.
    pub fn axes(&self) -> Result<Vec<Vec<AxisKind>>> {
        let shapes = self.hinted_shapes()?;
        let mut axes: Vec<Vec<AxisKind>> = Vec::with_capacity(self.nodes.len());
        for (idx, node) in self.nodes.iter().enumerate() {
            let of_inputs: Vec<&[AxisKind]> = node.inputs.iter().map(|input| axes[input.node.0].as_slice()).collect();
            axes.push(node.operator.output_axes(&of_inputs, shapes[idx][0].len()));
        }
        Ok(axes)
    }

    /// Fails where an input does not have the declared shape.
    pub(crate) fn check_input(&self, node: &Node, shape: &[usize]) -> Result<()> {
        let declared = node.operator.as_input().map_or(&[][..], |input| &input.shape);
        let fits = shape.len() == declared.len() + 1
            && declared.iter().zip(&shape[1..]).all(|(dim, &length)| match dim {
                Dim::Known(known) => *known == length,
                Dim::Any(_) => length > 0,
            });
        if fits {
            return Ok(());
        }
        let expected: Vec<String> = declared.iter().map(Dim::to_string).collect();
        Err(ModelError::InputShape {
            input: node.name.clone(),
            expected: format!("[{}]", expected.join(", ")),
            found: shape.get(1..).unwrap_or_default().to_vec(),
        })
    }

    /// The same network computing in another element type; f64 is for reference.
    pub fn to_dtype(&self, dtype: DType) -> Result<Graph> {
        self.with_operators(|_, node| node.operator.to_dtype(dtype).map(Some))
    }

    /// The network on a device; what has no form there stays on the processor ([`crate::device`]).
    pub fn on_device(&self, device: &Device) -> Result<Graph> {
        self.with_operators(|_, node| on_device(&node.operator, device).map(Some))
    }

    /// The network on the processor, with the parameters of now.
    pub fn on_processor(&self) -> Result<Graph> {
        self.with_operators(|_, node| node.operator.on_processor().transpose())
    }

    /// The same network with other operators of the same shapes in their places, where `change` answers one.
    pub fn with_operators(
        &self,
        mut change: impl FnMut(NodeIdx, &Node) -> Result<Option<Arc<dyn Operator>>>,
    ) -> Result<Graph> {
        let mut graph = self.clone();
        for (idx, node) in Arc::make_mut(&mut graph.nodes).iter_mut().enumerate() {
            if let Some(operator) = change(NodeIdx(idx), node).map_err(|error| error.at_node(&node.name))? {
                node.operator = operator;
            }
        }
        Ok(graph)
    }

    /// A builder that holds this graph's nodes but for those that `replace` leaves out; for passes.
    ///
    /// `replace` is asked in order and answers what a node becomes: itself, another operator, or nothing (its first
    /// input then takes its place, and its name becomes an alias of it).
    pub fn rewritten(&self, mut replace: impl FnMut(NodeIdx, &Node) -> Result<Rewrite>) -> Result<Graph> {
        let mut builder = GraphBuilder::new();
        let mut place: Vec<Vec<Outlet>> = Vec::with_capacity(self.nodes.len());
        for (idx, node) in self.nodes.iter().enumerate() {
            let inputs: Vec<Outlet> = node.inputs.iter().map(|input| place[input.node.0][input.port]).collect();
            let rewrite = replace(NodeIdx(idx), node)?;
            let operator = match rewrite {
                Rewrite::Keep => node.operator.clone(),
                Rewrite::With(operator) => operator,
                Rewrite::Bypass => {
                    builder.alias(inputs[0], &node.name);
                    builder.merged.push((inputs[0].node, node.operator.clone()));
                    place.push(vec![inputs[0]]);
                    continue;
                }
            };
            let outlet = builder.add_shared(&node.name, operator, &inputs)?;
            place.push((0..node.operator.n_outputs()).map(|port| Outlet { node: outlet.node, port }).collect());
        }
        for (idx, operator) in &self.merged {
            builder.merged.push((place[idx.0][0].node, operator.clone()));
        }
        for (name, outlet) in &self.aliases {
            builder.alias(place[outlet.node.0][outlet.port], name);
        }
        let outputs: Vec<(&str, Outlet)> =
            self.outputs.iter().map(|(name, outlet)| (name.as_str(), place[outlet.node.0][outlet.port])).collect();
        builder.finish(&outputs)
    }
}

/// What a pass makes of a node.
#[derive(Debug)]
pub enum Rewrite {
    /// The node stays.
    Keep,
    /// Another operator takes its place.
    With(Arc<dyn Operator>),
    /// The node's first input takes its place, having become what both were.
    Bypass,
}

/// Puts a graph together, node by node.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    nodes: Vec<Node>,
    inputs: Vec<NodeIdx>,
    layers: HashMap<String, Outlet>,
    aliases: Vec<(String, Outlet)>,
    merged: Vec<(NodeIdx, Arc<dyn Operator>)>,
}

impl GraphBuilder {
    /// An empty network.
    pub fn new() -> Self {
        GraphBuilder::default()
    }

    /// An input of a shape without the batch axis.
    pub fn input(&mut self, name: &str, shape: &[Dim]) -> Result<Outlet> {
        self.add(name, Input { shape: shape.to_vec() }, &[])
    }

    /// A node; answers its first output.
    pub fn add(&mut self, name: &str, operator: impl Operator + 'static, inputs: &[Outlet]) -> Result<Outlet> {
        self.add_shared(name, Arc::new(operator), inputs)
    }

    /// A node whose operator is held elsewhere too.
    pub fn add_shared(&mut self, name: &str, operator: Arc<dyn Operator>, inputs: &[Outlet]) -> Result<Outlet> {
        let outlet = Outlet { node: NodeIdx(self.nodes.len()), port: 0 };
        if self.layers.insert(name.to_owned(), outlet).is_some() {
            return Err(ModelError::DuplicateLayer(name.to_owned()));
        }
        if operator.as_input().is_some() {
            self.inputs.push(outlet.node);
        }
        self.nodes.push(Node { name: name.to_owned(), operator, inputs: inputs.to_vec() });
        Ok(outlet)
    }

    /// Another name of a layer; a layer of that very name keeps it.
    pub fn alias(&mut self, outlet: Outlet, name: &str) {
        if !self.layers.contains_key(name) {
            self.layers.insert(name.to_owned(), outlet);
            self.aliases.push((name.to_owned(), outlet));
        }
    }

    /// The network, once its shapes have been seen to fit for inputs of the declared lengths.
    ///
    /// Nodes that no output needs are left out, with their names.
    pub fn finish(self, outputs: &[(&str, Outlet)]) -> Result<Graph> {
        if outputs.is_empty() {
            return Err(ModelError::operator("graph", "a network needs at least one output"));
        }
        let mut needed = vec![false; self.nodes.len()];
        for (_, outlet) in outputs {
            needed[outlet.node.0] = true;
        }
        for idx in (0..self.nodes.len()).rev() {
            if needed[idx] {
                self.nodes[idx].inputs.iter().for_each(|input| needed[input.node.0] = true);
            }
        }
        // An input that nothing reads stays, so that what a caller must give does not depend on what is used.
        for input in &self.inputs {
            needed[input.0] = true;
        }
        let mut place = vec![None; self.nodes.len()];
        let mut nodes = Vec::new();
        for (idx, mut node) in self.nodes.into_iter().enumerate() {
            if !needed[idx] {
                continue;
            }
            place[idx] = Some(NodeIdx(nodes.len()));
            for input in &mut node.inputs {
                input.node = place[input.node.0].expect("inputs come before their readers and are needed by them");
            }
            nodes.push(node);
        }
        let moved = |outlet: Outlet| place[outlet.node.0].map(|node| Outlet { node, port: outlet.port });
        let graph = Graph {
            nodes: Arc::new(nodes),
            inputs: self.inputs.iter().filter_map(|input| place[input.0]).collect(),
            outputs: outputs
                .iter()
                .map(|(name, outlet)| ((*name).to_owned(), moved(*outlet).expect("outputs are needed")))
                .collect(),
            layers: self.layers.into_iter().filter_map(|(name, outlet)| Some((name, moved(outlet)?))).collect(),
            aliases: self.aliases.into_iter().filter_map(|(name, outlet)| Some((name, moved(outlet)?))).collect(),
            merged: self.merged.into_iter().filter_map(|(idx, operator)| Some((place[idx.0]?, operator))).collect(),
        };
        graph.hinted_shapes()?;
        Ok(graph)
    }
}
