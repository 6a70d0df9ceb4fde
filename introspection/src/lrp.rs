//! Layer-wise relevance propagation: which rule each layer gets, and the walk under them.
//!
//! Bach et al. 2015; the composites are zennit's (Anders et al. 2021).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use models::operators::{ArithmeticFunction, Dense, Family, Operand, Operator};
use models::{Graph, Node, NodeIdx, Value};

use crate::attribution::Question;
use crate::backward_walk::{Arrived, Composite, Rule};
use crate::error::{IntrospectionError, Result};
use crate::rules::{Gradient, Proportional, STABILIZER, SignalTakesAll, TakesAll, Unchanged, WeightedSum, signal_of};
use crate::target::ResolvedTarget;

/// Which rules a network's layers get, by their kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Preset {
    /// ε everywhere.
    Epsilon,
    /// Convolutions z⁺, dense layers ε.
    EpsilonPlus,
    /// The same, the first layer flat.
    EpsilonPlusFlat,
    /// Convolutions α = 2, β = 1, dense layers ε.
    EpsilonAlpha2Beta1,
    /// The same, the first layer flat.
    EpsilonAlpha2Beta1Flat,
    /// The first convolution zᴮ, others γ = 0.25, dense layers ε.
    EpsilonGammaBox {
        /// The least that an input can be: one number, or one a channel.
        low: Vec<f64>,
        /// The most.
        high: Vec<f64>,
    },
    /// Excitation backprop (Zhang et al. 2016): z⁺ at convolutions and dense layers.
    ExcitationBackprop,
}

/// A rule that a layer can be given by name.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerRule {
    Epsilon {
        epsilon: f64,
    },
    Gamma {
        gamma: f64,
    },
    ZPlus,
    AlphaBeta {
        alpha: f64,
        beta: f64,
    },
    ZBox {
        low: Vec<f64>,
        high: Vec<f64>,
    },
    WSquare,
    Flat,
    Norm,
    Pass,
    Gradient,
    /// There is none; an error where relevance arrives.
    Missing,
}

