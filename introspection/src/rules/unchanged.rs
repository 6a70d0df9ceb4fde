//! Relevance through what changes each number by itself: it stays where it is.

use models::operators::Backward;
use models::{Node, Value};

use crate::backward_walk::Rule;

/// `R_i = R_j`: activations, batch norms, constants added or multiplied.
#[derive(Clone, Copy, Debug)]
pub struct Unchanged;

impl Rule for Unchanged {
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        let arrived = backward.gradient()?;
        if arrived.shape() != backward.gradient_shape(0) || backward.wanted.len() != 1 {
            let reason = "relevance passes unchanged only where an operator has one input, of its output's shape";
            return Err(models::ModelError::operator(node.operator.kind(), reason));
        }
        Ok(vec![Some(arrived.clone())])
    }
}
