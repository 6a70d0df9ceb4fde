//! Relevance through weighted sums: convolutions and dense layers.
//!
//! Every rule of layer-wise relevance propagation for `z_j = Σ_i x_i w_ij + b_j` splits what arrives in proportion to
//! what each input contributed, and they differ in what counts as a contribution. A rule here is a list of *shares*
//!
//! `R_i = Σ_share factor · Σ_branch x_i(branch) Σ_j w_ij(branch) R_j / stab(Σ_branch Σ_i x_i w_ij + b_j)`
//!
//! whose branches read parts of the input with changed weights, so that every rule is made of forward passes and
//! gradients of the operator itself, and strides, padding and windows come for free. Montavon et al. 2019, "Layer-wise
//! relevance propagation: an overview"; names and defaults as zennit has them.

use models::operators::{Backward, Reweighting, combine_rows};
use models::{Layout, Node, Value};

use super::stabilized;
use crate::backward_walk::Rule;

/// Part of what an operator read.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// `x`
    All,
    /// `x⁺`
    Positive,
    /// `x⁻`
    Negative,
    /// The same everywhere, or in each channel.
    Constant(Vec<f64>),
}

#[derive(Clone, Debug)]
struct Branch {
    part: Part,
    weights: Reweighting,
}

/// A way to split that sums to what arrived, where its bias is zero.
#[derive(Clone, Debug)]
struct Share {
    factor: f64,
    /// Only where the operator's own output has this sign.
    sign: Option<f64>,
    branches: Vec<Branch>,
    /// Of the denominator.
    bias: Option<Reweighting>,
}

/// A rule for weighted sums.
#[derive(Clone, Debug)]
pub struct WeightedSum {
    name: &'static str,
    shares: Vec<Share>,
    stabilizer: f64,
}

/// Added to a denominator, with its sign.
pub const STABILIZER: f64 = 1e-6;

fn branch(part: Part, weights: Reweighting) -> Branch {
    Branch { part, weights }
}

fn share(branches: Vec<Branch>, bias: Reweighting) -> Share {
    Share { factor: 1.0, sign: None, branches, bias: Some(bias) }
}

/// Positive and negative inputs with weights for each, which together contribute with one sign.
fn by_sign(positive: Reweighting, negative: Reweighting, bias: Reweighting) -> Share {
    share(vec![branch(Part::Positive, positive), branch(Part::Negative, negative)], bias)
}

impl WeightedSum {
    fn new(name: &'static str, shares: Vec<Share>) -> Self {
        WeightedSum { name, shares, stabilizer: STABILIZER }
    }

    /// LRP-ε: `R_i = x_i Σ_j w_ij R_j / stab(z_j)` (Bach et al. 2015, equation 58).
    pub fn epsilon(epsilon: f64) -> Self {
        let all = share(vec![branch(Part::All, Reweighting::ORIGINAL)], Reweighting::ORIGINAL);
        WeightedSum { stabilizer: epsilon, ..WeightedSum::new("epsilon", vec![all]) }
    }

    /// z⁺: what contributed positively (Montavon et al. 2017, for inputs of both signs).
    pub fn z_plus() -> Self {
        use Reweighting as W;
        WeightedSum::new("z_plus", vec![by_sign(W::POSITIVE, W::NEGATIVE, W::POSITIVE)])
    }

    /// LRP-αβ: α times what spoke for, minus β times what spoke against (Bach et al. 2015, equation 60).
    pub fn alpha_beta(alpha: f64, beta: f64) -> Self {
        use Reweighting as W;
        let speaks_for = Share { factor: alpha, ..by_sign(W::POSITIVE, W::NEGATIVE, W::POSITIVE) };
        let against = Share { factor: -beta, ..by_sign(W::NEGATIVE, W::POSITIVE, W::NEGATIVE) };
        WeightedSum::new("alpha_beta", [speaks_for, against].into_iter().filter(|share| share.factor != 0.0).collect())
    }

    /// LRP-γ, generalised to outputs and inputs of both signs (Andéol et al. 2021): what agrees with the output's sign
    /// counts `1 + γ` times.
    pub fn gamma(gamma: f64) -> Self {
        let up = Reweighting { plain: 1.0, positive: gamma, ..Reweighting::default() };
        let down = Reweighting { plain: 1.0, negative: gamma, ..Reweighting::default() };
        let of_sign = |sign: f64, share: Share| Share { sign: Some(sign), ..share };
        let shares = vec![of_sign(1.0, by_sign(up, down, up)), of_sign(-1.0, by_sign(down, up, down))];
        WeightedSum::new("gamma", shares)
    }

    /// zᴮ: for inputs between bounds, one for all or one for each channel (Montavon et al. 2017, equation 17).
    pub fn z_box(low: Vec<f64>, high: Vec<f64>) -> Self {
        let minus_positive = Reweighting { positive: -1.0, ..Reweighting::default() };
        let minus_negative = Reweighting { negative: -1.0, ..Reweighting::default() };
        let branches = vec![
            branch(Part::All, Reweighting::ORIGINAL),
            branch(Part::Constant(low), minus_positive),
            branch(Part::Constant(high), minus_negative),
        ];
        // b − b⁺ − b⁻ is nothing.
        WeightedSum::new("z_box", vec![Share { factor: 1.0, sign: None, branches, bias: None }])
    }