/// The rules of all layers of one network.
#[derive(Clone, Debug)]
pub struct RuleTable {
    /// One a node, with its name.
    rules: Vec<(Arc<dyn Rule>, &'static str)>,
}

impl Composite for RuleTable {
    fn rule(&self, _graph: &Graph, idx: NodeIdx) -> &dyn Rule {
        &*self.rules[idx.0].0
    }
}

impl RuleTable {
    /// The rules of a preset, but those given for layers; without biases where `zero_bias`.
    pub fn new(
        graph: &Graph,
        preset: &Preset,
        of_layers: &BTreeMap<NodeIdx, LayerRule>,
        zero_bias: bool,
    ) -> Result<RuleTable> {
        let consumers = graph.consumers();
        let bias_behind = |idx: usize| bias_behind(graph, &consumers, idx);
        let is_bias: Vec<bool> = {
            let mut is_bias = vec![false; graph.nodes().len()];
            (0..is_bias.len()).filter_map(bias_behind).for_each(|(add, _)| is_bias[add.0] = true);
            is_bias
        };
        let (firsts, shapes) = (FirstLayers::of(graph), graph.hinted_shapes()?);
        let mut rules: Vec<(Arc<dyn Rule>, &'static str)> = Vec::new();
        for (idx, node) in graph.nodes().iter().enumerate() {
            let asked = of_layers.get(&NodeIdx(idx)).cloned();
            let rule = match asked {
                Some(rule) => rule,
                None if is_bias[idx] => LayerRule::Pass,
                None => preset.rule(node, NodeIdx(idx), &firsts),
            };
            check(&rule, node)?;
            let (rule, name) = match (&rule, signal_of(graph, &shapes, idx)) {
                (LayerRule::Norm, Some(input)) => (Arc::new(TakesAll { input }) as Arc<dyn Rule>, rule.name()),
                _ => rule.build(node, zero_bias),
            };
            let rule = match bias_behind(idx) {
                Some((_, dense)) => Arc::new(InsteadOf { operator: Arc::new(dense), rule }),
                None => rule,
            };
            rules.push((rule, name));
        }
        Ok(RuleTable { rules })
    }

    /// The name of a node's rule.
    pub fn name(&self, idx: NodeIdx) -> &'static str {
        self.rules[idx.0].1
    }
}

/// The first convolution, and the first layer with weights of either kind.
struct FirstLayers {
    convolution: Option<NodeIdx>,
    weighted: Option<NodeIdx>,
}

impl FirstLayers {
    fn of(graph: &Graph) -> FirstLayers {
        let first = |families: &[Family]| {
            graph.nodes().iter().position(|node| families.contains(&node.operator.family())).map(NodeIdx)
        };
        FirstLayers {
            convolution: first(&[Family::Convolution]),
            weighted: first(&[Family::Convolution, Family::Dense]),
        }
    }
}

impl Preset {
    fn rule(&self, node: &Node, idx: NodeIdx, firsts: &FirstLayers) -> LayerRule {
        let epsilon = LayerRule::Epsilon { epsilon: STABILIZER };
        let is_flat = matches!(self, Preset::EpsilonPlusFlat | Preset::EpsilonAlpha2Beta1Flat);
        match (node.operator.family(), self) {
            (Family::Convolution | Family::Dense, _) if is_flat && firsts.weighted == Some(idx) => LayerRule::Flat,
            (Family::Convolution, Preset::EpsilonGammaBox { low, high }) if firsts.convolution == Some(idx) => {
                LayerRule::ZBox { low: low.clone(), high: high.clone() }
            }
            (Family::Convolution, Preset::Epsilon) => epsilon,
            (Family::Convolution, Preset::EpsilonPlus | Preset::EpsilonPlusFlat | Preset::ExcitationBackprop) => {
                LayerRule::ZPlus
            }
            (Family::Convolution, Preset::EpsilonAlpha2Beta1 | Preset::EpsilonAlpha2Beta1Flat) => {
                LayerRule::AlphaBeta { alpha: 2.0, beta: 1.0 }
            }
            (Family::Convolution, Preset::EpsilonGammaBox { .. }) => LayerRule::Gamma { gamma: 0.25 },
            (Family::Dense, Preset::ExcitationBackprop) => LayerRule::ZPlus,
            (Family::Dense, _) => epsilon,
            // Exporters write an activation as a product of its input with a gate; excitations leave activations alone.
            (Family::Product, Preset::ExcitationBackprop) => LayerRule::Gradient,
            (Family::Sum | Family::AveragePool | Family::Product, _) => LayerRule::Norm,
            // Attention: `x ⊙ (R − softmax(x) Σ R)`, which is in proportion to contributions (Achtibat et al. 2024,
            // proposition 3.1).
            (Family::Activation, _) if node.operator.kind() == "Softmax" => LayerRule::Norm,
            // Excitations are of layers whose inputs and outputs are zero or more.
            (Family::Recurrent, Preset::ExcitationBackprop) => LayerRule::Missing,
            (Family::Recurrent, _) => epsilon,
            (Family::Rectifier | Family::Activation, Preset::ExcitationBackprop) => LayerRule::Gradient,
            (Family::Rectifier | Family::Activation | Family::BatchNorm, _) => LayerRule::Pass,
            (Family::Input | Family::MaxPool | Family::Concat | Family::Rearrangement, _) => LayerRule::Gradient,
        }
    }
}

impl LayerRule {
    /// Its name in requests.
    pub fn name(&self) -> &'static str {
        match self {
            LayerRule::Epsilon { .. } => "epsilon",
            LayerRule::Gamma { .. } => "gamma",
            LayerRule::ZPlus => "z_plus",
            LayerRule::AlphaBeta { .. } => "alpha_beta",
            LayerRule::ZBox { .. } => "z_box",
            LayerRule::WSquare => "w_square",
            LayerRule::Flat => "flat",
            LayerRule::Norm => "norm",
            LayerRule::Pass => "pass",
            LayerRule::Gradient => "gradient",
            LayerRule::Missing => "none",
        }
    }

    /// Whether it is for what has weights.
    pub fn is_for_weighted_sums(&self) -> bool {
        !matches!(self, LayerRule::Norm | LayerRule::Pass | LayerRule::Gradient | LayerRule::Missing)
    }

