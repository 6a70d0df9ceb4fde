//! The gradient, but where a rectifier would let nothing pass at all it is as if its inactive units were not there.
//!
//! A unit that starts inactive has no gradient, and an ascent would never begin. Where the whole gradient of one input
//! is zero, what arrives passes at active units, and at inactive ones where it pushes towards activity: `g` where
//! `x ≥ 0`, `g⁺` where `x < 0`, and `g⁻` beyond an upper bound (lucid's `redirected_relu_grad`).

use models::operators::Backward;
use models::{Layout, Node, Value};

use crate::backward_walk::Rule;

/// The rule at rectifiers.
#[derive(Clone, Copy, Debug)]
pub struct RedirectedRectifier;

impl Rule for RedirectedRectifier {
    fn pass(&self, node: &Node, backward: &Backward<'_>) -> models::Result<Vec<Option<Value>>> {
        let plain = node.operator.input_gradients(backward)?;
        let (Some((_, high)), Some(Some(own))) = (bounds(node), plain.first()) else { return Ok(plain) };
        let (shape, mut numbers) = (own.shape().to_vec(), own.to_f64_vec()?);
        let of_pair = shape[1..].iter().product::<usize>().max(1);
        let is_zero = |numbers: &[f64]| numbers.iter().all(|number| *number == 0.0);
        if !numbers.chunks_exact(of_pair).any(is_zero) {
            return Ok(plain);
        }
        let arriving = backward.gradient()?.to_f64_vec()?;
        let inputs = backward.values.input(0)?.select_rows(backward.rows)?.to_f64_vec()?;
        let of_pairs = numbers.chunks_exact_mut(of_pair).zip(arriving.chunks_exact(of_pair));
        for ((numbers, arriving), inputs) in of_pairs.zip(inputs.chunks_exact(of_pair)) {
            if is_zero(numbers) {
                let passes = |gradient: f64, x: f64| !((x < 0.0 && gradient < 0.0) || (x > high && gradient > 0.0));
                let places = numbers.iter_mut().zip(arriving).zip(inputs);
                places.for_each(|((number, &gradient), &x)| *number = if passes(gradient, x) { gradient } else { 0.0 });
            }
        }
        Ok(vec![Some(Value::from_vec(numbers, &shape, Layout::Logical)?.to_dtype(own.dtype())?)])
    }
}

fn bounds(node: &Node) -> Option<(f64, f64)> {
    node.operator.as_activation().and_then(|activation| activation.function().bounds())
}

#[cfg(test)]
mod tests {
    use models::operators::{Activation, PointwiseFunction};
    use models::{Dim, Graph, GraphBuilder, Outlet, Trace, Uninterrupted};

    use super::*;
    use crate::backward_walk::{Start, Walk};
    use crate::rules::AtRectifiers;

    fn graph(function: PointwiseFunction) -> Graph {
        let mut builder = GraphBuilder::new();
        let input = builder.input("input", &[Dim::Known(3)]).unwrap();
        let rectified = builder.add("rectifier", Activation::new(function), &[input]).unwrap();
        builder.finish(&[("output", rectified)]).unwrap()
    }

    fn passed(function: PointwiseFunction, input: &[f64], arriving: &[f64]) -> Vec<f64> {
        let graph = graph(function);
        let value =
            |numbers: &[f64]| Value::from_vec(numbers.to_vec(), &[numbers.len() / 3, 3], Layout::Logical).unwrap();
        let trace = Trace::record(&graph, &[value(input)], &Uninterrupted).unwrap();
        let rows: Vec<usize> = (0..input.len() / 3).collect();
        let composite = AtRectifiers(RedirectedRectifier);
        let walk = Walk {
            graph: &graph,
            trace: &trace,
            rows: &rows,
            composite: &composite,
            interrupt: &Uninterrupted,
            observer: None,
        };
        let input = Outlet { node: graph.inputs()[0], port: 0 };
        let passed = walk.run(&[Start::whole(graph.output(), value(arriving))], &[input]).unwrap();
        passed[0].value.to_f64_vec().unwrap()
    }

    #[test]
    fn an_inactive_unit_is_pushed_up_and_never_down() {
        let (all_inactive, one_active) = ([-1.0, -2.0, -3.0], [-1.0, -2.0, 3.0]);
        assert_eq!(passed(PointwiseFunction::Relu, &all_inactive, &[5.0, -6.0, 7.0]), [5.0, 0.0, 7.0]);
        assert_eq!(passed(PointwiseFunction::Relu, &one_active, &[5.0, -6.0, 7.0]), [0.0, 0.0, 7.0]);
        let both = [all_inactive, one_active].concat();
        let arriving = [5.0, -6.0, 7.0, 5.0, -6.0, 7.0];
        assert_eq!(passed(PointwiseFunction::Relu, &both, &arriving), [5.0, 0.0, 7.0, 0.0, 0.0, 7.0]);
    }

    #[test]
    fn what_is_beyond_the_upper_bound_is_pushed_down_alone() {
        let clip = PointwiseFunction::Clip { low: 0.0, high: 6.0 };
        assert_eq!(passed(clip, &[9.0, 7.0, -1.0], &[5.0, -6.0, -7.0]), [0.0, -6.0, 0.0]);
    }
}
