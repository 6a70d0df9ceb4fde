//! `filter.patterns`.

use std::sync::Arc;

use client_protocol::filter::{Order, Patterns, PatternsParams};
use client_protocol::{Axis, ErrorKind, ErrorObject};
use models::operators::AxisKind;
use models::{Interrupt, Value};
use serde_json::json;

use crate::draw::{self, MOST_FILTERS};
use crate::errors;
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::asked;
use crate::requests::model::settings;
use crate::state::State;
use crate::to_protocol::{Array, axis_name};

pub(crate) fn patterns(state: &Arc<State>, params: PatternsParams, token: &Token) -> Result<Patterns, ErrorObject> {
    token.check().map_err(errors::of_interrupted)?;
    if params.order == Order::Topographic {
        let message = "filters cannot be ordered by likeness yet; they come by index";
        return Err(ErrorObject::invalid("order", message).value("topographic").expected("index"));
    }
    let model = state.models().get(&params.model)?;
    let array = weights(state, &model, &params.layer)?;
    let n_filters = array.shape[0];
    let title = match n_filters {
        n if n > MOST_FILTERS && array.shape.len() > 2 => {
            format!("filters of {} (first {MOST_FILTERS} of {n})", params.layer)
        }
        _ => format!("filters of {}", params.layer),
    };
    let picture = draw::of_filters(&params.answer, &array, &title)?;
    let settings = settings([("layer", json!(params.layer)), ("order", json!(params.order))]);
    Ok(Patterns { tensor: array.encode(state, params.answer.encoding)?, settings, picture })
}

/// A layer's weights, `[filter, channel, places…]`.
fn weights(state: &State, model: &HeldModel, layer: &str) -> Result<Array, ErrorObject> {
    let node = model.layer(layer)?.node;
    let operator = &model.graph.node(node).operator;
    let weight = match (operator.as_convolution(), operator.as_dense()) {
        (Some(convolution), _) => &convolution.params().weight,
        (_, Some(dense)) => dense.weight(),
        _ => {
            let message = format!("`{layer}` is a {} and has no filters", operator.kind());
            return Err(ErrorObject::new(ErrorKind::Unfit, message)
                .field("layer")
                .value(layer)
                .expected("a convolution or a dense layer"));
        }
    };
    const COPIES: usize = 3;
    let bytes = weight.elem_count().saturating_mul(COPIES * size_of::<f32>());
    asked::refuse_beyond(bytes, state.config.limits.query_bytes, "these weights")?;
    let of_model = |error| errors::of_model(error, None);
    let numbers = Value::from_tensor(weight).and_then(|value| value.to_f32_vec()).map_err(of_model)?;
    let shape = weight.dims().to_vec();
    let places = AxisKind::spatial(shape.len() - 2).into_iter().skip(2).map(axis_name);
    let names = ["filter", "channel"].into_iter().chain(places);
    Ok(Array { shape, axes: names.map(Axis::named).collect(), numbers })
}