    /// Whether it can be given to an operator of a family.
    pub fn is_for(&self, family: Family) -> bool {
        match family {
            Family::Convolution | Family::Dense => true,
            Family::Recurrent => matches!(self, LayerRule::Epsilon { .. } | LayerRule::Gradient | LayerRule::Missing),
            _ => !self.is_for_weighted_sums(),
        }
    }

    fn build(&self, node: &Node, zero_bias: bool) -> (Arc<dyn Rule>, &'static str) {
        let weighted =
            |rule: WeightedSum| -> Arc<dyn Rule> { Arc::new(if zero_bias { rule.without_bias() } else { rule }) };
        let rule: Arc<dyn Rule> = match self.clone() {
            LayerRule::Epsilon { epsilon } if node.operator.family() == Family::Recurrent => {
                let rule = SignalTakesAll::epsilon(epsilon);
                Arc::new(if zero_bias { rule.without_bias() } else { rule })
            }
            LayerRule::Epsilon { epsilon } => weighted(WeightedSum::epsilon(epsilon)),
            LayerRule::Gamma { gamma } => weighted(WeightedSum::gamma(gamma)),
            LayerRule::ZPlus => weighted(WeightedSum::z_plus()),
            LayerRule::AlphaBeta { alpha, beta } => weighted(WeightedSum::alpha_beta(alpha, beta)),
            LayerRule::ZBox { low, high } => weighted(WeightedSum::z_box(low, high)),
            LayerRule::WSquare => weighted(WeightedSum::w_square()),
            LayerRule::Flat => weighted(WeightedSum::flat()),
            LayerRule::Norm if node.operator.family() == Family::Product => Arc::new(Proportional::PRODUCT),
            LayerRule::Norm => Arc::new(Proportional::SUM),
            LayerRule::Pass => Arc::new(Unchanged),
            LayerRule::Gradient => Arc::new(Gradient),
            LayerRule::Missing => Arc::new(Missing),
        };
        (rule, self.name())
    }
}

/// Refuses rules with numbers that mean nothing, and rules for weighted sums where there is none.
fn check(rule: &LayerRule, node: &Node) -> Result<()> {
    let refuse =
        |reason: String| Err(IntrospectionError::Unfit(format!("rule {} at `{}`: {reason}", rule.name(), node.name)));
    match rule {
        LayerRule::Epsilon { epsilon } if epsilon.is_nan() || *epsilon < 0.0 => {
            return refuse(format!("epsilon must be 0 or more but is {epsilon}"));
        }
        LayerRule::Gamma { gamma } if gamma.is_nan() || *gamma < 0.0 => {
            return refuse(format!("gamma must be 0 or more but is {gamma}"));
        }
        LayerRule::AlphaBeta { alpha, beta }
            if *alpha < 0.0 || *beta < 0.0 || (alpha - beta - 1.0).abs() > 1e-9 || (alpha - beta).is_nan() =>
        {
            return refuse(format!("alpha {alpha} and beta {beta} must be 0 or more, and alpha - beta must be 1"));
        }
        LayerRule::ZBox { low, high } => check_bounds(low, high).or_else(refuse)?,
        _ => {}
    }
    match node.operator.family() {
        family if rule.is_for(family) => Ok(()),
        Family::Recurrent => {
            refuse(format!("{} is made of gates and sums; it takes epsilon or gradient", node.operator.kind()))
        }
        _ => refuse(format!("{} is no weighted sum; it takes norm, pass or gradient", node.operator.kind())),
    }
}

/// Says what is wrong with bounds.
pub fn check_bounds(low: &[f64], high: &[f64]) -> std::result::Result<(), String> {
    if low.is_empty() || high.is_empty() {
        return Err("give one low and one high bound, or one for each channel".to_owned());
    }
    let pairs = (0..low.len().max(high.len())).map(|nth| (low[nth % low.len()], high[nth % high.len()]));
    let mut wrong = pairs.filter(|(low, high)| low > high || low.is_nan() || high.is_nan());
    match wrong.next() {
        Some((low, high)) => Err(format!("the low bound {low} is above the high bound {high}")),
        None => Ok(()),
    }
}

