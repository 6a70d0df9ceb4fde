//! What a sanity check or a metric is about: an attribution, a network, inputs, and what is explained of each; and maps of
//! these again, of changed networks and changed inputs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use client_protocol::{AttributionRequest, ErrorObject, OneOrMany, ScoreOf, Settings, Target};
use introspection::similarity::{Similarity, View};
use introspection::{IntrospectionError, ResolvedTarget};
use models::{Outlet, Trace, Value};
use serde_json::json;

use crate::errors;
use crate::held_input::{HeldInput, PreparedInput};
use crate::held_model::HeldModel;
use crate::interrupt::{Quiet, Token};
use crate::requests::asked::{self, AskedInput};
use crate::requests::explainer::{AskedAttribution, Explainer, understood};
use crate::requests::model::settings;
use crate::state::State;
use crate::to_protocol::resolved_target;

/// An attribution's request, understood, with what it explains.
pub(super) struct Subject<'a> {
    pub(super) state: &'a State,
    pub(super) token: &'a Token,
    pub(super) asked: Box<dyn AskedAttribution>,
    pub(super) method: &'static str,
    pub(super) model: Arc<HeldModel>,
    pub(super) inputs: Vec<SubjectInput>,
    is_list: bool,
}

/// One input, without its trace, which the cache may keep or not.
pub(super) struct SubjectInput {
    held: Arc<HeldInput>,
    pub(super) prepared: Arc<PreparedInput>,
    /// What is explained of the network as it is.
    pub(super) target: ResolvedTarget,
}

/// Why a library's loop ended early: by itself, or because of what it asked.
#[derive(Debug)]
pub(super) enum Failure {
    Library(IntrospectionError),
    Asked(ErrorObject),
}

impl From<IntrospectionError> for Failure {
    fn from(error: IntrospectionError) -> Self {
        Failure::Library(error)
    }
}

impl From<ErrorObject> for Failure {
    fn from(error: ErrorObject) -> Self {
        Failure::Asked(error)
    }
}

/// A map as numbers.
pub(super) struct Numbers {
    pub(super) shape: Vec<usize>,
    pub(super) numbers: Vec<f64>,
}

impl Numbers {
    pub(super) fn view(&self) -> View {
        View::new(&self.numbers, &self.shape)
    }
}

impl<'a> Subject<'a> {
    /// Understands a request, and resolves what it explains of each input.
    pub(super) fn of(state: &'a State, request: &AttributionRequest, token: &'a Token) -> Result<Self, ErrorObject> {
        let (method, params) = request.call()?;
        let asked = understood(method.name, params)?;
        let question = asked.question();
        let model = state.models().get(&question.model)?;
        if question.input.as_slice().is_empty() {
            return Err(ErrorObject::invalid("input", "the list of inputs is empty").expected("one input or more"));
        }
        if model.graph.inputs().len() > 1 {
            let message = format!(
                "`{}` has {} inputs; maps are judged for networks with one",
                question.model,
                model.graph.inputs().len()
            );
            return Err(ErrorObject::invalid("model", message).expected("a network with one input"));
        }
        // Whatever is wrong with the method's parameters is told before anything is computed.
        asked.explainer(&model)?;
        let mut inputs = Vec::with_capacity(question.input.as_slice().len());
        for input in question.input.as_slice() {
            let AskedInput { held, prepared, trace, .. } = asked::input(state, &model, input, token)?;
            let target = resolved(&model, &trace, question.target.as_slice().first(), question.of)?;
            inputs.push(SubjectInput { held, prepared, target });
        }
        let is_list = question.input.is_list();
        Ok(Subject { state, token, asked, method: method.name, model, inputs, is_list })
    }

    /// The layer where maps are read.
    pub(super) fn at(&self) -> Result<Outlet, ErrorObject> {
        match &self.asked.question().at {
            None => Ok(self.model.input()),
            Some(OneOrMany::One(name)) => self.model.layer(name),
            Some(OneOrMany::Many(_)) => {
                let message = "maps are judged where they are read at one layer, and `at` is a list";
                Err(ErrorObject::invalid("at", message).expected("one layer"))
            }
        }
    }

