//! `metric.*`: numbers beside a map that say how far it can be trusted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attribution_request::AttributionRequest;
use crate::common::{OneOrMany, Settings, WorkOptions};
use crate::picture::{Picture, PictureRequest};
use crate::sanity::{CurveStep, Grouping, Normalize, Similar, SimilarityMetric};
use crate::target::{ResolvedTarget, ScoreOf};
use crate::variation::{Baseline, NamedBaseline};

/// An attribution alone: `metric.sparseness`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MapParams {
    /// How the work is done.
    #[serde(flatten)]
    pub work: WorkOptions,
    /// The attribution that is measured.
    #[serde(flatten)]
    pub attribution: AttributionRequest,
}

/// `metric.pixel_flipping`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PixelFlippingParams {
    /// How the work is done.
    #[serde(flatten)]
    pub work: WorkOptions,
    /// How many numbers of the map are flipped at a step (default: 1 in a map of up to 256, else a hundredth of all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features_per_step: Option<usize>,
    /// What is put in their place.
    #[serde(default = "black")]
    pub flip_to: Baseline,
    /// Which number of the class is followed.
    #[serde(default = "probability")]
    pub follow: ScoreOf,
    /// Ask for a picture of the curves too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<PictureRequest>,
    /// The attribution that is measured.
    #[serde(flatten)]
    pub attribution: AttributionRequest,
}

fn black() -> Baseline {
    Baseline::Named(NamedBaseline::Black)
}

fn probability() -> ScoreOf {
    ScoreOf::Probability
}

/// A score while more and more of the input is flipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlippingCurve {
    /// How many numbers of the map were flipped, from none to all.
    pub flipped: Vec<usize>,
    /// The score then.
    pub scores: Vec<f64>,
    /// The area under the curve over the share flipped, from 0 to 1: the less, the better the map's order.
    pub area: f64,
}

/// Curves of pixel flipping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PixelFlipping {
    /// A curve; a list where a list of inputs was asked.
    pub curve: OneOrMany<FlippingCurve>,
    /// The mean of the areas.
    pub area: f64,
    /// What was explained.
    pub target: OneOrMany<ResolvedTarget>,
    /// What was done, with all defaults filled in.
    pub settings: Settings,
    /// What one should know about this answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// A picture of the curves, where asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
}

/// `metric.max_sensitivity`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MaxSensitivityParams {
    /// How the work is done.
    #[serde(flatten)]
    pub work: WorkOptions,
    /// How many noisy inputs.
    #[serde(default = "two_hundred")]
    pub draws: usize,
    /// How far the noise goes to either side, in the numbers that the network gets.
    #[serde(default = "a_fifth")]
    pub radius: f64,
    /// Of the noise.
    #[serde(default)]
    pub seed: u64,
    /// The attribution that is measured.
    #[serde(flatten)]
    pub attribution: AttributionRequest,
}

fn two_hundred() -> usize {
    200
}

fn a_fifth() -> f64 {
    0.2
}

/// How far maps move under noise, in parts of their own length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MaxSensitivity {
    /// The largest change; a list where a list of inputs was asked.
    pub max: OneOrMany<f64>,
    /// The mean change.
    pub mean: OneOrMany<f64>,
    /// What was explained.
    pub target: OneOrMany<ResolvedTarget>,
    /// What was done, with all defaults filled in.
    pub settings: Settings,
    /// What one should know about this answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// `metric.mprt`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MprtParams {
    /// How the work is done.
    #[serde(flatten)]
    pub work: WorkOptions,
    /// Which form of the test.
    #[serde(default)]
    pub variant: MprtVariant,
    /// In which order layers are randomised (default: `top_down`, for `smooth` `bottom_up`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_order: Option<LayerOrder>,
    /// What one step randomises.
    #[serde(default = "layer")]
    pub by: Grouping,
    /// How maps are compared.
    #[serde(default = "spearman_abs")]
    pub metrics: Vec<SimilarityMetric>,
    /// How many noisy copies of the input a map of `smooth` is the mean of.
    #[serde(default = "fifty")]
    pub copies: usize,
    /// The standard deviation of that noise, in parts of the input's range.
    #[serde(default = "a_tenth")]
    pub copy_noise: f64,
    /// Which randomised layers' outputs are normalised.
    #[serde(default)]
    pub normalize: Normalize,
    /// Of weights and noise.
    #[serde(default = "forty_two")]
    pub seed: u64,
    /// Ask for a picture of the curve too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<PictureRequest>,
    /// The attribution that is measured.
    #[serde(flatten)]
    pub attribution: AttributionRequest,
}

fn layer() -> Grouping {
    Grouping::Layer
}

