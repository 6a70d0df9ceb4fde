//! The curve that `sanity.randomize` and `metric.mprt` share: maps of a network while its units are randomised one by one.

use std::sync::Arc;

use client_protocol::sanity::{CurveStep, ExplainedClass, Grouping, Normalize, SimilarityMetric};
use client_protocol::{ErrorObject, Target};
use introspection::Similarity;
use introspection::metrics::{Noise, noisy};
use introspection::sanity::{Mode, Randomization, Step, Unit};
use introspection::similarity::View;
use models::reinitialize::FreshNorms;
use models::{Graph, NodeIdx, Value};

use crate::errors;
use crate::held_model::HeldModel;
use crate::requests::asked::refuse_beyond;
use crate::requests::explainer::Explainer;
use crate::requests::subject::{Failure, Numbers, Subject, SubjectInput, measures, resolved, similar};

/// Inputs that batch norms take their statistics of, at most.
const FIRST_BATCH: usize = 8;

/// Maps that are means over noisy copies of their input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copies {
    pub(super) count: usize,
    /// Standard deviation in parts of the input's range.
    pub(super) noise: f64,
    pub(super) seed: u64,
}

/// What a curve is made of.
pub(super) struct Randomizing<'a> {
    pub(super) subject: &'a Subject<'a>,
    /// In the order of the steps.
    pub(super) units: &'a [Unit],
    pub(super) mode: Mode,
    pub(super) explain: ExplainedClass,
    pub(super) copies: Option<Copies>,
    pub(super) normalize: Normalize,
    pub(super) seed: u64,
}

/// A curve with what it was measured by.
pub(super) struct Curve {
    pub(super) steps: Vec<CurveStep>,
    pub(super) measures: Vec<SimilarityMetric>,
    pub(super) notes: Vec<String>,
}

