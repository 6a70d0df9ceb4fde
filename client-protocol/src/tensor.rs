//! Arrays on the wire: always f32, in the network's own axis order without the batch axis.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::ser::Error;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The one number type of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Dtype {
    /// IEEE 754 single precision, little endian.
    #[default]
    #[serde(rename = "f32")]
    F32,
}

/// An array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tensor {
    /// Length along each axis.
    pub shape: Vec<usize>,
    /// What each axis means; empty where a caller does not say.
    #[serde(default)]
    pub axes: Vec<Axis>,
    /// Always `f32`.
    #[serde(default)]
    pub dtype: Dtype,
    /// The numbers, the last axis running fastest.
    pub data: TensorData,
}

/// The numbers of a tensor: base64 or the path of a NumPy file as a string, or nested JSON numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TensorData {
    /// Base64 of little-endian f32, or (where `npy` was asked) an absolute path ending in `.npy`.
    Text(#[serde(serialize_with = "as_it_is")] String),
    /// Nested numbers; `null` where they stay with the daemon (`encoding: none`).
    Numbers(Value),
}

/// What an axis means.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Axis {
    /// `channel`, `row`, `column`, `time`, `frequency`, `class`, `feature`; in front `target` or `input` where a list was asked.
    pub name: String,
    /// `s`, `Hz` or `px`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Where the first index lies, in the unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<f64>,
    /// How far apart two indices lie, in the unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
    /// Where each index lies, where the axis is uneven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<f64>>,
    /// What each index is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
}

impl Axis {
    /// An axis without a unit.
    pub fn named(name: impl Into<String>) -> Self {
        Axis { name: name.into(), ..Axis::default() }
    }
}

impl Tensor {
    /// A tensor whose numbers are base64.
    pub fn base64(shape: Vec<usize>, axes: Vec<Axis>, numbers: &[f32]) -> Self {
        let bytes = numbers.iter().map(|number| number.to_le_bytes()).collect::<Vec<_>>().into_flattened();
        Tensor { shape, axes, dtype: Dtype::F32, data: TensorData::Text(BASE64.encode(bytes)) }
    }

    /// A tensor whose numbers stay with the daemon.
    pub fn without_numbers(shape: Vec<usize>, axes: Vec<Axis>) -> Self {
        Tensor { shape, axes, dtype: Dtype::F32, data: TensorData::Numbers(Value::Null) }
    }

    /// A tensor whose numbers are nested JSON.
    pub fn nested(shape: Vec<usize>, axes: Vec<Axis>, numbers: &[f32]) -> Self {
        let data = TensorData::Numbers(nest(&shape, numbers));
        Tensor { shape, axes, dtype: Dtype::F32, data }
    }

    /// The numbers, where they came inline; an error says what is wrong with them.
    pub fn numbers(&self) -> Result<Vec<f32>, String> {
        let expected = self.shape.iter().try_fold(1usize, |length, &axis| length.checked_mul(axis));
        let expected =
            expected.ok_or_else(|| format!("the shape {:?} has more numbers than memory can hold", self.shape))?;
        let numbers = match &self.data {
            TensorData::Text(text) => {
                let bytes = BASE64.decode(text).map_err(|error| format!("`data` is no base64: {error}"))?;
                if bytes.len() % 4 != 0 {
                    return Err(format!("`data` holds {} bytes, which are no whole number of f32", bytes.len()));
                }
                bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
            }
            TensorData::Numbers(value) => {
                let mut numbers = Vec::new();
                flatten(value, &self.shape, &mut numbers)?;
                numbers
            }
        };
        if numbers.len() != expected {
            return Err(format!(
                "`data` holds {} numbers but the shape {:?} needs {expected}",
                numbers.len(),
                self.shape
            ));
        }
        Ok(numbers)
    }
}

/// Writes text as JSON; long text in which nothing needs an escape in one piece, where serde_json would ask of each byte.
fn as_it_is<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    const LONG: usize = 1 << 12;
    let needs_escape = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // Without an early end, which would have it ask of each byte as well.
    if text.len() < LONG || text.bytes().fold(false, |any, byte| any | needs_escape(byte)) {
        return text.serialize(serializer);
    }
    RawValue::from_string(format!("\"{text}\"")).map_err(S::Error::custom)?.serialize(serializer)
}

fn nest(shape: &[usize], numbers: &[f32]) -> Value {
    match shape {
        [] => Value::from(numbers.first().copied().unwrap_or_default()),
        [_] => Value::Array(numbers.iter().map(|&number| Value::from(number)).collect()),
        [_, rest @ ..] => {
            let step = rest.iter().product::<usize>().max(1);
            Value::Array(numbers.chunks_exact(step).map(|part| nest(rest, part)).collect())
        }
    }
}

fn flatten(value: &Value, shape: &[usize], into: &mut Vec<f32>) -> Result<(), String> {
    match (value, shape) {
        (Value::Array(parts), [length, rest @ ..]) => {
            if parts.len() != *length {
                return Err(format!("`data` has a list of {} where the shape says {length}", parts.len()));
            }
            parts.iter().try_for_each(|part| flatten(part, rest, into))
        }
        (Value::Number(number), []) => {
            into.push(number.as_f64().unwrap_or(f64::NAN) as f32);
            Ok(())
        }
        _ => Err("`data` must be nested lists of numbers as deep as `shape` is long".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_lead_back() {
        let numbers = [1.0, -2.5, 3.0, 0.0, 5.0, 6.25];
        for tensor in [Tensor::base64(vec![2, 3], vec![], &numbers), Tensor::nested(vec![2, 3], vec![], &numbers)] {
            assert_eq!(tensor.numbers().unwrap(), numbers);
        }
    }

    #[test]
    fn long_text_is_written_as_short_text_is() {
        let long = "aB+/=".repeat(2000);
        for text in ["a".to_owned(), long.clone(), format!("{long}\"\\\n\u{1}é"), format!("é{long}")] {
            let data = TensorData::Text(text.clone());
            assert_eq!(serde_json::to_string(&data).unwrap(), serde_json::to_string(&text).unwrap());
            assert_eq!(serde_json::to_value(&data).unwrap(), Value::String(text.clone()));
            assert_eq!(serde_json::from_str::<TensorData>(&serde_json::to_string(&data).unwrap()).unwrap(), data);
        }
    }

    #[test]
    fn base64_is_little_endian_f32() {
        assert_eq!(Tensor::base64(vec![1], vec![], &[1.0]).data, TensorData::Text("AACAPw==".to_owned()));
    }

    #[track_caller]
    fn refused(tensor: serde_json::Value, because: &str) {
        let tensor: Tensor = serde_json::from_value(tensor).unwrap();
        assert_eq!(tensor.numbers().unwrap_err(), because);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        refused(
            serde_json::json!({"shape": [3], "data": "AACAPw=="}),
            "`data` holds 1 numbers but the shape [3] needs 3",
        );
        refused(
            serde_json::json!({"shape": [1], "data": "AACA"}),
            "`data` holds 3 bytes, which are no whole number of f32",
        );
        refused(serde_json::json!({"shape": [2], "data": [1]}), "`data` has a list of 1 where the shape says 2");
        let huge = serde_json::json!({"shape": [usize::MAX, 4], "data": ""});
        refused(huge, "the shape [18446744073709551615, 4] has more numbers than memory can hold");
    }
}
