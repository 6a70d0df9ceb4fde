//! `filter.patterns`: what a layer learned to look for, read from its weights.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{AnswerOptions, Settings};
use crate::picture::Picture;
use crate::tensor::Tensor;

/// `filter.patterns`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatternsParams {
    /// A model's id or name.
    pub model: String,
    /// A convolution or dense layer.
    pub layer: String,
    /// In which order the filters come.
    #[serde(default)]
    pub order: Order,
    /// How the answer comes.
    #[serde(flatten)]
    pub answer: AnswerOptions,
}

/// In which order filters come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As they are numbered.
    #[default]
    Index,
    /// Similar ones beside each other.
    Topographic,
}

/// Weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Patterns {
    /// The weights, one filter after the other: the channels of its input that it reads, and their places. A merged
    /// batch norm is part of them; `model.load merge_batch_norm=false` keeps it apart.
    pub tensor: Tensor,
    /// What was done.
    pub settings: Settings,
    /// A picture of the filters, where asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
}
