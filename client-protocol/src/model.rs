//! `model.*`: networks, what they are made of, what they answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::common::{AnswerOptions, InputRef, OneOrMany, Settings};
use crate::picture::Picture;
use crate::tensor::{Axis, Tensor};

/// Which network to load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadParams {
    /// A name of the zoo, or the absolute path of an `.onnx`, `.safetensors` or `.pth` file.
    pub source: String,
    /// The zoo's builder for a file of weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The absolute path of a file of weights, or `random` (with `seed`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Seed of random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The model's description: an object, or the absolute path of a JSON file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Value>,
    /// Class names: a list, or the absolute path of a file with one a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Value>,
    /// How a file becomes an input; replaces the description's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend: Option<Value>,
    /// Another name for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `cpu` or another of `server.info`'s devices (default: the one that the daemon was started with, else `cpu`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// `f32` (the default) or `f64`, for reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Merge batch norms into their convolutions.
    #[serde(default = "yes")]
    pub merge_batch_norm: bool,
    /// What the output's axes mean, where the operators do not say: `["class", "time"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_axes: Option<Vec<String>>,
}

fn yes() -> bool {
    true
}

/// A network that is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Loaded {
    /// Its id: a hash of bytes, description, dtype and device.
    pub model: String,
    /// What else it answers to.
    pub names: Vec<String>,
    /// The layers' names, in order.
    pub layers: Vec<String>,
    /// What inputs it takes.
    pub inputs: Vec<InputSpec>,
    /// What its first output is.
    pub output: OutputSpec,
    /// All its outputs.
    #[serde(default)]
    pub outputs: Vec<OutputSpec>,
    /// Class names, each with its synonyms; empty where none are known.
    pub labels: Vec<String>,
    /// How many numbers were learned.
    pub parameters: usize,
    /// Whether it was held already.
    pub already_loaded: bool,
}

/// An input that a network takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InputSpec {
    /// Its name.
    pub name: String,
    /// Length along each axis without the batch; null where any will do.
    pub shape: Vec<Option<usize>>,
    /// What each axis means.
    pub axes: Vec<String>,
    /// The front end that turns a file into it, with its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend: Option<Value>,
}

/// An output of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutputSpec {
    /// Its name.
    pub name: String,
    /// Length along each axis without the batch, for an input of the declared length.
    pub shape: Vec<usize>,
    /// What each axis means.
    pub axes: Vec<String>,
    /// The layer that holds the logits.
    pub logits: String,
}

/// Which model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelParams {
    /// An id or a name that `model.load` gave.
    pub model: String,
}

/// All models held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Models {
    /// The models that are held.
    pub models: Vec<Held>,
    /// The models that `model.load` knows by name.
    pub zoo: Vec<ZooEntry>,
}

/// A model that is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// Its id.
    pub model: String,
    /// What else it answers to.
    pub names: Vec<String>,
    /// Where it came from.
    pub source: String,
    /// How many numbers were learned.
    pub parameters: usize,
    /// Bytes that it holds.
    pub bytes: usize,
}

/// A model that can be loaded by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ZooEntry {
    /// The name.
    pub name: String,
    /// What it is.
    pub summary: String,
    /// Whether trained weights are on this machine.
    pub has_weights: bool,
    /// The command that fetches them, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<String>,
}

/// What a network is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Described {
    /// The model's id.
    pub model: String,
    /// What else it answers to.
    pub names: Vec<String>,
    /// Where it came from.
    pub source: String,
    /// What inputs it takes.
    pub inputs: Vec<InputSpec>,
    /// What its first output is.
    pub output: OutputSpec,
    /// All its outputs.
    #[serde(default)]
    pub outputs: Vec<OutputSpec>,
    /// Class names, each with its synonyms; empty where none are known.
    pub labels: Vec<String>,
    /// Every layer, in order.
    pub layers: Vec<Layer>,
    /// How many numbers were learned.
    pub parameters: usize,
    /// The layer that Grad-CAM reads where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grad_cam_layer: Option<String>,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Other names of the same value: containers that end here, merged batch norms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The operator's type.
    pub operator: String,
    /// The layers that it reads.
    pub inputs: Vec<String>,
    /// Its output's shape without the batch, for an input of the declared length.
    pub shape: Vec<usize>,
    /// What each axis of its output means.
    pub axes: Vec<String>,
    /// How many numbers it learned.
    pub parameters: usize,
    /// How many steps of the input one place sees, along each spatial axis; absent where it sees all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receptive_field: Option<Vec<usize>>,
    /// How many steps of the input lie between two places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<Vec<f64>>,
}

/// The model is not held any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unloaded {
    /// Its id.
    pub model: String,
    /// Bytes that were freed, traces included.
    pub freed_bytes: usize,
}

/// What to compute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ForwardParams {
    /// A model's id or name.
    pub model: String,
    /// One input or a list.
    pub input: OneOrMany<InputRef>,
    /// Outputs by name, where the network has several (default: the first).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Vec<String>>,
    /// How the answer comes.
    #[serde(flatten)]
    pub answer: AnswerOptions,
}

/// The raw output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ForwardResult {
    /// The first output that was asked; as the network computes it, probabilities only where it ends with them.
    pub tensor: Tensor,
    /// All that were asked by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<serde_json::Map<String, Value>>,
    /// What was done.
    pub settings: Settings,
    /// A picture of the tensor, where asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
}

/// What to predict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PredictParams {
    /// A model's id or name.
    pub model: String,
    /// One input or a list.
    pub input: OneOrMany<InputRef>,
    /// How many classes.
    #[serde(default = "five")]
    pub top: usize,
    /// How a transcript is found, for speech (default: `greedy`, or `beam` where there is a language model).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
    /// How many beginnings a beam search keeps from frame to frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beam_width: Option<usize>,
    /// The absolute path of a language model of words or letters (n-grams in the ARPA format), for a beam search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_model: Option<String>,
    /// How much its log probability counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_weight: Option<f64>,
    /// What each word is worth beside, since every word costs the language model's probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word_bonus: Option<f64>,
    /// How the answer comes.
    #[serde(flatten)]
    pub answer: AnswerOptions,
}

fn five() -> usize {
    5
}

/// How a transcript is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    /// The best class of each frame.
    Greedy,
    /// The most probable transcript, all ways to write it together.
    Beam,
}

/// What the network takes an input for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// The classes, best first; for a sequence by their best frame.
    #[serde(default)]
    pub classes: Vec<ClassScore>,
    /// For speech: the letters, repetitions and blanks removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcript: Option<String>,
    /// For speech: each letter of the transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letters: Option<Vec<Letter>>,
    /// Where a list of inputs was asked: the prediction for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictions: Option<Vec<Prediction>>,
    /// What was done.
    pub settings: Settings,
    /// A picture of the classes, where asked; for speech the spectrogram with the transcript above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
}

/// A class with its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassScore {
    /// Its index.
    pub index: usize,
    /// Its label, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The input of the final softmax or sigmoid, else the output itself.
    pub logit: f64,
    /// Its probability.
    pub probability: f64,
}

/// A letter of a transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Letter {
    /// The letter.
    pub letter: String,
    /// Its most probable frame.
    pub frame: usize,
    /// Where it starts (s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<f64>,
    /// Where it ends (s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<f64>,
    /// Its probability at that frame.
    pub probability: f64,
}

impl OutputSpec {
    /// The output's axes as the wire has them.
    pub fn wire_axes(&self) -> Vec<Axis> {
        self.axes.iter().map(Axis::named).collect()
    }
}
