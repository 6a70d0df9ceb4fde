//! Grad-CAM (Selvaraju et al. 2017) and its kin at any layer with spatial axes, in one dimension or two.
//!
//! `map = max(Σ_c α_c A_c, 0)`. Grad-CAM: `α_c = mean over places of ∂y/∂A_c`, equations 1 and 2; LayerCAM has weights at
//! each place, `max(∂y/∂A_c, 0)` (Jiang et al. 2021, equations 4 and 5). The walk stops at the layer.

use models::operators::Family;
use models::{Graph, Layout, Outlet, Value};

use crate::attribution::Question;
use crate::error::{IntrospectionError, Result};
use crate::rules::PlainGradient;
use crate::saliency::guided_backprop;
use crate::upsample::{Interpolation, upsample};

/// The class activation map of each target at a layer, as large as the layer; `relu` keeps what speaks for the target.
///
/// # Shapes
/// - returns `[target, spatial axes of the layer…]`
pub fn grad_cam(question: &Question<'_>, layer: Outlet, relu: bool) -> Result<Value> {
    let mean = |gradients: &[f64], weights: &mut [f64]| {
        weights.fill(gradients.iter().sum::<f64>() / gradients.len() as f64);
    };
    activation_map(question, layer, relu, mean)
}

/// LayerCAM: as [`grad_cam`], each place weighted by its own gradient where that is positive.
pub fn layer_cam(question: &Question<'_>, layer: Outlet, relu: bool) -> Result<Value> {
    let positive = |gradients: &[f64], weights: &mut [f64]| {
        weights.iter_mut().zip(gradients).for_each(|(weight, gradient)| *weight = gradient.max(0.0));
    };
    activation_map(question, layer, relu, positive)
}

/// `Σ_c α_c A_c`, with the weights of a channel's places from its gradients there.
fn activation_map(
    question: &Question<'_>,
    layer: Outlet,
    relu: bool,
    weigh: impl Fn(&[f64], &mut [f64]),
) -> Result<Value> {
    let gradient = question.walk_until(&PlainGradient, layer)?.into_whole(question.trace.shape(layer))?;
    let shape = gradient.shape().to_vec();
    if shape.len() < 3 {
        let name = &question.graph.node(layer.node).name;
        return Err(IntrospectionError::Unfit(format!(
            "`{name}` has no spatial axis (shape {:?} behind the batch); Grad-CAM needs a layer with channels and places, such as a convolution",
            &shape[1..]
        )));
    }
    let activation = question.values_at(layer)?;
    let (n_channels, n_places) = (shape[1], shape[2..].iter().product::<usize>());
    let (gradients, activations) = (gradient.to_f64_vec()?, activation.to_f64_vec()?);
    let mut maps = vec![0.0f64; shape[0] * n_places];
    let mut weights = vec![0.0f64; n_places];
    for (target, map) in maps.chunks_exact_mut(n_places).enumerate() {
        for channel in 0..n_channels {
            let of_channel = (target * n_channels + channel) * n_places..(target * n_channels + channel + 1) * n_places;
            weigh(&gradients[of_channel.clone()], &mut weights);
            let parts = weights.iter().zip(&activations[of_channel]).map(|(weight, activation)| weight * activation);
            map.iter_mut().zip(parts).for_each(|(place, part)| *place += part);
        }
        if relu {
            map.iter_mut().for_each(|place| *place = place.max(0.0));
        }
    }
    let map_shape: Vec<usize> = [shape[0]].into_iter().chain(shape[2..].iter().copied()).collect();
    Ok(Value::from_vec(maps, &map_shape, Layout::Logical)?.to_dtype(gradient.dtype())?)
}

/// Guided backpropagation at the input, times the rectified Grad-CAM at a layer, brought to the input's places.
///
/// # Shapes
/// - returns `[target, …]`, the shape of where the map is read behind the targets
pub fn guided_grad_cam(question: &Question<'_>, layer: Outlet, interpolation: Interpolation) -> Result<Value> {
    let guided = guided_backprop(question)?.into_whole(question.trace.shape(question.at))?;
    let shape = guided.shape().to_vec();
    let map = upsample(&grad_cam(question, layer, true)?, &shape[2..], interpolation)?;
    let n_places: usize = shape[2..].iter().product();
    let (map, mut numbers) = (map.to_f64_vec()?, guided.to_f64_vec()?);
    for (nth, channel) in numbers.chunks_exact_mut(n_places).enumerate() {
        let map = &map[nth / shape[1] * n_places..][..n_places];
        channel.iter_mut().zip(map).for_each(|(number, place)| *number *= place);
    }
    Ok(Value::from_vec(numbers, &shape, Layout::Logical)?.to_dtype(guided.dtype())?)
}

/// The last convolution before the output that has more than one place: where Grad-CAM is read by default.
pub fn last_spatial_convolution(graph: &Graph) -> Result<Outlet> {
    let shapes = graph.hinted_shapes()?;
    let reaches_output = |idx: usize| graph.descendants(&[models::NodeIdx(idx)])[graph.logits().node.0];
    let is_spatial = |idx: usize| shapes[idx][0].len() > 2 && shapes[idx][0][2..].iter().product::<usize>() > 1;
    let is_candidate = |idx: &usize| graph.nodes()[*idx].operator.family() == Family::Convolution && is_spatial(*idx);
    let last = (0..graph.nodes().len()).rev().filter(is_candidate).find(|&idx| reaches_output(idx));
    last.map(|idx| Outlet { node: models::NodeIdx(idx), port: 0 }).ok_or_else(|| {
        IntrospectionError::Unfit("the network has no convolution with a spatial axis; name a `layer`".to_owned())
    })
}
