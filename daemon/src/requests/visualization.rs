//! `visualization.gradient`, and objectives as the library has them; the ascent is in `maximize.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use client_protocol::visualization::{GradientParams, GradientResult, Objective, Term};
use client_protocol::{ClassName, ErrorObject};
use serde_json::json;

use crate::draw::{self, Look};
use crate::errors;
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::asked;
use crate::requests::model::settings;
use crate::state::State;
use crate::to_protocol::{Array, axes_of};

pub(crate) fn gradient(
    state: &Arc<State>,
    params: GradientParams,
    token: &Token,
) -> Result<GradientResult, ErrorObject> {
    let model = state.models().get(&params.model)?;
    let asked = asked::input(state, &model, &params.input, token)?;
    let objective = objective(&model, &params.objective)?;
    let answer = introspection::objective_gradient(&model.graph, &asked.trace, &objective, token);
    let (value, gradient) = answer.map_err(|error| errors::of_introspection(error, &model.graph))?;
    state.counters.backward_walks.fetch_add(1, Ordering::Relaxed);
    let array = Array::of(&gradient, None, axes_of(&model, &asked.prepared, model.input()))?;
    let picture =
        draw::of_map(&params.answer, &array, Some(&asked.prepared), &[], Look::Magnitude, "gradient of the objective")?;
    let settings = settings([("objective", json!(params.objective))]);
    Ok(GradientResult { value, tensor: array.encode(state, params.answer.encoding)?, settings, picture })
}

/// An objective as the library has it.
pub(super) fn objective(model: &HeldModel, asked: &Objective) -> Result<introspection::Objective, ErrorObject> {
    let score = |class: &ClassName, of| {
        let class = asked::class_index(model, class)?;
        Ok(introspection::Objective::Score { class, of, axes: model.output_axes })
    };
    Ok(match asked {
        Objective::Neuron { layer, channel, position } => introspection::Objective::Neuron {
            layer: model.layer(layer)?,
            channel: *channel,
            position: position.clone(),
        },
        Objective::Channel { layer, channel } => {
            introspection::Objective::Channel { layer: model.layer(layer)?, channel: *channel }
        }
        Objective::Layer { layer } => introspection::Objective::Layer { layer: model.layer(layer)? },
        Objective::Logit { class } => score(class, introspection::ScoreOf::Logit)?,
        Objective::Probability { class } => score(class, introspection::ScoreOf::Probability)?,
        Objective::Direction { layer, vector, cosine_power } => introspection::Objective::Direction {
            layer: model.layer(layer)?,
            vector: vector.clone(),
            cosine_power: *cosine_power,
        },
        Objective::Diversity { layer } => introspection::Objective::Diversity { layer: model.layer(layer)? },
        Objective::Sum { terms } => {
            let term = |term: &Term| Ok((term.weight, objective(model, &term.objective)?));
            introspection::Objective::Sum(terms.iter().map(term).collect::<Result<_, ErrorObject>>()?)
        }
    })
}