impl Randomizing<'_> {
    /// The original, then a place for each step, measured as asked, else by all of `default` that fit.
    pub(super) fn curve(
        &self,
        asked: Option<&[SimilarityMetric]>,
        default: &[Similarity],
    ) -> Result<Curve, ErrorObject> {
        self.refuse_too_much()?;
        let model = &self.subject.model;
        let originals = views(self.maps(model)?);
        let (measures, notes) = measures(asked, default, &originals)?;
        let plan = Randomization {
            graph: &model.graph,
            units: self.units,
            mode: self.mode,
            seed: self.seed,
            norms: norms(self.normalize),
            measures: &measures,
            first_batch: first_batch(self.subject)?,
        };
        let mut explain = |graph: &Graph| Ok(views(self.maps(&model.with_graph(graph.clone()))?));
        let steps = plan.curve::<Failure>(&originals, &mut explain, self.subject.token);
        let steps = steps.map_err(|failure| self.subject.error(failure))?;
        let same = measures.iter().map(|_| vec![1.0; originals.len()]).collect();
        let original = Step { unit: "original".to_owned(), similarities: same };
        let nothing = Unit { name: "original".to_owned(), layers: vec![] };
        let steps = std::iter::once((original, &nothing)).chain(steps.into_iter().zip(self.units));
        let steps: Vec<CurveStep> = steps.map(|(step, unit)| self.place(step, unit, &measures)).collect();
        let measures = steps[0].similarities.iter().map(|similar| similar.metric).collect();
        Ok(Curve { steps, measures, notes })
    }

    fn place(&self, step: Step, unit: &Unit, measures: &[Similarity]) -> CurveStep {
        CurveStep {
            layer: step.unit,
            randomized: unit.layers.iter().map(|idx| self.subject.model.name_of(*idx).to_owned()).collect(),
            similarities: measures
                .iter()
                .zip(step.similarities)
                .map(|(measure, values)| similar(*measure, values))
                .collect(),
        }
    }

    /// The maps of all inputs of a network of the same layers.
    pub(super) fn maps(&self, model: &HeldModel) -> Result<Vec<Numbers>, ErrorObject> {
        let explainer = self.subject.asked.explainer(model)?;
        self.subject.inputs.iter().map(|input| self.map(model, &explainer, input)).collect()
    }

    fn map(&self, model: &HeldModel, explainer: &Explainer<'_>, input: &SubjectInput) -> Result<Numbers, ErrorObject> {
        let Some(copies) = self.copies else { return self.map_of(model, explainer, input, None) };
        let given = &input.prepared.value;
        let of_model = |error| errors::of_model(error, None);
        let numbers = given.to_f64_vec().map_err(of_model)?;
        let (low, high) =
            numbers.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
        let noise = Noise::Normal { standard_deviation: copies.noise * (high - low) };
        let mut mean: Option<Numbers> = None;
        for nth in 0..copies.count {
            let copy =
                noisy(given, noise, copies.seed, nth).map_err(|error| errors::of_introspection(error, &model.graph))?;
            let map = self.map_of(model, explainer, input, Some(copy))?;
            match &mut mean {
                None => mean = Some(map),
                Some(mean) => mean.numbers.iter_mut().zip(map.numbers).for_each(|(sum, number)| *sum += number),
            }
        }
        let mut mean = mean.ok_or_else(|| ErrorObject::invalid("copies", "no copies make no mean"))?;
        mean.numbers.iter_mut().for_each(|sum| *sum /= copies.count as f64);
        Ok(mean)
    }

    fn map_of(
        &self,
        model: &HeldModel,
        explainer: &Explainer<'_>,
        input: &SubjectInput,
        other: Option<Value>,
    ) -> Result<Numbers, ErrorObject> {
        let is_original = std::ptr::eq(model, Arc::as_ptr(&self.subject.model));
        let asked = match other {
            None if is_original => self.subject.original(input)?,
            None => self.subject.changed(model, input, input.prepared.value.clone())?,
            Some(value) => self.subject.changed(model, input, value)?,
        };
        let of = self.subject.asked.question().of;
        let target = match self.explain {
            ExplainedClass::Randomized => resolved(model, &asked.trace, Some(&Target::Predicted), of)?,
            ExplainedClass::Original | ExplainedClass::Target => input
                .target
                .on(&model.graph, &asked.trace, 0)
                .map_err(|error| errors::of_introspection(error, &model.graph))?,
        };
        self.subject.map(model, explainer, &asked, target)
    }

    /// Refuses what would not fit: the weights that are drawn, packed for both directions, and what is compared of maps.
    fn refuse_too_much(&self) -> Result<(), ErrorObject> {
        const PACKED: usize = 3;
        const OF_MAPS: usize = 8;
        let graph = &self.subject.model.graph;
        let bytes_of = |idx: &NodeIdx| -> usize {
            let parameters = graph.node(*idx).operator.parameters();
            parameters.iter().map(|(_, tensor)| tensor.elem_count() * tensor.dtype().size_in_bytes()).sum()
        };
        let of_units = self.units.iter().map(|unit| unit.layers.iter().map(bytes_of).sum::<usize>());
        let drawn = match self.mode {
            Mode::Cascading => of_units.sum::<usize>(),
            Mode::Independent => of_units.max().unwrap_or(0),
        };
        let maps: usize = self.subject.inputs.iter().map(|input| input.prepared.value.len() * size_of::<f64>()).sum();
        let bytes = (PACKED * drawn).saturating_add(OF_MAPS * maps);
        let limit = self.subject.state.config.limits.query_bytes;
        refuse_beyond(bytes, limit, "the randomised copy of this network with its maps")
    }
}

fn views(maps: Vec<Numbers>) -> Vec<View> {
    maps.iter().map(Numbers::view).collect()
}

/// What batch norms see first: the first inputs, as far as they have the first one's shape.
pub(super) fn first_batch(subject: &Subject<'_>) -> Result<Value, ErrorObject> {
    let of_model = |error| errors::of_model(error, None);
    let first = &subject.inputs[0].prepared.value;
    let values = subject.inputs.iter().map(|input| &input.prepared.value);
    let alike: Vec<Value> = values.filter(|value| value.shape() == first.shape()).take(FIRST_BATCH).cloned().collect();
    Value::stack_rows(&alike).and_then(|batch| batch.to_dtype(subject.model.graph.dtype())).map_err(of_model)
}

pub(super) fn norms(normalize: Normalize) -> FreshNorms {
    match normalize {
        Normalize::Norms => FreshNorms::Own,
        Normalize::Everywhere => FreshNorms::Everywhere,
    }
}

pub(super) fn grouping(by: Grouping) -> introspection::sanity::Grouping {
    match by {
        Grouping::Block => introspection::sanity::Grouping::Block,
        Grouping::Layer => introspection::sanity::Grouping::Layer,
    }
}
