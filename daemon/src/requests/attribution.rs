//! `attribution.*`: every method is a question, a way to walk, and the axes that its map has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use client_protocol::attribution::{
    Attribution, CropStart, GradCamParams, GuidedGradCamParams, Interpolation, PlainParams, Post, Question,
    SaliencyParams,
};
use client_protocol::relevance::LayerSum;
use client_protocol::{Axis, ErrorKind, ErrorObject, OneOrMany, ResolvedTarget, Settings};
use introspection::Arrived;
use introspection::rules::activations_with_plain_gradient;
use models::{NodeIdx, Outlet, Value, Windows};
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
pub(super) struct Map {
    pub(super) value: Value,
    pub(super) axes: Vec<Axis>,
    /// Where it was cut, if it was.
    pub(super) windows: Option<Windows>,
    /// For each layer that relevance reached the sum for each target.
    pub(super) sums: Vec<(NodeIdx, Vec<f64>)>,
    /// For each target what the map's sum misses, where completeness is promised.
    pub(super) gaps: Option<Vec<f64>>,
}

impl Map {
    pub(super) fn whole(value: Value, axes: Vec<Axis>) -> Map {
        Map { value, axes, windows: None, sums: vec![], gaps: None }
    }

    fn cut(value: Value, axes: Vec<Axis>, windows: Windows) -> Map {
        Map { windows: Some(windows), ..Map::whole(value, axes) }
    }
}

/// A method that is a walk from the targets down.
type Walked = fn(&introspection::Question<'_>) -> introspection::Result<Arrived>;

/// How a method makes a map of one input's question.
pub(super) type Method<'a> =
    &'a dyn Fn(&HeldModel, &AskedInput, &introspection::Question<'_>) -> Result<Map, ErrorObject>;

/// The frame that all attributions share.
pub(super) struct Asking<'a> {
    pub(super) state: &'a State,
    pub(super) question: &'a Question,
    pub(super) token: &'a Token,
    /// The name in titles.
    pub(super) name: &'static str,
    /// How its picture is drawn.
    pub(super) look: Look,
    pub(super) settings: Vec<(&'static str, serde_json::Value)>,
    pub(super) notes: Vec<String>,
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
        post_processed(walked(model, asked, question, params.question.crop, introspection::saliency)?, params.post)
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
    method: Walked,
    changes_rectifiers: bool,
) -> Result<Attribution, ErrorObject> {
    let notes = if changes_rectifiers { rectifier_notes(&*state.models().get(&question.model)?) } else { vec![] };
    let look = if changes_rectifiers { Look::Colors } else { Look::Magnitude };
    let asking = Asking { state, question, token, name, look, settings: vec![], notes };
    let crop = question.crop;
    asking.answer(&|model, asked, question| walked(model, asked, question, crop, method))
}

/// What a walk brings to where the map is read: all of it, or the targets' cones.
fn walked(
    model: &HeldModel,
    asked: &AskedInput,
    question: &introspection::Question<'_>,
    crop: bool,
    method: Walked,
) -> Result<Map, ErrorObject> {
    let arrived = method(question).map_err(|error| errors::of_introspection(error, &model.graph))?;
    read(model, asked, question, crop, arrived)
}

/// All of what arrived where a map is read, or the targets' cones.
pub(super) fn read(
    model: &HeldModel,
    asked: &AskedInput,
    question: &introspection::Question<'_>,
    crop: bool,
    arrived: Arrived,
) -> Result<Map, ErrorObject> {
    let of_error = |error| errors::of_introspection(error, &model.graph);
    let axes = axes_of(model, &asked.prepared, question.at);
    if !crop {
        return Ok(Map::whole(question.whole(arrived).map_err(of_error)?, axes));
    }
    let windows = cones(model, question, question.at)?;
    let value = arrived.in_windows(&windows).map_err(of_error)?;
    Ok(Map::cut(value, axes, windows))
}

/// The targets' cones at a layer.
fn cones(model: &HeldModel, question: &introspection::Question<'_>, at: Outlet) -> Result<Windows, ErrorObject> {
    let cones = introspection::cones(question.graph, question.trace, question.targets, at);
    let cones = cones.map_err(|error| errors::of_introspection(error, &model.graph))?;
    if !(1..=2).contains(&cones.lengths.len()) {
        return Err(ErrorObject::new(ErrorKind::Unfit, "this map has no places that could be cropped").field("crop"));
    }
    Ok(cones)
}

