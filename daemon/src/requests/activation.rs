//! `activation.get`.

use std::sync::Arc;

use client_protocol::activation::{GetParams, GetResult, LayerActivation, Reduce};
use client_protocol::{Axis, Encoding, ErrorObject, Settings, Tensor};
use models::Outlet;
use serde_json::json;

use crate::draw;
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::asked::{self, AskedInput};
use crate::requests::model::settings;
use crate::state::State;
use crate::to_protocol::{Array, axes_of};

pub(crate) fn get(state: &Arc<State>, params: GetParams, token: &Token) -> Result<GetResult, ErrorObject> {
    let model = state.models().get(&params.model)?;
    let layers: Vec<_> = params.layer.as_slice().iter().map(|name| model.layer(name)).collect::<Result<_, _>>()?;
    if stays_here(&params) {
        return get_shapes(state, &model, &params, &layers, token);
    }
    let mut of_layers: Vec<Vec<Array>> = vec![Vec::new(); layers.len()];
    let mut last = None;
    for input in params.input.as_slice() {
        let asked = asked::input_keeping(state, &model, input, &layers, token)?;
        refuse_too_much(state, &asked, &layers, params.input.as_slice().len())?;
        for (layer, arrays) in layers.iter().zip(&mut of_layers) {
            let array =
                Array::of(&asked::value(&asked.trace, *layer)?, None, axes_of(&model, &asked.prepared, *layer))?;
            arrays.push(selected(array, &params)?);
        }
        last = Some(asked);
    }
    let together = |mut arrays: Vec<Array>| match params.input.is_list() {
        true => Array::stack(arrays, Axis::named("input")),
        false => Ok(arrays.remove(0)),
    };
    let arrays: Vec<Array> = of_layers.into_iter().map(together).collect::<Result<_, _>>()?;
    let first = arrays.first().ok_or_else(|| ErrorObject::invalid("layer", "the list of layers is empty"))?;
    let title = format!("activation of {}", params.layer.as_slice()[0]);
    let picture = draw::of_array(&params.answer, first, last.as_ref().map(|asked| &*asked.prepared), &title)?;
    let encode = |array: &Array| array.encode(state, params.answer.encoding);
    let layers = params.layer.is_list().then(|| {
        let named = params.layer.as_slice().iter().zip(&arrays);
        named
            .map(|(layer, array)| Ok(LayerActivation { layer: layer.clone(), tensor: encode(array)? }))
            .collect::<Result<_, ErrorObject>>()
    });
    Ok(GetResult { tensor: encode(first)?, layers: layers.transpose()?, settings: settings_of(&params), picture })
}

fn settings_of(params: &GetParams) -> Settings {
    settings([("channels", json!(params.channels)), ("frames", json!(params.frames)), ("reduce", json!(params.reduce))])
}

/// Whether all that is asked is that the activations be there.
fn stays_here(params: &GetParams) -> bool {
    let is_whole = params.channels.is_none() && params.frames.is_none() && params.reduce == Reduce::None;
    params.answer.encoding == Encoding::None && params.answer.picture.is_none() && is_whole
}

/// Computes activations, which stay in the cache of traces as its budget allows, and answers with their shapes.
fn get_shapes(
    state: &Arc<State>,
    model: &HeldModel,
    params: &GetParams,
    layers: &[Outlet],
    token: &Token,
) -> Result<GetResult, ErrorObject> {
    let mut tensors: Vec<Tensor> = Vec::new();
    for input in params.input.as_slice() {
        let asked = asked::input_keeping(state, model, input, layers, token)?;
        let shape_of = |layer: &Outlet| {
            let shape = asked.trace.shape(*layer)[1..].to_vec();
            Tensor::without_numbers(shape, axes_of(model, &asked.prepared, *layer))
        };
        let of_input: Vec<Tensor> = layers.iter().map(shape_of).collect();
        let differs = |(a, b): (&Tensor, &Tensor)| a.shape != b.shape;
        if !tensors.is_empty() && tensors.iter().zip(&of_input).any(differs) {
            let message = "the inputs give arrays of different shapes; ask for them one by one";
            return Err(ErrorObject::invalid("input", message));
        }
        tensors = of_input;
    }
    if params.input.is_list() {
        for tensor in &mut tensors {
            tensor.shape.insert(0, params.input.as_slice().len());
            tensor.axes.insert(0, Axis::named("input"));
        }
    }
    let first = tensors.first().cloned();
    let first = first.ok_or_else(|| ErrorObject::invalid("layer", "the list of layers or inputs is empty"))?;
    let named = params.layer.as_slice().iter().zip(tensors);
    let layers = named.map(|(layer, tensor)| LayerActivation { layer: layer.clone(), tensor }).collect();
    let layers = params.layer.is_list().then_some(layers);
    Ok(GetResult { tensor: first, layers, settings: settings_of(params), picture: None })
}

