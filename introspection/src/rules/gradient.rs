//! The gradient: what each operator says of itself.

use models::operators::Backward;
use models::{Node, Value};

use crate::backward_walk::{Passing, Rule};

/// `∂y/∂x`, by the operator's own file.
#[derive(Clone, Copy, Debug)]
pub struct Gradient;

impl Rule for Gradient {
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        node.operator.input_gradients(backward)
    }

    fn at_rectifiers(&self) -> Option<Passing> {
        Some(Passing::All)
    }

    fn is_gradient(&self) -> bool {
        true
    }
}
