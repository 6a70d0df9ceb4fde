//! `corpus.*`: many files at once, with what is said or shown in each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::common::{Settings, WorkOptions};
use crate::model::Letter;

/// Which corpus to load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CorpusLoadParams {
    /// The absolute path of a folder (LibriSpeech's layout, a manifest, or folders named by class) or of a manifest.
    pub path: String,
    /// Another name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Which corpus, and which of its items are listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CorpusDescribeParams {
    /// An id or name that `corpus.load` gave.
    pub corpus: String,
    /// Lists the groups of this column one by one: `speaker`, `class`, or another that the corpus has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// How many items are listed.
    #[serde(default = "ten")]
    pub items: usize,
    /// How many are left out before.
    #[serde(default)]
    pub offset: usize,
}

fn ten() -> usize {
    10
}

/// Whose transcripts are laid over their sounds, by which recogniser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnnotateParams {
    /// How the work is done.
    #[serde(flatten)]
    pub work: WorkOptions,
    /// A model's id or name; one that gives transcripts.
    pub model: String,
    /// An id or name that `corpus.load` gave.
    pub corpus: String,
    /// Whether each letter gets the phonemes that it stands for, out of a dictionary.
    #[serde(default = "yes")]
    pub phonemes: bool,
    /// The absolute path of a dictionary as CMUdict is written (default: CMUdict, from the cache folder).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dictionary: Option<String>,
    /// How many utterances are listed.
    #[serde(default = "ten")]
    pub items: usize,
    /// How many are left out before.
    #[serde(default)]
    pub offset: usize,
}

fn yes() -> bool {
    true
}

/// Transcripts laid over their sounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Annotated {
    /// The corpus.
    pub corpus: String,
    /// The recogniser.
    pub model: String,
    /// How many utterances were aligned.
    pub utterances: usize,
    /// How many were not.
    pub skipped: usize,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_files: Vec<DamagedFile>,
    /// The aligner's score: the mean logarithm of the probability of a best path, for a letter.
    pub log_probability: f64,
    /// How many different words the dictionary lacks.
    pub unknown_words: usize,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_unknown_words: Vec<String>,
    /// How letters lie beside the phones whose times the corpus knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// Some of the utterances.
    pub items: Vec<AnnotatedItem>,
    /// What was done.
    pub settings: Settings,
}

/// How letters lie beside phones whose times are known: from middle to middle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agreement {
    /// Letters whose phoneme was found among the phones.
    pub letters: usize,
    /// The median of how much later the letter is (s).
    pub median_offset: f64,
    /// The share that lies within 50 ms.
    pub within_50_ms: f64,
}

/// An utterance with the place of each letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnnotatedItem {
    /// Its name.
    pub id: String,
    /// As it was understood.
    pub transcript: String,
    /// The logarithm of the probability of the best path that writes it.
    pub log_probability: f64,
    /// Each letter.
    pub letters: Vec<AnnotatedLetter>,
}

/// A letter with what it stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnnotatedLetter {
    /// Where it lies.
    #[serde(flatten)]
    pub letter: Letter,
    /// Its phonemes in ARPAbet; none where it is silent or its word unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phonemes: Vec<String>,
    /// How well letter and phonemes go together: the logarithm of the pair's probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// A corpus that is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadedCorpus {
    /// Its id: a hash of its files' names, lengths and transcripts.
    pub corpus: String,
    /// What else it answers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it lies.
    pub path: String,
    /// `libri_speech`, `manifest` or `class_folders`.
    pub layout: String,
    /// How many sounds can be used.
    pub utterances: usize,
    /// How many images can be used.
    pub images: usize,
    /// Of all sounds together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<f64>,
    /// How many have a transcript.
    pub transcripts: usize,
    /// How many have phones with times.
    pub phones: usize,
    /// What files can be grouped by, and into how many groups.
    pub groups: Vec<CorpusGroups>,
    /// How many files are damaged and left out.
    pub damaged: usize,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged_files: Vec<DamagedFile>,
}

/// What files can be grouped by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CorpusGroups {
    /// `speaker`, `class`, or another column.
    pub by: String,
    /// How many groups.
    pub groups: usize,
}

/// A file that is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DamagedFile {
    /// Which.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// All corpora held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Corpora {
    /// The corpora.
    pub corpora: Vec<LoadedCorpus>,
}

/// What a corpus is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DescribedCorpus {
    /// All of it.
    #[serde(flatten)]
    pub corpus: LoadedCorpus,
    /// Of sounds: shortest, mean, longest (s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations: Option<[f64; 3]>,
    /// The characters of all transcripts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub characters: String,
    /// The groups that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_list: Vec<Group>,
    /// Some of the items.
    pub items: Vec<Item>,
}

/// A group of files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// What they have in common.
    pub name: String,
    /// How many.
    pub items: usize,
    /// Of sounds together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<f64>,
}

/// An utterance or image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// Its name.
    pub id: String,
    /// Its absolute path, which is an input as it is.
    pub path: String,
    /// Of a sound (s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// What is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcript: Option<String>,
    /// What is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Who speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// What else is known.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub columns: Map<String, Value>,
}
