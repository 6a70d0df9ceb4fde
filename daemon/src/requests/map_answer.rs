//! What every `attribution.*` answers: the maps of all inputs and targets, with what was explained and done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use client_protocol::attribution::{Attribution, CropStart, LayerMap, Question};
use client_protocol::metric::Checks;
use client_protocol::relevance::LayerSum;
use client_protocol::{Axis, ErrorObject, OneOrMany, ResolvedTarget, Settings, Tensor};
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
        let (model, answer) = (self.model, &self.question.answer);
        let targets = self.question.target.as_slice();
        if targets.is_empty() || self.question.input.as_slice().is_empty() {
            return Err(ErrorObject::invalid("target", "the list of targets or inputs is empty"));
        }
        let layers = self.layers()?;
        let mut of_layers: Vec<ReadMaps> = layers.iter().map(|_| ReadMaps::default()).collect();
        let mut resolved: Vec<ResolvedTarget> = Vec::new();
        let mut last = None;
        for input in self.question.input.as_slice() {
            let asked = asked::input(self.state, model, input, self.token)?;
            let of_input = asked::resolve(model, &asked.trace, targets, self.question.of)?;
            let (graph, trace, at) = (&model.graph, &*asked.trace, layers[0]);
            let question = introspection::Question { graph, trace, targets: &of_input, at, interrupt: self.token };
            self.refuse_too_much(&question, &layers)?;
            let maps = (self.explainer.explain)(model, &asked, &question, &layers)?;
            self.state.counters.backward_walks.fetch_add(1, Ordering::Relaxed);
            for (of_layer, map) in of_layers.iter_mut().zip(maps) {
                of_layer.add(map, of_input.len(), self.question)?;
            }
            resolved
                .extend(targets.iter().zip(&of_input).map(|(asked, of_input)| resolved_target(model, asked, of_input)));
            last = Some(asked);
        }
        let title =
            title(self.explainer.name, &resolved[0], last.as_ref().and_then(|asked| asked.held.path.as_deref()));
        let prepared = last.as_ref().map(|asked| asked.prepared_at(model, layers[0]));
        let letters = match (&last, &answer.picture) {
            (Some(asked), Some(_)) => {
                let heard = transcript::greedy(model, &asked.trace)?.unwrap_or_default();
                transcript::written_above(model, &asked.prepared, &heard)
            }
            _ => vec![],
        };
        let mut maps = Vec::with_capacity(layers.len());
        let mut picture = None;
        for (read, at) in of_layers.into_iter().zip(&layers) {
            let is_first = maps.is_empty();
            maps.push(read.together(self.question, (model, *at), |array| {
                if is_first {
                    picture = draw::of_map(answer, array, prepared, &letters, self.explainer.look, &title)?;
                }
                array.encode(self.state, answer.encoding)
            })?);
        }
        let settings = self.settings(&layers);
        let target = one_or_many(resolved, are_many(self.question));
        let (first, layers) =
            if self.is_at_list() { (maps[0].clone(), Some(maps)) } else { (maps.swap_remove(0), None) };
        let LayerMap { tensor, crop_start, completeness_gap, relevance_sums, checks, .. } = first;
        Ok(Attribution {
            tensor,
            layers,
            target,
            settings,
            crop_start,
            completeness_gap,
            relevance_sums,
            checks,
            notes: self.explainer.notes,
            picture,
        })
    }

    fn is_at_list(&self) -> bool {
        self.question.at.as_ref().is_some_and(OneOrMany::is_list)
    }

    /// Where maps are read.
    fn layers(&self) -> Result<Vec<Outlet>, ErrorObject> {
        let Some(names) = &self.question.at else { return Ok(vec![self.model.input()]) };
        if names.as_slice().is_empty() {
            return Err(ErrorObject::invalid("at", "the list of layers is empty").expected("one layer or more"));
        }
        names.as_slice().iter().map(|name| self.model.layer(name)).collect()
    }

    /// Refuses what would not fit, before it is computed: what walks, and the maps of all targets on their way out.
    fn refuse_too_much(&self, question: &introspection::Question<'_>, layers: &[Outlet]) -> Result<(), ErrorObject> {
        const COPIES: usize = 4;
        let per_target = |at: &Outlet| match self.question.crop {
            true => {
                let windows = cones(self.model, question, *at)?;
                Ok(windows.n_places() * question.trace.shape(*at)[1])
            }
            false => Ok(question.trace.shape(*at)[1..].iter().product()),
        };
        let per_target: usize = layers.iter().map(per_target).sum::<Result<_, ErrorObject>>()?;
        let numbers = per_target.saturating_mul(question.targets.len()).saturating_add(question.walk_numbers());
        let bytes = numbers.saturating_mul(COPIES * size_of::<f32>());
        asked::refuse_beyond(bytes, self.state.config.limits.query_bytes, "this many targets and layers at once")
    }

    fn settings(&self, layers: &[Outlet]) -> Settings {
        let names: Vec<&str> = layers.iter().map(|at| self.model.name_of(at.node)).collect();
        let shared = [
            ("at", json!(one_or_many(names, self.is_at_list()))),
            ("of", json!(self.question.of)),
            ("crop", json!(self.question.crop)),
        ];
        settings(shared.into_iter().chain(self.explainer.settings.iter().cloned()))
    }
}

