//! `model.*`.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use client_protocol::model::{
    ClassScore, Described, ForwardParams, ForwardResult, Held, InputSpec, Layer, LoadParams, Loaded, ModelParams,
    Models, OutputSpec, PredictParams, Prediction, Unloaded, ZooEntry,
};
use client_protocol::{Axis, ErrorKind, ErrorObject, NoParams, Settings, nearest};
use introspection::Scores;
use models::description::{FrontEnd, Labels, ModelDescription};
use models::device::device_named;
use models::loaders::{LoadError, Weights, onnx, pth, safetensors};
use models::passes::merge_batch_norms;
use models::{Dim, Graph, Outlet, zoo};
use serde_json::{Value, json};

use crate::draw;
use crate::errors;
use crate::files::{self, Beside};
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::asked::{self, AskedInput};
use crate::requests::transcript;
use crate::state::State;
use crate::to_protocol::{Array, axes_of, axis_name};

/// What was done, for an answer.
pub(crate) fn settings<'a>(settings: impl IntoIterator<Item = (&'a str, Value)>) -> Settings {
    settings.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(crate) fn load(state: &Arc<State>, params: LoadParams, token: &Token) -> Result<Loaded, ErrorObject> {
    let _loading = state.loading.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    models::Interrupt::check(token).map_err(errors::of_interrupted)?;
    let params = LoadParams { device: Some(params.device.unwrap_or_else(|| state.config.device.clone())), ..params };
    let device = device_of(params.device.as_deref().unwrap_or("cpu"))?;
    let key = load_key(state, &params);
    let known = key.as_ref().and_then(|key| state.models().loaded_by(key));
    if let Some(model) = known {
        return Ok(loaded(state, &model, &params, true));
    }
    let description = description_of(state, &params)?;
    let source = read_source(state, &params, &description)?;
    let id = model_id(&source, &params, &description);
    let held = state.models().get(&id).ok();
    let was_held = held.is_some();
    let model = match held {
        Some(model) => model,
        None => {
            let labels = labels_of(state, description.labels.as_ref())?;
            let graph = prepared(source.graph, &params, &device, source.name)?;
            let front_end = description.front_end.clone();
            let axes = description.output_axes.as_deref();
            let mut model = HeldModel::new(id, params.source.clone(), graph, labels, front_end, axes)?;
            model.set_seconds_per_input_step(description.seconds_per_step);
            model.value_range = description.value_range;
            model.set_ctc(description.ctc)?;
            state.models().hold(model, key.as_deref().unwrap_or_default())
        }
    };
    tracing::info!(model = model.id, source = params.source, was_held, "loaded a model");
    Ok(loaded(state, &model, &params, was_held))
}

fn loaded(state: &State, model: &HeldModel, params: &LoadParams, already_loaded: bool) -> Loaded {
    let mut models = state.models();
    if zoo::find(&params.source).is_some() {
        models.name(&model.id, &params.source);
    }
    if let Some(name) = &params.name {
        models.name(&model.id, name);
    }
    Loaded {
        model: model.id.clone(),
        names: models.names_of(&model.id),
        layers: model.graph.nodes().iter().map(|node| node.name.clone()).collect(),
        inputs: inputs_of(model),
        output: output_of(model, 0),
        outputs: outputs_of(model),
        labels: model.labels.clone(),
        parameters: model.graph.n_parameters(),
        already_loaded,
    }
}

fn device_of(name: &str) -> Result<Device, ErrorObject> {
    device_named(name).map_err(|error| {
        ErrorObject::new(ErrorKind::NotFound, error.to_string()).field("device").value(name).expected("cpu")
    })
}

/// A network from a source, with what its id is made of.
struct Source {
    graph: Graph,
    hash: String,
    name: &'static str,
}

/// The same request again means the same model as long as its files have not changed.
fn load_key(state: &State, params: &LoadParams) -> Option<String> {
    let file = match zoo::find(&params.source) {
        Some(entry) => match (&params.weights, entry.weights_file) {
            (Some(path), _) if path != "random" => path.clone(),
            (None, Some(file)) => state.config.cache_dir.join(file).display().to_string(),
            _ => String::new(),
        },
        None => params.source.clone(),
    };
    let stamp = match file.as_str() {
        "" => String::new(),
        file => {
            let metadata = std::fs::metadata(file).ok()?;
            format!("{:?} {}", metadata.modified().ok()?, metadata.len())
        }
    };
    // Labels and descriptions in files of their own may change unseen, so that such a request is never a shortcut.
    let has_other_files =
        [&params.description, &params.labels].iter().any(|value| matches!(value, Some(Value::String(_))));
    let request = serde_json::to_string(&LoadParams { name: None, ..params.clone() }).ok()?;
    (!has_other_files).then(|| format!("{file} {stamp} {request}"))
}

fn read_source(state: &State, params: &LoadParams, description: &ModelDescription) -> Result<Source, ErrorObject> {
    if let Some(entry) = zoo::find(&params.source) {
        let (weights, hash) = zoo_weights(state, entry, params)?;
        let graph = zoo::build(entry, weights).map_err(|error| errors::of_load(error, entry.name))?;
        return Ok(Source { graph, hash: format!("{} {hash}", entry.name), name: entry.name });
    }
    let path = &params.source;
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let is_path = path.contains('/') || ["onnx", "pth", "pt", "safetensors"].contains(&extension);
    if !is_path {
        let names: Vec<&str> = zoo::entries().iter().map(|entry| entry.name).collect();
        let message = format!("`{path}` is neither a network of the zoo ({}) nor a file's path", names.join(", "));
        return Err(ErrorObject::new(ErrorKind::NotFound, message)
            .field("source")
            .value(path.as_str())
            .nearest(nearest(path, names)));
    }
    let bytes = files::map_limited(path, "source", state.config.limits.file_bytes)?;
    let hash = files::hash_of(&bytes);
    let of_load = |error: LoadError| errors::of_load(error, path);
    if ["pth", "pt", "safetensors"].contains(&extension) {
        let entry = architecture_of(params, description)?;
        let checkpoint = if extension == "safetensors" { safetensors::load(&bytes) } else { pth::load(&bytes) };
        let graph = zoo::build(entry, Weights::from_checkpoint(checkpoint.map_err(of_load)?)).map_err(of_load)?;
        return Ok(Source { graph, hash: format!("{} {hash}", entry.name), name: entry.name });
    }
    let siblings =
        Hashed { beside: Beside::of(path, state.config.limits.file_bytes), hasher: std::sync::Mutex::default() };
    let graph = onnx::load(&bytes, &siblings).map_err(of_load)?;
    let outside = siblings.hasher.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).finalize().to_hex();
    Ok(Source { graph, hash: format!("{hash} {outside}"), name: "ONNX" })
}

