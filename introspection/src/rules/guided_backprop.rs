//! Guided backpropagation: at rectifiers only what is positive passes, and only where the unit was active.
//!
//! `R = g⁺ · f'(x)`; for ReLU that is `g · 1[x > 0] · 1[g > 0]`, Springenberg et al. 2015, section 3.4.

use models::operators::Backward;
use models::{Node, Value};

use super::deconvnet::positive_part;
use crate::backward_walk::{Passing, Rule};

/// The rule at rectifiers.
#[derive(Clone, Copy, Debug)]
pub struct GuidedBackprop;

impl Rule for GuidedBackprop {
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        let gradients = [Some(positive_part(backward.gradient()?)?)];
        node.operator.input_gradients(&Backward { gradients: &gradients, ..*backward })
    }

    fn at_rectifiers(&self) -> Option<Passing> {
        Some(Passing::Positive)
    }
}
