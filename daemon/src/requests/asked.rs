//! What a question is about: its model, its inputs with their traces, its targets as the library understands them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use client_protocol::{ErrorKind, ErrorObject, InputRef, Place, ScoreOf, Target};
use introspection::{ClassChoice, ResolvedTarget};
use models::{Outlet, Trace, receptive_field::nearest_place};

use crate::errors;
use crate::held_input::{HeldInput, PreparedInput};
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::input;
use crate::state::State;
use crate::trace_cache::TraceKey;

/// One input of a question, with everything that the model computed of it.
#[derive(Clone, Debug)]
pub(crate) struct AskedInput {
    pub(crate) held: Arc<HeldInput>,
    pub(crate) prepared: Arc<PreparedInput>,
    pub(crate) trace: Arc<Trace>,
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
    let held = held(state, asked)?;
    let prepared = held.prepared_for(model)?;
    let trace = trace(state, model, &held, &prepared, keep, token)?;
    Ok(AskedInput { held, prepared, trace })
}

/// Finds or loads an input.
pub(crate) fn held(state: &State, asked: &InputRef) -> Result<Arc<HeldInput>, ErrorObject> {
    match asked {
        InputRef::Tensor(tensor) => {
            let input = input::from_tensor(tensor)?;
            state.inputs().hold(input, state.config.input_bytes)
        }
        InputRef::Name(path) if path.starts_with('/') => {
            let input = input::from_path(state, path, None)?;
            state.inputs().hold(input, state.config.input_bytes)
        }
        InputRef::Name(id) => state.inputs().get(id),
    }
}

/// What the model computes of an input, unless the cache has it.
pub(crate) fn trace(
    state: &State,
    model: &HeldModel,
    held: &HeldInput,
    prepared: &PreparedInput,
    keep: &[Outlet],
    token: &Token,
) -> Result<Arc<Trace>, ErrorObject> {
    let graph = &model.graph;
    let of_model = |error| errors::of_model(error, Some(graph));
    if graph.inputs().len() > 1 {
        let message = format!(
            "this network has {} inputs; questions about several inputs at once come later",
            graph.inputs().len()
        );
        return Err(ErrorObject::new(ErrorKind::Unfit, message).field("model"));
    }
    let key = TraceKey { model: model.id.clone(), input: held.id.clone() };
    let record = || {
        let shapes = graph.shapes(&[prepared.value.shape().to_vec()]).map_err(of_model)?;
        let numbers: usize = shapes.iter().flatten().map(|shape| shape.iter().product::<usize>()).sum();
        refuse_beyond(numbers.saturating_mul(4), state.config.limits.query_bytes, "the activations of this input")?;
        let value = prepared.value.to_dtype(graph.dtype()).map_err(of_model)?;
        let trace = Trace::record_keeping(graph, &[value], keep, token).map_err(of_model)?;
        state.counters.forward_passes.fetch_add(1, Ordering::Relaxed);
        Ok(trace)
    };
    state.traces.get_or_record(&key, record)
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

/// A target as the library has it.
pub(crate) fn target(model: &HeldModel, trace: &Trace, target: &Target) -> Result<introspection::Target, ErrorObject> {
    let frame_at = |place: &Place| frame(model, trace, *place);
    Ok(match target {
        Target::Predicted => introspection::Target::Class { class: ClassChoice::Best, frame: None },
        Target::Class { class, place } => introspection::Target::Class {
            class: ClassChoice::Index(class_index(model, class)?),
            frame: place.as_ref().map(frame_at).transpose()?,
        },
        Target::BestAt(place) => {
            introspection::Target::Class { class: ClassChoice::Best, frame: Some(frame_at(place)?) }
        }
        Target::Letter(_) => {
            let message = "this model gives no transcript, so that no letter of it can be explained";
            return Err(ErrorObject::new(ErrorKind::Unfit, message)
                .field("target")
                .expected("a class with a `frame` or `time`"));
        }
        Target::Unit { layer, channel, position } => {
            introspection::Target::Unit { layer: model.layer(layer)?, channel: *channel, position: position.clone() }
        }
    })
}

/// A class by index or name.
pub(crate) fn class_index(model: &HeldModel, class: &client_protocol::ClassName) -> Result<usize, ErrorObject> {
    match class {
        client_protocol::ClassName::Index(index) => Ok(*index),
        client_protocol::ClassName::Name(name) => model.class_named(name),
    }
}

fn frame(model: &HeldModel, trace: &Trace, place: Place) -> Result<usize, ErrorObject> {
    let seconds = match place {
        Place::Frame(frame) => return Ok(frame),
        Place::Time(seconds) => seconds,
    };
    let unfit = |message: &str| ErrorObject::new(ErrorKind::Unfit, message).field("target").expected("a `frame`");
    let logits = model.graph.logits();
    let step = model
        .seconds_per_input_step()
        .ok_or_else(|| unfit("this model does not say how many seconds a step of its input takes"))?;
    let field = model.receptive_fields[logits.node.0].as_ref().and_then(|fields| fields.last());
    let field = field.ok_or_else(|| unfit("the network's output is no sequence whose frames lie at a time"))?;
    let n_frames = model.output_axes.time.map_or(1, |time| trace.shape(logits)[time]);
    Ok(nearest_place(*field, seconds / step, n_frames))
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
        let wanted = target(model, trace, asked)?;
        introspection::resolve(&model.graph, trace, model.output_axes, 0, &wanted, of)
            .map_err(|error| errors::of_introspection(error, &model.graph))
    };
    targets.iter().map(resolve).collect()
}