/// External weights are part of what a model's id stands for.
struct Hashed {
    beside: Beside,
    hasher: std::sync::Mutex<blake3::Hasher>,
}

impl models::loaders::Siblings for Hashed {
    fn read(&self, name: &str, offset: u64, length: Option<u64>) -> Result<Vec<u8>, LoadError> {
        let bytes = self.beside.read(name, offset, length)?;
        self.hasher.lock().unwrap_or_else(std::sync::PoisonError::into_inner).update(&bytes);
        Ok(bytes)
    }
}

fn architecture_of(params: &LoadParams, description: &ModelDescription) -> Result<&'static zoo::Entry, ErrorObject> {
    let names: Vec<&str> = zoo::entries().iter().map(|entry| entry.name).collect();
    let asked = params.architecture.as_deref().or(description.architecture.as_deref()).ok_or_else(|| {
        let message = format!(
            "`{}` holds weights alone; `architecture` must say what they are for: {}",
            params.source,
            names.join(", ")
        );
        ErrorObject::invalid("architecture", message).expected(names.join(", "))
    })?;
    zoo::find(asked).ok_or_else(|| {
        let message = format!("no architecture `{asked}`; there are {}", names.join(", "));
        ErrorObject::new(ErrorKind::NotFound, message).field("architecture").value(asked).nearest(nearest(asked, names))
    })
}

