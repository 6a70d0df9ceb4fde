//! `attribution.*`: which parts of an input speak for what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{AnswerOptions, InputRef, OneOrMany, Settings};
use crate::metric::Checks;
use crate::picture::Picture;
use crate::relevance::LayerSum;
use crate::target::{ResolvedTarget, ScoreOf, Target};
use crate::tensor::Tensor;

/// What every attribution is asked with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    /// A model's id or name.
    pub model: String,
    /// One input or a list.
    pub input: OneOrMany<InputRef>,
    /// One target or a list; a list is answered in order by one walk.
    #[serde(default)]
    pub target: OneOrMany<Target>,
    /// The layer where the map is read (default: the input), or a list; then `layers` of the answer holds all maps.
    ///
    /// Gradients are read at all of them in one walk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<OneOrMany<String>>,
    /// Which number of the class is explained.
    #[serde(default)]
    pub of: ScoreOf,
    /// Return only the part of the map that the target can depend on; `crop_start` says where it begins.
    #[serde(default)]
    pub crop: bool,
    /// Add numbers about the map under `checks`.
    #[serde(default)]
    pub check: bool,
    /// How the answer comes.
    #[serde(flatten)]
    pub answer: AnswerOptions,
}

/// A question without further parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlainParams {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
}

/// `attribution.saliency`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SaliencyParams {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// What is done to the signed gradient.
    #[serde(default)]
    pub post: Post,
}

/// What is done to the signed gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Post {
    /// Nothing.
    #[default]
    None,
    /// Its absolute value.
    Abs,
    /// The largest absolute value over the channels.
    MaxChannel,
}

/// `attribution.grad_cam`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GradCamParams {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// The layer (default: the last convolution with a spatial axis).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// Keep only what speaks for the target.
    #[serde(default = "yes")]
    pub relu: bool,
    /// Bring the map to the input's places.
    #[serde(default = "yes")]
    pub upsample: bool,
    /// How places between places are filled.
    #[serde(default)]
    pub interpolation: Interpolation,
}

/// `attribution.guided_grad_cam`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GuidedGradCamParams {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// The layer (default: the last convolution with a spatial axis).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// How places between places are filled.
    #[serde(default)]
    pub interpolation: Interpolation,
}

/// How places between places are filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Linear along each axis.
    #[default]
    Bilinear,
    /// The nearest place, index `floor(i · in / out)`.
    Nearest,
}

fn yes() -> bool {
    true
}

/// Where cropped maps begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CropStart {
    /// The only map, along each axis.
    One(Vec<usize>),
    /// Each map of a list, along each axis.
    Many(Vec<Vec<usize>>),
}

/// A map read at one of several layers; each field as in the answer itself, which has that of the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LayerMap {
    /// The layer's name.
    pub layer: String,
    /// The map.
    pub tensor: Tensor,
    /// Where cropped parts begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop_start: Option<CropStart>,
    /// How much the map's sum misses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completeness_gap: Option<OneOrMany<f64>>,
    /// The relevance of each layer above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relevance_sums: Vec<LayerSum>,
    /// Numbers about the map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<OneOrMany<Checks>>,
}

/// A map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attribution {
    /// The map, the first where `at` is a list; an axis `target` or `input` in front where a list was asked.
    pub tensor: Tensor,
    /// The map at every layer of `at`, where that was a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LayerMap>>,
    /// What was explained, as it was understood; a list where one was asked.
    pub target: OneOrMany<ResolvedTarget>,
    /// What was done, with all defaults filled in.
    pub settings: Settings,
    /// With `crop`: where the part begins along each axis of one map; for a list, that of each map in turn (parts of
    /// several targets are of one size, and the smaller ones among them hold zeros beside).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop_start: Option<CropStart>,
    /// How much the map's sum misses of the change that was to be explained, where completeness is promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completeness_gap: Option<OneOrMany<f64>>,
    /// The relevance of each layer that it reached, where it is shared out layer by layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relevance_sums: Vec<LayerSum>,
    /// With `check`: how much of the map there is, and whether it is complete; a list where a list was asked, that of
    /// each map in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<OneOrMany<Checks>>,
    /// What one should know about this answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// A picture of the map, the first where `at` is a list, where asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
}