fn spearman_abs() -> Vec<SimilarityMetric> {
    vec![SimilarityMetric::SpearmanAbs]
}

fn fifty() -> usize {
    50
}

fn a_tenth() -> f64 {
    0.1
}

fn forty_two() -> u64 {
    42
}

/// Which form of the model parameter randomisation test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MprtVariant {
    /// Layer by layer (Adebayo et al. 2018).
    #[default]
    Plain,
    /// The same with maps that are means over noisy copies of the input (Hedström et al. 2024).
    Smooth,
    /// How much the map's entropy grows when all is randomised (Hedström et al. 2024).
    Efficient,
}

/// In which order layers are randomised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LayerOrder {
    /// From the logits down, each step one more.
    TopDown,
    /// From the input up, each step one more.
    BottomUp,
    /// Each by itself.
    Independent,
}

/// The test's answer: a curve, or entropies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mprt {
    /// The network as it is, then a place for each step; not for `efficient`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<CurveStep>,
    /// For `efficient`: for each input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropies: Option<OneOrMany<EntropyGrowth>>,
    /// What was explained.
    pub target: OneOrMany<ResolvedTarget>,
    /// What was done, with all defaults filled in.
    pub settings: Settings,
    /// What one should know about this answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// A picture of the curve, where asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
}

/// The entropy of a map's histogram before and after all is randomised, in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EntropyGrowth {
    /// Of the network as it is.
    pub before: f64,
    /// Of the network of random weights.
    pub after: f64,
    /// `(after − before) / before`: the more, the better; none where the map has no entropy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// `metric.random_logit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomLogitParams {
    /// How the work is done.
    #[serde(flatten)]
    pub work: WorkOptions,
    /// How many other classes are drawn for each input.
    #[serde(default = "one")]
    pub draws: usize,
    /// How maps are compared (default: `ssim`, for small maps `spearman_abs`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<SimilarityMetric>>,
    /// Of the classes.
    #[serde(default)]
    pub seed: u64,
    /// The attribution that is measured.
    #[serde(flatten)]
    pub attribution: AttributionRequest,
}

fn one() -> usize {
    1
}

/// How alike maps of other classes are to the explained one's: the less, the more a map is about its class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomLogit {
    /// By each measure, with a value for each input and class drawn.
    pub similarities: Vec<Similar>,
    /// What was explained.
    pub target: OneOrMany<ResolvedTarget>,
    /// The classes drawn, for each input.
    pub other_classes: Vec<Vec<usize>>,
    /// What was done, with all defaults filled in.
    pub settings: Settings,
    /// What one should know about this answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// `metric.completeness`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompletenessParams {
    /// How the work is done.
    #[serde(flatten)]
    pub work: WorkOptions,
    /// What the explained score is compared with.
    #[serde(default)]
    pub compared_with: Baseline,
    /// The attribution that is measured.
    #[serde(flatten)]
    pub attribution: AttributionRequest,
}

/// A map's sum beside what it could be the sum of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MapSum {
    /// Of all numbers of the map.
    pub sum: f64,
    /// The explained score.
    pub score: f64,
    /// The same score of the baseline.
    pub baseline_score: f64,
    /// `sum − (score − baseline_score)`.
    pub gap: f64,
    /// The gap in parts of the score's change; none where nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_gap: Option<f64>,
    /// `sum − score`: what a method that shares out the score itself has lost or added.
    pub conservation_gap: f64,
}

/// How complete maps are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompletenessResult {
    /// A list where a list of inputs was asked.
    pub completeness: OneOrMany<MapSum>,
    /// What was explained.
    pub target: OneOrMany<ResolvedTarget>,
    /// What was done, with all defaults filled in.
    pub settings: Settings,
    /// What one should know about this answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How much of a map there is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MapSpread {
    /// The Gini index of the numbers' sizes: 0 where all are alike, towards 1 where one place holds all; none for zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparseness: Option<f64>,
    /// The entropy of the places' shares in nats: 0 where one place holds all; none for zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complexity: Option<f64>,
}

/// `metric.sparseness`'s answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SparsenessResult {
    /// A list where a list of inputs was asked.
    pub spread: OneOrMany<MapSpread>,
    /// What was explained.
    pub target: OneOrMany<ResolvedTarget>,
    /// What was done, with all defaults filled in.
    pub settings: Settings,
    /// What one should know about this answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What `check=true` adds to an attribution, for each of its maps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Checks {
    /// Of all numbers of the map.
    pub sum: f64,
    /// What the sum misses of what was to be shared out, where a method promises to share it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completeness_gap: Option<f64>,
    /// How much of the map there is.
    #[serde(flatten)]
    pub spread: MapSpread,
}
