//! What is explained: a class, a frame's letter, a unit inside the network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is explained.
///
/// `"predicted"` (the default), `{"class": 281}` or `{"class": "tabby"}`, for a sequence also with `"frame": 62` or
/// `"time": 1.24` (s), a frame or time alone, `{"letter": 3}`, or a unit inside: `{"layer": "conv5", "channel": 17}`
/// with `"position": [..]` for one neuron. A bare word is a class's name and a bare number its index. Of a network with
/// several outputs the first is meant, or the one that `"output": "name"` names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
#[schemars(with = "TargetForms")]
pub enum Target {
    /// The class with the highest score; for a sequence the sum of each frame's best.
    #[default]
    Predicted,
    /// A class, at a place or summed over all.
    Class {
        /// Which class.
        class: ClassName,
        /// At which place of a sequence.
        place: Option<Place>,
    },
    /// The best class of one frame of a sequence.
    BestAt(Place),
    /// A letter of the transcript, at its most probable frame.
    Letter(usize),
    /// The predicted class, a class or a frame of the output of this name.
    OfOutput {
        /// The output.
        output: String,
        /// What of it.
        target: Box<Target>,
    },
    /// Units inside the network.
    Unit {
        /// The layer.
        layer: String,
        /// The channel; all channels summed where it is left out.
        channel: Option<usize>,
        /// One position along each spatial axis; all positions summed where it is left out.
        position: Option<Vec<usize>>,
    },
}

/// A class by index or by any of its names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassName {
    /// Index along the class axis.
    Index(usize),
    /// Any synonym of the label.
    Name(String),
}

/// A place along a sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// The index of an output frame.
    Frame(usize),
    /// Seconds from the start of the input; the frame whose receptive field's centre is nearest is meant.
    Time(f64),
}

/// The forms of a target as a schema shows them.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum TargetForms {
    /// `"predicted"`, or a class's name.
    Word(String),
    /// A class's index.
    Index(usize),
    /// The fields, as far as they apply.
    Fields(Fields),
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// A class: its index or any of its names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<ClassName>,
    /// The index of an output frame of a sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame: Option<usize>,
    /// Seconds from the start of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<f64>,
    /// The index of a letter of the transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    letter: Option<usize>,
    /// The output that class and frame are of, where the network has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// A layer inside the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer: Option<String>,
    /// A channel of that layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<usize>,
    /// A position along that layer's spatial axes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<Vec<usize>>,
}

const FORMS: &str = "a target is \"predicted\", a class's name or index, {\"class\": …} with \"frame\" or \"time\", \
                     {\"frame\": …}, either with \"output\", {\"letter\": …}, or {\"layer\": …, \"channel\": …, \
                     \"position\": […]}";

impl TryFrom<Value> for Target {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let class = |class| Ok(Target::Class { class, place: None });
        match value {
            Value::Null => Ok(Target::Predicted),
            Value::String(word) if word == "predicted" => Ok(Target::Predicted),
            Value::String(name) => class(ClassName::Name(name)),
            Value::Number(number) => {
                let index = number.as_u64().ok_or_else(|| format!("{number} is no class index; {FORMS}"))?;
                class(ClassName::Index(index as usize))
            }
            Value::Object(_) => {
                let fields: Fields = serde_json::from_value(value).map_err(|error| format!("{error}; {FORMS}"))?;
                fields.target()
            }
            other => Err(format!("{other} is no target; {FORMS}")),
        }
    }
}

impl Fields {
    fn target(mut self) -> Result<Target, String> {
        let Some(output) = self.output.take() else { return self.of_first_output() };
        let target = if self.is_empty() { Target::Predicted } else { self.of_first_output()? };
        match target {
            Target::Predicted | Target::Class { .. } | Target::BestAt(_) => {
                Ok(Target::OfOutput { output, target: Box::new(target) })
            }
            _ => Err(format!("these fields do not go together; {FORMS}")),
        }
    }

    fn is_empty(&self) -> bool {
        serde_json::to_value(self).is_ok_and(|fields| fields == Value::Object(serde_json::Map::new()))
    }

    fn of_first_output(self) -> Result<Target, String> {
        let place = match (self.frame, self.time) {
            (Some(_), Some(_)) => return Err("a target has a `frame` or a `time`, not both".to_owned()),
            (Some(frame), None) => Some(Place::Frame(frame)),
            (None, Some(time)) if time.is_finite() && time >= 0.0 => Some(Place::Time(time)),
            (None, Some(time)) => return Err(format!("a target's `time` is in seconds from the start, not {time}")),
            (None, None) => None,
        };
        let is_unit = self.channel.is_some() || self.position.is_some();
        match (self.class, place, self.letter, self.layer) {
            (Some(class), place, None, None) if !is_unit => Ok(Target::Class { class, place }),
            (None, Some(place), None, None) if !is_unit => Ok(Target::BestAt(place)),
            (None, None, Some(letter), None) if !is_unit => Ok(Target::Letter(letter)),
            (None, None, None, Some(layer)) => {
                Ok(Target::Unit { layer, channel: self.channel, position: self.position })
            }
            _ => Err(format!("these fields do not go together; {FORMS}")),
        }
    }
}

