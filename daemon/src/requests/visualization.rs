//! `visualization.gradient`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use client_protocol::visualization::{GradientParams, GradientResult, Objective};
use client_protocol::{ClassName, ErrorObject, ScoreOf, Target};
use serde_json::json;

use crate::draw::{self, Look};
use crate::errors;
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::asked::{self, AskedInput};
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
    let objective = objective(&model, &asked, &params.objective)?;
    let answer = introspection::objective_gradient(&model.graph, &asked.trace, &objective, token);
    let (value, gradient) = answer.map_err(|error| errors::of_introspection(error, &model.graph))?;
    state.counters.backward_walks.fetch_add(1, Ordering::Relaxed);
    let array = Array::of(&gradient, None, axes_of(&model, &asked.prepared, model.input()))?;
    let picture =
        draw::of_map(&params.answer, &array, Some(&asked.prepared), Look::Magnitude, "gradient of the objective")?;
    let settings = settings([("objective", json!(params.objective))]);
    Ok(GradientResult { value, tensor: array.encode(state, params.answer.encoding)?, settings, picture })
}

fn objective(
    model: &HeldModel,
    asked: &AskedInput,
    objective: &Objective,
) -> Result<introspection::Objective, ErrorObject> {
    let score = |class: &ClassName, of| {
        let target = Target::Class { class: class.clone(), place: None };
        asked::resolve(model, &asked.trace, &[target], of)
            .map(|mut resolved| introspection::Objective::Score(resolved.remove(0)))
    };
    Ok(match objective {
        Objective::Neuron { layer, channel, position } => introspection::Objective::Neuron {
            layer: model.layer(layer)?,
            channel: *channel,
            position: position.clone(),
        },
        Objective::Channel { layer, channel } => {
            introspection::Objective::Channel { layer: model.layer(layer)?, channel: *channel }
        }
        Objective::Layer { layer } => introspection::Objective::Layer { layer: model.layer(layer)? },
        Objective::Logit { class } => score(class, ScoreOf::Logit)?,
        Objective::Probability { class } => score(class, ScoreOf::Probability)?,
    })
}
