//! Relevance through operators without weights: sums of branches, averages, products.

use models::operators::{Backward, combine_rows};
use models::{Node, Value};

use super::STABILIZER;
use super::stabilized;
use crate::backward_walk::Rule;

/// `R_i = x_i · ∂y/∂x_i · part · R / stab(y)`: in proportion to what each input contributed.
///
/// For sums and averages, whose outputs are the sums of what their inputs contribute, the part is 1 (zennit's norm); for
/// a product of two branches, to which each contributes the whole, a half (Achtibat et al. 2024, section 3.2).
#[derive(Clone, Copy, Debug)]
pub struct Proportional {
    part: f64,
}

impl Proportional {
    /// For sums and averages.
    pub const SUM: Proportional = Proportional { part: 1.0 };
    /// For products of two branches.
    pub const PRODUCT: Proportional = Proportional { part: 0.5 };
}

impl Rule for Proportional {
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        let divided = |y: f64, r: f64| self.part * r / stabilized(y, STABILIZER);
        let output = backward.values.output(0)?;
        let gradients = [Some(combine_rows(&output, backward.gradient()?, backward.rows, divided)?)];
        let passed = node.operator.input_gradients(&Backward { gradients: &gradients, ..*backward })?;
        let times_input = |(nth, passed): (usize, Option<Value>)| {
            let of_input =
                |passed: Value| combine_rows(&backward.values.input(nth)?, &passed, backward.rows, |x, g| x * g);
            passed.map(of_input).transpose()
        };
        passed.into_iter().enumerate().map(times_input).collect()
    }
}
