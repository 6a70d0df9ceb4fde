//! What every `attribution.*` answers: the maps of all inputs and targets, with what was explained and done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use client_protocol::attribution::{Attribution, CropStart, Question};
use client_protocol::metric::Checks;
use client_protocol::relevance::LayerSum;
use client_protocol::{Axis, ErrorObject, OneOrMany, ResolvedTarget, Settings};
use models::{NodeIdx, Outlet};
use serde_json::json;

use crate::draw;
use crate::errors;
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::asked;
use crate::requests::attribution::cones;
use crate::requests::explainer::{AskedAttribution, Explainer, Map};
use crate::requests::metric::spread;
use crate::requests::model::settings;
use crate::requests::transcript;
use crate::state::State;
use crate::to_protocol::{Array, resolved_target};

pub(super) fn answer(
    state: &Arc<State>,
    asked: &dyn AskedAttribution,
    token: &Token,
) -> Result<Attribution, ErrorObject> {
    let model = state.models().get(&asked.question().model)?;
    let explainer = asked.explainer(&model)?;
    Asking { state, question: asked.question(), token, model: &model, explainer }.answer()
}

/// The frame that all attributions share.
struct Asking<'a> {
    state: &'a State,
    question: &'a Question,
    token: &'a Token,
    model: &'a HeldModel,
    explainer: Explainer<'a>,
}

impl Asking<'_> {
    fn answer(self) -> Result<Attribution, ErrorObject> {
        let model = self.model;
        let at = self.question.at.as_deref().map_or_else(|| Ok(model.input()), |name| model.layer(name))?;
        let targets = self.question.target.as_slice();
        if targets.is_empty() || self.question.input.as_slice().is_empty() {
            return Err(ErrorObject::invalid("target", "the list of targets or inputs is empty"));
        }
        let mut arrays = Vec::new();
        let mut resolved: Vec<ResolvedTarget> = Vec::new();
        let mut starts: Vec<Vec<usize>> = Vec::new();
        let mut last = None;
        let mut checks: Vec<Checks> = Vec::new();
        let (mut sums, mut gaps): (BTreeMap<usize, Vec<f64>>, Vec<f64>) = Default::default();
        for input in self.question.input.as_slice() {
            let asked = asked::input(self.state, model, input, self.token)?;
            let of_input = asked::resolve(model, &asked.trace, targets, self.question.of)?;
            let (graph, trace) = (&model.graph, &*asked.trace);
            let question = introspection::Question { graph, trace, targets: &of_input, at, interrupt: self.token };
            self.refuse_too_much(&question)?;
            let mut map = (self.explainer.explain)(model, &asked, &question)?;
            self.state.counters.backward_walks.fetch_add(1, Ordering::Relaxed);
            if self.question.check {
                checks.extend(checks_of(&map)?);
            }
            map.sums.drain(..).for_each(|(idx, of_targets)| sums.entry(idx.0).or_default().extend(of_targets));
            gaps.extend(map.gaps.take().unwrap_or_default());
            let leading = self.question.target.is_list().then(|| Axis::named("target"));
            if let Some(windows) = &map.windows {
                let first_spatial = map.axes.len() - windows.lengths.len();
                if of_input.len() == 1 {
                    begin_later(&mut map.axes[first_spatial..], &windows.starts[0], &windows.lengths);
                }
                let start = |start: &Vec<isize>| {
                    std::iter::repeat_n(0, first_spatial).chain(start.iter().map(|&place| place as usize)).collect()
                };
                starts.extend(windows.starts.iter().map(start));
            }
            let array = Array::of(&map.value, leading, map.axes)?;
            resolved
                .extend(targets.iter().zip(&of_input).map(|(asked, of_input)| resolved_target(model, asked, of_input)));
            arrays.push(array);
            last = Some(asked);
        }
        let is_list = self.question.target.is_list() || self.question.input.is_list();
        let array = match self.question.input.is_list() {
            true => Array::stack(arrays, Axis::named("input"))?,
            false => arrays.remove(0),
        };
        let title =
            title(self.explainer.name, &resolved[0], last.as_ref().and_then(|asked| asked.held.path.as_deref()));
        let prepared = last.as_ref().map(|asked| asked.prepared_at(model, at));
        let letters = match (&last, &self.question.answer.picture) {
            (Some(asked), Some(_)) => {
                let heard = transcript::greedy(model, &asked.trace)?.unwrap_or_default();
                transcript::written_above(model, &asked.prepared, &heard)
            }
            _ => vec![],
        };
        let picture = draw::of_map(&self.question.answer, &array, prepared, &letters, self.explainer.look, &title)?;
        let tensor = array.encode(self.state, self.question.answer.encoding)?;
        let target = if is_list { OneOrMany::Many(resolved) } else { OneOrMany::One(resolved.remove(0)) };
        let settings = self.settings(at);
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
        let checks = self.question.check.then(|| match is_list {
            true => OneOrMany::Many(checks),
            false => OneOrMany::One(checks.swap_remove(0)),
        });
        let notes = self.explainer.notes;
        Ok(Attribution {
            tensor,
            target,
            settings,
            crop_start,
            completeness_gap,
            relevance_sums,
            checks,
            notes,
            picture,
        })
    }

    /// Refuses what would not fit, before it is computed: what walks, and the maps of all targets on their way out.
    fn refuse_too_much(&self, question: &introspection::Question<'_>) -> Result<(), ErrorObject> {
        const COPIES: usize = 4;
        let per_target: usize = match self.question.crop {
            true => cones(self.model, question, question.at)
                .map(|windows| windows.n_places() * question.trace.shape(question.at)[1])?,
            false => question.trace.shape(question.at)[1..].iter().product(),
        };
        let numbers = per_target.saturating_mul(question.targets.len()).saturating_add(question.walk_numbers());
        let bytes = numbers.saturating_mul(COPIES * size_of::<f32>());
        asked::refuse_beyond(bytes, self.state.config.limits.query_bytes, "this many targets at once")
    }

    fn settings(&self, at: Outlet) -> Settings {
        let shared = [
            ("at", json!(self.model.name_of(at.node))),
            ("of", json!(self.question.of)),
            ("crop", json!(self.question.crop)),
        ];
        settings(shared.into_iter().chain(self.explainer.settings.iter().cloned()))
    }
}

