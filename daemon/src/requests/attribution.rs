//! `attribution.*`: every method is a question, a way to walk, and the axes that its map has.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use client_protocol::attribution::{
    Attribution, GradCamParams, GuidedGradCamParams, Interpolation, PlainParams, Post, Question, SaliencyParams,
};
use client_protocol::{Axis, ErrorKind, ErrorObject, OneOrMany, ResolvedTarget, Settings};
use introspection::rules::activations_with_plain_gradient;
use models::{Outlet, Value};
use serde_json::json;

use crate::draw::{self, Look};
use crate::errors;
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::asked::{self, AskedInput};
use crate::requests::model::settings;
use crate::state::State;
use crate::to_protocol::{Array, axes_of, resolved_target};

/// A map of one input, for all targets, with its axes without the target's.
struct Map {
    value: Value,
    axes: Vec<Axis>,
}

/// How a method makes a map of one input's question.
type Method<'a> = &'a dyn Fn(&HeldModel, &AskedInput, &introspection::Question<'_>) -> Result<Map, ErrorObject>;

/// The frame that all attributions share.
struct Asking<'a> {
    state: &'a State,
    question: &'a Question,
    token: &'a Token,
    /// The name in titles.
    name: &'static str,
    /// How its picture is drawn.
    look: Look,
    settings: Vec<(&'static str, serde_json::Value)>,
    notes: Vec<String>,
}

pub(crate) fn saliency(state: &Arc<State>, params: SaliencyParams, token: &Token) -> Result<Attribution, ErrorObject> {
    let settings = vec![("post", json!(params.post))];
    let asking = Asking {
        state,
        question: &params.question,
        token,
        name: "saliency",
        look: Look::Magnitude,
        settings,
        notes: vec![],
    };
    asking.answer(&|model, asked, question| {
        let value = introspection::saliency(question).map_err(|error| errors::of_introspection(error, &model.graph))?;
        post_processed(Map { value, axes: axes_of(model, &asked.prepared, question.at) }, params.post)
    })
}

pub(crate) fn input_x_gradient(
    state: &Arc<State>,
    params: PlainParams,
    token: &Token,
) -> Result<Attribution, ErrorObject> {
    plain(state, &params.question, token, "input × gradient", introspection::input_x_gradient, false)
}

pub(crate) fn guided_backprop(
    state: &Arc<State>,
    params: PlainParams,
    token: &Token,
) -> Result<Attribution, ErrorObject> {
    plain(state, &params.question, token, "guided backpropagation", introspection::guided_backprop, true)
}

pub(crate) fn deconvnet(state: &Arc<State>, params: PlainParams, token: &Token) -> Result<Attribution, ErrorObject> {
    plain(state, &params.question, token, "deconvnet", introspection::deconvnet, true)
}

/// A method without parameters of its own, read where the question says.
fn plain(
    state: &State,
    question: &Question,
    token: &Token,
    name: &'static str,
    method: fn(&introspection::Question<'_>) -> introspection::Result<Value>,
    changes_rectifiers: bool,
) -> Result<Attribution, ErrorObject> {
    let notes = if changes_rectifiers { rectifier_notes(&*state.models().get(&question.model)?) } else { vec![] };
    let look = if changes_rectifiers { Look::Colors } else { Look::Magnitude };
    let asking = Asking { state, question, token, name, look, settings: vec![], notes };
    asking.answer(&|model, asked, question| {
        let value = method(question).map_err(|error| errors::of_introspection(error, &model.graph))?;
        Ok(Map { value, axes: axes_of(model, &asked.prepared, question.at) })
    })
}

/// Names the activations that are no rectifiers, since the rule at rectifiers leaves them as they are.
fn rectifier_notes(model: &HeldModel) -> Vec<String> {
    let kept = activations_with_plain_gradient(&model.graph);
    if kept.is_empty() {
        return vec![];
    }
    vec![format!("these activations are no rectifiers and kept their plain gradient: {}", kept.join(", "))]
}

pub(crate) fn grad_cam(state: &Arc<State>, params: GradCamParams, token: &Token) -> Result<Attribution, ErrorObject> {
    let model = state.models().get(&params.question.model)?;
    let layer = cam_layer(&model, params.layer.as_deref())?;
    let interpolation = interpolation(params.interpolation);
    if params.question.at.is_some() {
        let message = "a Grad-CAM is read at its `layer`; leave `at` out";
        return Err(ErrorObject::invalid("at", message));
    }
    let settings = vec![
        ("layer", json!(model.name_of(layer.node))),
        ("relu", json!(params.relu)),
        ("upsample", json!(params.upsample)),
        ("interpolation", json!(params.interpolation)),
    ];
    let asking = Asking {
        state,
        question: &params.question,
        token,
        name: "Grad-CAM",
        look: Look::Magnitude,
        settings,
        notes: vec![],
    };
    asking.answer(&|model, asked, question| {
        let of_error = |error| errors::of_introspection(error, &model.graph);
        let map = introspection::grad_cam(question, layer, params.relu).map_err(of_error)?;
        if !params.upsample {
            return Ok(Map { value: map, axes: spatial(axes_of(model, &asked.prepared, layer)) });
        }
        let places = asked.prepared.value.shape().get(2..).unwrap_or_default();
        let value = introspection::upsample(&map, places, interpolation).map_err(of_error)?;
        Ok(Map { value, axes: spatial(axes_of(model, &asked.prepared, model.input())) })
    })
}

pub(crate) fn guided_grad_cam(
    state: &Arc<State>,
    params: GuidedGradCamParams,
    token: &Token,
) -> Result<Attribution, ErrorObject> {
    let model = state.models().get(&params.question.model)?;
    let layer = cam_layer(&model, params.layer.as_deref())?;
    let interpolation = interpolation(params.interpolation);
    let settings = vec![("layer", json!(model.name_of(layer.node))), ("interpolation", json!(params.interpolation))];
    let notes = rectifier_notes(&model);
    let asking = Asking {
        state,
        question: &params.question,
        token,
        name: "guided Grad-CAM",
        look: Look::Colors,
        settings,
        notes,
    };
    asking.answer(&|model, asked, question| {
        let value = introspection::guided_grad_cam(question, layer, interpolation);
        let value = value.map_err(|error| errors::of_introspection(error, &model.graph))?;
        Ok(Map { value, axes: axes_of(model, &asked.prepared, question.at) })
    })
}

fn cam_layer(model: &HeldModel, name: Option<&str>) -> Result<Outlet, ErrorObject> {
    match name {
        Some(name) => model.layer(name),
        None => introspection::last_spatial_convolution(&model.graph)
            .map_err(|error| errors::of_introspection(error, &model.graph)),
    }
}

fn interpolation(asked: Interpolation) -> introspection::Interpolation {
    match asked {
        Interpolation::Bilinear => introspection::Interpolation::Bilinear,
        Interpolation::Nearest => introspection::Interpolation::Nearest,
    }
}

/// Axes of places alone.
fn spatial(axes: Vec<Axis>) -> Vec<Axis> {
    axes.into_iter().skip(1).collect()
}

fn post_processed(map: Map, post: Post) -> Result<Map, ErrorObject> {
    let of_model = |error| errors::of_model(error, None);
    match post {
        Post::None => Ok(map),
        Post::Abs => Ok(Map { value: map.value.map(f64::abs).map_err(of_model)?, axes: map.axes }),
        Post::MaxChannel => {
            let shape = map.value.shape().to_vec();
            if shape.len() < 3 {
                let message = format!(
                    "`max_channel` needs a map with channels and places, but this one has shape {:?}",
                    &shape[1..]
                );
                return Err(ErrorObject::invalid("post", message).expected("none or abs"));
            }
            let numbers = map.value.to_logical().and_then(|value| value.to_f32_vec()).map_err(of_model)?;
            let n_places: usize = shape[2..].iter().product();
            let largest = |target: &[f32]| -> Vec<f32> {
                (0..n_places)
                    .map(|place| {
                        target.iter().skip(place).step_by(n_places).fold(0.0, |largest: f32, n| largest.max(n.abs()))
                    })
                    .collect()
            };
            let numbers: Vec<f32> = numbers.chunks_exact(shape[1] * n_places).flat_map(largest).collect();
            let shape: Vec<usize> = shape[..1].iter().chain(&shape[2..]).copied().collect();
            let value = Value::from_vec(numbers, &shape, models::Layout::Logical).map_err(of_model)?;
            Ok(Map { value, axes: spatial(map.axes) })
        }
    }
}

impl Asking<'_> {
    fn answer(self, method: Method<'_>) -> Result<Attribution, ErrorObject> {
        let model = self.state.models().get(&self.question.model)?;
        let at = self.question.at.as_deref().map_or_else(|| Ok(model.input()), |name| model.layer(name))?;
        let targets = self.question.target.as_slice();
        if targets.is_empty() || self.question.input.as_slice().is_empty() {
            return Err(ErrorObject::invalid("target", "the list of targets or inputs is empty"));
        }
        let mut arrays = Vec::new();
        let mut resolved: Vec<ResolvedTarget> = Vec::new();
        let mut crop_start = None;
        let mut last = None;
        for input in self.question.input.as_slice() {
            let asked = asked::input(self.state, &model, input, self.token)?;
            let of_input = asked::resolve(&model, &asked.trace, targets, self.question.of)?;
            // A walk holds a few values of the size of the largest activation for each target.
            let walk_bytes = largest_activation(&model, &asked).saturating_mul(of_input.len()).saturating_mul(4 * 4);
            asked::refuse_beyond(walk_bytes, self.state.config.limits.query_bytes, "this many targets at once")?;
            let (graph, trace) = (&model.graph, &*asked.trace);
            let question = introspection::Question { graph, trace, targets: &of_input, at, interrupt: self.token };
            let map = method(&model, &asked, &question)?;
            self.state.counters.backward_walks.fetch_add(1, Ordering::Relaxed);
            let leading = self.question.target.is_list().then(|| Axis::named("target"));
            let mut array = Array::of(&map.value, leading, map.axes)?;
            if self.question.crop {
                let places = cone_of_all(&model, &asked, &of_input, at)?;
                crop_start = Some(crop(&mut array, &places)?);
            }
            resolved.extend(
                targets.iter().zip(&of_input).map(|(asked, of_input)| resolved_target(&model, asked, of_input)),
            );
            arrays.push(array);
            last = Some(asked);
        }
        let is_list = self.question.target.is_list() || self.question.input.is_list();
        let array = match self.question.input.is_list() {
            true => Array::stack(arrays, Axis::named("input"))?,
            false => arrays.remove(0),
        };
        let title = title(self.name, &resolved[0], last.as_ref().and_then(|asked| asked.held.path.as_deref()));
        let picture = draw::of_map(
            &self.question.answer,
            &array,
            last.as_ref().map(|asked| &*asked.prepared),
            self.look,
            &title,
        )?;
        let tensor = array.encode(self.state, self.question.answer.encoding)?;
        let target = if is_list { OneOrMany::Many(resolved) } else { OneOrMany::One(resolved.remove(0)) };
        let settings = self.settings(&model, at);
        Ok(Attribution { tensor, target, settings, crop_start, notes: self.notes, picture })
    }

    fn settings(&self, model: &HeldModel, at: Outlet) -> Settings {
        let shared = [
            ("at", json!(model.name_of(at.node))),
            ("of", json!(self.question.of)),
            ("crop", json!(self.question.crop)),
        ];
        settings(shared.into_iter().chain(self.settings.iter().cloned()))
    }
}

fn largest_activation(model: &HeldModel, asked: &AskedInput) -> usize {
    let values = (0..model.graph.nodes().len()).flat_map(|idx| asked.trace.outputs(models::NodeIdx(idx)));
    values.map(Value::len).max().unwrap_or(0)
}

/// What the picture is of: method, class, probability, file.
fn title(name: &str, target: &ResolvedTarget, path: Option<&str>) -> String {
    let what = match (&target.label, target.index, &target.layer) {
        (Some(label), _, _) => label.clone(),
        (None, Some(index), _) => format!("class {index}"),
        (None, None, Some(layer)) => {
            target.channel.map_or(layer.clone(), |channel| format!("{layer}, channel {channel}"))
        }
        _ => "predicted".to_owned(),
    };
    let place = match (target.time, target.frame) {
        (Some(time), _) => format!(" at {time:.2} s"),
        (None, Some(frame)) => format!(" at frame {frame}"),
        (None, None) => String::new(),
    };
    let probability =
        target.probability.map_or(String::new(), |probability| format!(" ({:.1} %)", probability * 100.0));
    let file = path.and_then(|path| path.rsplit('/').next()).map_or(String::new(), |file| format!(" in {file}"));
    format!("{name}: {what}{place}{probability}{file}")
}

type Places = Vec<std::ops::Range<usize>>;

/// The smallest box that holds every target's cone.
fn cone_of_all(
    model: &HeldModel,
    asked: &AskedInput,
    targets: &[introspection::ResolvedTarget],
    at: Outlet,
) -> Result<Places, ErrorObject> {
    let of_target = |target| {
        introspection::cone(&model.graph, &asked.trace, target, at)
            .map_err(|error| errors::of_introspection(error, &model.graph))
    };
    let cones: Vec<Places> = targets.iter().map(of_target).collect::<Result<_, _>>()?;
    let union = |a: Places, b: Places| a.iter().zip(&b).map(|(a, b)| a.start.min(b.start)..a.end.max(b.end)).collect();
    Ok(cones.into_iter().reduce(union).unwrap_or_default())
}

/// Cuts the last axes to these places; returns where the part begins along every axis.
fn crop(array: &mut Array, places: &[std::ops::Range<usize>]) -> Result<Vec<usize>, ErrorObject> {
    if places.len() > array.shape.len() {
        return Err(ErrorObject::new(ErrorKind::Unfit, "this map has no places that could be cropped").field("crop"));
    }
    let first_spatial = array.shape.len() - places.len();
    let mut start = vec![0; array.shape.len()];
    for (nth, range) in places.iter().enumerate() {
        let axis = first_spatial + nth;
        let step: usize = array.shape[axis + 1..].iter().product();
        let line = array.shape[axis] * step;
        array.numbers = array
            .numbers
            .chunks_exact(line.max(1))
            .flat_map(|line| &line[range.start * step..range.end * step])
            .copied()
            .collect();
        array.shape[axis] = range.len();
        let named = &mut array.axes[axis];
        named.start = named.start.zip(named.step).map(|(from, step)| from + step * range.start as f64).or(named.start);
        start[axis] = range.start;
    }
    Ok(start)
}
