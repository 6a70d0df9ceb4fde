//! `attribution.lrp` and `.deep_taylor`: a score shared out layer by layer.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attribution::Question;
use crate::common::OneOrMany;

/// `attribution.lrp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LrpParams {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// Which rules layers get by their kind.
    #[serde(default)]
    pub composite: Composite,
    /// The least that the input can be, as the network gets it: one number, or one a channel; for `epsilon_gamma_box`
    /// and the rule `z_box` (default: the front end's range).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<OneOrMany<f64>>,
    /// The most that the input can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<OneOrMany<f64>>,
    /// Rules of layers by name, before the composite's: a name, or a pattern in which `*` stands for any letters; where
    /// several fit, the longest counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, LayerRule>,
    /// What relevance starts with.
    #[serde(default)]
    pub start: RelevanceStart,
    /// Leave biases out, so that nothing is lost to them.
    #[serde(default)]
    pub zero_bias: bool,
}

/// Which rules layers get by their kind (first layer, convolutions, dense layers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Composite {
    /// Epsilon everywhere.
    Epsilon,
    /// Convolutions z+, dense layers epsilon.
    #[default]
    EpsilonPlus,
    /// The same, the first layer flat.
    EpsilonPlusFlat,
    /// Convolutions alpha 2 and beta 1, dense layers epsilon.
    EpsilonAlpha2Beta1,
    /// The same, the first layer flat.
    EpsilonAlpha2Beta1Flat,
    /// The first convolution z^B (`low`, `high`), others gamma 0.25, dense layers epsilon.
    EpsilonGammaBox,
    /// Convolutions and dense layers z+, activations their gradient.
    ExcitationBackprop,
}

/// A rule by name, or with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LayerRule {
    /// With its defaults.
    Name(RuleName),
    /// With numbers of its own.
    Numbers(RuleNumbers),
}

/// A rule's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleName {
    /// In proportion to contributions (weighted sums).
    Epsilon,
    /// What agrees with the output's sign counts more (weighted sums).
    Gamma,
    /// Positive contributions alone (weighted sums).
    ZPlus,
    /// Positive contributions against negative ones (weighted sums).
    AlphaBeta,
    /// For inputs between bounds (weighted sums).
    ZBox,
    /// Squared weights alone (weighted sums).
    WSquare,
    /// All inputs alike (weighted sums).
    Flat,
    /// In proportion to contributions, without weights: sums, averages, products.
    Norm,
    /// Unchanged.
    Pass,
    /// The operator's gradient.
    Gradient,
}

/// A rule with numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleNumbers {
    /// Which rule.
    pub rule: RuleName,
    /// Of `epsilon` (default: 1e-6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Of `gamma` (default: 0.25).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Of `alpha_beta` (default: 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Of `alpha_beta` (default: 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// Of `z_box` (default: the request's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<OneOrMany<f64>>,
    /// Of `z_box` (default: the request's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<OneOrMany<f64>>,
}

/// What relevance starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RelevanceStart {
    /// The target's score.
    #[default]
    Score,
    /// One.
    One,
}

/// `attribution.deep_taylor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeepTaylorParams {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// Which inputs the network can be given.
    #[serde(default)]
    pub input_domain: InputDomain,
    /// The least that the input can be, as the network gets it: one number, or one a channel (default: the front end's
    /// range).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<OneOrMany<f64>>,
    /// The most that the input can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<OneOrMany<f64>>,
}

/// Which inputs a network can be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputDomain {
    /// Between bounds (z^B).
    #[default]
    Box,
    /// Any number (w^2).
    Real,
    /// Zero or more (z+).
    Positive,
}

/// The relevance of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LayerSum {
    /// The layer.
    pub layer: String,
    /// The sum over all its units; a list where a list of targets was asked.
    pub sum: OneOrMany<f64>,
}
