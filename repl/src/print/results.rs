//! The results of single methods as text, and any other result as a list of its fields.

use client_protocol::input::{Inputs, Loaded as LoadedInput};
use client_protocol::job::{Job, JobState, Jobs};
use client_protocol::model::{ClassScore, Described, Letter, Loaded, Models, Prediction};
use client_protocol::{ResolvedTarget, Tensor};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::annotated;
use super::numbers::{bytes, count, length, number};
use super::sanity;
use super::summary::tensor_summary;
use super::table::{Column, table};

/// A method's result as text; pictures are left out.
pub(crate) fn render(method: &str, result: &Value) -> String {
    let text = match method {
        "model.predict" => typed(result, prediction),
        "model.load" => typed(result, loaded),
        "model.list" => typed(result, models),
        "model.describe" => typed(result, described),
        "input.load" => typed(result, input),
        "input.list" => typed(result, inputs),
        "job.list" => typed(result, jobs),
        "job.get" => typed(result, job),
        "sanity.randomize" => typed(result, sanity::randomized),
        "sanity.data_randomization" => typed(result, sanity::data_randomized),
        "corpus.annotate" => typed(result, annotated::annotated),
        "metric.mprt" => typed(result, sanity::mprt),
        "metric.pixel_flipping" => typed(result, sanity::pixel_flipping),
        "rpc.discover" => serde_json::to_string_pretty(result).ok(),
        _ => None,
    };
    text.unwrap_or_else(|| fields(result))
}

/// A result of a known type, or nothing where a later daemon answers otherwise or with a job.
fn typed<T: DeserializeOwned>(result: &Value, render: impl FnOnce(T) -> String) -> Option<String> {
    serde_json::from_value(result.clone()).ok().map(render)
}

fn prediction(prediction: Prediction) -> String {
    if let Some(each) = prediction.predictions {
        let parts = each.into_iter().enumerate();
        let parts = parts.map(|(index, one)| format!("input {index}\n{}", self::prediction(one)));
        return parts.collect::<Vec<_>>().join("\n\n");
    }
    let mut parts = Vec::new();
    parts.extend(prediction.transcript.map(|transcript| format!("“{transcript}”")));
    parts.extend(prediction.letters.filter(|letters| !letters.is_empty()).map(|letters| self::letters(&letters)));
    if !prediction.classes.is_empty() {
        parts.push(classes(&prediction.classes));
    }
    parts.join("\n\n")
}

fn classes(classes: &[ClassScore]) -> String {
    let rows: Vec<Vec<String>> = classes
        .iter()
        .map(|class| {
            vec![
                class.label.clone().unwrap_or_else(|| "–".to_owned()),
                class.index.to_string(),
                number(class.logit),
                format!("{:.2} %", class.probability * 100.0),
                bar(class.probability, 24),
            ]
        })
        .collect();
    let columns = [
        Column::words("class"),
        Column::numbers("index"),
        Column::numbers("logit"),
        Column::numbers("probability"),
        Column::words(""),
    ];
    table(&columns, &rows)
}

