//! `metric.*`.

use std::sync::Arc;

use client_protocol::metric::{
    CompletenessParams, CompletenessResult, EntropyGrowth, FlippingCurve, LayerOrder, MapParams, MapSpread, MapSum,
    MaxSensitivity, MaxSensitivityParams, Mprt, MprtParams, MprtVariant, PixelFlipping, PixelFlippingParams,
    RandomLogit, RandomLogitParams, SparsenessResult,
};
use client_protocol::sanity::ExplainedClass;
use client_protocol::{ClassName, ErrorKind, ErrorObject, Target};
use introspection::Similarity;
use introspection::metrics::{
    Completeness, completeness as completeness_of, complexity, discrete_entropy, other_classes,
    pixel_flipping as flipping_of, sensitivity, sparseness as sparseness_of,
};
use introspection::sanity::{Mode, Unit, units};
use models::reinitialize::Reinitializer;
use models::{Interrupt, Value};
use serde_json::json;

use crate::draw_curves;
use crate::errors;
use crate::interrupt::{Quiet, Token};
use crate::requests::asked::AskedInput;
use crate::requests::randomized::{Copies, Randomizing, first_batch, grouping, norms};
use crate::requests::subject::{Failure, Numbers, Subject, SubjectInput, measures, resolved, similar};
use crate::requests::variation::{baseline_of, check_count, shown};
use crate::state::State;

/// Steps of a curve over a large map, unless it is asked otherwise.
const STEPS: usize = 100;

/// Maps of so few numbers are flipped one by one.
const FEW_NUMBERS: usize = 256;

/// Bins of the histograms whose entropy is taken.
const BINS: usize = 100;

impl Subject<'_> {
    /// What `answer` says of each input and its map.
    fn each<T>(
        &self,
        answer: &mut dyn FnMut(&SubjectInput, &AskedInput, &Numbers) -> Result<T, ErrorObject>,
    ) -> Result<Vec<T>, ErrorObject> {
        let explainer = self.asked.explainer(&self.model)?;
        let mut answers = Vec::with_capacity(self.inputs.len());
        for (nth, input) in self.inputs.iter().enumerate() {
            self.token.progress(nth, self.inputs.len());
            let asked = self.original(input)?;
            let map = self.map(&self.model, &explainer, &asked, input.target.clone())?;
            answers.push(answer(input, &asked, &map)?);
        }
        Ok(answers)
    }
}

pub(crate) fn pixel_flipping(
    state: &Arc<State>,
    params: PixelFlippingParams,
    token: &Token,
) -> Result<PixelFlipping, ErrorObject> {
    let PixelFlippingParams { features_per_step, flip_to, follow, picture, attribution, .. } = &params;
    if let Some(count) = features_per_step {
        check_count("features_per_step", *count)?;
    }
    let subject = Subject::of(state, attribution, token)?;
    let model = &*subject.model;
    let mut per_steps = Vec::new();
    let curves = subject.each(&mut |_, asked, map| {
        let n_numbers = map.numbers.len();
        let default = if n_numbers <= FEW_NUMBERS { 1 } else { n_numbers.div_ceil(STEPS) };
        let per_step = features_per_step.unwrap_or(default);
        per_steps.push(per_step);
        let target = resolved(model, &asked.trace, Some(&subject.asked_target()), *follow)?;
        let (graph, trace, interrupt) = (&model.graph, &*asked.trace, &Quiet(token));
        let question = introspection::Question { graph, trace, targets: &[target], at: model.input(), interrupt };
        let baseline = baseline_of(model, asked, model.input(), flip_to)?;
        let flipping = flipping_of(&question, &map.numbers, &map.shape, &baseline, per_step)
            .map_err(|error| errors::of_introspection(error, graph))?;
        let area = flipping.area();
        Ok(FlippingCurve { flipped: flipping.flipped, scores: flipping.scores, area })
    })?;
    per_steps.dedup();
    let per_step = if let [one] = per_steps[..] { json!(one) } else { json!(per_steps) };
    let settings =
        subject.settings([("features_per_step", per_step), ("flip_to", shown(flip_to)), ("follow", json!(follow))])?;
    let title = format!("pixel flipping by {}", attribution.method.0);
    let picture = draw_curves::of_flipping(picture.as_ref(), &curves, *follow, &title)?;
    let area = curves.iter().map(|curve| curve.area).sum::<f64>() / curves.len() as f64;
    let notes = subject.notes()?;
    Ok(PixelFlipping { curve: subject.one_or_many(curves), area, target: subject.targets(), settings, notes, picture })
}

