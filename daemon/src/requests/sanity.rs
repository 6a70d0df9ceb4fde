//! `sanity.*`.

use std::sync::Arc;

use client_protocol::sanity::{
    DataRandomizationParams, DataRandomized, ExplainedClass, RandomizeMode, RandomizeParams, Randomized,
};
use client_protocol::{ErrorKind, ErrorObject, OneOrMany, Target};
use introspection::Similarity;
use introspection::sanity::{Mode, Unit, units, units_named};
use introspection::similarity::View;
use serde_json::json;

use crate::draw_curves;
use crate::errors;
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::asked;
use crate::requests::randomized::{Randomizing, grouping};
use crate::requests::subject::{Numbers, Subject, measures, resolved, similar};
use crate::state::State;
use crate::to_protocol::resolved_target;

pub(crate) fn randomize(state: &Arc<State>, params: RandomizeParams, token: &Token) -> Result<Randomized, ErrorObject> {
    let explain = explained_class(params.explain, params.attribution.target.as_ref())?;
    let subject = Subject::of(state, &params.attribution, token)?;
    let units = units_of(&subject.model, &params)?;
    let mode = match params.mode {
        RandomizeMode::Cascading => Mode::Cascading,
        RandomizeMode::Independent => Mode::Independent,
    };
    let (normalize, seed) = (params.normalize, params.seed);
    let randomizing = Randomizing { subject: &subject, units: &units, mode, explain, copies: None, normalize, seed };
    let curve = randomizing.curve(params.metrics.as_deref(), &Similarity::ALL)?;
    let settings = subject.settings([
        ("mode", json!(params.mode)),
        ("layers", json!(params.layers)),
        ("by", json!(params.by)),
        ("metrics", json!(curve.measures)),
        ("explain", json!(explain)),
        ("normalize", json!(normalize)),
        ("seed", json!(seed)),
    ])?;
    let title = format!("{} while weights are randomised: {}", params.attribution.method.0, words(&params.mode));
    let picture = draw_curves::of_curve(params.picture.as_ref(), &curve.steps, &title)?;
    let notes = subject.notes()?.into_iter().chain(curve.notes).collect();
    Ok(Randomized { curve: curve.steps, target: subject.targets(), settings, notes, picture })
}

fn words(mode: &RandomizeMode) -> &'static str {
    match mode {
        RandomizeMode::Cascading => "cascading",
        RandomizeMode::Independent => "each alone",
    }
}

/// Which class is explained, where request and target agree about it.
fn explained_class(asked: Option<ExplainedClass>, target: Option<&Target>) -> Result<ExplainedClass, ErrorObject> {
    let is_given = target.is_some_and(|target| *target != Target::Predicted);
    match (asked, is_given) {
        (None, true) | (Some(ExplainedClass::Target), true) => Ok(ExplainedClass::Target),
        (None, false) => Ok(ExplainedClass::Original),
        (Some(ExplainedClass::Target), false) => {
            let message = "`explain` is `target` but none is given";
            Err(ErrorObject::invalid("target", message).expected("a class"))
        }
        (Some(_), true) => {
            let message = "a `target` is given, so that nothing else can be explained; leave `explain` out";
            Err(ErrorObject::invalid("explain", message).expected("target, or no `target`"))
        }
        (Some(asked), false) => Ok(asked),
    }
}

fn units_of(model: &HeldModel, params: &RandomizeParams) -> Result<Vec<Unit>, ErrorObject> {
    let grouping = grouping(params.by);
    let units = match params.layers.as_deref() {
        None => units(&model.graph, grouping),
        Some([]) => {
            let message = "the list of layers is empty";
            return Err(ErrorObject::invalid("layers", message).expected("layers with weights; leave it out for all"));
        }
        Some(names) => units_named(&model.graph, names, grouping)
            .map_err(|error| errors::of_introspection(error, &model.graph).field("layers"))?,
    };
    if units.is_empty() {
        let message = "this network has no learned weights that could be randomised";
        return Err(ErrorObject::new(ErrorKind::Unfit, message).field("model"));
    }
    Ok(units)
}

