//! What a question is about: its model, its inputs with their traces, its targets as the library understands them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use client_protocol::{ErrorKind, ErrorObject, InputRef, OneInput, Place, ScoreOf, Target, nearest};
use introspection::{ClassChoice, OutputAxes, ResolvedTarget};
use models::description::FrontEnd;
use models::speech::Heard;
use models::{NodeIdx, Outlet, Trace, receptive_field::nearest_place};

use crate::errors;
use crate::held_input::{HeldInput, PreparedInput};
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::{input, transcript};
use crate::state::State;
use crate::trace_cache::TraceKey;

/// One input of a question, with everything that the model computed of it.
#[derive(Clone, Debug)]
pub(crate) struct AskedInput {
    /// What the question is about; of a model with several inputs, its first.
    pub(crate) held: Arc<HeldInput>,
    pub(crate) prepared: Arc<PreparedInput>,
    pub(crate) trace: Arc<Trace>,
    /// The model's further inputs, in its order.
    others: Vec<Arc<PreparedInput>>,
}

impl AskedInput {
    /// Of a model with one input.
    pub(crate) fn of_one(held: Arc<HeldInput>, prepared: Arc<PreparedInput>, trace: Arc<Trace>) -> AskedInput {
        AskedInput { held, prepared, trace, others: Vec::new() }
    }

    /// What was made of the input that stands at an outlet; of the first, where another layer does.
    pub(crate) fn prepared_at(&self, model: &HeldModel, at: Outlet) -> &PreparedInput {
        let place = model.graph.inputs().iter().position(|node| *node == at.node).unwrap_or(0);
        place.checked_sub(1).and_then(|other| self.others.get(other)).unwrap_or(&self.prepared)
    }
}

/// Finds or loads an input, prepares it and evaluates the model on it, unless that was done before.
pub(crate) fn input(
    state: &State,
    model: &HeldModel,
    asked: &InputRef,
    token: &Token,
) -> Result<AskedInput, ErrorObject> {
    input_keeping(state, model, asked, &[], token)
}

/// The same, with layers that will be read, so that an evaluation keeps them.
pub(crate) fn input_keeping(
    state: &State,
    model: &HeldModel,
    asked: &InputRef,
    keep: &[Outlet],
    token: &Token,
) -> Result<AskedInput, ErrorObject> {
    let nodes = model.graph.inputs();
    let mut held = Vec::new();
    for one in of_each_input(model, asked)? {
        held.push(held_input(state, &one)?);
    }
    let prepare = |(held, node): (&Arc<HeldInput>, &NodeIdx)| {
        let error = |error: ErrorObject| match nodes.len() {
            1 => error,
            _ => ErrorObject { message: format!("input `{}`: {}", model.name_of(*node), error.message), ..error },
        };
        held.prepared_as(model, *node).map_err(error)
    };
    let mut prepared = held.iter().zip(nodes).map(prepare).collect::<Result<Vec<_>, _>>()?;
    let trace = trace(state, model, &held, &prepared, keep, token)?;
    let others = prepared.split_off(1);
    Ok(AskedInput { held: held.swap_remove(0), prepared: prepared.swap_remove(0), trace, others })
}

/// What stands for each of a model's inputs, in its order.
fn of_each_input(model: &HeldModel, asked: &InputRef) -> Result<Vec<OneInput>, ErrorObject> {
    let names = model.input_names();
    let each = format!("an object with {}", names.join(", "));
    match asked {
        InputRef::Each(given) => {
            if let Some(unknown) = given.keys().find(|name| !names.contains(&name.as_str())) {
                let message = format!("this network has no input `{unknown}`; its inputs are {}", names.join(", "));
                let near = nearest(unknown, names.iter().copied());
                return Err(ErrorObject::invalid("input", message).expected(each).nearest(near));
            }
            let of = |name: &&str| {
                let missing = || {
                    let message = format!("input `{name}` of this network is missing");
                    ErrorObject::invalid("input", message).expected(each.clone())
                };
                given.get(*name).cloned().ok_or_else(missing)
            };
            names.iter().map(of).collect()
        }
        // A word is what is read and, by what the network says of it, what was said.
        InputRef::Name(name) if model.front_end == Some(FrontEnd::Spelling) => {
            Ok(names.iter().map(|_| OneInput::Name(name.clone())).collect())
        }
        _ if names.len() > 1 => {
            let message = format!("this network has {} inputs, {}, and one was given", names.len(), names.join(", "));
            Err(ErrorObject::invalid("input", message).expected(each))
        }
        InputRef::Name(name) => Ok(vec![OneInput::Name(name.clone())]),
        InputRef::Tensor(tensor) => Ok(vec![OneInput::Tensor(tensor.clone())]),
    }
}

