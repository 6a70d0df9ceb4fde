//! `transcript.*`: where the letters of a text that is known lie in a sound.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{AnswerOptions, InputRef, Settings};
use crate::model::Letter;
use crate::picture::Picture;

/// What is said in which sound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlignParams {
    /// A model's id or name; one that gives transcripts.
    pub model: String,
    /// The sound.
    pub input: InputRef,
    /// What is said; case does not matter, and all characters must be letters of the model.
    pub transcript: String,
    /// How the answer comes.
    #[serde(flatten)]
    pub answer: AnswerOptions,
}

/// A transcript laid over a sound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Aligned {
    /// As it was understood.
    pub transcript: String,
    /// Each of its letters.
    pub letters: Vec<Letter>,
    /// The logarithm of the probability of the best path that writes it.
    pub log_probability: f64,
    /// The same of all paths that write it: CTC's loss is its negative.
    pub total_log_probability: f64,
    /// What was done.
    pub settings: Settings,
    /// The spectrogram with the transcript above, where asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
}
