//! `activation.get`: what a layer computes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{AnswerOptions, InputRef, OneOrMany, Settings};
use crate::picture::Picture;
use crate::tensor::Tensor;

/// Which activations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GetParams {
    /// A model's id or name.
    pub model: String,
    /// One input or a list.
    pub input: OneOrMany<InputRef>,
    /// One layer or a list.
    pub layer: OneOrMany<String>,
    /// Channels by index (default: all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<usize>>,
    /// Frames of a sequence, the first and the one behind the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<[usize; 2]>,
    /// Reduce along the spatial axes.
    #[serde(default)]
    pub reduce: Reduce,
    /// How the answer comes.
    #[serde(flatten)]
    pub answer: AnswerOptions,
}

/// How spatial axes are reduced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reduce {
    /// They stay.
    #[default]
    None,
    /// To their mean.
    Mean,
    /// To their maximum.
    Max,
}

/// Activations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GetResult {
    /// The layer's output; the first layer's where a list was asked.
    pub tensor: Tensor,
    /// Every layer that was asked, where that was a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LayerActivation>>,
    /// What was done.
    pub settings: Settings,
    /// A picture of the tensor, where asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
}

/// One of several layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LayerActivation {
    /// The layer's name.
    pub layer: String,
    /// Its output.
    pub tensor: Tensor,
}
