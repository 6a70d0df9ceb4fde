//! The gradient: what each operator says of itself.

use models::operators::Backward;
use models::{Node, Value};

use crate::backward_walk::Rule;

/// `∂y/∂x`, by the operator's own file.
#[derive(Clone, Copy, Debug)]
pub struct Gradient;

impl Rule for Gradient {
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        node.operator.input_gradients(backward)
    }
}