    /// w²: the squared weights alone count (Montavon et al. 2017, equation 12).
    pub fn w_square() -> Self {
        let ones = branch(Part::Constant(vec![1.0]), Reweighting::SQUARE);
        WeightedSum::new("w_square", vec![share(vec![ones], Reweighting::SQUARE)])
    }

    /// Flat: every input that there is counts alike (Lapuschkin et al. 2019).
    pub fn flat() -> Self {
        let ones = branch(Part::Constant(vec![1.0]), Reweighting::ONE);
        WeightedSum::new("flat", vec![Share { factor: 1.0, sign: None, branches: vec![ones], bias: None }])
    }

    /// Without biases in the denominators, so that nothing is lost to them.
    pub fn without_bias(mut self) -> Self {
        self.shares.iter_mut().for_each(|share| share.bias = None);
        self
    }

    fn of_share(&self, share: &Share, node: &Node, backward: &Backward<'_>) -> models::Result<Option<Value>> {
        let relevance = match share.sign {
            None => backward.gradient()?.clone(),
            Some(sign) => {
                let own = forward(&*node.operator, &backward.values.input(0)?)?;
                let has_sign = |z: f64, r: f64| if z * sign > 0.0 { r } else { 0.0 };
                combine_rows(&own, backward.gradient()?, backward.rows, has_sign)?
            }
        };
        let read = backward.values.input(0)?;
        let is_signed = read.has_negative()?;
        let mut parts = Vec::new();
        let mut total: Option<Value> = None;
        for Branch { part, weights } in &share.branches {
            let Some(part) = part_of(part, &read, is_signed)? else { continue };
            // The bias counts once.
            let bias = share.bias.filter(|_| total.is_none());
            let Some(operator) = node.operator.reweighted(*weights, bias) else {
                let reason = format!("the rule {} is for weighted sums; use norm, pass or gradient here", self.name);
                return Err(models::ModelError::operator(node.operator.kind(), reason));
            };
            let operator = operator?;
            let contributed = forward(&*operator, &part)?;
            total = Some(match total {
                Some(total) => total.add(&contributed)?,
                None => contributed,
            });
            parts.push((part, operator));
        }
        let Some(total) = total else { return Ok(None) };
        let divided = |z: f64, r: f64| share.factor * r / stabilized(z, self.stabilizer);
        let gradients = [Some(combine_rows(&total, &relevance, backward.rows, divided)?)];
        let mut sum: Option<Value> = None;
        for (part, operator) in parts {
            let passed = operator.input_gradients(&Backward { gradients: &gradients, ..*backward })?.remove(0);
            let Some(passed) = passed else { continue };
            let passed = combine_rows(&part, &passed, backward.rows, |x, g| x * g)?;
            sum = Some(match sum {
                Some(sum) => sum.add(&passed)?,
                None => passed,
            });
        }
        Ok(sum)
    }
}

fn forward(operator: &dyn models::operators::Operator, input: &Value) -> models::Result<Value> {
    Ok(operator.forward(&[input])?.swap_remove(0))
}

/// A part of a value; `None` where it is nothing.
fn part_of(part: &Part, read: &Value, is_signed: bool) -> models::Result<Option<Value>> {
    Ok(match part {
        Part::Positive if is_signed => Some(read.map(|x| x.max(0.0))?),
        Part::All | Part::Positive => Some(read.clone()),
        Part::Negative if is_signed => Some(read.map(|x| x.min(0.0))?),
        Part::Negative => None,
        Part::Constant(numbers) => Some(constant(numbers, read)?),
    })
}

/// One number everywhere, or one a channel, in the shape of a value.
fn constant(numbers: &[f64], like: &Value) -> models::Result<Value> {
    let shape = like.shape();
    let n_channels = shape.get(1).copied().unwrap_or(1);
    if numbers.len() != 1 && numbers.len() != n_channels {
        let reason = format!("{} bounds for an input of {n_channels} channels; give one, or one each", numbers.len());
        return Err(models::ModelError::operator("rule", reason));
    }
    let per_channel: usize = shape.iter().skip(2).product();
    let of_channel = |nth: usize| numbers[(nth / per_channel) % n_channels % numbers.len()];
    let numbers: Vec<f64> = (0..like.len()).map(of_channel).collect();
    Value::from_vec(numbers, shape, Layout::Logical)?.to_dtype(like.dtype())
}

impl Rule for WeightedSum {
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        let mut sum: Option<Value> = None;
        for share in &self.shares {
            let Some(passed) = self.of_share(share, node, backward)? else { continue };
            sum = Some(match sum {
                Some(sum) => sum.add(&passed)?,
                None => passed,
            });
        }
        match sum {
            Some(sum) => Ok(vec![Some(sum)]),
            None => Ok(vec![Some(Value::zeros_like(&backward.values.input(0)?, backward.rows.len())?)]),
        }
    }

    fn sees_whole(&self) -> bool {
        // What stands for the input beyond its edge would have to be told from what stands for it within.
        let is_constant = |branch: &Branch| matches!(branch.part, Part::Constant(_));
        self.shares.iter().flat_map(|share| &share.branches).any(is_constant)
    }
}