    /// The target as it was asked.
    pub(super) fn asked_target(&self) -> Target {
        self.asked.question().target.as_slice().first().cloned().unwrap_or_default()
    }

    /// What a network of the same layers computes of an input.
    pub(super) fn trace(&self, model: &HeldModel, value: &Value) -> Result<Arc<Trace>, ErrorObject> {
        let of_model = |error| errors::of_model(error, Some(&model.graph));
        let value = value.to_dtype(model.graph.dtype()).map_err(of_model)?;
        let trace = Trace::record(&model.graph, &[value], &Quiet(self.token)).map_err(of_model)?;
        self.state.counters.forward_passes.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(trace))
    }

    /// One of the inputs, with what the network as it is computes of it.
    pub(super) fn original(&self, input: &SubjectInput) -> Result<AskedInput, ErrorObject> {
        let (held, prepared) = (input.held.clone(), input.prepared.clone());
        let (ids, values) = (std::slice::from_ref(&held), std::slice::from_ref(&prepared));
        let trace = asked::trace(self.state, &self.model, ids, values, &[], self.token)?;
        Ok(AskedInput::of_one(held, prepared, trace))
    }

    /// One of the inputs with other numbers, and what a network computes of them.
    pub(super) fn changed(
        &self,
        model: &HeldModel,
        input: &SubjectInput,
        value: Value,
    ) -> Result<AskedInput, ErrorObject> {
        let trace = self.trace(model, &value)?;
        let prepared = Arc::new(PreparedInput { value, ..(*input.prepared).clone() });
        Ok(AskedInput::of_one(input.held.clone(), prepared, trace))
    }

    /// The map of a target.
    pub(super) fn map(
        &self,
        model: &HeldModel,
        explainer: &Explainer<'_>,
        asked: &AskedInput,
        target: ResolvedTarget,
    ) -> Result<Numbers, ErrorObject> {
        let (graph, trace, interrupt) = (&model.graph, &*asked.trace, &Quiet(self.token));
        let question = introspection::Question { graph, trace, targets: &[target], at: self.at()?, interrupt };
        let map = explainer.map(model, asked, &question)?;
        self.state.counters.backward_walks.fetch_add(1, Ordering::Relaxed);
        let numbers = map.value.to_f64_vec().map_err(|error| errors::of_model(error, None))?;
        if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
            let message = format!("a map holds {number}");
            return Err(ErrorObject::new(client_protocol::ErrorKind::Unfit, message));
        }
        Ok(Numbers { shape: map.value.shape()[1..].to_vec(), numbers })
    }

    /// The maps of all inputs of the network as it is.
    pub(super) fn originals(&self) -> Result<Vec<Numbers>, ErrorObject> {
        let explainer = self.asked.explainer(&self.model)?;
        let map = |input| self.map(&self.model, &explainer, &self.original(input)?, self.target_of(input).clone());
        self.inputs.iter().map(map).collect()
    }

    fn target_of<'s>(&self, input: &'s SubjectInput) -> &'s ResolvedTarget {
        &input.target
    }

    /// An error of a library's loop.
    pub(super) fn error(&self, failure: Failure) -> ErrorObject {
        match failure {
            Failure::Library(error) => errors::of_introspection(error, &self.model.graph),
            Failure::Asked(error) => error,
        }
    }

    /// One answer for each input: a list where one was asked.
    pub(super) fn one_or_many<T>(&self, mut answers: Vec<T>) -> OneOrMany<T> {
        if self.is_list { OneOrMany::Many(answers) } else { OneOrMany::One(answers.swap_remove(0)) }
    }

    /// What was explained.
    pub(super) fn targets(&self) -> OneOrMany<client_protocol::ResolvedTarget> {
        let asked = self.asked_target();
        let of_input = |input: &SubjectInput| resolved_target(&self.model, &asked, &input.target);
        self.one_or_many(self.inputs.iter().map(of_input).collect())
    }

    /// The attribution's settings under `method`, and a check's own.
    pub(super) fn settings<'s>(
        &self,
        own: impl IntoIterator<Item = (&'s str, serde_json::Value)>,
    ) -> Result<Settings, ErrorObject> {
        let question = self.asked.question();
        let shared = [("at", json!(self.model.name_of(self.at()?.node))), ("of", json!(question.of))];
        let of_method = settings(shared.into_iter().chain(self.asked.explainer(&self.model)?.settings));
        let method = [("method", json!(self.method)), ("params", json!(of_method))];
        Ok(settings(method.into_iter().chain(own)))
    }

    /// What one should know about every map of the attribution.
    pub(super) fn notes(&self) -> Result<Vec<String>, ErrorObject> {
        Ok(self.asked.explainer(&self.model)?.notes)
    }
}

