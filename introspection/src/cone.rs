//! The part of a layer that a target can depend on, from the operators' windows alone.

use std::ops::Range;

use models::operators::Reach;
use models::{Graph, Outlet, Trace, Windows};

use crate::error::Result;
use crate::target::ResolvedTarget;

/// The cones of several targets as windows of one size, the largest cone's; each lies within the layer.
pub fn cones(graph: &Graph, trace: &Trace, targets: &[ResolvedTarget], at: Outlet) -> Result<Windows> {
    let of_targets =
        targets.iter().map(|target| cone(graph, trace, target, at)).collect::<Result<Vec<Vec<Range<usize>>>>>()?;
    let spatial = trace.shape(at).get(2..).unwrap_or_default();
    let longest = |axis: usize| of_targets.iter().map(|cone| cone[axis].len()).max().unwrap_or(0);
    let lengths: Vec<usize> = (0..spatial.len()).map(longest).collect();
    let start = |cone: &Vec<Range<usize>>| {
        (0..spatial.len()).map(|axis| cone[axis].start.min(spatial[axis] - lengths[axis]) as isize).collect()
    };
    Ok(Windows { starts: of_targets.iter().map(start).collect(), lengths })
}

/// For each spatial axis of `at` the places that a target depends on; all of them where an operator sees everything.
pub fn cone(graph: &Graph, trace: &Trace, target: &ResolvedTarget, at: Outlet) -> Result<Vec<Range<usize>>> {
    let nodes = graph.nodes();
    let spatial = |outlet: Outlet| trace.shape(outlet).get(2..).unwrap_or_default().to_vec();
    let mut extents: Vec<Option<Vec<Range<usize>>>> = vec![None; nodes.len()];
    extents[target.outlet.node.0] = Some(places_of(&target.gradient, &spatial(target.outlet)));
    for idx in (at.node.0 + 1..=target.outlet.node.0).rev() {
        let Some(extent) = extents[idx].clone() else { continue };
        for input in &nodes[idx].inputs {
            let lengths = spatial(*input);
            let widened = through(&extent, &nodes[idx].operator.reach(), &lengths);
            let known = extents[input.node.0].take();
            extents[input.node.0] = Some(match known {
                Some(known) if known.len() == widened.len() => {
                    known.iter().zip(&widened).map(|(a, b)| a.start.min(b.start)..a.end.max(b.end)).collect()
                }
                _ => widened,
            });
        }
    }
    let whole = || spatial(at).into_iter().map(|length| 0..length).collect();
    Ok(extents[at.node.0].clone().unwrap_or_else(whole))
}

/// The smallest extent that holds every place with a weight, of a value with channels in front.
fn places_of(gradient: &[(usize, f64)], lengths: &[usize]) -> Vec<Range<usize>> {
    let mut extent: Vec<Range<usize>> = lengths.iter().map(|&length| length..0).collect();
    for (index, _) in gradient {
        let mut rest = *index;
        for (axis, &length) in lengths.iter().enumerate().rev() {
            let place = rest % length;
            rest /= length;
            extent[axis] = extent[axis].start.min(place)..extent[axis].end.max(place + 1);
        }
    }
    extent
}

fn through(extent: &[Range<usize>], reach: &Reach, lengths: &[usize]) -> Vec<Range<usize>> {
    let whole = || lengths.iter().map(|&length| 0..length).collect();
    if extent.len() != lengths.len() {
        return whole();
    }
    match reach {
        Reach::Pointwise => extent
            .iter()
            .zip(lengths)
            .map(|(places, &length)| places.start.min(length)..places.end.min(length))
            .collect(),
        Reach::Window(windows) if windows.len() == lengths.len() => {
            let of_axis = |((places, window), &length): ((&Range<usize>, &models::operators::AxisWindow), &usize)| {
                let start = (places.start * window.stride).saturating_sub(window.padding);
                let last = places.end.saturating_sub(1) * window.stride + window.extent;
                start.min(length)..last.saturating_sub(window.padding).min(length)
            };
            extent.iter().zip(windows).zip(lengths).map(of_axis).collect()
        }
        Reach::Window(_) | Reach::Global => whole(),
    }
}