fn zoo_weights(state: &State, entry: &zoo::Entry, params: &LoadParams) -> Result<(Weights, String), ErrorObject> {
    if let (None, Some(bytes), Some(weights)) = (&params.weights, entry.embedded, entry.embedded_weights()) {
        let weights = weights.map_err(|error| errors::of_load(error, entry.name))?;
        return Ok((weights, blake3::hash(bytes).to_hex().to_string()));
    }
    let path = match (params.weights.as_deref(), entry.weights_file) {
        (Some("random"), _) => {
            let seed = params.seed.ok_or_else(|| {
                ErrorObject::invalid("seed", "`weights=random` needs a `seed`, so that the answer can be repeated")
            })?;
            return Ok((Weights::random(seed), format!("random {seed}")));
        }
        (Some(path), _) => path.to_owned(),
        (None, Some(file)) => state.config.cache_dir.join(file).display().to_string(),
        (None, None) => {
            let message = format!(
                "there are no trained weights for `{}` yet; give `weights` a file's path, or `random` with a `seed`",
                entry.name
            );
            return Err(ErrorObject::new(ErrorKind::NotFound, message).field("weights").expected("a path, or random"));
        }
    };
    if params.weights.is_none() && !Path::new(&path).exists() {
        let fetch = entry.fetch.unwrap_or("scripts/fetch-models");
        let message =
            format!("the weights of `{}` are not on this machine (`{path}`); fetch them with `{fetch}`", entry.name);
        return Err(ErrorObject::new(ErrorKind::NotFound, message).field("source").value(entry.name).hint(fetch));
    }
    let bytes = files::map_limited(&path, "weights", state.config.limits.file_bytes)?;
    let hash = files::hash_of(&bytes);
    let checkpoint = if path.ends_with(".safetensors") { safetensors::load(&bytes) } else { pth::load(&bytes) };
    let checkpoint = checkpoint.map_err(|error| errors::of_load(error, &path))?;
    Ok((Weights::from_checkpoint(checkpoint), hash))
}

/// Batch norms merged and numbers of the asked type.
fn prepared(graph: Graph, params: &LoadParams, device: &Device, name: &str) -> Result<Graph, ErrorObject> {
    let of_model = |error| errors::of_load(LoadError::Model(error), name);
    let graph = if params.merge_batch_norm { merge_batch_norms(&graph).map_err(of_model)? } else { graph };
    let graph = match params.dtype.as_deref() {
        None | Some("f32") => graph,
        Some("f64") => graph.to_dtype(candle_core::DType::F64).map_err(of_model)?,
        Some(other) => {
            let message = format!("`dtype` {other} is not computed in; f32 and f64 are");
            return Err(ErrorObject::invalid("dtype", message).value(other).expected("f32 or f64"));
        }
    };
    if device.is_cpu() { Ok(graph) } else { graph.on_device(device).map_err(of_model) }
}

fn model_id(source: &Source, params: &LoadParams, description: &ModelDescription) -> String {
    let (dtype, device) = (params.dtype.as_deref().unwrap_or("f32"), params.device.as_deref().unwrap_or("cpu"));
    let description = serde_json::to_string(description).unwrap_or_default();
    let of = format!("{} | {description} | {dtype} | {device} | {}", source.hash, params.merge_batch_norm);
    blake3::hash(of.as_bytes()).to_hex()[..16].to_owned()
}

/// The zoo's description, or the one given, with what the request says itself.
fn description_of(state: &State, params: &LoadParams) -> Result<ModelDescription, ErrorObject> {
    let mut description = match &params.description {
        None => zoo::find(params.architecture.as_deref().unwrap_or(&params.source))
            .map_or_else(ModelDescription::default, |entry| (entry.description)()),
        Some(Value::String(path)) => {
            let bytes = files::read_limited(path, "description", state.config.limits.file_bytes)?;
            let json = serde_json::from_slice(&bytes).map_err(|error| {
                ErrorObject::new(ErrorKind::CorruptFile, format!("`{path}` is no JSON: {error}"))
                    .field("description")
                    .value(path.as_str())
            })?;
            ModelDescription::from_json(&json)
                .map_err(|message| ErrorObject::invalid("description", format!("`{path}`: {message}")))?
        }
        Some(json) => {
            ModelDescription::from_json(json).map_err(|message| ErrorObject::invalid("description", message))?
        }
    };
    if let Some(labels) = &params.labels {
        description.labels = Some(serde_json::from_value(labels.clone()).map_err(|_| {
            ErrorObject::invalid("labels", "`labels` is a list of names, or the path of a file with one a line")
                .value(labels.clone())
        })?);
    }
    if let Some(frontend) = &params.frontend {
        description.front_end = Some(front_end(frontend)?);
    }
    if let Some(axes) = &params.output_axes {
        description.output_axes = Some(axes.clone());
    }
    Ok(description)
}