pub(crate) fn max_sensitivity(
    state: &Arc<State>,
    params: MaxSensitivityParams,
    token: &Token,
) -> Result<MaxSensitivity, ErrorObject> {
    let MaxSensitivityParams { draws, radius, seed, attribution, .. } = &params;
    check_count("draws", *draws)?;
    if !(radius.is_finite() && *radius > 0.0) {
        return Err(ErrorObject::invalid("radius", format!("`radius` is {radius}")).expected("a number above 0"));
    }
    let subject = Subject::of(state, attribution, token)?;
    let model = &*subject.model;
    let explainer = subject.asked.explainer(model)?;
    let sensitivities = subject.each(&mut |input, _, map| {
        let mut explain = |value: Value| -> Result<Vec<f64>, Failure> {
            let asked = subject.changed(model, input, value)?;
            let target = input.target.on(&model.graph, &asked.trace, 0)?;
            Ok(subject.map(model, &explainer, &asked, target)?.numbers)
        };
        let given = &input.prepared.value;
        // One input's draws are the progress; of several each is.
        let interrupt: &dyn Interrupt = if subject.inputs.len() == 1 { token } else { &Quiet(token) };
        sensitivity(given, &map.numbers, *radius, *draws, *seed, &mut explain, interrupt)
            .map_err(|failure| subject.error(failure))
    })?;
    let (max, mean) = sensitivities.iter().map(|sensitivity| (sensitivity.max(), sensitivity.mean())).unzip();
    Ok(MaxSensitivity {
        max: subject.one_or_many(max),
        mean: subject.one_or_many(mean),
        target: subject.targets(),
        settings: subject.settings([("draws", json!(draws)), ("radius", json!(radius)), ("seed", json!(seed))])?,
        notes: subject.notes()?,
    })
}

pub(crate) fn mprt(state: &Arc<State>, params: MprtParams, token: &Token) -> Result<Mprt, ErrorObject> {
    check_count("copies", params.copies)?;
    if !(params.copy_noise.is_finite() && params.copy_noise >= 0.0) {
        let message = format!("`copy_noise` is {}", params.copy_noise);
        return Err(ErrorObject::invalid("copy_noise", message).expected("a number of 0 or more"));
    }
    let subject = Subject::of(state, &params.attribution, token)?;
    let explain = match params.attribution.target {
        Some(_) => ExplainedClass::Target,
        None => ExplainedClass::Original,
    };
    let order = params.layer_order.unwrap_or(match params.variant {
        MprtVariant::Smooth => LayerOrder::BottomUp,
        MprtVariant::Plain | MprtVariant::Efficient => LayerOrder::TopDown,
    });
    let mut units = units(&subject.model.graph, grouping(params.by));
    if units.is_empty() {
        let message = "this network has no learned weights that could be randomised";
        return Err(ErrorObject::new(ErrorKind::Unfit, message).field("model"));
    }
    if order == LayerOrder::BottomUp {
        units.reverse();
    }
    let (count, noise, seed) = (params.copies, params.copy_noise, params.seed);
    let copies = (params.variant == MprtVariant::Smooth).then_some(Copies { count, noise, seed });
    let mode = if order == LayerOrder::Independent { Mode::Independent } else { Mode::Cascading };
    let normalize = params.normalize;
    let randomizing = Randomizing { subject: &subject, units: &units, mode, explain, copies, normalize, seed };
    if params.variant == MprtVariant::Efficient {
        return entropies(&params, &randomizing);
    }
    let curve = randomizing.curve(Some(&params.metrics), &[])?;
    let copies = copies.map(|_| (json!(count), json!(noise)));
    let settings = subject.settings([
        ("variant", json!(params.variant)),
        ("layer_order", json!(order)),
        ("by", json!(params.by)),
        ("metrics", json!(curve.measures)),
        ("copies", json!(copies.as_ref().map(|(count, _)| count))),
        ("copy_noise", json!(copies.as_ref().map(|(_, noise)| noise))),
        ("normalize", json!(normalize)),
        ("seed", json!(seed)),
    ])?;
    let title = format!("{} while weights are randomised", params.attribution.method.0);
    let picture = draw_curves::of_curve(params.picture.as_ref(), &curve.steps, &title)?;
    let notes = subject.notes()?.into_iter().chain(curve.notes).collect();
    Ok(Mprt { curve: curve.steps, entropies: None, target: subject.targets(), settings, notes, picture })
}

