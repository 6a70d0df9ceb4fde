//! `attribution.lrp` and `.deep_taylor`.

use std::collections::BTreeMap;
use std::sync::Arc;

use client_protocol::attribution::Attribution;
use client_protocol::relevance::{
    Composite, DeepTaylorParams, InputDomain, LayerRule, LrpParams, RelevanceStart, RuleName, RuleNumbers,
};
use client_protocol::{ErrorKind, ErrorObject, OneOrMany, nearest};
use introspection::{Preset, RuleTable, lrp as relevance_of};
use models::NodeIdx;
use serde_json::json;

use crate::draw::Look;
use crate::errors;
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::attribution::{Asking, Map, read};
use crate::state::State;

/// Bounds of the input.
type Bounds = (Vec<f64>, Vec<f64>);

pub(crate) fn lrp(state: &Arc<State>, params: LrpParams, token: &Token) -> Result<Attribution, ErrorObject> {
    let model = state.models().get(&params.question.model)?;
    let bounds = || bounds(&model, params.low.as_ref(), params.high.as_ref());
    let preset = preset(params.composite, &bounds)?;
    let of_layers = rules_of_layers(&model, &params.rules, &bounds)?;
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
    let look = Look::Signed;
    let asking = Asking { state, question: &params.question, token, name: "LRP", look, settings, notes: vec![] };
    answered(asking, &rules, start)
}

pub(crate) fn deep_taylor(
    state: &Arc<State>,
    params: DeepTaylorParams,
    token: &Token,
) -> Result<Attribution, ErrorObject> {
    let model = state.models().get(&params.question.model)?;
    let domain = match params.input_domain {
        InputDomain::Box => {
            let (low, high) = bounds(&model, params.low.as_ref(), params.high.as_ref())?;
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
    let name = "deep Taylor decomposition";
    let asking = Asking { state, question: &params.question, token, name, look: Look::Signed, settings, notes };
    answered(asking, &rules, introspection::RelevanceStart::Score)
}

fn answered(
    asking: Asking<'_>,
    rules: &RuleTable,
    start: introspection::RelevanceStart,
) -> Result<Attribution, ErrorObject> {
    let crop = asking.question.crop;
    asking.answer(&|model, asked, question| {
        let relevance =
            relevance_of(question, rules, start).map_err(|error| errors::of_introspection(error, &model.graph))?;
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
        let front_end = model.front_end.as_ref()?;
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
            if !is_match(pattern, &node.name) && !is_match(pattern, model.name_of(NodeIdx(idx))) {
                continue;
            }
            fits = true;
            let is_weighted = node.operator.reweighted(models::operators::Reweighting::ORIGINAL, None).is_some();
            // A pattern of many layers means those that its rule is for.
            let is_exact = !pattern.contains('*');
            if is_exact || is_weighted == rule.is_for_weighted_sums() {
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

/// Whether a name fits a pattern in which `*` stands for any letters.
fn is_match(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
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

#[cfg(test)]
mod tests {
    use super::is_match;

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, name, fits) in [
            ("conv1", "conv1", true),
            ("conv1", "conv10", false),
            ("conv*", "conv10", true),
            ("*.conv*", "layer1.0.conv2", true),
            ("layer*.conv", "layer1.conv2", false),
            ("*", "", true),
            ("a*b*b", "ab", false),
        ] {
            assert_eq!(is_match(pattern, name), fits, "{pattern} {name}");
        }
    }
}
