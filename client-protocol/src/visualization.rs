//! `visualization.*`: what units look for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{AnswerOptions, InputRef, OneOrMany, Settings};
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
    /// The mean over places of how far channels point along a vector.
    Direction {
        /// The layer.
        layer: String,
        /// A number for each of its channels.
        vector: Vec<f64>,
        /// With a power above 0, each place counts times this power of its cosine with the vector, at least 0.1.
        #[serde(default)]
        cosine_power: f64,
    },
    /// How alike the textures of a `batch` of pictures are; a negative weight in a sum keeps them apart.
    Diversity {
        /// The layer.
        layer: String,
    },
    /// Several, each times a weight.
    Sum {
        /// What is added.
        terms: Vec<Term>,
    },
}

/// One of a sum's terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Term {
    /// What the objective is multiplied by.
    #[serde(default = "one")]
    pub weight: f64,
    /// What is made large, or small where the weight is negative.
    pub objective: Objective,
}

fn one() -> f64 {
    1.0
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

/// `visualization.maximize`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MaximizeParams {
    /// A model's id or name.
    pub model: String,
    /// What is made large (needed but for `continue_from`); its fields may stand flat in the query language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// A job of this method, or the `ascent` of an answer: goes on where that stands, as it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_from: Option<String>,
    /// An input to start from (default: noise).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<InputRef>,
    /// Which numbers are free.
    #[serde(default)]
    pub parameterization: Parameterization,
    /// Whether colours are independent directions (default: on three channels, but not for `pixels`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decorrelate: Option<bool>,
    /// How fast amplitudes of `fourier` fall with frequency (default: 1 for photos; 0.5 along frequency for sound).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// The same along time, for sound (default: 0.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_time: Option<f64>,
    /// Random changes at each step, in order (default: the standard ones); `none` or an empty list for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transforms: Option<Vec<Transform>>,
    /// What is subtracted from the objective; its fields may stand flat in the query language.
    #[serde(default)]
    pub regularizers: Regularizers,
    /// A denoising network that pulls pictures towards likely ones: its name or file, or with how hard it pulls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<PriorRef>,
    /// How many steps are taken, beyond those of `continue_from`.
    #[serde(default = "default_steps")]
    pub steps: usize,
    /// Adam's.
    #[serde(default = "default_learning_rate")]
    pub learning_rate: f64,
    /// Of noise and transforms; the same seed gives the same picture.
    #[serde(default)]
    pub seed: u64,
    /// How many pictures are made at once.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// The input's lengths without the batch axis, where the network takes any (default: those it was declared with).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// Whether an input that is sound comes as one too.
    #[serde(default = "default_wav")]
    pub wav: bool,
    /// After how many steps pictures on the way are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<usize>,
    /// How the answer comes.
    #[serde(flatten)]
    pub answer: AnswerOptions,
}

fn default_steps() -> usize {
    256
}

fn default_learning_rate() -> f64 {
    0.05
}

fn default_wav() -> bool {
    true
}

fn default_batch() -> usize {
    1
}

/// Which numbers are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parameterization {
    /// The picture's spectrum, low frequencies first.
    #[default]
    Fourier,
    /// The picture's own.
    Pixels,
    /// Four pictures, each half as fine as the one before.
    LaplacianPyramid,
}

/// A random change of the picture, drawn anew at each step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// None at all.
    None,
    /// The standard ones: for photos `pad 12, jitter 8, scale, rotate, jitter 4`, for sound a small shift.
    Standard,
    /// So many rows and columns of grey at each side.
    Pad(usize),
    /// A random cut of so many rows and columns less.
    Jitter(usize),
    /// A size from these factors.
    Scale(Vec<f64>),
    /// A turn from these angles, in degrees.
    Rotate(Vec<f64>),
    /// A move in either direction, for sound.
    Shift {
        /// By up to so many steps of time.
        #[serde(default)]
        time: usize,
        /// By up to so many bands of frequency.
        #[serde(default)]
        frequency: usize,
    },
}

/// What is subtracted from the objective: each is a sum over the picture, whose numbers go from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Regularizers {
    /// The weight of the distance from grey.
    #[serde(default)]
    pub l1: f64,
    /// The weight of the Euclidean distance from grey.
    #[serde(default)]
    pub l2: f64,
    /// The weight of the differences between neighbours.
    #[serde(default)]
    pub total_variation: f64,
    /// The weight of half the squared distance from the picture blurred a little.
    #[serde(default)]
    pub blur: f64,
    /// The weight of half the power of each frequency times its square.
    #[serde(default)]
    pub frequency: f64,
}

/// Which learned prior.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PriorRef {
    /// A denoising network that is loaded, by id or name, or a file with one's weights.
    Source(String),
    /// The same, and how hard it pulls.
    Prior(Prior),
}

/// A learned prior: `(R(x) - x) / noise`, with `R` a denoising network, in proportion to the objective's gradient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prior {
    /// A denoising network that is loaded, by id or name, or a file with one's weights.
    pub source: String,
    /// How hard it pulls: at 1, a picture as noisy as those it was trained on is pulled as hard as the objective pulls.
    #[serde(default = "one")]
    pub weight: f64,
    /// How hard in the end (default: as at first).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_weight: Option<f64>,
    /// After how many steps that is reached, evenly.
    #[serde(default = "default_steps")]
    pub over: usize,
    /// The deviation of the noise that the network was trained to take off, as a share of the input's range.
    #[serde(default = "default_noise")]
    pub noise: f64,
}

fn default_noise() -> f64 {
    0.1
}

impl From<PriorRef> for Prior {
    fn from(prior: PriorRef) -> Prior {
        match prior {
            PriorRef::Prior(prior) => prior,
            PriorRef::Source(source) => {
                Prior { source, weight: one(), last_weight: None, over: default_steps(), noise: default_noise() }
            }
        }
    }
}

/// The input found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Maximized {
    /// The input, as the network takes it; an axis `input` in front where a `batch` was asked.
    pub tensor: Tensor,
    /// The objective of that input.
    pub value: f64,
    /// The objective before each step since the beginning, of the input as it was changed at random then.
    pub values: Vec<f64>,
    /// What `continue_from` goes on from, for as long as the daemon remembers it.
    pub ascent: String,
    /// What was done.
    pub settings: Settings,
    /// Where numbers left the finite ones and the ascent ended with the input before; the step is counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// Inputs on the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<Snapshot>,
    /// What one should know about this answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// For sound: what it sounds like, a WAV file as base64 (a list where a `batch` was asked).
    ///
    /// Phases are found by Griffin and Lim 1984, and the loudest sample is at 0.9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wav: Option<OneOrMany<String>>,
    /// A picture of the input, where asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
}

/// The early end of an ascent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stopped {
    /// The step.
    pub step: usize,
    /// What was not finite.
    pub reason: String,
}

/// An input on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// How many steps had been taken.
    pub step: usize,
    /// The input.
    pub tensor: Tensor,
    /// A picture of it, where asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
}