/// How much the entropy of the maps' sizes grows when all is randomised.
fn entropies(params: &MprtParams, randomizing: &Randomizing<'_>) -> Result<Mprt, ErrorObject> {
    let subject = randomizing.subject;
    if params.picture.is_some() {
        return Err(ErrorObject::invalid(
            "picture",
            "the `efficient` form gives a number, of which there is no picture",
        ));
    }
    let layers: Vec<_> = randomizing.units.iter().flat_map(|unit: &Unit| unit.layers.clone()).collect();
    let graph = &subject.model.graph;
    let before = randomizing.maps(&subject.model)?;
    let mut random = Reinitializer::new(graph, params.seed, norms(params.normalize), vec![first_batch(subject)?]);
    let changed = random.randomized(&layers, subject.token).map_err(|error| errors::of_model(error, Some(graph)))?;
    let after = randomizing.maps(&subject.model.with_graph(changed))?;
    let entropy = |map: &Numbers| {
        let sizes: Vec<f64> = map.numbers.iter().map(|number| number.abs()).collect();
        discrete_entropy(&sizes, BINS)
    };
    let growth = |(before, after)| {
        let (before, after) = (entropy(before), entropy(after));
        EntropyGrowth { before, after, score: (before > 0.0).then(|| (after - before) / before) }
    };
    let entropies = before.iter().zip(&after).map(growth).collect();
    let settings = subject.settings([
        ("variant", json!(params.variant)),
        ("bins", json!(BINS)),
        ("normalize", json!(params.normalize)),
        ("seed", json!(params.seed)),
    ])?;
    Ok(Mprt {
        curve: vec![],
        entropies: Some(subject.one_or_many(entropies)),
        target: subject.targets(),
        settings,
        notes: subject.notes()?,
        picture: None,
    })
}