/// A map of the input, or the targets' cones of it.
pub(super) fn of_input(
    model: &HeldModel,
    asked: &AskedInput,
    question: &introspection::Question<'_>,
    crop: bool,
    value: Value,
) -> Result<Map, ErrorObject> {
    read(model, asked, question, crop, Arrived::whole(value))
}

/// A map of places alone, cut to the targets' cones at a layer of as many places.
fn cropped_places(
    model: &HeldModel,
    question: &introspection::Question<'_>,
    at: Outlet,
    map: Map,
) -> Result<Map, ErrorObject> {
    let of_model = |error| errors::of_model(error, None);
    let windows = cones(model, question, at)?;
    let shape = map.value.shape().to_vec();
    let with_channel: Vec<usize> = [shape[0], 1].into_iter().chain(shape[1..].iter().copied()).collect();
    let pairs: Vec<usize> = (0..shape[0]).collect();
    let cut = map.value.reshape(&with_channel).and_then(|value| windows.cut(&value, &pairs, 0.0)).map_err(of_model)?;
    let places: Vec<usize> = [shape[0]].into_iter().chain(windows.lengths.iter().copied()).collect();
    let value = cut.reshape(&places).map_err(of_model)?;
    Ok(Map::cut(value, map.axes, windows))
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
    layer_map(state, &params, token, "Grad-CAM", introspection::grad_cam)
}

pub(crate) fn layer_cam(state: &Arc<State>, params: GradCamParams, token: &Token) -> Result<Attribution, ErrorObject> {
    layer_map(state, &params, token, "LayerCAM", introspection::layer_cam)
}

pub(crate) fn score_cam(state: &Arc<State>, params: GradCamParams, token: &Token) -> Result<Attribution, ErrorObject> {
    layer_map(state, &params, token, "Score-CAM", introspection::score_cam)
}