impl From<Target> for Value {
    fn from(target: Target) -> Value {
        let at = |fields: Fields, place: Option<Place>| match place {
            Some(Place::Frame(frame)) => Fields { frame: Some(frame), ..fields },
            Some(Place::Time(time)) => Fields { time: Some(time), ..fields },
            None => fields,
        };
        let fields = match target {
            Target::Predicted => return Value::from("predicted"),
            Target::Class { class, place } => at(Fields { class: Some(class), ..Fields::default() }, place),
            Target::BestAt(place) => at(Fields::default(), Some(place)),
            Target::OfOutput { output, target } => match Value::from(*target) {
                Value::Object(mut fields) => {
                    fields.insert("output".to_owned(), Value::from(output));
                    return Value::Object(fields);
                }
                _ => Fields { output: Some(output), ..Fields::default() },
            },
            Target::Letter(letter) => Fields { letter: Some(letter), ..Fields::default() },
            Target::Unit { layer, channel, position } => {
                Fields { layer: Some(layer), channel, position, ..Fields::default() }
            }
        };
        serde_json::to_value(fields).expect("a target's fields are JSON")
    }
}

/// Which number of a class is explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScoreOf {
    /// The input of a final softmax, log-softmax or sigmoid, else the output itself.
    #[default]
    Logit,
    /// The logarithm of the probability.
    LogProbability,
    /// The probability.
    Probability,
    /// The network's output as it is.
    Output,
}

/// A target as it was understood.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedTarget {
    /// The output that it is of, where it is not the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The class's index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The class's label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The output frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<usize>,
    /// The centre of the frame's receptive field (s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    /// The layer of a unit inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// Its channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<usize>,
    /// Its position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Vec<usize>>,
    /// The number that is explained.
    pub score: f64,
    /// The class's probability, where the output has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn parsed(target: Value, expected: Target) {
        let parsed: Target = serde_json::from_value(target).unwrap();
        assert_eq!(parsed, expected);
        assert_eq!(serde_json::from_value::<Target>(serde_json::to_value(&parsed).unwrap()).unwrap(), expected);
    }

    #[test]
    fn every_form_is_understood() {
        parsed(json!("predicted"), Target::Predicted);
        parsed(json!({"class": 281}), Target::Class { class: ClassName::Index(281), place: None });
        parsed(json!("tiger cat"), Target::Class { class: ClassName::Name("tiger cat".to_owned()), place: None });
        let e = ClassName::Name("e".to_owned());
        parsed(json!({"class": "e", "time": 1.24}), Target::Class { class: e, place: Some(Place::Time(1.24)) });
        parsed(json!({"frame": 62}), Target::BestAt(Place::Frame(62)));
        parsed(json!({"letter": 3}), Target::Letter(3));
        let of_output = |target: Target| Target::OfOutput { output: "age".to_owned(), target: Box::new(target) };
        let third = Target::Class { class: ClassName::Index(3), place: None };
        parsed(json!({"output": "age", "class": 3}), of_output(third));
        parsed(json!({"output": "age", "frame": 62}), of_output(Target::BestAt(Place::Frame(62))));
        parsed(json!({"output": "age"}), of_output(Target::Predicted));
        let unit = Target::Unit { layer: "conv5".to_owned(), channel: Some(17), position: Some(vec![2, 3]) };
        parsed(json!({"layer": "conv5", "channel": 17, "position": [2, 3]}), unit);
    }

    #[test]
    fn a_wrong_form_is_told_the_right_ones() {
        let error = |target: Value| serde_json::from_value::<Target>(target).unwrap_err().to_string();
        assert!(error(json!({"clas": 3})).starts_with("unknown field `clas`"), "{}", error(json!({"clas": 3})));
        assert_eq!(error(json!({"frame": 1, "time": 2.0})), "a target has a `frame` or a `time`, not both");
        assert!(error(json!({"class": 1, "channel": 2})).starts_with("these fields do not go together"));
        assert!(error(json!({"output": "age", "layer": "conv"})).starts_with("these fields do not go together"));
        assert!(error(json!({"output": "age", "channel": 2})).starts_with("these fields do not go together"));
        assert!(error(json!({"output": "age", "letter": 2})).starts_with("these fields do not go together"));
        assert!(error(json!(-1)).starts_with("-1 is no class index"));
    }
}