/// Finds or loads one input.
pub(crate) fn held(state: &State, asked: &InputRef) -> Result<Arc<HeldInput>, ErrorObject> {
    match asked {
        InputRef::Name(name) => held_input(state, &OneInput::Name(name.clone())),
        InputRef::Tensor(tensor) => held_input(state, &OneInput::Tensor(tensor.clone())),
        InputRef::Each(_) => {
            Err(ErrorObject::invalid("input", "one input is wanted here, not one for each of several"))
        }
    }
}

fn held_input(state: &State, asked: &OneInput) -> Result<Arc<HeldInput>, ErrorObject> {
    match asked {
        OneInput::Tensor(tensor) => {
            let input = input::from_tensor(tensor)?;
            state.inputs().hold(input, state.config.input_bytes)
        }
        OneInput::Name(path) if path.starts_with('/') => {
            let input = input::from_path(state, path, None)?;
            state.inputs().hold(input, state.config.input_bytes)
        }
        OneInput::Name(id) => state.inputs().get(id),
    }
}

/// What the model computes of an input, unless the cache has it.
pub(crate) fn trace(
    state: &State,
    model: &HeldModel,
    held: &[Arc<HeldInput>],
    prepared: &[Arc<PreparedInput>],
    keep: &[Outlet],
    token: &Token,
) -> Result<Arc<Trace>, ErrorObject> {
    let ids: Vec<&str> = held.iter().map(|held| held.id.as_str()).collect();
    let key = TraceKey { model: model.id.clone(), input: ids.join("+") };
    state.traces.get_or_record(&key, || evaluated(state, model, prepared, keep, token))
}

/// What the model computes of an input; kept by nobody, for who goes through many.
pub(crate) fn evaluated(
    state: &State,
    model: &HeldModel,
    prepared: &[Arc<PreparedInput>],
    keep: &[Outlet],
    token: &Token,
) -> Result<Trace, ErrorObject> {
    let graph = &model.graph;
    let of_model = |error| errors::of_model(error, Some(graph));
    let given: Vec<Vec<usize>> = prepared.iter().map(|prepared| prepared.value.shape().to_vec()).collect();
    let shapes = graph.shapes(&given).map_err(of_model)?;
    let numbers: usize = shapes.iter().flatten().map(|shape| shape.iter().product::<usize>()).sum();
    refuse_beyond(numbers.saturating_mul(4), state.config.limits.query_bytes, "the activations of this input")?;
    let values = prepared.iter().map(|prepared| prepared.value.to_dtype(graph.dtype()));
    let values = values.collect::<models::Result<Vec<_>>>().map_err(of_model)?;
    let keep: Vec<Outlet> = keep.iter().copied().chain(model.grad_cam_layer).collect();
    let trace = Trace::record_keeping(graph, &values, &keep, token).map_err(of_model)?;
    state.counters.forward_passes.fetch_add(1, Ordering::Relaxed);
    Ok(trace)
}

/// A layer's value of a trace.
pub(crate) fn value(trace: &Trace, outlet: Outlet) -> Result<models::Value, ErrorObject> {
    trace.value(outlet).map_err(|error| errors::of_model(error, None))
}

/// Refuses what would not fit, before it is allocated.
pub(crate) fn refuse_beyond(bytes: usize, limit: usize, what: &str) -> Result<(), ErrorObject> {
    if bytes <= limit {
        return Ok(());
    }
    let message = format!("{what} would take {bytes} bytes, more than the {limit} that one query may");
    Err(ErrorObject::new(ErrorKind::OutOfMemory, message)
        .hint("ask about less at once, or start the daemon with a larger --query-bytes"))
}

/// The output that a target is of, and what of it.
fn output_of<'a>(model: &HeldModel, target: &'a Target) -> Result<(OutputAxes, &'a Target), ErrorObject> {
    match target {
        Target::OfOutput { output, target } => {
            Ok((model.axes_of_output(model.output_named(output, "target")?), target))
        }
        _ => Ok((model.output_axes, target)),
    }
}