/// A map of a layer's places.
fn layer_map(
    state: &State,
    params: &GradCamParams,
    token: &Token,
    name: &'static str,
    method: fn(&introspection::Question<'_>, Outlet, bool) -> introspection::Result<Value>,
) -> Result<Attribution, ErrorObject> {
    let model = state.models().get(&params.question.model)?;
    let layer = cam_layer(&model, params.layer.as_deref())?;
    let interpolation = interpolation(params.interpolation);
    if params.question.at.is_some() {
        let message = format!("a {name} is read at its `layer`; leave `at` out");
        return Err(ErrorObject::invalid("at", message));
    }
    let settings = vec![
        ("layer", json!(model.name_of(layer.node))),
        ("relu", json!(params.relu)),
        ("upsample", json!(params.upsample)),
        ("interpolation", json!(params.interpolation)),
    ];
    let asking =
        Asking { state, question: &params.question, token, name, look: Look::Magnitude, settings, notes: vec![] };
    asking.answer(&|model, asked, question| {
        let of_error = |error| errors::of_introspection(error, &model.graph);
        let map = method(question, layer, params.relu).map_err(of_error)?;
        let (at, map) = if params.upsample {
            let places = asked.prepared.value.shape().get(2..).unwrap_or_default();
            (model.input(), introspection::upsample(&map, places, interpolation).map_err(of_error)?)
        } else {
            (layer, map)
        };
        let map = Map::whole(map, spatial(axes_of(model, &asked.prepared, at)));
        if params.question.crop { cropped_places(model, question, at, map) } else { Ok(map) }
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
        let map = Map::whole(value, axes_of(model, &asked.prepared, question.at));
        if !params.question.crop {
            return Ok(map);
        }
        let windows = cones(model, question, question.at)?;
        let pairs: Vec<usize> = (0..question.targets.len()).collect();
        let value = windows.cut(&map.value, &pairs, 0.0).map_err(|error| errors::of_model(error, None))?;
        Ok(Map::cut(value, map.axes, windows))
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
pub(super) fn spatial(axes: Vec<Axis>) -> Vec<Axis> {
    axes.into_iter().skip(1).collect()
}

fn post_processed(map: Map, post: Post) -> Result<Map, ErrorObject> {
    let of_model = |error| errors::of_model(error, None);
    match post {
        Post::None => Ok(map),
        Post::Abs => Ok(Map { value: map.value.map(f64::abs).map_err(of_model)?, ..map }),
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
            Ok(Map { value, axes: spatial(map.axes), ..map })
        }
    }
}

impl Asking<'_> {
    pub(super) fn answer(self, method: Method<'_>) -> Result<Attribution, ErrorObject> {
        let model = self.state.models().get(&self.question.model)?;
        let at = self.question.at.as_deref().map_or_else(|| Ok(model.input()), |name| model.layer(name))?;
        let targets = self.question.target.as_slice();
        if targets.is_empty() || self.question.input.as_slice().is_empty() {
            return Err(ErrorObject::invalid("target", "the list of targets or inputs is empty"));
        }
        let mut arrays = Vec::new();
        let mut resolved: Vec<ResolvedTarget> = Vec::new();
        let mut starts: Vec<Vec<usize>> = Vec::new();
        let mut last = None;
        let (mut sums, mut gaps): (BTreeMap<usize, Vec<f64>>, Vec<f64>) = Default::default();
        for input in self.question.input.as_slice() {
            let asked = asked::input(self.state, &model, input, self.token)?;
            let of_input = asked::resolve(&model, &asked.trace, targets, self.question.of)?;
            let (graph, trace) = (&model.graph, &*asked.trace);
            let question = introspection::Question { graph, trace, targets: &of_input, at, interrupt: self.token };
            self.refuse_too_much(&question)?;
            let mut map = method(&model, &asked, &question)?;
            self.state.counters.backward_walks.fetch_add(1, Ordering::Relaxed);
            map.sums.drain(..).for_each(|(idx, of_targets)| sums.entry(idx.0).or_default().extend(of_targets));
            gaps.extend(map.gaps.take().unwrap_or_default());
            let leading = self.question.target.is_list().then(|| Axis::named("target"));
            if let Some(windows) = &map.windows {
                let first_spatial = map.axes.len() - windows.lengths.len();
                if of_input.len() == 1 {
                    begin_later(&mut map.axes[first_spatial..], &windows.starts[0]);
                }
                let start = |start: &Vec<isize>| {
                    std::iter::repeat_n(0, first_spatial).chain(start.iter().map(|&place| place as usize)).collect()
                };
                starts.extend(windows.starts.iter().map(start));
            }
            let array = Array::of(&map.value, leading, map.axes)?;
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
        let crop_start = match (starts.is_empty(), is_list) {
            (true, _) => None,
            (false, true) => Some(CropStart::Many(starts)),
            (false, false) => Some(CropStart::One(starts.remove(0))),
        };
        let one_or_many = |mut numbers: Vec<f64>| match is_list {
            true => OneOrMany::Many(numbers),
            false => OneOrMany::One(numbers.swap_remove(0)),
        };
        let completeness_gap = (!gaps.is_empty()).then(|| one_or_many(gaps));
        let of_layer = |(idx, sums)| LayerSum { layer: model.name_of(NodeIdx(idx)).to_owned(), sum: one_or_many(sums) };
        let relevance_sums = sums.into_iter().map(of_layer).collect();
        let notes = self.notes;
        Ok(Attribution { tensor, target, settings, crop_start, completeness_gap, relevance_sums, notes, picture })
    }

    /// Refuses what would not fit, before it is computed: what walks, and the maps of all targets on their way out.
    fn refuse_too_much(&self, question: &introspection::Question<'_>) -> Result<(), ErrorObject> {
        const COPIES: usize = 4;
        let per_target: usize = match self.question.crop {
            true => cones(&*self.state.models().get(&self.question.model)?, question, question.at)
                .map(|windows| windows.n_places() * question.trace.shape(question.at)[1])?,
            false => question.trace.shape(question.at)[1..].iter().product(),
        };
        let numbers = per_target.saturating_mul(question.targets.len()).saturating_add(question.walk_numbers());
        let bytes = numbers.saturating_mul(COPIES * size_of::<f32>());
        asked::refuse_beyond(bytes, self.state.config.limits.query_bytes, "this many targets at once")
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

/// Moves axes on to where a part of them begins.
fn begin_later(axes: &mut [Axis], starts: &[isize]) {
    for (axis, &first) in axes.iter_mut().zip(starts) {
        axis.start = axis.start.zip(axis.step).map(|(from, step)| from + step * first as f64).or(axis.start);
    }
}
