//! Relevance of which one input takes all: at quotients, and at activations that are written as products.

use models::operators::{ArithmeticFunction, Backward, Family, Reach};
use models::{Graph, Node, Outlet, Value};

use crate::backward_walk::Rule;

/// All that arrives goes to one input, as it is; the others, gates and divisors, only say how much of it there is.
#[derive(Clone, Copy, Debug)]
pub struct TakesAll {
    /// Which input; it has the output's shape.
    pub input: usize,
}

impl Rule for TakesAll {
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        let arrived = backward.gradient()?;
        if arrived.shape() != backward.gradient_shape(self.input) {
            let reason = "relevance passes unchanged only to an input of the output's shape";
            return Err(models::ModelError::operator(node.operator.kind(), reason));
        }
        Ok((0..node.inputs.len()).map(|nth| (nth == self.input).then(|| arrived.clone())).collect())
    }
}

/// Which input of a product is the signal that takes all relevance: the numerator of a quotient, whose divisor only
/// scales it; and where both factors are functions of the same numbers, place by place, the simpler one, since together
/// they are an activation (`x · sigmoid(x)`, GELU in parts) that passes relevance on.
pub(crate) fn signal_of(graph: &Graph, shapes: &[Vec<Vec<usize>>], idx: usize) -> Option<usize> {
    let node = &graph.nodes()[idx];
    let arithmetic = node.operator.as_arithmetic().filter(|_| node.operator.family() == Family::Product)?;
    let has_shape_of_output = |input: &Outlet| shapes[input.node.0][input.port] == shapes[idx][0];
    if arithmetic.function() == ArithmeticFunction::Divide {
        return has_shape_of_output(&node.inputs[0]).then_some(0);
    }
    let [left, right] = node.inputs[..] else { return None };
    if !has_shape_of_output(&left) || !has_shape_of_output(&right) {
        return None;
    }
    let (of_left, of_right) = (pointwise_sources(graph, left), pointwise_sources(graph, right));
    // Numbers that both are computed from; those below either have no say.
    let shared = of_left.iter().find(|(source, _)| of_right.iter().any(|(other, _)| other == source))?.0;
    let depth = |of: &[(Outlet, usize)]| of.iter().find(|(source, _)| *source == shared).map(|(_, depth)| *depth);
    Some(usize::from(depth(&of_right) < depth(&of_left)))
}

/// Outlets that an outlet is a function of, place by place and of nothing else, with how many nodes lie between; nearest
/// first.
fn pointwise_sources(graph: &Graph, outlet: Outlet) -> Vec<(Outlet, usize)> {
    const DEEPEST: usize = 12;
    let mut sources = vec![(outlet, 0)];
    let mut at = vec![outlet];
    for depth in 1..=DEEPEST {
        // All that is open is read through its latest node, so that ways of different lengths meet again.
        let Some(last) = at.iter().copied().max() else { break };
        let node = graph.node(last.node);
        let is_pointwise = match node.operator.family() {
            Family::Rectifier | Family::Activation => node.operator.reach() == Reach::Pointwise,
            Family::Sum | Family::Product => node.operator.as_arithmetic().is_some(),
            _ => false,
        };
        if !is_pointwise || node.operator.kind().ends_with("Softmax") {
            break;
        }
        at.retain(|open| *open != last);
        at.extend(node.inputs.iter().copied());
        at.sort_unstable();
        at.dedup();
        if let [only] = at[..] {
            sources.push((only, depth));
        }
    }
    sources
}
