//! What a network does not say by itself: how files become its input, what its classes are called.

use serde::{Deserialize, Serialize};

use crate::front_ends::audio::AudioFrontEnd;
use crate::front_ends::image::ImageFrontEnd;

/// A model's description, as a JSON file beside it or an object in a request; every part may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDescription {
    /// The zoo's builder that its weights are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// How files become its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front_end: Option<FrontEnd>,
    /// Class names, each with its synonyms behind commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// How classes over time become letters, where the network was trained with CTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctc: Option<CtcSettings>,
    /// The smallest and largest number of an input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_range: Option<[f32; 2]>,
    /// What the output's axes mean, where the operators do not say; one of them is `class`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_axes: Option<Vec<String>>,
    /// Seconds from one step of the input's time axis to the next, where no front end for sound says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_per_step: Option<f64>,
}

/// How files become an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrontEnd {
    /// Photos.
    Image(ImageFrontEnd),
    /// Sound.
    Audio(AudioFrontEnd),
    /// Words: a network whose first input is letters, and whose second the phonemes said so far (`phonemizer`).
    Spelling,
}

/// How classes over time become letters (connectionist temporal classification, Graves et al. 2006): one class of
/// equal neighbours is one letter, and the blank is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CtcSettings {
    /// The class that is no letter.
    pub blank: usize,
    /// The class that lies between two words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word_boundary: Option<usize>,
}

/// Names of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Labels {
    /// A file with one a line, by an absolute path or its name in the cache folder.
    File(String),
    /// The names themselves.
    List(Vec<String>),
}

impl ModelDescription {
    /// Reads one; the error says what is wrong and which fields there are.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, String> {
        let description: ModelDescription = serde_json::from_value(json.clone()).map_err(|error| error.to_string())?;
        match &description.front_end {
            Some(FrontEnd::Image(front_end)) => front_end.check()?,
            Some(FrontEnd::Audio(front_end)) => front_end.check()?,
            Some(FrontEnd::Spelling) | None => {}
        }
        match description.seconds_per_step {
            Some(step) if !step.is_finite() || step <= 0.0 => {
                Err(format!("`seconds_per_step` is {step}; a positive number is needed"))
            }
            _ => Ok(description),
        }
    }
}

impl FrontEnd {
    /// The front end for photos, if it is one.
    pub fn for_images(&self) -> Option<&ImageFrontEnd> {
        match self {
            FrontEnd::Image(front_end) => Some(front_end),
            FrontEnd::Audio(_) | FrontEnd::Spelling => None,
        }
    }

    /// The front end for sound, if it is one.
    pub fn for_audio(&self) -> Option<&AudioFrontEnd> {
        match self {
            FrontEnd::Audio(front_end) => Some(front_end),
            FrontEnd::Image(_) | FrontEnd::Spelling => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_description_is_read_and_mistakes_are_named() {
        let front_end = json!({"image": {"short_side": 256, "interpolation": "bicubic", "crop": 224, "mean": [127, 127, 127], "std": [128, 128, 128]}});
        let description =
            ModelDescription::from_json(&json!({"front_end": front_end, "labels": ["cat", "dog"]})).unwrap();
        assert_eq!(description.front_end.unwrap().for_images().unwrap().value_range(), (-127.0 / 128.0, 1.0));
        let refused = |json| ModelDescription::from_json(&json).unwrap_err();
        assert!(refused(json!({"lables": []})).starts_with("unknown field `lables`"));
        let audio = json!({"audio": {"sample_rate": 16000, "spectrogram": {"window_length": 400, "hop_length": 0}}});
        assert_eq!(refused(json!({"front_end": audio})), "hop_length 0; from 1 to 65536 samples is needed");
        let mut upside_down = front_end.clone();
        upside_down["image"]["crop"] = json!(300);
        assert_eq!(
            refused(json!({"front_end": upside_down})),
            "crop 300 of a short side of 256; both from 1 to 8192, the crop not larger"
        );
        assert_eq!(refused(json!({"seconds_per_step": 0})), "`seconds_per_step` is 0; a positive number is needed");
    }
}
