//! Deconvnet: at rectifiers what is positive passes, whether the unit was active or not.
//!
//! `R = g⁺`, Zeiler and Fergus 2014, section 2.1.

use models::operators::Backward;
use models::{Node, Value};

use crate::backward_walk::Rule;

/// The rule at rectifiers.
#[derive(Clone, Copy, Debug)]
pub struct Deconvnet;

impl Rule for Deconvnet {
    fn pass(&self, _node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        Ok(vec![Some(positive_part(backward.gradient()?)?)])
    }
}

/// `max(g, 0)`
pub(super) fn positive_part(gradient: &Value) -> models::Result<Value> {
    gradient.map(|number| if number > 0.0 { number } else { 0.0 })
}