/// The maps of all inputs, read at one layer.
#[derive(Default)]
struct ReadMaps {
    arrays: Vec<Array>,
    starts: Vec<Vec<usize>>,
    gaps: Vec<f64>,
    sums: BTreeMap<usize, Vec<f64>>,
    checks: Vec<Checks>,
}

impl ReadMaps {
    /// Those of one more input.
    fn add(&mut self, mut map: Map, n_targets: usize, question: &Question) -> Result<(), ErrorObject> {
        if question.check {
            self.checks.extend(checks_of(&map)?);
        }
        map.sums.drain(..).for_each(|(idx, of_targets)| self.sums.entry(idx.0).or_default().extend(of_targets));
        self.gaps.extend(map.gaps.take().unwrap_or_default());
        if let Some(windows) = &map.windows {
            let first_spatial = map.axes.len() - windows.lengths.len();
            if n_targets == 1 {
                begin_later(&mut map.axes[first_spatial..], &windows.starts[0], &windows.lengths);
            }
            let start = |start: &Vec<isize>| {
                std::iter::repeat_n(0, first_spatial).chain(start.iter().map(|&place| place as usize)).collect()
            };
            self.starts.extend(windows.starts.iter().map(start));
        }
        let leading = question.target.is_list().then(|| Axis::named("target"));
        self.arrays.push(Array::of(&map.value, leading, map.axes)?);
        Ok(())
    }

    /// All of them as one array, encoded, with what is answered beside it.
    fn together(
        mut self,
        question: &Question,
        layers: (&HeldModel, Outlet),
        encode: impl FnOnce(&Array) -> Result<Tensor, ErrorObject>,
    ) -> Result<LayerMap, ErrorObject> {
        let (model, at) = layers;
        let array = match question.input.is_list() {
            true => Array::stack(self.arrays, Axis::named("input"))?,
            false => self.arrays.swap_remove(0),
        };
        let are_many = are_many(question);
        let crop_start = (!self.starts.is_empty()).then(|| match are_many {
            true => CropStart::Many(self.starts),
            false => CropStart::One(self.starts.swap_remove(0)),
        });
        let of_layer = |(idx, sums)| {
            let layer = model.name_of(NodeIdx(idx)).to_owned();
            LayerSum { layer, sum: one_or_many(sums, are_many) }
        };
        Ok(LayerMap {
            layer: model.name_of(at.node).to_owned(),
            tensor: encode(&array)?,
            crop_start,
            completeness_gap: (!self.gaps.is_empty()).then(|| one_or_many(self.gaps, are_many)),
            relevance_sums: self.sums.into_iter().map(of_layer).collect(),
            checks: question.check.then(|| one_or_many(self.checks, are_many)),
        })
    }
}

/// Whether there is a list of maps at each layer.
fn are_many(question: &Question) -> bool {
    question.target.is_list() || question.input.is_list()
}

/// A list where one was asked, else the only one.
fn one_or_many<T>(mut all: Vec<T>, is_list: bool) -> OneOrMany<T> {
    if is_list { OneOrMany::Many(all) } else { OneOrMany::One(all.swap_remove(0)) }
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