pub(crate) fn random_logit(
    state: &Arc<State>,
    params: RandomLogitParams,
    token: &Token,
) -> Result<RandomLogit, ErrorObject> {
    let RandomLogitParams { draws, metrics, seed, attribution, .. } = &params;
    check_count("draws", *draws)?;
    let subject = Subject::of(state, attribution, token)?;
    let model = &*subject.model;
    let place = match subject.asked_target() {
        Target::Predicted => None,
        Target::Class { place, .. } => place,
        Target::BestAt(place) => Some(place),
        _ => {
            let message = "the random logit test compares classes; explain one";
            return Err(ErrorObject::new(ErrorKind::Unfit, message).field("target").expected("a class"));
        }
    };
    let explainer = subject.asked.explainer(model)?;
    let of = subject.asked.question().of;
    let mut all_classes = Vec::new();
    let mut pairs = Vec::new();
    subject.each(&mut |input, asked, map| {
        let explained = input.target.class.ok_or_else(|| {
            let message = "no single class is explained, so that there are no others; name a class or a frame";
            ErrorObject::new(ErrorKind::Unfit, message).field("target")
        })?;
        let n_classes = asked.trace.shape(model.graph.logits())[model.output_axes.class];
        let classes = other_classes(n_classes, explained, *draws, *seed);
        if classes.is_empty() {
            let message = "the network has one class alone, so that there is no other";
            return Err(ErrorObject::new(ErrorKind::Unfit, message).field("model"));
        }
        for &class in &classes {
            let other = Target::Class { class: ClassName::Index(class), place };
            let target = resolved(model, &asked.trace, Some(&other), of)?;
            pairs.push((map.view(), subject.map(model, &explainer, asked, target)?.view()));
        }
        all_classes.push(classes);
        Ok(())
    })?;
    let originals: Vec<_> = pairs.iter().map(|(original, _)| original.clone()).collect();
    let (measures, notes) = match metrics {
        Some(metrics) => measures(Some(metrics), &[], &originals)?,
        None => measures(None, &[Similarity::Ssim], &originals)
            .or_else(|_| measures(None, &[Similarity::SpearmanAbs], &originals))?,
    };
    let of_measure = |measure: &Similarity| {
        similar(*measure, pairs.iter().map(|(left, right)| measure.between(left, right)).collect())
    };
    let similarities: Vec<_> = measures.iter().map(of_measure).collect();
    let metrics: Vec<_> = similarities.iter().map(|similar| similar.metric).collect();
    Ok(RandomLogit {
        similarities,
        target: subject.targets(),
        other_classes: all_classes,
        settings: subject.settings([("draws", json!(draws)), ("metrics", json!(metrics)), ("seed", json!(seed))])?,
        notes: subject.notes()?.into_iter().chain(notes).collect(),
    })
}

pub(crate) fn completeness(
    state: &Arc<State>,
    params: CompletenessParams,
    token: &Token,
) -> Result<CompletenessResult, ErrorObject> {
    let subject = Subject::of(state, &params.attribution, token)?;
    let model = &*subject.model;
    let sums = subject.each(&mut |input, asked, map| {
        let (graph, trace, interrupt) = (&model.graph, &*asked.trace, &Quiet(token));
        let targets = std::slice::from_ref(&input.target);
        let question = introspection::Question { graph, trace, targets, at: model.input(), interrupt };
        let baseline = baseline_of(model, asked, model.input(), &params.compared_with)?;
        let complete = completeness_of(&question, &[map.numbers.iter().sum()], &baseline)
            .map_err(|error| errors::of_introspection(error, graph))?;
        Ok(map_sum(&complete[0]))
    })?;
    Ok(CompletenessResult {
        completeness: subject.one_or_many(sums),
        target: subject.targets(),
        settings: subject.settings([("compared_with", shown(&params.compared_with))])?,
        notes: subject.notes()?,
    })
}

fn map_sum(complete: &Completeness) -> MapSum {
    let Completeness { sum, score, baseline_score } = *complete;
    let change = score - baseline_score;
    MapSum {
        sum,
        score,
        baseline_score,
        gap: complete.gap(),
        relative_gap: (change != 0.0).then(|| complete.gap() / change),
        conservation_gap: sum - score,
    }
}

pub(crate) fn sparseness(
    state: &Arc<State>,
    params: MapParams,
    token: &Token,
) -> Result<SparsenessResult, ErrorObject> {
    let subject = Subject::of(state, &params.attribution, token)?;
    let spreads = subject.each(&mut |_, _, map| Ok(spread(&map.numbers)))?;
    Ok(SparsenessResult {
        spread: subject.one_or_many(spreads),
        target: subject.targets(),
        settings: subject.settings([])?,
        notes: subject.notes()?,
    })
}

/// How much of a map there is.
pub(super) fn spread(map: &[f64]) -> MapSpread {
    MapSpread { sparseness: sparseness_of(map), complexity: complexity(map) }
}
