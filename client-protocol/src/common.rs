//! Parts that many requests and results share.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::picture::PictureRequest;
use crate::tensor::Tensor;

/// No parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NoParams {}

/// The settings of an answer with all defaults filled in.
pub type Settings = serde_json::Map<String, Value>;

/// One of something, or a list where many are wanted at once.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "OneOrMany_{T}")]
pub enum OneOrMany<T> {
    /// One; the answer has no axis for it.
    One(T),
    /// A list; the answer has a first axis along it.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }

    /// Whether a list was asked.
    pub fn is_list(&self) -> bool {
        matches!(self, OneOrMany::Many(_))
    }
}

impl<T: Default> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany::One(T::default())
    }
}

// By hand, since an untagged enum would lose the error that says what is wrong with the one.
impl<'de, T: DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parsed = match Value::deserialize(deserializer)? {
            Value::Array(many) => many.into_iter().map(T::deserialize).collect::<Result<_, _>>().map(OneOrMany::Many),
            one => T::deserialize(one).map(OneOrMany::One),
        };
        parsed.map_err(serde::de::Error::custom)
    }
}

/// What a question is about: the id that `input.load` gave, an absolute path, or the numbers themselves; for a network
/// of several inputs an object with one of these for each of them.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum InputRef {
    /// An id or an absolute path.
    Name(String),
    /// An inline tensor.
    Tensor(Box<Tensor>),
    /// Each input of the network by its name.
    Each(BTreeMap<String, OneInput>),
}

/// What stands for one of several inputs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OneInput {
    /// An id or an absolute path.
    Name(String),
    /// An inline tensor.
    Tensor(Box<Tensor>),
}

// By hand, since untagged enums would lose the error that says what is wrong with a tensor.
impl<'de> Deserialize<'de> for InputRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let each = |value: Value| match value {
            Value::Object(fields) if !is_tensor(&fields) => {
                let inputs = fields.into_iter().map(|(name, value)| Ok((name, OneInput::deserialize(value)?)));
                inputs.collect::<Result<_, _>>().map(InputRef::Each)
            }
            one => OneInput::deserialize(one).map(InputRef::from),
        };
        each(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for OneInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let one = |value: Value| match value {
            Value::String(name) => Ok(OneInput::Name(name)),
            value => Tensor::deserialize(value).map(|tensor| OneInput::Tensor(Box::new(tensor))),
        };
        one(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl From<OneInput> for InputRef {
    fn from(one: OneInput) -> InputRef {
        match one {
            OneInput::Name(name) => InputRef::Name(name),
            OneInput::Tensor(tensor) => InputRef::Tensor(tensor),
        }
    }
}

/// Whether an object is a tensor rather than inputs by name.
fn is_tensor(fields: &serde_json::Map<String, Value>) -> bool {
    fields.get("shape").is_some_and(Value::is_array) || fields.contains_key("dtype")
}

/// How an array is written into an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Little-endian f32 as base64.
    #[default]
    Base64,
    /// Nested JSON numbers.
    Json,
    /// A NumPy file in the runtime folder; `data` is its path.
    Npy,
    /// Not at all: they are computed and stay with the daemon, and later questions about them cost nothing.
    None,
}

/// How work is done whose answer holds no arrays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkOptions {
    /// Seconds after which the query is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Answer at once with a job, which outlives the connection.
    #[serde(default)]
    pub background: bool,
}

/// How an answer comes: accepted by every method that computes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnswerOptions {
    /// How arrays are written.
    #[serde(default)]
    pub encoding: Encoding,
    /// Ask for a picture of the array too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<PictureRequest>,
    /// Seconds after which the query is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Answer at once with a job, which outlives the connection.
    #[serde(default)]
    pub background: bool,
    /// What `job.get` and `job.subscribe` shall know this query by while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<String>,
}
