//! `attribution.lrp` and `.deep_taylor`.

use std::collections::BTreeMap;

use client_protocol::relevance::{
    Composite, DeepTaylorParams, InputDomain, LayerRule, LrpParams, RelevanceStart, RuleName, RuleNumbers,
};
use client_protocol::{ErrorKind, ErrorObject, OneOrMany, nearest};
use introspection::{Preset, RuleTable, fits_pattern, lrp as relevance_of};
use models::NodeIdx;
use models::operators::Family;
use serde_json::json;

use crate::draw::Look;
use crate::errors;
use crate::held_model::HeldModel;
use crate::requests::asked::AskedInput;
use crate::requests::attribution::read;
use crate::requests::explainer::{Explain, Explainer, Map, each};

/// Bounds of the input.
type Bounds = (Vec<f64>, Vec<f64>);

pub(super) fn lrp<'a>(model: &HeldModel, params: &'a LrpParams) -> Result<Explainer<'a>, ErrorObject> {
    let bounds = || bounds(model, params.low.as_ref(), params.high.as_ref());
    let preset = preset(params.composite, &bounds)?;
    let of_layers = rules_of_layers(model, &params.rules, &bounds)?;
    let rules = RuleTable::new(&model.graph, &preset, &of_layers, params.zero_bias)
        .map_err(|error| errors::of_introspection(error, &model.graph))?;
    let start = match params.start {
        RelevanceStart::Score => introspection::RelevanceStart::Score,
        RelevanceStart::One => introspection::RelevanceStart::One,
    };
    let mut settings = vec![
        ("composite", json!(params.composite)),
        ("start", json!(params.start)),
        ("zero_bias", json!(params.zero_bias)),
    ];
    if let Preset::EpsilonGammaBox { low, high } = &preset {
        settings.extend([("low", json!(low)), ("high", json!(high))]);
    }
    if !params.rules.is_empty() {
        settings.push(("rules", json!(params.rules)));
    }
    let explain = explain(rules, start, params.question.crop);
    Ok(Explainer { name: "LRP", look: Look::Signed, settings, notes: vec![], explain })
}

pub(super) fn deep_taylor<'a>(model: &HeldModel, params: &'a DeepTaylorParams) -> Result<Explainer<'a>, ErrorObject> {
    let domain = match params.input_domain {
        InputDomain::Box => {
            let (low, high) = bounds(model, params.low.as_ref(), params.high.as_ref())?;
            introspection::InputDomain::Box { low, high }
        }
        InputDomain::Real => introspection::InputDomain::Real,
        InputDomain::Positive => introspection::InputDomain::Positive,
    };
    let (rules, notes) = introspection::deep_taylor(&model.graph, model.graph.logits(), &domain)
        .map_err(|error| errors::of_introspection(error, &model.graph))?;
    let mut settings = vec![("input_domain", json!(params.input_domain))];
    if let introspection::InputDomain::Box { low, high } = &domain {
        settings.extend([("low", json!(low)), ("high", json!(high))]);
    }
    let explain = explain(rules, introspection::RelevanceStart::Score, params.question.crop);
    Ok(Explainer { name: "deep Taylor decomposition", look: Look::Signed, settings, notes, explain })
}

fn explain<'a>(rules: RuleTable, start: introspection::RelevanceStart, crop: bool) -> Explain<'a> {
    each(move |model: &HeldModel, asked: &AskedInput, question: &introspection::Question<'_>| {
        model.relevance_asked.note();
        let relevance =
            relevance_of(question, &rules, start).map_err(|error| errors::of_introspection(error, &model.graph))?;
        let map = read(model, asked, question, crop, relevance.arrived)?;
        Ok(Map { sums: relevance.sums, ..map })
    })
}

fn preset(composite: Composite, bounds: &dyn Fn() -> Result<Bounds, ErrorObject>) -> Result<Preset, ErrorObject> {
    Ok(match composite {
        Composite::Epsilon => Preset::Epsilon,
        Composite::EpsilonPlus => Preset::EpsilonPlus,
        Composite::EpsilonPlusFlat => Preset::EpsilonPlusFlat,
        Composite::EpsilonAlpha2Beta1 => Preset::EpsilonAlpha2Beta1,
        Composite::EpsilonAlpha2Beta1Flat => Preset::EpsilonAlpha2Beta1Flat,
        Composite::EpsilonGammaBox => {
            let (low, high) = bounds()?;
            Preset::EpsilonGammaBox { low, high }
        }
        Composite::ExcitationBackprop => Preset::ExcitationBackprop,
    })
}

