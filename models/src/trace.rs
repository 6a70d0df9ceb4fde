//! One forward pass, holding every node's output: what all later questions about an input are answered from.

use std::sync::Arc;

use crate::error::{Interrupt, ModelError, Result};
use crate::graph::{Graph, Node, NodeIdx, Outlet};
use crate::operators::NodeValues;
use crate::value::Value;

/// The values of one batch of inputs; rows of the batch are independent.
///
/// Where a rectifier follows an operator that can apply it as it stores its results, what was before the rectifier is
/// not kept, and is computed again if somebody asks.
#[derive(Clone, Debug)]
pub struct Trace {
    nodes: Arc<Vec<Node>>,
    /// By node and port; `None` where it was fused away or not needed.
    values: Vec<Vec<Option<Value>>>,
    shapes: Vec<Vec<Vec<usize>>>,
}

impl Trace {
    /// Evaluates a graph; `inputs` are in the order of [`Graph::inputs`], each with its batch axis first.
    ///
    /// Asks `interrupt` before each node. A number that is not finite is an error at the first node that computes one.
    pub fn record(graph: &Graph, inputs: &[Value], interrupt: &dyn Interrupt) -> Result<Trace> {
        Trace::record_keeping(graph, inputs, &[], interrupt)
    }

    /// The same, with these values kept even where they could be fused away.
    pub fn record_keeping(
        graph: &Graph,
        inputs: &[Value],
        keep: &[Outlet],
        interrupt: &dyn Interrupt,
    ) -> Result<Trace> {
        let ends: Vec<Outlet> = graph.outputs().iter().map(|(_, outlet)| *outlet).collect();
        let is_needed = vec![true; graph.nodes().len()];
        Trace::record_nodes(graph, inputs, &is_needed, &ends, keep, interrupt)
    }

    /// The same for what these values are computed from alone; nothing else is evaluated until somebody asks for it.
    pub fn record_up_to(graph: &Graph, inputs: &[Value], ends: &[Outlet], interrupt: &dyn Interrupt) -> Result<Trace> {
        let is_needed = graph.ancestors(&ends.iter().map(|outlet| outlet.node).collect::<Vec<_>>());
        Trace::record_nodes(graph, inputs, &is_needed, ends, ends, interrupt)
    }

    fn record_nodes(
        graph: &Graph,
        inputs: &[Value],
        is_needed: &[bool],
        ends: &[Outlet],
        keep: &[Outlet],
        interrupt: &dyn Interrupt,
    ) -> Result<Trace> {
        let shapes = graph.shapes(&inputs.iter().map(|input| input.shape().to_vec()).collect::<Vec<_>>())?;
        let rectifiers = fused_rectifiers(graph, keep);
        let nodes = graph.shared_nodes();
        let mut trace = Trace { nodes: nodes.clone(), values: Vec::with_capacity(nodes.len()), shapes };
        let mut given = inputs.iter();
        let mut rectified: Vec<Option<Vec<Value>>> = vec![None; nodes.len()];
        for (idx, node) in nodes.iter().enumerate() {
            interrupt.check()?;
            crate::pause::point();
            let of_node = if !is_needed[idx] && node.operator.as_input().is_none() {
                trace.values.push(vec![None; node.operator.n_outputs()]);
                continue;
            } else if node.operator.as_input().is_some() {
                vec![given.next().expect("`shapes` has checked that all inputs are there").clone()]
            } else if let Some(values) = rectified[idx].take() {
                values
            } else if let Some((rectifier, low, high)) = rectifiers[idx]
                && let Some(values) =
                    trace.with_inputs(node, |inputs| node.operator.forward_clamped(inputs, low, high))?
            {
                rectified[rectifier.0] = Some(values.map_err(|error| error.at_node(&node.name))?);
                trace.values.push(vec![None; node.operator.n_outputs()]);
                continue;
            } else {
                trace.computed(node)?
            };
            trace.values.push(of_node.into_iter().map(Some).collect());
        }
        for outlet in ends {
            trace.check_finite(*outlet, is_needed)?;
        }
        Ok(trace)
    }

    fn with_inputs<R>(&self, node: &Node, then: impl FnOnce(&[&Value]) -> R) -> Result<R> {
        let inputs = node.inputs.iter().map(|input| self.value(*input)).collect::<Result<Vec<_>>>()?;
        Ok(then(&inputs.iter().collect::<Vec<_>>()))
    }

    /// What a node computes of its inputs.
    fn computed(&self, node: &Node) -> Result<Vec<Value>> {
        self.with_inputs(node, |inputs| node.operator.forward(inputs))?.map_err(|error| error.at_node(&node.name))
    }

    /// Where an output is not finite, names the first node that is not.
    fn check_finite(&self, output: Outlet, is_needed: &[bool]) -> Result<()> {
        if self.value(output)?.first_not_finite()?.is_none() {
            return Ok(());
        }
        for (idx, node) in self.nodes.iter().enumerate().filter(|(idx, _)| is_needed[*idx]) {
            for port in 0..self.values[idx].len() {
                let value = self.value(Outlet { node: NodeIdx(idx), port })?;
                if let Some((position, number)) = value.first_not_finite()? {
                    return Err(ModelError::NotFinite { node: node.name.clone(), value: number, position });
                }
            }
        }
        Ok(())
    }

    /// A node's output; computed now where it was fused away or not needed when this was recorded.
    pub fn value(&self, outlet: Outlet) -> Result<Value> {
        match &self.values[outlet.node.0][outlet.port] {
            Some(value) => Ok(value.clone()),
            None => Ok(self.computed(&self.nodes[outlet.node.0])?.swap_remove(outlet.port)),
        }
    }

