//! Rules of the backward walk, a file each, and the composites that give each node its rule.

mod deconvnet;
mod gradient;
mod guided_backprop;
mod proportional;
mod recurrent;
mod redirected_rectifier;
mod takes_all;
mod unchanged;
mod weighted_sum;

use models::operators::Family;
use models::{Graph, NodeIdx};

use crate::backward_walk::{Composite, Rule};

pub use deconvnet::Deconvnet;
pub use gradient::Gradient;
pub use guided_backprop::GuidedBackprop;
pub use proportional::Proportional;
pub use recurrent::SignalTakesAll;
pub use redirected_rectifier::RedirectedRectifier;
pub use takes_all::TakesAll;
pub(crate) use takes_all::signal_of;
pub use unchanged::Unchanged;
pub use weighted_sum::{STABILIZER, WeightedSum};

/// `d + ε · sgn(d)` with `sgn(0) = 1`.
fn stabilized(d: f64, epsilon: f64) -> f64 {
    if d < 0.0 { d - epsilon } else { d + epsilon }
}

/// The gradient everywhere.
#[derive(Clone, Copy, Debug)]
pub struct PlainGradient;

impl Composite for PlainGradient {
    fn rule(&self, _graph: &Graph, _idx: NodeIdx) -> &dyn Rule {
        &Gradient
    }
}

/// One rule at every rectifier, the gradient everywhere else.
#[derive(Debug)]
pub struct AtRectifiers<R>(pub R);

impl<R: Rule> Composite for AtRectifiers<R> {
    fn rule(&self, graph: &Graph, idx: NodeIdx) -> &dyn Rule {
        if graph.node(idx).operator.family() == Family::Rectifier { &self.0 } else { &Gradient }
    }
}

/// The activations between two places of a graph that [`AtRectifiers`] leaves with their plain gradient, by name.
pub fn activations_with_plain_gradient(graph: &Graph) -> Vec<&str> {
    let logits = graph.logits().node;
    let before_logits = graph.nodes().iter().enumerate().filter(|(idx, _)| *idx <= logits.0).map(|(_, node)| node);
    // A constant added or multiplied is affine and has but one gradient.
    let is_kept = |operator: &dyn models::operators::Operator| {
        operator.family() == Family::Activation
            && operator.kind() != "Add"
            && operator.kind() != "Sub"
            && operator.kind() != "Mul"
            && operator.kind() != "Div"
    };
    before_logits.filter(|node| is_kept(&*node.operator)).map(|node| node.name.as_str()).collect()
}
