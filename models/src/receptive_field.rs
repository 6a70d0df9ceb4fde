//! Which part of the input a layer's places see, and how far apart they are (Araujo et al. 2019).

use crate::error::Result;
use crate::graph::{Graph, NodeIdx};
use crate::operators::Reach;

/// Along one spatial axis of the input, in its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReceptiveField {
    /// How many input steps one place sees.
    pub size: usize,
    /// Input steps from one place to the next.
    pub stride: usize,
    /// The input step (maybe between two, maybe in the padding) at the centre of what place 0 sees.
    pub center: f64,
}

impl ReceptiveField {
    const OF_INPUT: ReceptiveField = ReceptiveField { size: 1, stride: 1, center: 0.0 };

    fn behind(self, window: crate::operators::AxisWindow) -> Self {
        let reach = window.extent - 1;
        ReceptiveField {
            size: self.size + reach * self.stride,
            stride: self.stride * window.stride,
            center: self.center + (reach as f64 / 2.0 - window.padding as f64) * self.stride as f64,
        }
    }

    /// What sees both; places of two branches that meet have one stride.
    fn union(self, other: Self) -> Self {
        let low = |field: Self| field.center - (field.size as f64 - 1.0) / 2.0;
        let high = |field: Self| field.center + (field.size as f64 - 1.0) / 2.0;
        let (low, high) = (low(self).min(low(other)), high(self).max(high(other)));
        ReceptiveField {
            size: (high - low).round() as usize + 1,
            stride: self.stride.max(other.stride),
            center: (low + high) / 2.0,
        }
    }
}

/// For each node its receptive field along each spatial axis; `None` where a place sees everything or there are none.
pub fn receptive_fields(graph: &Graph) -> Result<Vec<Option<Vec<ReceptiveField>>>> {
    let shapes = graph.hinted_shapes()?;
    let mut fields: Vec<Option<Vec<ReceptiveField>>> = Vec::with_capacity(graph.nodes().len());
    for (idx, node) in graph.nodes().iter().enumerate() {
        let field = if node.operator.as_input().is_some() {
            let n_spatial = shapes[idx][0].len().saturating_sub(2);
            (n_spatial > 0).then(|| vec![ReceptiveField::OF_INPUT; n_spatial])
        } else {
            let of_inputs = node.inputs.iter().map(|input| fields[input.node.0].clone());
            let joined = of_inputs.reduce(join).flatten();
            match (node.operator.reach(), joined) {
                (Reach::Pointwise, field) => field,
                (Reach::Window(windows), Some(field)) if windows.len() == field.len() => {
                    Some(field.into_iter().zip(windows).map(|(field, window)| field.behind(window)).collect())
                }
                _ => None,
            }
        };
        fields.push(field);
    }
    Ok(fields)
}

fn join(left: Option<Vec<ReceptiveField>>, right: Option<Vec<ReceptiveField>>) -> Option<Vec<ReceptiveField>> {
    let (left, right) = (left?, right?);
    (left.len() == right.len()).then(|| left.into_iter().zip(right).map(|(left, right)| left.union(right)).collect())
}

/// The place of a layer whose receptive field's centre is nearest to an input step, among `n_places`.
pub fn nearest_place(field: ReceptiveField, input_step: f64, n_places: usize) -> usize {
    let place = ((input_step - field.center) / field.stride as f64).round();
    (place.max(0.0) as usize).min(n_places.saturating_sub(1))
}

/// The receptive field of one node along its spatial axes.
pub fn receptive_field(graph: &Graph, node: NodeIdx) -> Result<Option<Vec<ReceptiveField>>> {
    Ok(receptive_fields(graph)?.swap_remove(node.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Dim, GraphBuilder};
    use crate::operators::gradient_check::random_tensor;
    use crate::operators::{Convolution, ConvolutionParams, MaxPool, PoolWindow};

    #[test]
    fn kernels_strides_and_paddings_add_up() {
        let mut builder = GraphBuilder::new();
        let input = builder.input("input", &[Dim::Known(1), Dim::Any(40)]).unwrap();
        let strided = ConvolutionParams {
            stride: vec![2],
            padding: vec![(3, 3)],
            ..ConvolutionParams::plain(random_tensor(&[1, 1, 7], 1), None)
        };
        let conv = builder.add("conv", Convolution::new(strided).unwrap(), &[input]).unwrap();
        let pool = builder.add("pool", MaxPool::new(PoolWindow::plain(&[3], &[2])).unwrap(), &[conv]).unwrap();
        let graph = builder.finish(&[("output", pool)]).unwrap();
        let fields = receptive_fields(&graph).unwrap();
        assert_eq!(fields[1], Some(vec![ReceptiveField { size: 7, stride: 2, center: 0.0 }]));
        assert_eq!(fields[2], Some(vec![ReceptiveField { size: 11, stride: 4, center: 2.0 }]));
        assert_eq!(nearest_place(fields[2].as_ref().unwrap()[0], 9.0, 100), 2);
    }
}
