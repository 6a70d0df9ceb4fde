//! DeepLIFT's rescale rule: how much each input's difference from a baseline contributed to the score's (Shrikumar et
//! al. 2017, section 3.5.1).

use std::sync::Arc;

use models::operators::{Backward, Family, NodeValues, combine_rows};
use models::trace::ValuesOfNode;
use models::{Graph, Node, NodeIdx, Outlet, Trace, Value};

use crate::attribution::Question;
use crate::backward_walk::{Composite, Rule};
use crate::error::Result;
use crate::integrated_gradients::{Complete, baseline_numbers, completed};
use crate::rules::Gradient;

/// What max pools do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxPoolRule {
    /// All goes to the winner of the explained input, as in the reference implementation; not quite complete.
    #[default]
    Winner,
    /// The winners of both inputs share the difference; complete (Lundberg and Lee 2017, DeepSHAP).
    CrossMax,
}

/// Differences of less are no difference.
const NO_DIFFERENCE: f64 = 1e-10;

/// A multiplier at a point-wise function: `Δout / Δin`, its derivative where nothing differs.
#[derive(Debug)]
struct Rescale {
    reference: Arc<Trace>,
    idx: NodeIdx,
}

/// The value of a reference that every row is compared with.
fn of_reference(reference: &Trace, outlet: Outlet, like: &Value) -> models::Result<Value> {
    reference.value(outlet)?.select_rows(&vec![0; like.batch()])
}

impl Rule for Rescale {
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        let (read, computed) = (backward.values.input(0)?, backward.values.output(0)?);
        let rows: Vec<usize> = (0..read.batch()).collect();
        let minus = |from: &Value, outlet: Outlet| {
            combine_rows(from, &of_reference(&self.reference, outlet, from)?, &rows, |x, reference| x - reference)
        };
        let of_input = minus(&read, node.inputs[0])?;
        let of_output = minus(&computed, Outlet { node: self.idx, port: 0 })?;
        let arrived = backward.gradient()?;
        let slope = combine_rows(&of_input, &of_output, &rows, |input, output| {
            if input.abs() < NO_DIFFERENCE { f64::NAN } else { output / input }
        })?;
        let rescaled = combine_rows(&slope, arrived, backward.rows, |slope, g| slope * g)?;
        let plain = node.operator.input_gradients(backward)?.swap_remove(0);
        let Some(plain) = plain else { return Ok(vec![None]) };
        let pairs: Vec<usize> = (0..backward.rows.len()).collect();
        let or_plain = |rescaled: f64, plain: f64| if rescaled.is_nan() { plain } else { rescaled };
        Ok(vec![Some(combine_rows(&rescaled, &plain, &pairs, or_plain)?)])
    }

    fn sees_whole(&self) -> bool {
        true
    }
}

/// At a max pool, what the explained winner gained over the reference's maximum, and what the reference's winner lost.
#[derive(Debug)]
struct CrossMax {
    reference: Arc<Trace>,
    idx: NodeIdx,
}

impl Rule for CrossMax {
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        let (read, computed) = (backward.values.input(0)?, backward.values.output(0)?);
        let rows: Vec<usize> = (0..read.batch()).collect();
        let reference = of_reference(&self.reference, Outlet { node: self.idx, port: 0 }, &computed)?;
        let gained = combine_rows(&computed, &reference, &rows, |x, reference| x.max(reference) - reference)?;
        let lost = combine_rows(&computed, &reference, &rows, |x, reference| x - x.max(reference))?;
        let arrived = backward.gradient()?;
        let times = |part: &Value| combine_rows(part, arrived, backward.rows, |part, g| part * g);
        let gradients = [Some(times(&gained)?)];
        let to_own = node.operator.input_gradients(&Backward { gradients: &gradients, ..*backward })?.swap_remove(0);
        let gradients = [Some(times(&lost)?)];
        let of_reference_alone = vec![0; backward.rows.len()];
        let values = self.reference.of_node(self.idx);
        let at_reference = Backward { values: &values, gradients: &gradients, rows: &of_reference_alone, ..*backward };
        let to_reference = node.operator.input_gradients(&at_reference)?.swap_remove(0);
        let (Some(to_own), Some(to_reference)) = (to_own, to_reference) else { return Ok(vec![None]) };
        let difference = {
            let reference = of_reference(&self.reference, node.inputs[0], &read)?;
            combine_rows(&read, &reference, &rows, |x, reference| x - reference)?
        };
        let per_difference = |d: f64, sum: f64| if d.abs() < NO_DIFFERENCE { 0.0 } else { sum / d };
        Ok(vec![Some(combine_rows(&difference, &to_own.add(&to_reference)?, backward.rows, per_difference)?)])
    }

    fn sees_whole(&self) -> bool {
        true
    }
}

