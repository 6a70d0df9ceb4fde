//! Deep Taylor decomposition (Montavon et al. 2017): z⁺ at every hidden layer, and at the first the rule of the domain
//! that inputs come from.

use std::collections::BTreeMap;

use models::operators::{Family, PointwiseFunction};
use models::{Graph, NodeIdx, Outlet};

use crate::error::{IntrospectionError, Result};
use crate::lrp::{LayerRule, Preset, RuleTable, check_bounds};

/// Which inputs a network can be given.
#[derive(Clone, Debug, PartialEq)]
pub enum InputDomain {
    /// Between bounds, one for all or one for each channel: zᴮ.
    Box { low: Vec<f64>, high: Vec<f64> },
    /// Any number: w².
    Real,
    /// Zero or more: z⁺.
    Positive,
}

/// The rules of a deep Taylor decomposition of what stands at `target`, and what it assumes.
///
/// Refuses networks for which the theory says nothing: other activations than ReLU (or its clipped form) and products of
/// branches below the target.
pub fn deep_taylor(graph: &Graph, target: Outlet, domain: &InputDomain) -> Result<(RuleTable, Vec<String>)> {
    if let InputDomain::Box { low, high } = domain {
        check_bounds(low, high).map_err(IntrospectionError::Unfit)?;
    }
    let mut rules = BTreeMap::new();
    let mut has_first = false;
    for (idx, node) in graph.nodes().iter().enumerate().take(target.node.0 + 1) {
        let operator = &node.operator;
        let refuse = |why: &str| {
            let message = format!(
                "deep Taylor decomposition holds for ReLU networks alone, and `{}` ({}) {why}; use lrp instead",
                node.name,
                operator.kind()
            );
            Err(IntrospectionError::Unfit(message))
        };
        match operator.family() {
            Family::Convolution | Family::Dense => {
                let rule = match domain {
                    _ if has_first => LayerRule::ZPlus,
                    InputDomain::Box { low, high } => LayerRule::ZBox { low: low.clone(), high: high.clone() },
                    InputDomain::Real => LayerRule::WSquare,
                    InputDomain::Positive => LayerRule::ZPlus,
                };
                rules.insert(NodeIdx(idx), rule);
                has_first = true;
            }
            Family::Rectifier => {
                let function = operator.as_activation().map(|activation| activation.function());
                let is_leaky = matches!(function, Some(PointwiseFunction::LeakyRelu { .. }));
                if is_leaky {
                    return refuse("lets negative numbers pass");
                }
            }
            Family::Activation if operator.as_arithmetic().is_none() => return refuse("is another activation"),
            Family::Product => return refuse("multiplies two branches"),
            Family::Recurrent => return refuse("has gates, which are no rectifiers"),
            _ => {}
        }
    }
    if !has_first {
        let message = "deep Taylor decomposition needs a convolution or a dense layer below the target";
        return Err(IntrospectionError::Unfit(message.to_owned()));
    }
    let assumed = match domain {
        InputDomain::Box { .. } => "inputs lie between the bounds (z^B at the first layer)",
        InputDomain::Real => "inputs may be any number (w^2 at the first layer)",
        InputDomain::Positive => "inputs are zero or more (z+ at the first layer)",
    };
    let notes = vec![format!(
        "assumed: {assumed}; activations are zero or more; biases are zero or less and take no relevance"
    )];
    Ok((RuleTable::new(graph, &Preset::EpsilonPlus, &rules, true)?, notes))
}