/// A bar of eighths of a character; what is not nothing shows at least one.
pub(super) fn bar(part: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (part * width as f64 * 8.0).round() as usize;
    let eighths = if part > 0.0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn letters(letters: &[Letter]) -> String {
    let seconds = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
    let rows: Vec<Vec<String>> = letters
        .iter()
        .enumerate()
        .map(|(index, letter)| {
            let letter_text = if letter.letter == " " { "␣" } else { &letter.letter };
            vec![
                index.to_string(),
                letter_text.to_owned(),
                letter.frame.to_string(),
                seconds(letter.start),
                seconds(letter.end),
                format!("{:.2} %", letter.probability * 100.0),
            ]
        })
        .collect();
    let columns = [
        Column::numbers(""),
        Column::words("letter"),
        Column::numbers("frame"),
        Column::numbers("start (s)"),
        Column::numbers("end (s)"),
        Column::numbers("probability"),
    ];
    table(&columns, &rows)
}

fn loaded(loaded: Loaded) -> String {
    let name = loaded.names.first().unwrap_or(&loaded.model);
    let inputs: Vec<String> = loaded.inputs.iter().map(|input| any_length(&input.shape)).collect();
    format!(
        "{name}: {} parameters in {} layers, from {} to {}{}",
        count(loaded.parameters as u64),
        loaded.layers.len(),
        inputs.join(" and "),
        axes_in_words(&loaded.output.shape, &loaded.output.axes),
        if loaded.already_loaded { " (held already)" } else { "" }
    )
}

fn any_length(shape: &[Option<usize>]) -> String {
    let each = shape.iter().map(|length| length.map_or("any".to_owned(), |length| length.to_string()));
    each.collect::<Vec<_>>().join(" × ")
}

fn axes_in_words(shape: &[usize], axes: &[String]) -> String {
    match axes.is_empty() {
        true => length(shape),
        false => format!("{} ({})", length(shape), axes.join(", ")),
    }
}

fn models(models: Models) -> String {
    let held: Vec<Vec<String>> = models
        .models
        .iter()
        .map(|model| {
            let names = model.names.join(", ");
            vec![names, count(model.parameters as u64), bytes(model.bytes as u64), model.model.clone()]
        })
        .collect();
    let columns =
        [Column::words("held"), Column::numbers("parameters"), Column::numbers("memory"), Column::words("id")];
    let held = if held.is_empty() { "no model is held".to_owned() } else { table(&columns, &held) };
    let zoo: Vec<Vec<String>> = models
        .zoo
        .iter()
        .map(|entry| {
            let weights = match (&entry.fetch, entry.has_weights) {
                (_, true) => "here".to_owned(),
                (Some(fetch), false) => fetch.clone(),
                (None, false) => "none".to_owned(),
            };
            vec![entry.name.clone(), weights, entry.summary.clone()]
        })
        .collect();
    let zoo = table(&[Column::words("can be loaded"), Column::words("weights"), Column::words("")], &zoo);
    format!("{held}\n\n{zoo}")
}

fn described(model: Described) -> String {
    let optional = |values: Option<Vec<String>>| values.map(|values| values.join("×")).unwrap_or_default();
    let rows: Vec<Vec<String>> = model
        .layers
        .iter()
        .map(|layer| {
            vec![
                layer.name.clone(),
                layer.operator.clone(),
                axes_in_words(&layer.shape, &[]),
                if layer.parameters == 0 { String::new() } else { count(layer.parameters as u64) },
                optional(layer.receptive_field.as_ref().map(|field| field.iter().map(usize::to_string).collect())),
                optional(layer.stride.as_ref().map(|stride| stride.iter().map(|&step| number(step)).collect())),
            ]
        })
        .collect();
    let columns = [
        Column::words("layer"),
        Column::words("operator"),
        Column::words("shape"),
        Column::numbers("parameters"),
        Column::numbers("receptive field"),
        Column::numbers("stride"),
    ];
    let mut lines = vec![format!(
        "{} ({}): {} parameters in {} layers, {} class names",
        model.names.first().unwrap_or(&model.model),
        model.source,
        count(model.parameters as u64),
        model.layers.len(),
        model.labels.len()
    )];
    for input in &model.inputs {
        lines.push(format!("input  {}: {} ({})", input.name, any_length(&input.shape), input.axes.join(", ")));
    }
    let output = &model.output;
    let shape = axes_in_words(&output.shape, &output.axes);
    lines.push(format!("output {}: {shape}; logits in {}", output.name, output.logits));
    lines.extend(model.grad_cam_layer.map(|layer| format!("Grad-CAM reads {layer} where no layer is named")));
    format!("{}\n\n{}", lines.join("\n"), table(&columns, &rows))
}

fn input(input: LoadedInput) -> String {
    let path = input.path.as_deref().unwrap_or("given as numbers");
    let Some(duration) = input.duration else { return format!("{} {}: {path}", input.kind, length(&input.shape)) };
    let rate = input.sample_rate.map(|rate| format!(", {rate} Hz")).unwrap_or_default();
    let n_channels = input.shape.first().copied().unwrap_or(1);
    let channels = if n_channels == 1 { "1 channel".to_owned() } else { format!("{n_channels} channels") };
    format!("{} of {} s{rate}, {channels}: {path}", input.kind, number(duration))
}

fn inputs(inputs: Inputs) -> String {
    let rows: Vec<Vec<String>> = inputs
        .inputs
        .into_iter()
        .map(|input| vec![input.input, input.kind, length(&input.shape), input.path.unwrap_or_default()])
        .collect();
    if rows.is_empty() {
        return "no input is held".to_owned();
    }
    table(&[Column::words("input"), Column::words("kind"), Column::words("shape"), Column::words("from")], &rows)
}

fn jobs(jobs: Jobs) -> String {
    let rows: Vec<Vec<String>> = jobs
        .jobs
        .iter()
        .map(|job| vec![job.job.clone(), job.method.clone(), state(job), format!("{} s", number(job.age_s))])
        .collect();
    if rows.is_empty() {
        return "no job is known".to_owned();
    }
    table(&[Column::words("job"), Column::words("method"), Column::words("state"), Column::numbers("asked ago")], &rows)
}

fn job(job: Job) -> String {
    let head = format!("{} ({}): {}, asked {} s ago", job.job, job.method, state(&job), number(job.age_s));
    let error = job.error.map(|error| format!("\nerror: {}", error.message));
    let result = job.result.map(|result| format!("\n{}", render(&job.method, &result)));
    head + &error.or(result).unwrap_or_default()
}

/// The state, and how far a job is that runs.
fn state(job: &Job) -> String {
    let state = serde_json::to_value(job.state).ok().and_then(|state| state.as_str().map(str::to_owned));
    let state = state.unwrap_or_default();
    match &job.progress {
        Some(progress) if job.state == JobState::Running => {
            let left = progress.left_s.map(|left| format!(", {left:.0} s left")).unwrap_or_default();
            format!("{state}, {} of {} steps{left}", progress.done, progress.total)
        }
        _ => state,
    }
}

/// Any result, a line a field.
fn fields(result: &Value) -> String {
    let Value::Object(object) = result else { return plain(result) };
    // What was asked comes first, then the answer, then what one should know about it.
    let rank = |name: &str| match name {
        "target" => 0,
        "tensor" => 2,
        "notes" => 3,
        _ => 1,
    };
    let mut fields: Vec<(&String, &Value)> = object.iter().collect();
    fields.sort_by_key(|(name, _)| rank(name));
    let mut lines = Vec::new();
    for (name, value) in fields {
        match name.as_str() {
            // What was done is in the raw result; a person asked for it and knows.
            "settings" | "picture" => {}
            "wav" => lines.push("wav: `> FILE.wav` writes it".to_owned()),
            "tensor" => lines.push(tensor(value)),
            "target" => lines.extend(target(value)),
            "notes" => {
                lines.extend(value.as_array().into_iter().flatten().map(|note| format!("note: {}", plain(note))));
            }
            _ => lines.push(field(name, value)),
        }
    }
    lines.join("\n")
}

fn tensor(value: &Value) -> String {
    match serde_json::from_value::<Tensor>(value.clone()) {
        Ok(tensor) => tensor_summary(&tensor),
        Err(_) => plain(value),
    }
}

fn target(value: &Value) -> Vec<String> {
    let one = |value: &Value| match serde_json::from_value::<ResolvedTarget>(value.clone()) {
        Ok(target) => format!("target {}", target_in_words(&target)),
        Err(_) => format!("target {}", plain(value)),
    };
    match value {
        Value::Array(many) => many.iter().map(one).collect(),
        _ => vec![one(value)],
    }
}

fn target_in_words(target: &ResolvedTarget) -> String {
    let mut words = Vec::new();
    words.extend(target.label.clone());
    words.extend(
        target.index.map(|index| if target.label.is_some() { format!("({index})") } else { format!("class {index}") }),
    );
    words.extend(target.layer.clone());
    words.extend(target.channel.map(|channel| format!("channel {channel}")));
    words.extend(target.position.as_ref().map(|position| format!("at {position:?}")));
    words.extend(target.time.map(|time| format!("at {} s", number(time))));
    words.extend(target.frame.map(|frame| format!("in frame {frame}")));
    let mut text = format!("{}: score {}", words.join(" "), number(target.score));
    if let Some(probability) = target.probability {
        text += &format!(", probability {:.2} %", probability * 100.0);
    }
    text
}

/// A field of any kind: small objects on one line, lists of objects as a table, tensors summarised wherever they are.
fn field(name: &str, value: &Value) -> String {
    match value {
        Value::Object(object) if object.contains_key("shape") && object.contains_key("data") => {
            format!("{name}: {}", tensor(value))
        }
        Value::Object(object) if object.values().any(|value| value.is_object() || value.is_array()) => {
            let lines: Vec<String> = object.iter().map(|(name, value)| field(name, value)).collect();
            format!("{name}:\n  {}", lines.join("\n").replace('\n', "\n  "))
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let parts: Vec<String> = items.iter().map(list_item).collect();
            format!("{name}:\n  {}", parts.join("\n").replace('\n', "\n  "))
        }
        _ => format!("{name}: {}", amount(name, value)),
    }
}

fn list_item(item: &Value) -> String {
    match item {
        Value::Object(object) if object.values().all(|value| !value.is_object() && !value.is_array()) => small(object),
        _ => fields(item),
    }
}

fn small(object: &Map<String, Value>) -> String {
    object.iter().map(|(name, value)| format!("{name} {}", amount(name, value))).collect::<Vec<_>>().join(", ")
}

/// A value in the unit that its field's name tells.
fn amount(name: &str, value: &Value) -> String {
    match value.as_u64() {
        Some(size) if name.ends_with("bytes") => bytes(size),
        _ => plain(value),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(value) if value.is_f64() => number(value.as_f64().unwrap_or(f64::NAN)),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(object) => small(object),
        _ => value.to_string(),
    }
}