pub(crate) fn data_randomization(
    state: &Arc<State>,
    params: DataRandomizationParams,
    token: &Token,
) -> Result<DataRandomized, ErrorObject> {
    let explain = explained_class(params.explain, params.attribution.target.as_ref())?;
    let subject = Subject::of(state, &params.attribution, token)?;
    let other = state.models().get(&params.permuted).map_err(|error| error.field("permuted"))?;
    check_alike(&subject.model, &other)?;
    let originals = subject.originals()?;
    let explainer = subject.asked.explainer(&other)?;
    let mut maps = Vec::with_capacity(originals.len());
    let mut targets = Vec::with_capacity(originals.len());
    for (nth, (input, asked)) in subject.inputs.iter().zip(subject.asked.question().input.as_slice()).enumerate() {
        models::Interrupt::progress(token, nth, subject.inputs.len());
        // Its own front end may prepare the input otherwise.
        let of_other = asked::input(state, &other, asked, token)?;
        let of = subject.asked.question().of;
        let target = match explain {
            ExplainedClass::Randomized => resolved(&other, &of_other.trace, Some(&Target::Predicted), of)?,
            _ => input
                .target
                .on(&other.graph, &of_other.trace, 0)
                .map_err(|error| errors::of_introspection(error, &other.graph))?,
        };
        targets.push(resolved_target(&other, &subject.asked_target(), &target));
        maps.push(subject.map(&other, &explainer, &of_other, target)?);
    }
    let views = |maps: &[Numbers]| -> Vec<View> { maps.iter().map(Numbers::view).collect() };
    let (before, after) = (views(&originals), views(&maps));
    let (measures, notes) = measures(params.metrics.as_deref(), &Similarity::ALL, &before)?;
    let of_measure = |measure: &Similarity| {
        similar(*measure, before.iter().zip(&after).map(|(left, right)| measure.between(left, right)).collect())
    };
    let similarities: Vec<_> = measures.iter().map(of_measure).collect();
    let metrics: Vec<_> = similarities.iter().map(|similar| similar.metric).collect();
    let settings =
        subject.settings([("permuted", json!(other.id)), ("metrics", json!(metrics)), ("explain", json!(explain))])?;
    let title = format!("{} of a network trained on true labels, and on permuted ones", params.attribution.method.0);
    let picture = draw_curves::of_pairs(params.picture.as_ref(), &before, &after, &title)?;
    let permuted_target = match subject.asked.question().input.is_list() {
        true => OneOrMany::Many(targets),
        false => OneOrMany::One(targets.remove(0)),
    };
    let notes = subject.notes()?.into_iter().chain(notes).collect();
    Ok(DataRandomized { similarities, target: subject.targets(), permuted_target, settings, notes, picture })
}

/// Two networks can be compared if they have the same layers.
fn check_alike(model: &HeldModel, other: &HeldModel) -> Result<(), ErrorObject> {
    let layers = |model: &HeldModel| -> Vec<(String, &'static str)> {
        model.graph.nodes().iter().map(|node| (node.name.clone(), node.operator.kind())).collect()
    };
    let (own, others) = (layers(model), layers(other));
    if own == others && model.input_dims() == other.input_dims() {
        return Ok(());
    }
    let differs = own.iter().zip(&others).find(|(own, other)| own != other);
    let what = match differs {
        Some(((own, own_kind), (other, other_kind))) => {
            format!("`{own}` ({own_kind}) in one is `{other}` ({other_kind}) in the other")
        }
        None => format!("one has {} layers and the other {}, or their inputs differ", own.len(), others.len()),
    };
    let message = format!("the networks are of different architectures: {what}");
    Err(ErrorObject::invalid("permuted", message).expected("a network with the same layers as `model`"))
}
