//! Attributions that are gradients, or made of them: every one is a way to walk, and the axes that its map has.

use client_protocol::attribution::{
    GradCamParams, GuidedGradCamParams, Interpolation, PlainParams, Post, SaliencyParams,
};
use client_protocol::{Axis, ErrorKind, ErrorObject};
use introspection::rules::activations_with_plain_gradient;
use introspection::{Arrived, GradientMethod};
use models::{Outlet, Value, Windows};
use serde_json::json;

use crate::draw::Look;
use crate::errors;
use crate::held_model::HeldModel;
use crate::requests::asked::AskedInput;
use crate::requests::explainer::{Explain, Explainer, Map, each};
use crate::to_protocol::axes_of;

pub(super) fn saliency<'a>(_: &HeldModel, params: &'a SaliencyParams) -> Result<Explainer<'a>, ErrorObject> {
    let post = params.post;
    let (settings, crop) = (vec![("post", json!(post))], params.question.crop);
    let explain = walked(GradientMethod::Saliency, crop, move |map| post_processed(map, post));
    Ok(Explainer { name: "saliency", look: Look::Magnitude, settings, notes: vec![], explain })
}

pub(super) fn input_x_gradient<'a>(_: &HeldModel, params: &'a PlainParams) -> Result<Explainer<'a>, ErrorObject> {
    let explain = walked(GradientMethod::InputXGradient, params.question.crop, Ok);
    Ok(Explainer { name: "input × gradient", look: Look::Magnitude, settings: vec![], notes: vec![], explain })
}

pub(super) fn guided_backprop<'a>(model: &HeldModel, params: &'a PlainParams) -> Result<Explainer<'a>, ErrorObject> {
    let explain = walked(GradientMethod::GuidedBackprop, params.question.crop, Ok);
    let notes = rectifier_notes(model);
    Ok(Explainer { name: "guided backpropagation", look: Look::Colors, settings: vec![], notes, explain })
}

pub(super) fn deconvnet<'a>(model: &HeldModel, params: &'a PlainParams) -> Result<Explainer<'a>, ErrorObject> {
    let explain = walked(GradientMethod::Deconvnet, params.question.crop, Ok);
    let notes = rectifier_notes(model);
    Ok(Explainer { name: "deconvnet", look: Look::Colors, settings: vec![], notes, explain })
}

/// A method that is one walk, with what is then done to its maps.
fn walked<'a>(method: GradientMethod, crop: bool, then: impl Fn(Map) -> Result<Map, ErrorObject> + 'a) -> Explain<'a> {
    Box::new(move |model, asked, question, layers| {
        let of_layers = method.at(question, layers).map_err(|error| errors::of_introspection(error, &model.graph))?;
        let map = |(arrived, &at): (Arrived, &Outlet)| {
            then(read(model, asked, &introspection::Question { at, ..*question }, crop, arrived)?)
        };
        of_layers.into_iter().zip(layers).map(map).collect()
    })
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
    let axes = axes_of(model, asked.prepared_at(model, question.at), question.at);
    if !crop {
        return Ok(Map::whole(question.whole(arrived).map_err(of_error)?, axes));
    }
    let windows = cones(model, question, question.at)?;
    let value = arrived.in_windows(&windows).map_err(of_error)?;
    Ok(Map::cut(value, axes, windows))
}

/// The targets' cones at a layer.
pub(super) fn cones(
    model: &HeldModel,
    question: &introspection::Question<'_>,
    at: Outlet,
) -> Result<Windows, ErrorObject> {
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

pub(super) fn grad_cam<'a>(model: &HeldModel, params: &'a GradCamParams) -> Result<Explainer<'a>, ErrorObject> {
    layer_map(model, params, "Grad-CAM", introspection::grad_cam)
}

pub(super) fn layer_cam<'a>(model: &HeldModel, params: &'a GradCamParams) -> Result<Explainer<'a>, ErrorObject> {
    layer_map(model, params, "LayerCAM", introspection::layer_cam)
}

pub(super) fn score_cam<'a>(model: &HeldModel, params: &'a GradCamParams) -> Result<Explainer<'a>, ErrorObject> {
    layer_map(model, params, "Score-CAM", introspection::score_cam)
}

/// A map of a layer's places.
fn layer_map<'a>(
    model: &HeldModel,
    params: &'a GradCamParams,
    name: &'static str,
    method: fn(&introspection::Question<'_>, Outlet, bool) -> introspection::Result<Value>,
) -> Result<Explainer<'a>, ErrorObject> {
    let layer = cam_layer(model, params.layer.as_deref())?;
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
    let explain = move |model: &HeldModel, asked: &AskedInput, question: &introspection::Question<'_>| {
        let of_error = |error| errors::of_introspection(error, &model.graph);
        let map = method(question, layer, params.relu).map_err(of_error)?;
        let (at, map) = if params.upsample {
            let places = asked.prepared.value.shape().get(2..).unwrap_or_default();
            (model.input(), introspection::upsample(&map, places, interpolation).map_err(of_error)?)
        } else {
            (layer, map)
        };
        let map = Map::whole(map, spatial(axes_of(model, asked.prepared_at(model, at), at)));
        if params.question.crop { cropped_places(model, question, at, map) } else { Ok(map) }
    };
    Ok(Explainer { name, look: Look::Magnitude, settings, notes: vec![], explain: each(explain) })
}

pub(super) fn guided_grad_cam<'a>(
    model: &HeldModel,
    params: &'a GuidedGradCamParams,
) -> Result<Explainer<'a>, ErrorObject> {
    let layer = cam_layer(model, params.layer.as_deref())?;
    let interpolation = interpolation(params.interpolation);
    let explain = move |model: &HeldModel, asked: &AskedInput, question: &introspection::Question<'_>| {
        let value = introspection::guided_grad_cam(question, layer, interpolation);
        let value = value.map_err(|error| errors::of_introspection(error, &model.graph))?;
        let map = Map::whole(value, axes_of(model, asked.prepared_at(model, question.at), question.at));
        if !params.question.crop {
            return Ok(map);
        }
        let windows = cones(model, question, question.at)?;
        let pairs: Vec<usize> = (0..question.targets.len()).collect();
        let value = windows.cut(&map.value, &pairs, 0.0).map_err(|error| errors::of_model(error, None))?;
        Ok(Map::cut(value, map.axes, windows))
    };
    Ok(Explainer {
        name: "guided Grad-CAM",
        look: Look::Colors,
        settings: vec![("layer", json!(model.name_of(layer.node))), ("interpolation", json!(params.interpolation))],
        notes: rectifier_notes(model),
        explain: each(explain),
    })
}

fn cam_layer(model: &HeldModel, name: Option<&str>) -> Result<Outlet, ErrorObject> {
    match name {
        Some(name) => model.layer(name),
        None => model
            .grad_cam_layer
            .map_or_else(
                // Asked anew for its reason.
                || introspection::last_spatial_convolution(&model.graph),
                Ok,
            )
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
