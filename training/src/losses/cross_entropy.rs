//! Cross-entropy of a softmax over classes with the true class.

use models::{Layout, Value};
use rayon::prelude::*;

use super::log_sum_exp;
use crate::error::Result;

/// The mean over a batch of `-log softmax(logits)[label]`, with its derivative by the logits.
///
/// # Shapes
/// - `logits`: `[batch, class]`, `labels`: `[batch]`
pub fn cross_entropy(logits: &Value, labels: &[usize]) -> Result<(f64, Value)> {
    let logits = logits.to_logical()?;
    let labels: Vec<Option<usize>> = labels.iter().copied().map(Some).collect();
    let (loss, derivative) = of_places(&logits.numbers::<f32>()?, logits.shape()[1], &labels);
    Ok((loss, Value::from_vec(derivative, logits.shape(), Layout::Logical)?))
}

/// The same over the frames of a batch of sequences; frames without a label count for nothing.
///
/// # Shapes
/// - `logits`: `[batch, class, frame]`, `labels`: `[batch][frame]`, as many a row as there are frames
pub fn cross_entropy_of_frames(logits: &Value, labels: &[Vec<Option<usize>>]) -> Result<(f64, Value)> {
    let logits = logits.to_channels_last()?;
    let labels: Vec<Option<usize>> = labels.concat();
    let (loss, derivative) = of_places(&logits.numbers::<f32>()?, logits.shape()[1], &labels);
    Ok((loss, Value::from_vec(derivative, logits.shape(), Layout::ChannelsLast)?))
}

/// The same over the steps of a batch of sequences whose classes come last.
///
/// # Shapes
/// - `logits`: `[batch, step, class]`, `labels`: `[batch · step]`
pub fn cross_entropy_of_steps(logits: &Value, labels: &[usize]) -> Result<(f64, Value)> {
    let logits = logits.to_logical()?;
    let labels: Vec<Option<usize>> = labels.iter().copied().map(Some).collect();
    let (loss, derivative) = of_places(&logits.numbers::<f32>()?, logits.shape()[2], &labels);
    Ok((loss, Value::from_vec(derivative, logits.shape(), Layout::Logical)?))
}

/// Mean and derivative over the places that have a label.
///
/// # Shapes
/// - `logits`: `[place, class]`, `labels`: `[place]`
fn of_places(logits: &[f32], n_classes: usize, labels: &[Option<usize>]) -> (f64, Vec<f32>) {
    assert_eq!(logits.len(), labels.len() * n_classes, "a label, or none, for every place");
    let share = 1.0 / labels.iter().flatten().count().max(1) as f64;
    let mut derivative = vec![0.0; logits.len()];
    let places = derivative.par_chunks_exact_mut(n_classes).zip(logits.par_chunks_exact(n_classes)).zip(labels);
    let of_place = |((derivative, logits), label): ((&mut [f32], &[f32]), &Option<usize>)| {
        let Some(label) = *label else { return 0.0 };
        let total = log_sum_exp(logits.iter().map(|logit| f64::from(*logit)));
        for (derivative, logit) in derivative.iter_mut().zip(logits) {
            *derivative = ((f64::from(*logit) - total).exp() * share) as f32;
        }
        derivative[label] -= share as f32;
        (total - f64::from(logits[label])) * share
    };
    // Added up in order, so that no thread changes a run.
    let losses: Vec<f64> = places.with_min_len(64).map(of_place).collect();
    (losses.iter().sum(), derivative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand_and_by_differences() {
        let numbers = [1.0f32, 2.0, -0.5, 0.0, 3.0, 0.25];
        let value = |numbers: &[f32]| Value::from_vec(numbers.to_vec(), &[2, 3], Layout::Logical).unwrap();
        let (loss, derivative) = cross_entropy(&value(&numbers), &[1, 0]).unwrap();
        let of_row =
            |row: &[f32], label: usize| -(row[label].exp() / row.iter().map(|logit| logit.exp()).sum::<f32>()).ln();
        let expected = (of_row(&numbers[..3], 1) + of_row(&numbers[3..], 0)) / 2.0;
        assert!((loss as f32 - expected).abs() < 1e-6, "{loss} is not {expected}");
        for (index, found) in derivative.to_f64_vec().unwrap().into_iter().enumerate() {
            let moved = |step: f32| {
                let mut numbers = numbers;
                numbers[index] += step;
                cross_entropy(&value(&numbers), &[1, 0]).unwrap().0
            };
            let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
        }
    }

    #[test]
    fn frames_without_a_label_count_for_nothing() {
        let numbers = vec![0.5f32, -1.0, 2.0, 0.0, 1.0, 1.0];
        let logits = Value::from_vec(numbers, &[1, 2, 3], Layout::ChannelsLast).unwrap();
        let (loss, derivative) = cross_entropy_of_frames(&logits, &[vec![None, Some(1), None]]).unwrap();
        assert!((loss - (1.0 + 2f64.exp()).ln()).abs() < 1e-6, "{loss}");
        let derivative = derivative.numbers::<f32>().unwrap().to_vec();
        assert_eq!([derivative[0], derivative[1], derivative[4], derivative[5]], [0.0; 4]);
        assert!((derivative[2] + derivative[3]).abs() < 1e-6 && derivative[2] > 0.8);
    }
}
