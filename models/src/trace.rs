//! One forward pass, holding every node's output: what all later questions about an input are answered from.

use crate::error::{Interrupt, ModelError, Result};
use crate::graph::{Graph, NodeIdx, Outlet};
use crate::value::Value;

/// Every node's outputs for one batch of inputs; rows of the batch are independent.
#[derive(Clone, Debug)]
pub struct Trace {
    values: Vec<Vec<Value>>,
}

impl Trace {
    /// Evaluates a graph; `inputs` are in the order of [`Graph::inputs`], each with its batch axis first.
    ///
    /// Asks `interrupt` before each node. A number that is not finite is an error at the first node that computes one.
    pub fn record(graph: &Graph, inputs: &[Value], interrupt: &dyn Interrupt) -> Result<Trace> {
        let mut values: Vec<Vec<Value>> = Vec::with_capacity(graph.nodes().len());
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|input| input.shape().to_vec()).collect();
        graph.shapes(&shapes)?;
        let mut given = inputs.iter();
        for node in graph.nodes() {
            interrupt.check()?;
            let of_node = if node.operator.as_input().is_some() {
                vec![given.next().expect("`shapes` has checked that all inputs are there").clone()]
            } else {
                let of_inputs: Vec<&Value> =
                    node.inputs.iter().map(|input| &values[input.node.0][input.port]).collect();
                node.operator.forward(&of_inputs).map_err(|error| error.at_node(&node.name))?
            };
            values.push(of_node);
        }
        let trace = Trace { values };
        for (_, outlet) in graph.outputs() {
            trace.check_finite(graph, *outlet)?;
        }
        Ok(trace)
    }

    /// Where an output is not finite, names the first node that is not.
    fn check_finite(&self, graph: &Graph, output: Outlet) -> Result<()> {
        if self.value(output).first_not_finite()?.is_none() {
            return Ok(());
        }
        for (node, values) in graph.nodes().iter().zip(&self.values) {
            for value in values {
                if let Some((position, number)) = value.first_not_finite()? {
                    return Err(ModelError::NotFinite { node: node.name.clone(), value: number, position });
                }
            }
        }
        Ok(())
    }

    /// A node's output.
    pub fn value(&self, outlet: Outlet) -> &Value {
        &self.values[outlet.node.0][outlet.port]
    }

    /// All outputs of a node.
    pub fn outputs(&self, node: NodeIdx) -> &[Value] {
        &self.values[node.0]
    }

    /// How many inputs were evaluated together.
    pub fn batch(&self) -> usize {
        self.values.first().and_then(|values| values.first()).map_or(0, Value::batch)
    }

    /// Bytes that the values hold.
    pub fn bytes(&self) -> usize {
        self.values.iter().flatten().map(Value::bytes).sum()
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