/// What can be said of each map at once. Where relevance is shared out layer by layer, what arrives at the map is held
/// against what it began with, the sum of the highest layer.
fn checks_of(map: &Map) -> Result<Vec<Checks>, ErrorObject> {
    let of_model = |error| errors::of_model(error, None);
    let numbers = map.value.to_f64_vec().map_err(of_model)?;
    let n_targets = map.value.shape()[0].max(1);
    let began_with = map.sums.iter().max_by_key(|(idx, _)| *idx).map(|(_, sums)| sums);
    let of_target = |(nth, numbers): (usize, &[f64])| {
        let sum: f64 = numbers.iter().sum();
        let gap = map.gaps.as_ref().map(|gaps| gaps[nth]);
        let completeness_gap = gap.or_else(|| began_with.map(|sums| sum - sums[nth]));
        Checks { sum, completeness_gap, spread: spread(numbers) }
    };
    Ok(numbers.chunks_exact((numbers.len() / n_targets).max(1)).enumerate().map(of_target).collect())
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
    let file = draw::in_file(path);
    format!("{name}: {what}{place}{probability}{file}")
}

/// Moves axes on to where a part of them begins.
fn begin_later(axes: &mut [Axis], starts: &[isize], lengths: &[usize]) {
    for ((axis, &first), &length) in axes.iter_mut().zip(starts).zip(lengths) {
        axis.start = axis.start.zip(axis.step).map(|(from, step)| from + step * first as f64).or(axis.start);
        if let Some(values) = &mut axis.values {
            values.drain(..values.len().min(first as usize));
            values.truncate(length);
        }
    }
}