/// A target of an output as the library has it.
fn target(
    model: &HeldModel,
    trace: &Trace,
    axes: OutputAxes,
    target: &Target,
) -> Result<introspection::Target, ErrorObject> {
    let frame_at = |place: &Place| frame(model, trace, axes, *place);
    Ok(match target {
        Target::Predicted => introspection::Target::Class { class: ClassChoice::Best, frame: None },
        Target::Class { class: client_protocol::ClassName::Name(name), .. } if axes.output != 0 => {
            let message = format!("no class `{name}`: the labels of this model are those of its first output");
            return Err(ErrorObject::invalid("target", message).value(name.as_str()).expected("a class's index"));
        }
        Target::Class { class, place } => introspection::Target::Class {
            class: ClassChoice::Index(class_index(model, class)?),
            frame: place.as_ref().map(frame_at).transpose()?,
        },
        Target::BestAt(place) => {
            introspection::Target::Class { class: ClassChoice::Best, frame: Some(frame_at(place)?) }
        }
        Target::Letter(nth) => {
            let letter = letter(model, trace, *nth)?;
            introspection::Target::Class { class: ClassChoice::Index(letter.class), frame: Some(letter.frame) }
        }
        Target::OfOutput { output, .. } => {
            let message = format!("`{output}` within another output");
            return Err(ErrorObject::invalid("target", message));
        }
        Target::Unit { layer, channel, position } => {
            introspection::Target::Unit { layer: model.layer(layer)?, channel: *channel, position: position.clone() }
        }
    })
}

/// A letter of the transcript that is best frame by frame.
fn letter(model: &HeldModel, trace: &Trace, nth: usize) -> Result<Heard, ErrorObject> {
    let heard = transcript::greedy(model, trace)?.ok_or_else(|| {
        let message = "this model gives no transcript, so that no letter of it can be explained";
        ErrorObject::new(ErrorKind::Unfit, message).field("target").expected("a class with a `frame` or `time`")
    })?;
    let n_letters = heard.len();
    heard.into_iter().nth(nth).ok_or_else(|| {
        let message = match n_letters {
            0 => format!("there is no letter {nth}: the transcript is empty"),
            _ => format!("there is no letter {nth}: the transcript has {n_letters}, counted from 0"),
        };
        ErrorObject::new(ErrorKind::NotFound, message).field("target").value(nth).expected("a letter of the transcript")
    })
}

/// A class by index or name.
pub(crate) fn class_index(model: &HeldModel, class: &client_protocol::ClassName) -> Result<usize, ErrorObject> {
    match class {
        client_protocol::ClassName::Index(index) => Ok(*index),
        client_protocol::ClassName::Name(name) => model.class_named(name),
    }
}

fn frame(model: &HeldModel, trace: &Trace, axes: OutputAxes, place: Place) -> Result<usize, ErrorObject> {
    let seconds = match place {
        Place::Frame(frame) => return Ok(frame),
        Place::Time(seconds) => seconds,
    };
    let unfit = |message: &str| ErrorObject::new(ErrorKind::Unfit, message).field("target").expected("a `frame`");
    let logits = model.graph.logits_of(axes.output);
    let scale = model.sound_scale.as_ref();
    let scale = scale.ok_or_else(|| unfit("this model does not say how many seconds a step of its input takes"))?;
    let field = model.receptive_fields[logits.node.0].as_ref().and_then(|fields| fields.last());
    let field = field.ok_or_else(|| unfit("the network's output is no sequence whose frames lie at a time"))?;
    let n_frames = axes.time.map_or(1, |time| trace.shape(logits)[time]);
    Ok(nearest_place(*field, (seconds - scale.start) / scale.step, n_frames))
}

/// Resolves every target on a trace.
pub(crate) fn resolve(
    model: &HeldModel,
    trace: &Trace,
    targets: &[Target],
    of: ScoreOf,
) -> Result<Vec<ResolvedTarget>, ErrorObject> {
    let of = match of {
        ScoreOf::Logit => introspection::ScoreOf::Logit,
        ScoreOf::LogProbability => introspection::ScoreOf::LogProbability,
        ScoreOf::Probability => introspection::ScoreOf::Probability,
        ScoreOf::Output => introspection::ScoreOf::Output,
    };
    let resolve = |asked: &Target| {
        let (axes, of_output) = output_of(model, asked)?;
        let wanted = target(model, trace, axes, of_output)?;
        introspection::resolve(&model.graph, trace, axes, 0, &wanted, of)
            .map_err(|error| errors::of_introspection(error, &model.graph))
    };
    targets.iter().map(resolve).collect()
}
