//! `sanity.*`: whether maps show what a network has learned (Adebayo et al. 2018).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attribution_request::AttributionRequest;
use crate::common::{OneOrMany, Settings, WorkOptions};
use crate::picture::{Picture, PictureRequest};
use crate::target::ResolvedTarget;

/// `sanity.randomize`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomizeParams {
    /// How the work is done.
    #[serde(flatten)]
    pub work: WorkOptions,
    /// Whether steps build on each other.
    #[serde(default)]
    pub mode: RandomizeMode,
    /// Layers, containers (`blocks.15`) or patterns with `*`, from the logits down (default: all with learned weights).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
    /// What one step randomises, where layers are not named.
    #[serde(default)]
    pub by: Grouping,
    /// How maps are compared (default: all measures that the maps are large enough for).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<SimilarityMetric>>,
    /// Which class the maps of a randomised network explain (default: `target` where one is given, else `original`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<ExplainedClass>,
    /// Which randomised layers' outputs are brought to mean 0 and variance 1, as by a batch norm that sees the inputs.
    #[serde(default)]
    pub normalize: Normalize,
    /// Of the new weights.
    #[serde(default)]
    pub seed: u64,
    /// Ask for a picture of the curve too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<PictureRequest>,
    /// The attribution that is checked.
    #[serde(flatten)]
    pub attribution: AttributionRequest,
}

/// Whether steps build on each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RandomizeMode {
    /// Each step randomises one more, from the logits down.
    #[default]
    Cascading,
    /// Each step randomises one, all others are as they were learned.
    Independent,
}

/// What one step randomises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// The layers of a block, as their names tell: `blocks.15`, `layer4.1`.
    #[default]
    Block,
    /// One layer.
    Layer,
}

/// How maps are compared; 1 for equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SimilarityMetric {
    /// Rank correlation of the maps without their signs.
    SpearmanAbs,
    /// Rank correlation of the maps with their signs.
    Spearman,
    /// Structural similarity (without signs).
    Ssim,
    /// Correlation of the histograms of oriented gradients (without signs).
    Hog,
}

/// Which class is explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExplainedClass {
    /// What the network as it is predicts, throughout.
    #[default]
    Original,
    /// What the network of each step predicts itself.
    Randomized,
    /// The given `target`.
    Target,
}

/// Which randomised layers' outputs are normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// Those behind which the network has a batch norm, merged or not.
    #[default]
    Norms,
    /// Those of all convolutions and dense layers below the logits: for files whose exporter merged the norms.
    Everywhere,
}

/// How alike maps are by one measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Similar {
    /// The measure.
    pub metric: SimilarityMetric,
    /// Over all inputs.
    pub mean: f64,
    /// Standard deviation over the inputs.
    pub std: f64,
    /// For each input.
    pub values: Vec<f64>,
}

/// A place of the curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CurveStep {
    /// What was randomised last: a layer or a container; `original` for the network as it is.
    pub layer: String,
    /// Which layers that is.
    pub randomized: Vec<String>,
    /// How alike the maps are to the original ones.
    pub similarities: Vec<Similar>,
}

/// The curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Randomized {
    /// The network as it is, then a place for each step.
    pub curve: Vec<CurveStep>,
    /// What was explained of the network as it is; a list where a list of inputs was asked.
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

/// `sanity.data_randomization`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataRandomizationParams {
    /// How the work is done.
    #[serde(flatten)]
    pub work: WorkOptions,
    /// A network like `model` that was trained on permuted labels: an id or name.
    pub permuted: String,
    /// How maps are compared (default: all measures that the maps are large enough for).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<SimilarityMetric>>,
    /// Which class the maps of the other network explain (default: `target` where one is given, else `original`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<ExplainedClass>,
    /// Ask for a picture of the maps side by side too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<PictureRequest>,
    /// The attribution that is checked, and the network that was trained on the true labels.
    #[serde(flatten)]
    pub attribution: AttributionRequest,
}

/// How alike the maps of two trainings are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataRandomized {
    /// By each measure.
    pub similarities: Vec<Similar>,
    /// What was explained of the network with true labels; a list where a list of inputs was asked.
    pub target: OneOrMany<ResolvedTarget>,
    /// What was explained of the other network.
    pub permuted_target: OneOrMany<ResolvedTarget>,
    /// What was done, with all defaults filled in.
    pub settings: Settings,
    /// What one should know about this answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// A picture of the maps, where asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
}