/// Refuses what would not fit, before it is copied.
fn refuse_too_much(state: &State, asked: &AskedInput, layers: &[Outlet], n_inputs: usize) -> Result<(), ErrorObject> {
    const COPIES: usize = 3;
    let numbers: usize = layers.iter().map(|layer| asked.trace.shape(*layer).iter().product::<usize>()).sum();
    let bytes = numbers.saturating_mul(n_inputs).saturating_mul(COPIES * size_of::<f32>());
    asked::refuse_beyond(bytes, state.config.limits.query_bytes, "these activations together")
}

/// The channels and frames that are wanted, reduced along the spatial axes as asked.
fn selected(array: Array, params: &GetParams) -> Result<Array, ErrorObject> {
    let mut array = array;
    if let Some(channels) = &params.channels {
        let axis = array
            .axes
            .iter()
            .position(|axis| ["channel", "feature", "class"].contains(&axis.name.as_str()))
            .unwrap_or(0);
        let n_channels = array.shape[axis];
        if let Some(channel) = channels.iter().find(|channel| **channel >= n_channels) {
            let message = format!(
                "channel {channel} is out of range; the layer has channels 0 to {}",
                n_channels.saturating_sub(1)
            );
            return Err(ErrorObject::invalid("channels", message).value(*channel));
        }
        array = take(array, axis, channels);
    }
    if let Some([first, end]) = params.frames {
        let Some(axis) = array.axes.iter().position(|axis| axis.name == "time") else {
            return Err(ErrorObject::invalid("frames", "the layer has no time axis; leave `frames` out"));
        };
        if first >= end || end > array.shape[axis] {
            let message =
                format!("frames {first} to {end} are out of range; the layer has {} frames", array.shape[axis]);
            return Err(ErrorObject::invalid("frames", message).expected("the first frame and the one behind the last"));
        }
        array = take(array, axis, &(first..end).collect::<Vec<_>>());
        let axis = &mut array.axes[axis];
        axis.start = axis.start.zip(axis.step).map(|(start, step)| start + step * first as f64);
    }
    Ok(match params.reduce {
        Reduce::None => array,
        Reduce::Mean => reduced(array, |places| places.iter().sum::<f32>() / places.len() as f32),
        Reduce::Max => reduced(array, |places| places.iter().copied().fold(f32::NEG_INFINITY, f32::max)),
    })
}

fn take(mut array: Array, axis: usize, wanted: &[usize]) -> Array {
    let step: usize = array.shape[axis + 1..].iter().product();
    let length = array.shape[axis];
    let lines = array.numbers.chunks_exact((length * step).max(1));
    array.numbers = lines
        .flat_map(|line| wanted.iter().flat_map(move |&index| &line[index * step..(index + 1) * step]))
        .copied()
        .collect();
    array.shape[axis] = wanted.len();
    if let Some(labels) = &mut array.axes[axis].labels {
        *labels = wanted.iter().filter_map(|&index| labels.get(index).cloned()).collect();
    }
    array
}

/// Everything behind the first axis to one number.
fn reduced(mut array: Array, reduce: impl Fn(&[f32]) -> f32) -> Array {
    let n_places: usize = array.shape[1..].iter().product();
    array.numbers = array.numbers.chunks_exact(n_places.max(1)).map(reduce).collect();
    array.shape.truncate(1);
    array.axes.truncate(1);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array() -> Array {
        let axes = vec![Axis::named("channel"), Axis { start: Some(1.0), step: Some(0.5), ..Axis::named("time") }];
        Array { shape: vec![2, 3], axes, numbers: vec![1.0, 2.0, 3.0, 4.0, 5.0, 9.0] }
    }

    fn asked(more: serde_json::Value) -> Result<Array, ErrorObject> {
        let mut params = json!({"model": "m", "input": "i", "layer": "l"});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        selected(array(), &serde_json::from_value(params).unwrap())
    }

    #[test]
    fn channels_and_frames_are_picked_in_order() {
        assert_eq!(asked(json!({"channels": [1, 0]})).unwrap().numbers, [4.0, 5.0, 9.0, 1.0, 2.0, 3.0]);
        let frames = asked(json!({"frames": [1, 3]})).unwrap();
        assert_eq!(
            (frames.shape, frames.numbers, frames.axes[1].start),
            (vec![2, 2], vec![2.0, 3.0, 5.0, 9.0], Some(1.5))
        );
    }

    #[test]
    fn places_are_reduced() {
        assert_eq!(asked(json!({"reduce": "mean"})).unwrap().numbers, [2.0, 6.0]);
        assert_eq!(asked(json!({"reduce": "max"})).unwrap().numbers, [3.0, 9.0]);
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        assert_eq!(
            asked(json!({"channels": [2]})).unwrap_err().message,
            "channel 2 is out of range; the layer has channels 0 to 1"
        );
        assert_eq!(
            asked(json!({"frames": [2, 9]})).unwrap_err().message,
            "frames 2 to 9 are out of range; the layer has 3 frames"
        );
    }
}
