//! Pixel flipping: how fast a score falls when the input's most relevant places are taken away first (Bach et al. 2015,
//! section "Evaluating heatmaps with pixel-flipping"; Samek et al. 2017).

use models::{Layout, Value};

use crate::attribution::Question;
use crate::error::{IntrospectionError, Result};
use crate::integrated_gradients::baseline_numbers;

/// The score while more and more is flipped.
#[derive(Clone, Debug, PartialEq)]
pub struct Flipping {
    /// How many numbers of the map were flipped at each place of the curve, from none to all.
    pub flipped: Vec<usize>,
    /// The target's score there.
    pub scores: Vec<f64>,
}

impl Flipping {
    /// The area under the curve over the share that is flipped, from 0 to 1: the mean score on the way, the less the
    /// better.
    pub fn area(&self) -> f64 {
        let all = self.flipped.last().copied().unwrap_or(1).max(1) as f64;
        let steps = self.flipped.windows(2).zip(self.scores.windows(2));
        steps.map(|(at, score)| (at[1] - at[0]) as f64 / all * (score[0] + score[1]) / 2.0).sum()
    }
}

/// Flips an input to a baseline, `per_step` numbers of the map at a time, the largest first (the first of equals); a map of
/// places alone flips all channels of a place.
///
/// The question has one target, whose score is followed.
///
/// # Shapes
/// - `map`: the input's shape, or that without channels; `baseline`: one row, shaped as the input
pub fn pixel_flipping(
    question: &Question<'_>,
    map: &[f64],
    map_shape: &[usize],
    baseline: &Value,
    per_step: usize,
) -> Result<Flipping> {
    let input = question.varied_input("pixel flipping")?;
    let given = question.trace.value(input)?.row(question.only_row("pixel flipping")?)?;
    let of_input = &given.shape()[1..];
    let n_channels = match map_shape {
        shape if shape == of_input => 1,
        shape if of_input.len() > 1 && *shape == of_input[1..] => of_input[0],
        _ => {
            let message = format!(
                "pixel flipping needs a map of the input's shape {of_input:?}, or of its places, but this one has \
                 {map_shape:?}"
            );
            return Err(IntrospectionError::Unfit(message));
        }
    };
    if per_step == 0 {
        return Err(IntrospectionError::Unfit("pixel flipping flips one number or more at a step".to_owned()));
    }
    let (x, b) = (given.to_f64_vec()?, baseline_numbers(baseline, &given)?);
    let mut order: Vec<usize> = (0..map.len()).collect();
    order.sort_by(|&one, &other| map[other].total_cmp(&map[one]));
    let n_steps = map.len().div_ceil(per_step);
    let flipped: Vec<usize> = (0..=n_steps).map(|step| (step * per_step).min(map.len())).collect();
    let variation = |step: usize| -> Result<Value> {
        let mut numbers = x.clone();
        for &place in &order[..flipped[step]] {
            for channel in 0..n_channels {
                let at = channel * map.len() + place;
                numbers[at] = b[at];
            }
        }
        Ok(Value::from_vec(numbers, given.shape(), Layout::Logical)?.to_dtype(given.dtype())?)
    };
    let mut scores = Vec::with_capacity(n_steps + 1);
    question.each_batch(n_steps + 1, &variation, &mut |_, trace| {
        scores.extend(question.scores_on(trace)?);
        Ok(())
    })?;
    Ok(Flipping { flipped, scores })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{ClassChoice, OutputAxes, ScoreOf, Target, resolve};
    use candle_core::{Device, Tensor};
    use models::operators::{Dense, Flatten};
    use models::{Dim, Graph, GraphBuilder, Trace, Uninterrupted};

    const WEIGHTS: [f64; 6] = [3.0, -1.0, 0.5, 2.0, -4.0, 1.0];

    fn linear() -> Graph {
        let mut builder = GraphBuilder::new();
        let input = builder.input("input", &[Dim::Known(2), Dim::Known(3)]).unwrap();
        let flat = builder.add("flat", Flatten { axis: 1 }, &[input]).unwrap();
        let weight = Tensor::from_vec(WEIGHTS.to_vec(), (1, 6), &Device::Cpu).unwrap();
        let output = builder.add("fc", Dense::new(weight, None).unwrap(), &[flat]).unwrap();
        builder.finish(&[("output", output)]).unwrap()
    }

    fn flip(map: &[f64], shape: &[usize], per_step: usize) -> Result<Flipping> {
        let graph = linear();
        let input = Value::from_vec(vec![1.0; 6], &[1, 2, 3], Layout::Logical).unwrap();
        let trace = Trace::record(&graph, std::slice::from_ref(&input), &Uninterrupted).unwrap();
        let target = Target::Class { class: ClassChoice::Index(0), frame: None };
        let axes = OutputAxes::with_class(1, 2);
        let target = resolve(&graph, &trace, axes, 0, &target, ScoreOf::Logit).unwrap();
        let at = models::Outlet { node: graph.inputs()[0], port: 0 };
        let question = Question { graph: &graph, trace: &trace, targets: &[target], at, interrupt: &Uninterrupted };
        let baseline = Value::from_vec(vec![0.0; 6], &[1, 2, 3], Layout::Logical).unwrap();
        pixel_flipping(&question, map, shape, &baseline, per_step)
    }

    #[test]
    fn on_a_linear_network_the_weights_are_the_best_order() {
        let best = flip(&WEIGHTS, &[2, 3], 1).unwrap();
        assert_eq!(best.scores, [1.5, -1.5, -3.5, -4.5, -5.0, -4.0, 0.0]);
        assert_eq!(best.flipped, [0, 1, 2, 3, 4, 5, 6]);
        // What is taken away becomes less and less worth.
        assert!(best.scores.windows(3).all(|three| three[1] - three[0] <= three[2] - three[1]));
        let by_hand = (1.5 / 2.0 - 1.5 - 3.5 - 4.5 - 5.0 - 4.0) / 6.0;
        assert!((best.area() - by_hand).abs() < 1e-12);
        let worst = flip(&WEIGHTS.map(|weight| -weight), &[2, 3], 1).unwrap();
        assert!(worst.area() > best.area());
        for at in 0..6 {
            let mut other = WEIGHTS;
            other.swap(at, (at + 1) % 6);
            assert!(flip(&other, &[2, 3], 1).unwrap().area() >= best.area());
        }
    }

    #[test]
    fn a_place_takes_its_channels_along_and_the_last_step_what_is_left() {
        let places = flip(&[0.0, 9.0, 5.0], &[3], 2).unwrap();
        assert_eq!(places.flipped, [0, 2, 3]);
        // Without the second and third place 3 + 2 is left.
        assert_eq!(places.scores, [1.5, 5.0, 0.0]);
    }

    #[test]
    fn a_map_of_another_shape_is_refused() {
        assert!(flip(&[0.0; 4], &[4], 1).unwrap_err().to_string().contains("[2, 3]"));
        assert!(flip(&WEIGHTS, &[2, 3], 0).unwrap_err().to_string().contains("one number or more"));
    }
}
