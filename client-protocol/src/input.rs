//! `input.*`: what questions are about.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tensor::Tensor;

/// What to load: exactly one of `path`, `data`, `tensor` and `text`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadParams {
    /// The absolute path of a PNG, JPEG, WAV, FLAC, Ogg, MP3 or `.npy` file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A file's bytes as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What `data` is: `png`, `jpeg`, `wav`, `flac`, `ogg`, `mp3` or `npy` (default: what its first bytes say).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The numbers themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor: Option<Tensor>,
    /// A word, for a network that reads spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Check against this model and prepare for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How the file becomes an input; replaces the model's own front end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend: Option<Value>,
}

/// An input that is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Loaded {
    /// Its id: a hash of content and explicit options.
    pub input: String,
    /// `image`, `audio`, `tensor` or `text`.
    pub kind: String,
    /// The shape of what the file holds: rows, columns, channels of an image; channels and samples
    /// of a sound; an array's own; letters of a word.
    pub shape: Vec<usize>,
    /// For sound (s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// For sound, as recorded (Hz).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Which input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InputParams {
    /// An id that `input.load` gave.
    pub input: String,
}

/// All inputs held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Inputs {
    /// The inputs.
    pub inputs: Vec<Loaded>,
}

/// The input is not held any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dropped {
    /// Its id.
    pub input: String,
}