/// At a product of two branches, the gradient halfway between the reference and the input, with which `Δ(xy)` is shared
/// out without a rest: `Δx (y + y₀) / 2 + Δy (x + x₀) / 2`.
#[derive(Debug)]
struct Halfway {
    reference: Arc<Trace>,
    idx: NodeIdx,
}

/// What a node read, halfway to what it read of the reference.
#[derive(Debug)]
struct HalfwayValues<'a> {
    values: &'a dyn NodeValues,
    reference: ValuesOfNode<'a>,
}

impl NodeValues for HalfwayValues<'_> {
    fn input_shape(&self, nth: usize) -> Vec<usize> {
        self.values.input_shape(nth)
    }

    fn input(&self, nth: usize) -> models::Result<Value> {
        let (value, reference) = (self.values.input(nth)?, self.reference.input(nth)?);
        let rows = vec![0; value.batch()];
        combine_rows(&reference, &value, &rows, |reference, x| (x + reference) / 2.0)
    }

    fn output(&self, nth: usize) -> models::Result<Value> {
        self.values.output(nth)
    }
}

impl Rule for Halfway {
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        let values = HalfwayValues { values: backward.values, reference: self.reference.of_node(self.idx) };
        node.operator.input_gradients(&Backward { values: &values, ..*backward })
    }

    fn sees_whole(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct AgainstReference(Vec<Box<dyn Rule>>);

impl Composite for AgainstReference {
    fn rule(&self, _graph: &Graph, idx: NodeIdx) -> &dyn Rule {
        &*self.0[idx.0]
    }
}

/// Whether a node changes each number by itself, by a function that is no line.
fn is_pointwise(node: &Node) -> bool {
    node.operator.as_activation().is_some() || node.operator.kind() == "PRelu"
}

/// DeepLIFT's contributions to each target's score.
///
/// # Shapes
/// - `baseline`: one row, shaped as the input; returns `[target, …]`, the input's shape behind the targets
pub fn deep_lift(question: &Question<'_>, baseline: &Value, max_pool: MaxPoolRule) -> Result<Complete> {
    let input = question.varied_input("DeepLIFT")?;
    let row = question.only_row("DeepLIFT")?;
    let given = question.trace.value(input)?.row(row)?;
    let (x, b) = (given.to_f64_vec()?, baseline_numbers(baseline, &given)?);
    let reference = Arc::new(question.record_with(baseline.to_dtype(given.dtype())?, row)?);
    let rule_at = |(idx, node): (usize, &Node)| -> Box<dyn Rule> {
        let (reference, idx) = (reference.clone(), NodeIdx(idx));
        match node.operator.family() {
            Family::Rectifier | Family::Activation if is_pointwise(node) => Box::new(Rescale { reference, idx }),
            Family::MaxPool if max_pool == MaxPoolRule::CrossMax && node.inputs.len() == 1 => {
                Box::new(CrossMax { reference, idx })
            }
            Family::Product if node.operator.kind() != "Div" => Box::new(Halfway { reference, idx }),
            _ => Box::new(Gradient),
        }
    };
    let composite = AgainstReference(question.graph.nodes().iter().enumerate().map(rule_at).collect());
    let mut maps = question.whole(question.walk(&composite)?)?.to_f64_vec()?;
    for of_target in maps.chunks_exact_mut(x.len()) {
        of_target.iter_mut().zip(x.iter().zip(&b)).for_each(|(number, (x, b))| *number *= x - b);
    }
    completed(question, maps, baseline)
}