/// A target as asked, else the prediction.
pub(super) fn resolved(
    model: &HeldModel,
    trace: &Trace,
    target: Option<&Target>,
    of: ScoreOf,
) -> Result<ResolvedTarget, ErrorObject> {
    let targets = [target.cloned().unwrap_or_default()];
    Ok(asked::resolve(model, trace, &targets, of)?.remove(0))
}

/// The measures asked, which must fit the maps; else all of `default` that do, with a note about those that do not.
pub(super) fn measures(
    asked: Option<&[client_protocol::sanity::SimilarityMetric]>,
    default: &[Similarity],
    views: &[View],
) -> Result<(Vec<Similarity>, Vec<String>), ErrorObject> {
    let misfit = |measure: &Similarity| views.iter().find_map(|view| measure.misfit(view));
    let Some(asked) = asked else {
        let (fitting, others): (Vec<_>, Vec<_>) = default.iter().partition(|measure| misfit(measure).is_none());
        let notes: Vec<String> = others.iter().filter_map(misfit).map(|why| format!("left out: {why}")).collect();
        if fitting.is_empty() {
            let why = default.iter().find_map(misfit).unwrap_or_default();
            return Err(ErrorObject::invalid("metrics", format!("no measure is for these maps: {why}")));
        }
        return Ok((fitting, notes));
    };
    if asked.is_empty() {
        let message = "the list of metrics is empty";
        return Err(ErrorObject::invalid("metrics", message).expected("spearman_abs, spearman, ssim or hog"));
    }
    let measures: Vec<Similarity> = asked.iter().map(|metric| measure(*metric)).collect();
    match measures.iter().find_map(misfit) {
        None => Ok((measures, vec![])),
        Some(why) => Err(ErrorObject::invalid("metrics", why).expected("another metric, or larger maps")),
    }
}

fn measure(metric: client_protocol::sanity::SimilarityMetric) -> Similarity {
    use client_protocol::sanity::SimilarityMetric;
    match metric {
        SimilarityMetric::Spearman => Similarity::Spearman,
        SimilarityMetric::SpearmanAbs => Similarity::SpearmanAbs,
        SimilarityMetric::Ssim => Similarity::Ssim,
        SimilarityMetric::Hog => Similarity::Hog,
    }
}

/// A measure's values with their mean and spread.
pub(super) fn similar(measure: Similarity, values: Vec<f64>) -> client_protocol::sanity::Similar {
    use client_protocol::sanity::{Similar, SimilarityMetric};
    let metric = match measure {
        Similarity::Spearman => SimilarityMetric::Spearman,
        Similarity::SpearmanAbs => SimilarityMetric::SpearmanAbs,
        Similarity::Ssim => SimilarityMetric::Ssim,
        Similarity::Hog => SimilarityMetric::Hog,
    };
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let std = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    Similar { metric, mean, std, values }
}
