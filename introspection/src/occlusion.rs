//! Occlusion: how much a score falls where a window of the input is covered (Zeiler and Fergus 2014, section 4.2).

use models::{Layout, Value};

use crate::attribution::Question;
use crate::error::{IntrospectionError, Result};
use crate::integrated_gradients::baseline_numbers;

/// For each place the mean fall of the score over the windows that cover it.
///
/// Windows begin at multiples of the stride along each axis; the last is cut off at the edge.
///
/// # Shapes
/// - `window`, `stride`: a length for each axis of the input, without the batch
/// - `baseline`: one row, shaped as the input, what windows are covered with; returns `[target, …]`, the input's shape
pub fn occlusion(question: &Question<'_>, window: &[usize], stride: &[usize], baseline: &Value) -> Result<Value> {
    let input = question.varied_input("occlusion")?;
    let given = question.trace.value(input)?.row(question.only_row("occlusion")?)?;
    let shape = &given.shape()[1..];
    check(window, stride, shape)?;
    let (x, b) = (given.to_f64_vec()?, baseline_numbers(baseline, &given)?);
    let along = |axis: usize| (shape[axis] - window[axis]).div_ceil(stride[axis]) + 1;
    let counts: Vec<usize> = (0..shape.len()).map(along).collect();
    let covered = |nth: usize| covered(&models::value::unravel(nth, &counts), window, stride, shape);
    let variation = |nth: usize| -> Result<Value> {
        let mut numbers = x.clone();
        covered(nth).into_iter().for_each(|index| numbers[index] = b[index]);
        Ok(Value::from_vec(numbers, given.shape(), Layout::Logical)?.to_dtype(given.dtype())?)
    };
    let n_targets = question.targets.len();
    let (mut falls, mut n_covering) = (vec![0.0; n_targets * x.len()], vec![0usize; x.len()]);
    question.each_batch(counts.iter().product(), &variation, &mut |nths, trace| {
        let scores = question.scores_on(trace)?;
        for (scores, nth) in scores.chunks_exact(n_targets).zip(nths) {
            for index in covered(nth) {
                n_covering[index] += 1;
                for (target, (score, explained)) in scores.iter().zip(question.targets).enumerate() {
                    falls[target * x.len() + index] += explained.score - score;
                }
            }
        }
        Ok(())
    })?;
    for of_target in falls.chunks_exact_mut(x.len()) {
        of_target.iter_mut().zip(&n_covering).for_each(|(fall, &count)| *fall /= count.max(1) as f64);
    }
    question.maps_of(falls, input)
}

fn check(window: &[usize], stride: &[usize], shape: &[usize]) -> Result<()> {
    let fits = |lengths: &[usize]| lengths.len() == shape.len() && !lengths.contains(&0);
    let is_within = window.iter().zip(shape).all(|(window, length)| window <= length);
    if fits(window) && fits(stride) && is_within {
        return Ok(());
    }
    let message = format!(
        "window {window:?} and stride {stride:?} must have a length of 1 or more for each axis of the input, {shape:?}, and a window none beyond it"
    );
    Err(IntrospectionError::Unfit(message))
}

/// The flat indices under the window at a position of the grid.
fn covered(position: &[usize], window: &[usize], stride: &[usize], shape: &[usize]) -> Vec<usize> {
    let mut indices = vec![0];
    for axis in 0..shape.len() {
        let first = position[axis] * stride[axis];
        let places = first..shape[axis].min(first + window[axis]);
        indices =
            indices.iter().flat_map(|index| places.clone().map(move |place| index * shape[axis] + place)).collect();
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_window_is_cut_off() {
        assert_eq!(covered(&[1], &[3], &[3], &[5]), [3, 4]);
        assert_eq!(covered(&[0, 1], &[2, 2], &[2, 2], &[2, 3]), [2, 5]);
    }
}
