//! Going on with an ascent: as it was asked, and under an id that says what was asked and how many steps were taken.

use client_protocol::ErrorObject;
use client_protocol::visualization::MaximizeParams;
use serde_json::{Map, Value, json};

use super::prior::HeldPrior;
use crate::ascents::Kept;
use crate::held_model::HeldModel;

/// What may differ from step to step: how many are taken, what is kept on the way, and how the answer comes.
const FREE: [&str; 8] =
    ["steps", "snapshots", "continue_from", "encoding", "picture", "timeout", "background", "watch"];

/// What was asked of an ascent, with the steps and answers that are asked now.
///
/// Anything else that is given must be what it was: else the request means something that it does not get.
pub(super) fn params(kept: &Kept, model: &HeldModel, asked: MaximizeParams) -> Result<MaximizeParams, ErrorObject> {
    if model.id != kept.model {
        let message = format!("this ascent is one of model `{}`, not of `{}`", kept.model, model.id);
        return Err(ErrorObject::invalid("model", message).value(asked.model).expected(kept.model.as_str()));
    }
    let (was, wanted, default) = (fields(&kept.params), fields(&asked), fields(&default_params(&asked.model)));
    let none = Value::Null;
    let of = |fields: &Map<String, Value>, name: &str| fields.get(name).unwrap_or(&none).clone();
    for (name, value) in &wanted {
        if *value != of(&was, name) && *value != of(&default, name) {
            let message = format!("`{name}` cannot change while an ascent goes on; leave it out");
            return Err(ErrorObject::invalid(name, message).expected(of(&was, name).to_string()));
        }
    }
    let MaximizeParams { steps, snapshots, answer, .. } = asked;
    Ok(MaximizeParams { steps, snapshots, answer, ..kept.params.clone() })
}

/// Parameters but for those that may differ, those left out left out.
fn fields(params: &MaximizeParams) -> Map<String, Value> {
    let Value::Object(mut fields) = json!(params) else { return Map::new() };
    fields.retain(|name, value| !value.is_null() && name != "model" && !FREE.contains(&name.as_str()));
    fields
}

fn default_params(model: &str) -> MaximizeParams {
    serde_json::from_value(json!({"model": model})).expect("a model is all that is required")
}

/// A hash of what was asked, whatever the steps.
pub(super) fn hash(
    model: &HeldModel,
    params: &MaximizeParams,
    prior: Option<&HeldPrior>,
    start: Option<&[f64]>,
) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut fields = fields(params);
    fields.remove("start");
    hasher.update(format!("{} {}", model.id, json!(fields)).as_bytes());
    prior.iter().for_each(|prior| {
        hasher.update(prior.model.id.as_bytes());
    });
    start.into_iter().flatten().for_each(|number| {
        hasher.update(&number.to_le_bytes());
    });
    hasher.finalize().to_hex().to_string()
}

/// The id of the ascent that a question has come to after so many steps.
pub(super) fn ascent_id(question: &str, steps: usize) -> String {
    blake3::hash(format!("{question} {steps}").as_bytes()).to_hex()[..16].to_owned()
}