/// A dense layer without a bias that only a node reads which adds a constant to its features: that node, and both as one
/// layer. Exporters write a dense layer so.
fn bias_behind(graph: &Graph, consumers: &[Vec<NodeIdx>], idx: usize) -> Option<(NodeIdx, Dense)> {
    let dense = graph.nodes()[idx].operator.as_dense().filter(|dense| dense.bias().is_none())?;
    let [add] = consumers[idx][..] else { return None };
    let arithmetic = graph.node(add).operator.as_arithmetic()?;
    let (ArithmeticFunction::Add, Operand::Left(bias) | Operand::Right(bias)) =
        (arithmetic.function(), arithmetic.operand())
    else {
        return None;
    };
    let n_out = dense.weight().dims()[0];
    let is_of_features = bias.elem_count() == n_out && bias.dims().last() == Some(&n_out);
    let bias = is_of_features.then(|| bias.reshape(n_out).ok())??;
    Some((add, Dense::new(dense.weight().clone(), Some(bias)).ok()?))
}

/// A rule for another operator than the node's.
#[derive(Debug)]
struct InsteadOf {
    operator: Arc<dyn Operator>,
    rule: Arc<dyn Rule>,
}

impl Rule for InsteadOf {
    fn pass(&self, node: &Node, backward: &models::operators::Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        self.rule.pass(&Node { operator: self.operator.clone(), ..node.clone() }, backward)
    }
}

/// Says that relevance cannot pass.
#[derive(Debug)]
struct Missing;

impl Rule for Missing {
    fn pass(&self, node: &Node, _backward: &models::operators::Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        let reason = "this composite has no rule for it; give it `epsilon` or `gradient` by name with `rules`, or take \
                      another composite";
        Err(models::ModelError::operator(node.operator.kind(), reason))
    }
}

/// What relevance starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelevanceStart {
    /// The target's score, each place's own.
    #[default]
    Score,
    /// One at each place.
    One,
}

/// Relevance with the sums that arrived at each layer on its way.
#[derive(Clone, Debug)]
pub struct Relevance {
    /// Where it was read.
    pub arrived: Arrived,
    /// For each node that relevance reached, first to last, the sum for each target.
    pub sums: Vec<(NodeIdx, Vec<f64>)>,
}

/// Relevance of what is read for each target.
///
/// # Shapes
/// - returns `[target, …]`, the shape of where the map is read behind the targets, or that of windows of it
pub fn lrp(question: &Question<'_>, rules: &dyn Composite, start: RelevanceStart) -> Result<Relevance> {
    let targets = match start {
        RelevanceStart::One => question.targets.to_vec(),
        RelevanceStart::Score => {
            question.targets.iter().map(|target| from_score(question, target)).collect::<Result<_>>()?
        }
    };
    let sums: RefCell<BTreeMap<usize, Vec<f64>>> = RefCell::default();
    let failed: RefCell<Option<models::ModelError>> = RefCell::default();
    let observer = |first: usize, idx: NodeIdx, arrived: &Arrived| match arrived.value.row_sums() {
        Ok(of_pairs) => {
            let mut sums = sums.borrow_mut();
            let of_node = sums.entry(idx.0).or_insert_with(|| vec![0.0; targets.len()]);
            of_node[first..].iter_mut().zip(of_pairs).for_each(|(sum, of_pair)| *sum = of_pair);
        }
        Err(error) => *failed.borrow_mut() = Some(error),
    };
    let asked = Question { targets: &targets, ..*question };
    let arrived = asked.walk_observed(rules, &[question.at], Some(&observer))?.swap_remove(0);
    if let Some(error) = failed.take() {
        return Err(error.into());
    }
    let sums = sums.into_inner().into_iter().map(|(idx, sums)| (NodeIdx(idx), sums)).collect();
    Ok(Relevance { arrived, sums })
}

/// A target whose walk starts with what each of its units computed rather than with one.
fn from_score(question: &Question<'_>, target: &ResolvedTarget) -> Result<ResolvedTarget> {
    let numbers = question.trace.value(target.outlet)?.row(target.row)?.to_f64_vec()?;
    let gradient = target.gradient.iter().map(|&(index, weight)| (index, weight * numbers[index])).collect();
    let mut target = target.clone();
    target.gradient = gradient;
    Ok(target)
}