/// Bounds as asked, else the range that the model's front end gives each channel.
fn bounds(
    model: &HeldModel,
    low: Option<&OneOrMany<f64>>,
    high: Option<&OneOrMany<f64>>,
) -> Result<Bounds, ErrorObject> {
    let of_front_end = |value: f32| {
        let front_end = model.front_end.as_ref()?.for_images()?;
        let channels = front_end.mean.iter().zip(&front_end.std);
        Some(channels.map(|(mean, std)| f64::from((value - mean) / std)).collect::<Vec<f64>>())
    };
    let or_front_end = |asked: Option<&OneOrMany<f64>>, value: f32, field: &str| {
        asked.map(|asked| asked.as_slice().to_vec()).or_else(|| of_front_end(value)).ok_or_else(|| {
            let message = format!("this model does not say what range its input has, so that `{field}` is needed");
            ErrorObject::invalid(field, message).expected("a number, or one for each channel, as the network gets it")
        })
    };
    let (low, high) = (or_front_end(low, 0.0, "low")?, or_front_end(high, 255.0, "high")?);
    introspection::check_bounds(&low, &high).map_err(|message| ErrorObject::invalid("low", message))?;
    Ok((low, high))
}

/// The layers that patterns name, each with the rule of the longest that fits it.
fn rules_of_layers(
    model: &HeldModel,
    rules: &BTreeMap<String, LayerRule>,
    bounds: &dyn Fn() -> Result<Bounds, ErrorObject>,
) -> Result<BTreeMap<NodeIdx, introspection::LayerRule>, ErrorObject> {
    let mut by_length: Vec<(&String, &LayerRule)> = rules.iter().collect();
    by_length.sort_by_key(|(pattern, _)| pattern.chars().count());
    let mut of_layers = BTreeMap::new();
    for (pattern, rule) in by_length {
        let rule = layer_rule(rule, bounds)?;
        let mut fits = false;
        for (idx, node) in model.graph.nodes().iter().enumerate() {
            if !fits_pattern(pattern, &node.name) && !fits_pattern(pattern, model.name_of(NodeIdx(idx))) {
                continue;
            }
            fits = true;
            let family = node.operator.family();
            let is_weighted = matches!(family, Family::Convolution | Family::Dense | Family::Recurrent);
            // A pattern of many layers means those that its rule is for.
            let is_exact = !pattern.contains('*');
            let is_meant = is_weighted == rule.is_for_weighted_sums() && rule.is_for(family);
            if is_exact || is_meant {
                of_layers.insert(NodeIdx(idx), rule.clone());
            }
        }
        if !fits {
            let names = model.graph.layer_names().collect::<Vec<_>>();
            let message = format!("no layer fits `{pattern}`");
            return Err(ErrorObject::new(ErrorKind::NotFound, message)
                .field("rules")
                .expected("a layer's name, or a pattern with *")
                .nearest(nearest(pattern, names)));
        }
    }
    Ok(of_layers)
}

fn layer_rule(
    rule: &LayerRule,
    bounds: &dyn Fn() -> Result<Bounds, ErrorObject>,
) -> Result<introspection::LayerRule, ErrorObject> {
    let numbers = match rule {
        LayerRule::Numbers(numbers) => numbers.clone(),
        LayerRule::Name(rule) => {
            RuleNumbers { rule: *rule, epsilon: None, gamma: None, alpha: None, beta: None, low: None, high: None }
        }
    };
    Ok(match numbers.rule {
        RuleName::Epsilon => {
            introspection::LayerRule::Epsilon { epsilon: numbers.epsilon.unwrap_or(introspection::rules::STABILIZER) }
        }
        RuleName::Gamma => introspection::LayerRule::Gamma { gamma: numbers.gamma.unwrap_or(0.25) },
        RuleName::ZPlus => introspection::LayerRule::ZPlus,
        RuleName::AlphaBeta => introspection::LayerRule::AlphaBeta {
            alpha: numbers.alpha.unwrap_or(2.0),
            beta: numbers.beta.unwrap_or(1.0),
        },
        RuleName::ZBox => match (&numbers.low, &numbers.high) {
            (Some(low), Some(high)) => {
                introspection::LayerRule::ZBox { low: low.as_slice().to_vec(), high: high.as_slice().to_vec() }
            }
            _ => {
                let (low, high) = bounds()?;
                introspection::LayerRule::ZBox { low, high }
            }
        },
        RuleName::WSquare => introspection::LayerRule::WSquare,
        RuleName::Flat => introspection::LayerRule::Flat,
        RuleName::Norm => introspection::LayerRule::Norm,
        RuleName::Pass => introspection::LayerRule::Pass,
        RuleName::Gradient => introspection::LayerRule::Gradient,
    })
}