    /// The logical shape of a node's output, batch first.
    pub fn shape(&self, outlet: Outlet) -> &[usize] {
        &self.shapes[outlet.node.0][outlet.port]
    }

    /// What a node read and computed.
    pub fn of_node(&self, node: NodeIdx) -> ValuesOfNode<'_> {
        ValuesOfNode { trace: self, node }
    }

    /// How many inputs were evaluated together.
    pub fn batch(&self) -> usize {
        self.shapes.first().and_then(|shapes| shapes.first()?.first().copied()).unwrap_or(0)
    }

    /// Numbers of the largest value.
    pub fn largest(&self) -> usize {
        self.shapes.iter().flatten().map(|shape| shape.iter().product()).max().unwrap_or(0)
    }

    /// Bytes that the values hold.
    pub fn bytes(&self) -> usize {
        self.values.iter().flatten().flatten().map(Value::bytes).sum()
    }
}

/// For each node the rectifier behind it that alone reads it, with its bounds.
fn fused_rectifiers(graph: &Graph, keep: &[Outlet]) -> Vec<Option<(NodeIdx, f64, f64)>> {
    let consumers = graph.consumers();
    let is_kept = |idx: NodeIdx| {
        let outputs = graph.outputs().iter().map(|(_, outlet)| outlet);
        outputs.chain(keep).any(|outlet| outlet.node == idx)
    };
    let rectifier_behind = |idx: usize| {
        let [reader] = consumers[idx][..] else { return None };
        let (low, high) = graph.node(reader).operator.as_activation()?.function().bounds()?;
        (!is_kept(NodeIdx(idx))).then_some((reader, low, high))
    };
    (0..graph.nodes().len()).map(rectifier_behind).collect()
}

/// What a node of a trace read and computed.
#[derive(Clone, Copy, Debug)]
pub struct ValuesOfNode<'a> {
    trace: &'a Trace,
    node: NodeIdx,
}

impl NodeValues for ValuesOfNode<'_> {
    fn input_shape(&self, nth: usize) -> Vec<usize> {
        self.trace.shape(self.trace.nodes[self.node.0].inputs[nth]).to_vec()
    }

    fn input(&self, nth: usize) -> Result<Value> {
        self.trace.value(self.trace.nodes[self.node.0].inputs[nth])
    }

    fn output(&self, nth: usize) -> Result<Value> {
        self.trace.value(Outlet { node: self.node, port: nth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Interrupted, Uninterrupted};
    use crate::graph::{Dim, GraphBuilder};
    use crate::operators::{Activation, Arithmetic, Operand, PointwiseFunction};
    use crate::value::Layout;

    fn reciprocal() -> Graph {
        let mut builder = GraphBuilder::new();
        let input = builder.input("input", &[Dim::Known(2)]).unwrap();
        let one = candle_core::Tensor::from_vec(vec![1.0f32], 1, &candle_core::Device::Cpu).unwrap();
        let inverse = builder.add("inverse", Arithmetic::divide(Operand::Left(one)), &[input]).unwrap();
        let relu = builder.add("relu", Activation::new(PointwiseFunction::Relu), &[inverse]).unwrap();
        builder.finish(&[("output", relu)]).unwrap()
    }

    #[test]
    fn the_first_layer_that_is_not_finite_is_named() {
        let input = Value::from_vec(vec![2.0f32, 0.0], &[1, 2], Layout::Logical).unwrap();
        let error = Trace::record(&reciprocal(), &[input], &Uninterrupted).unwrap_err();
        assert_eq!(error.to_string(), "layer `inverse` computed inf at [0, 1]");
    }

    #[test]
    fn a_wrong_shape_is_refused_before_anything_is_computed() {
        let input = Value::from_vec(vec![2.0f32; 3], &[1, 3], Layout::Logical).unwrap();
        let error = Trace::record(&reciprocal(), &[input], &Uninterrupted).unwrap_err();
        assert_eq!(error.to_string(), "input `input` must have shape [2] but has [3]");
    }

    #[test]
    fn what_no_end_needs_is_not_computed() {
        let mut builder = GraphBuilder::new();
        let input = builder.input("input", &[Dim::Known(2)]).unwrap();
        let add_one = || {
            let one = candle_core::Tensor::from_vec(vec![1.0f32], 1, &candle_core::Device::Cpu).unwrap();
            Arithmetic::add(Operand::Right(one))
        };
        let lower = builder.add("lower", add_one(), &[input]).unwrap();
        let rectified = builder.add("relu", Activation::new(PointwiseFunction::Relu), &[lower]).unwrap();
        let upper = builder.add("upper", add_one(), &[rectified]).unwrap();
        let graph = builder.finish(&[("output", upper)]).unwrap();
        let input = Value::from_vec(vec![-3.0f32, 2.0], &[1, 2], Layout::Logical).unwrap();
        let trace = Trace::record_up_to(&graph, &[input], &[lower], &Uninterrupted).unwrap();
        assert!(trace.values[rectified.node.0][0].is_none() && trace.values[upper.node.0][0].is_none());
        assert_eq!(trace.value(lower).unwrap().to_f32_vec().unwrap(), [-2.0, 3.0]);
        assert_eq!(trace.value(upper).unwrap().to_f32_vec().unwrap(), [1.0, 4.0], "computed once it is asked for");
    }

    #[test]
    fn an_interrupt_stops_between_layers() {
        struct Stopped;
        impl Interrupt for Stopped {
            fn check(&self) -> Result<(), Interrupted> {
                Err(Interrupted::Cancelled)
            }
        }
        let input = Value::from_vec(vec![2.0f32, 1.0], &[1, 2], Layout::Logical).unwrap();
        assert!(matches!(
            Trace::record(&reciprocal(), &[input], &Stopped),
            Err(ModelError::Interrupted(Interrupted::Cancelled))
        ));
    }
}
