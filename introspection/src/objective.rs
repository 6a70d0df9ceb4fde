//! What feature visualisation makes large, and its gradient at an input (Olah et al. 2017).

use models::{Graph, Interrupt, Layout, Outlet, Trace, Value};

use crate::backward_walk::{Start, Walk};
use crate::error::{IntrospectionError, Result};
use crate::rules::PlainGradient;
use crate::target::{ResolvedTarget, place_index};

/// What is made large.
#[derive(Clone, Debug, PartialEq)]
pub enum Objective {
    /// One neuron; without a position the centre of the channel's map (`length // 2`).
    Neuron { layer: Outlet, channel: usize, position: Option<Vec<usize>> },
    /// The mean over a channel's map.
    Channel { layer: Outlet, channel: usize },
    /// The mean of the layer's squares (DeepDream, Mordvintsev et al. 2015).
    Layer { layer: Outlet },
    /// A class's logit or probability.
    Score(ResolvedTarget),
}

/// The objective on a trace of one input, and its gradient there.
///
/// # Shapes
/// - returns the value and `[1, …]`, the input's shape
pub fn objective_gradient(
    graph: &Graph,
    trace: &Trace,
    objective: &Objective,
    interrupt: &dyn Interrupt,
) -> Result<(f64, Value)> {
    let (value, start) = start_of(graph, trace, objective)?;
    let walk = Walk { graph, trace, rows: &[0], composite: &PlainGradient, interrupt, observer: None };
    let input = Outlet { node: graph.inputs()[0], port: 0 };
    Ok((value, walk.run(&[start], &[input])?.remove(0).into_whole(trace.shape(input))?))
}

fn start_of(graph: &Graph, trace: &Trace, objective: &Objective) -> Result<(f64, Start)> {
    let outlet = match objective {
        Objective::Neuron { layer, .. } | Objective::Channel { layer, .. } | Objective::Layer { layer } => *layer,
        Objective::Score(target) => target.outlet,
    };
    let activation = trace.value(outlet)?.row(0)?;
    let numbers = activation.to_f64_vec()?;
    let shape = activation.shape().to_vec();
    let mut gradient = vec![0.0; numbers.len()];
    let value = match objective {
        Objective::Neuron { channel, position, .. } => {
            let map = channel_map(graph, outlet, &shape, *channel)?;
            let centre: Vec<usize> = shape[2..].iter().map(|length| length / 2).collect();
            let position = position.as_deref().unwrap_or(&centre);
            let index = map.start + place_index(&graph.node(outlet.node).name, position, &shape[2..])?;
            gradient[index] = 1.0;
            numbers[index]
        }
        Objective::Channel { channel, .. } => {
            let map = channel_map(graph, outlet, &shape, *channel)?;
            let n_places = map.len() as f64;
            gradient[map.clone()].fill(1.0 / n_places);
            numbers[map].iter().sum::<f64>() / n_places
        }
        Objective::Layer { .. } => {
            let n = numbers.len() as f64;
            gradient.iter_mut().zip(&numbers).for_each(|(gradient, number)| *gradient = 2.0 * number / n);
            numbers.iter().map(|number| number * number).sum::<f64>() / n
        }
        Objective::Score(target) => {
            target.gradient.iter().for_each(|(index, weight)| gradient[*index] += weight);
            target.score
        }
    };
    let gradient = Value::from_vec(gradient, &shape, Layout::Logical)?.to_dtype(activation.dtype())?;
    Ok((value, Start::whole(outlet, gradient)))
}

/// Where a channel's map lies in a row-major `[1, channel, spatial…]`.
fn channel_map(graph: &Graph, outlet: Outlet, shape: &[usize], channel: usize) -> Result<std::ops::Range<usize>> {
    let n_channels = shape.get(1).copied().unwrap_or(0);
    if channel >= n_channels {
        let name = &graph.node(outlet.node).name;
        let expected = format!("`{name}` has channels 0 to {}", n_channels.saturating_sub(1));
        return Err(IntrospectionError::OutOfRange { what: "channel", asked: channel.to_string(), expected });
    }
    let n_places: usize = shape[2..].iter().product();
    Ok(channel * n_places..(channel + 1) * n_places)
}
