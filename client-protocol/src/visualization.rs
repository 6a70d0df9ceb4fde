//! `visualization.*`: what units look for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{AnswerOptions, InputRef, Settings};
use crate::picture::Picture;
use crate::target::ClassName;
use crate::tensor::Tensor;

/// What is made large.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Objective {
    /// One neuron: by default the centre of the channel's map.
    Neuron {
        /// The layer.
        layer: String,
        /// The channel.
        channel: usize,
        /// One index along each spatial axis (default: `length // 2`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Vec<usize>>,
    },
    /// The mean over a channel's map.
    Channel {
        /// The layer.
        layer: String,
        /// The channel.
        channel: usize,
    },
    /// The mean of the layer's squares (DeepDream).
    Layer {
        /// The layer.
        layer: String,
    },
    /// A class's logit.
    Logit {
        /// The class.
        class: ClassName,
    },
    /// A class's probability.
    Probability {
        /// The class.
        class: ClassName,
    },
}

/// `visualization.gradient`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GradientParams {
    /// A model's id or name.
    pub model: String,
    /// Where the gradient is taken.
    pub input: InputRef,
    /// What is made large; its fields may stand flat in the query language.
    pub objective: Objective,
    /// How the answer comes.
    #[serde(flatten)]
    pub answer: AnswerOptions,
}

/// One step of an ascent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GradientResult {
    /// The objective at the input.
    pub value: f64,
    /// Its gradient there, in the input's axes.
    pub tensor: Tensor,
    /// What was done.
    pub settings: Settings,
    /// A picture of the gradient, where asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
}