/// The options of a front end: `{"image": {…}}` or `{"audio": {…}}`.
pub(crate) fn front_end(options: &Value) -> Result<FrontEnd, ErrorObject> {
    let description = ModelDescription::from_json(&json!({"front_end": options}));
    let description = description.map_err(|message| {
        ErrorObject::invalid("frontend", format!("`frontend`: {message}")).value(options.clone()).expected(FRONT_ENDS)
    })?;
    description.front_end.ok_or_else(|| ErrorObject::invalid("frontend", "`frontend` is empty").expected(FRONT_ENDS))
}

const FRONT_ENDS: &str = r#"{"image": {"short_side", "interpolation", "crop", "mean", "std"}}, or {"audio": {"sample_rate", "spectrogram", "normalization"}}"#;

fn labels_of(state: &State, labels: Option<&Labels>) -> Result<Vec<String>, ErrorObject> {
    let path = match labels {
        None => return Ok(vec![]),
        Some(Labels::List(labels)) => return Ok(labels.clone()),
        Some(Labels::File(path)) if path.starts_with('/') => path.clone(),
        Some(Labels::File(name)) => {
            let path = state.config.cache_dir.join(name);
            if !path.exists() {
                // The network works without them, and a class's index does for a name.
                tracing::warn!(path = %path.display(), "the labels are not on this machine; scripts/fetch-models fetches them");
                return Ok(vec![]);
            }
            path.display().to_string()
        }
    };
    let bytes = files::read_limited(&path, "labels", state.config.limits.file_bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        ErrorObject::new(ErrorKind::CorruptFile, format!("`{path}` is no text in UTF-8"))
            .field("labels")
            .value(path.as_str())
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}

pub(crate) fn list(state: &Arc<State>, _: NoParams, _: &Token) -> Result<Models, ErrorObject> {
    let held = state.models();
    let of_model = |model: &Arc<HeldModel>| Held {
        model: model.id.clone(),
        names: held.names_of(&model.id),
        source: model.source.clone(),
        parameters: model.graph.n_parameters(),
        bytes: model.bytes(),
    };
    let of_entry = |entry: &zoo::Entry| ZooEntry {
        name: entry.name.to_owned(),
        summary: entry.summary.to_owned(),
        has_weights: entry.embedded.is_some()
            || entry.weights_file.is_some_and(|file| state.config.cache_dir.join(file).exists()),
        fetch: entry.fetch.map(str::to_owned),
    };
    Ok(Models { models: held.all().iter().map(of_model).collect(), zoo: zoo::entries().iter().map(of_entry).collect() })
}

pub(crate) fn describe(state: &Arc<State>, params: ModelParams, _: &Token) -> Result<Described, ErrorObject> {
    let model = state.models().get(&params.model)?;
    let graph = &model.graph;
    let shapes = graph.hinted_shapes().map_err(|error| errors::of_model(error, None))?;
    let layer = |outlet: Outlet| {
        let idx = outlet.node.0;
        let node = &graph.nodes()[idx];
        let fields = model.receptive_fields[idx].as_deref();
        let mut names = graph.aliases().iter().filter(|(_, of)| *of == outlet).map(|(name, _)| name.clone());
        Some(Layer {
            // A further output, such as the cells of an LSTM, has the name that was given to it.
            name: if outlet.port == 0 { node.name.clone() } else { names.next()? },
            aliases: names.collect(),
            operator: node.operator.kind().to_owned(),
            inputs: node.inputs.iter().map(|input| model.name_of(input.node).to_owned()).collect(),
            shape: shapes[idx][outlet.port][1..].to_vec(),
            axes: model.axes[idx].iter().skip(1).map(|kind| axis_name(*kind).to_owned()).collect(),
            parameters: if outlet.port == 0 { node.operator.n_parameters() } else { 0 },
            receptive_field: fields.map(|fields| fields.iter().map(|field| field.size).collect()),
            stride: fields.map(|fields| fields.iter().map(|field| field.stride as f64).collect()),
        })
    };
    let outlets = graph.nodes().iter().enumerate().flat_map(|(idx, node)| {
        (0..node.operator.n_outputs()).map(move |port| Outlet { node: models::NodeIdx(idx), port })
    });
    let names = state.models().names_of(&model.id);
    Ok(Described {
        model: model.id.clone(),
        names,
        source: model.source.clone(),
        inputs: inputs_of(&model),
        output: output_of(&model, 0),
        outputs: outputs_of(&model),
        labels: model.labels.clone(),
        layers: outlets.filter_map(layer).collect(),
        parameters: graph.n_parameters(),
        grad_cam_layer: model.grad_cam_layer.map(|outlet| model.name_of(outlet.node).to_owned()),
    })
}

fn inputs_of(model: &HeldModel) -> Vec<InputSpec> {
    let spec = |&idx: &models::NodeIdx| InputSpec {
        name: model.name_of(idx).to_owned(),
        shape: model
            .graph
            .input_shape(idx)
            .iter()
            .map(|dim| if let Dim::Known(length) = dim { Some(*length) } else { None })
            .collect(),
        axes: model.axes[idx.0].iter().skip(1).map(|kind| axis_name(*kind).to_owned()).collect(),
        frontend: model.front_end.as_ref().map(|front_end| json!(front_end)),
    };
    model.graph.inputs().iter().map(spec).collect()
}

fn outputs_of(model: &HeldModel) -> Vec<OutputSpec> {
    (0..model.graph.outputs().len()).map(|output| output_of(model, output)).collect()
}

fn output_of(model: &HeldModel, output: usize) -> OutputSpec {
    let (name, outlet) = &model.graph.outputs()[output];
    let class = model.axes_of_output(output).class;
    let shape = model.graph.hinted_shapes().map(|shapes| shapes[outlet.node.0][0][1..].to_vec()).unwrap_or_default();
    let kinds = &model.axes[outlet.node.0];
    let axis = |(idx, kind): (usize, &models::operators::AxisKind)| {
        if idx == class { "class" } else { axis_name(*kind) }.to_owned()
    };
    OutputSpec {
        name: name.clone(),
        shape,
        axes: kinds.iter().enumerate().skip(1).map(axis).collect(),
        logits: model.name_of(model.graph.logits_of(output).node).to_owned(),
    }
}

pub(crate) fn unload(state: &Arc<State>, params: ModelParams, _: &Token) -> Result<Unloaded, ErrorObject> {
    let model = state.models().get(&params.model)?;
    state.models().drop_model(&model.id);
    let traces = state.traces.drop_where(|key| key.model == model.id);
    Ok(Unloaded { model: model.id.clone(), freed_bytes: traces + model.bytes() })
}

pub(crate) fn forward(state: &Arc<State>, params: ForwardParams, token: &Token) -> Result<ForwardResult, ErrorObject> {
    let model = state.models().get(&params.model)?;
    let names = params.outputs.clone().unwrap_or_else(|| vec![model.graph.outputs()[0].0.clone()]);
    let named = |name: &String| Ok(model.graph.outputs()[model.output_named(name, "outputs")?].1);
    let outlets: Vec<Outlet> = names.iter().map(named).collect::<Result<_, ErrorObject>>()?;
    let mut of_outputs: Vec<Vec<Array>> = vec![Vec::new(); outlets.len()];
    for input in params.input.as_slice() {
        let asked = asked::input(state, &model, input, token)?;
        for (outlet, arrays) in outlets.iter().zip(&mut of_outputs) {
            arrays.push(Array::of(
                &asked::value(&asked.trace, *outlet)?,
                None,
                axes_of(&model, &asked.prepared, *outlet),
            )?);
        }
    }
    let together = |mut arrays: Vec<Array>| match params.input.is_list() {
        true => Array::stack(arrays, Axis::named("input")),
        false => Ok(arrays.remove(0)),
    };
    let arrays: Vec<Array> = of_outputs.into_iter().map(together).collect::<Result<_, _>>()?;
    let first = arrays.first().ok_or_else(|| ErrorObject::invalid("outputs", "the list of outputs is empty"))?;
    let picture = draw::of_array(&params.answer, first, None, &format!("output {}", names[0]))?;
    let encoded =
        |array: &Array| -> Result<Value, ErrorObject> { Ok(json!(array.encode(state, params.answer.encoding)?)) };
    let outputs = params.outputs.as_ref().map(|names| {
        names
            .iter()
            .zip(&arrays)
            .map(|(name, array)| Ok((name.clone(), encoded(array)?)))
            .collect::<Result<_, ErrorObject>>()
    });
    let outputs = outputs.transpose()?;
    Ok(ForwardResult {
        tensor: first.encode(state, params.answer.encoding)?,
        outputs,
        settings: settings([("outputs", json!(names))]),
        picture,
    })
}

pub(crate) fn predict(state: &Arc<State>, params: PredictParams, token: &Token) -> Result<Prediction, ErrorObject> {
    if params.top == 0 {
        return Err(ErrorObject::invalid("top", "`top` says how many classes are wanted, from 1")
            .value(0)
            .expected("from 1"));
    }
    let model = state.models().get(&params.model)?;
    let mut predictions = Vec::new();
    for input in params.input.as_slice() {
        let asked = asked::input(state, &model, input, token)?;
        predictions.push(prediction(state, &model, &asked, &params)?);
    }
    if !params.input.is_list() {
        return Ok(predictions.remove(0));
    }
    Ok(Prediction {
        classes: vec![],
        transcript: None,
        letters: None,
        predictions: Some(predictions),
        settings: settings([("top", json!(params.top))]),
        picture: None,
    })
}

fn prediction(
    state: &State,
    model: &HeldModel,
    asked: &AskedInput,
    params: &PredictParams,
) -> Result<Prediction, ErrorObject> {
    let transcript = transcript::transcript(state, model, &asked.prepared, &asked.trace, params)?;
    let logits = &asked::value(&asked.trace, model.graph.logits())?;
    let scores =
        Scores::read(logits, model.output_axes, 0).map_err(|error| errors::of_introspection(error, &model.graph))?;
    let mut classes: Vec<ClassScore> = Vec::new();
    for place in 0..scores.n_places() {
        let at_place = scores.at(place);
        let log = introspection::log_probabilities(&model.graph, 0, at_place);
        for (class, (&logit, log)) in at_place.iter().zip(&log).enumerate() {
            let probability = log.exp();
            match classes.get_mut(class) {
                None => classes.push(ClassScore { index: class, label: model.label(class), logit, probability }),
                // Of a sequence each class stands with its best frame.
                Some(best) if probability > best.probability => (best.logit, best.probability) = (logit, probability),
                Some(_) => {}
            }
        }
    }
    classes.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(b.logit.total_cmp(&a.logit)));
    classes.truncate(params.top);
    let Some(transcript) = transcript else {
        let picture = draw::of_classes(&params.answer, &classes, asked)?;
        let settings = settings([("top", json!(params.top))]);
        return Ok(Prediction { classes, transcript: None, letters: None, predictions: None, settings, picture });
    };
    let title = format!("“{}”{}", transcript.text, draw::in_file(asked.held.path.as_deref()));
    let picture = match draw::of_transcript(&params.answer, &asked.prepared, &transcript.above, &title)? {
        None => draw::of_classes(&params.answer, &classes, asked)?,
        picture => picture,
    };
    Ok(Prediction {
        classes,
        transcript: Some(transcript.text),
        letters: Some(transcript.letters),
        predictions: None,
        settings: settings([("top", json!(params.top))].into_iter().chain(transcript.settings)),
        picture,
    })
}
