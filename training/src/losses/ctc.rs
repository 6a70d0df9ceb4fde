//! Connectionist temporal classification (Graves et al. 2006): the probability of a transcript, summed over all ways in
//! which it can be spread over the frames.
//!
//! A path names a class for each frame; repeats are one letter unless a blank lies between them, and blanks are left out
//! then. With the letters `l` and blanks between and around them as states `s` (`2 L + 1` of them),
//! `α_t(s) = y_t(s) (α_{t-1}(s) + α_{t-1}(s-1) + [allowed] α_{t-1}(s-2))` (eq. 6), β the same backwards (eq. 10), and the
//! derivative of `-log p` by the logits is `softmax - Σ_{s: l_s = k} α β / p` (eq. 16). All of it in logarithms.

use models::{Layout, Value};
use rayon::prelude::*;

use super::log_sum_exp;
use crate::error::Result;

/// A transcript that no path of so many frames can spell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a transcript of {n_letters} letters with {n_repeats} repeats needs {} frames but there are {n_frames}; no path spells it",
    n_letters + n_repeats
)]
pub struct NoPath {
    pub n_letters: usize,
    /// Letters that follow their like, between which a path needs a blank.
    pub n_repeats: usize,
    pub n_frames: usize,
}

/// `-log p(transcript)` of one sequence, with its derivative by the logits.
///
/// # Shapes
/// - `logits`: `[frame, class]`, as is the derivative; `letters`: classes that are not `blank`
pub fn ctc(logits: &[f32], n_classes: usize, letters: &[usize], blank: usize) -> Result<(f64, Vec<f32>), NoPath> {
    let n_frames = logits.len() / n_classes;
    let n_repeats = letters.windows(2).filter(|pair| pair[0] == pair[1]).count();
    if letters.len() + n_repeats > n_frames || n_frames == 0 {
        return Err(NoPath { n_letters: letters.len(), n_repeats, n_frames });
    }
    let log_probabilities = log_softmax(logits, n_classes);
    let states: Vec<usize> = std::iter::once(blank).chain(letters.iter().flat_map(|letter| [*letter, blank])).collect();
    let y = |frame: usize, state: usize| log_probabilities[frame * n_classes + states[state]];
    let n = states.len();
    // A path may step over the blank between two letters that differ.
    let skips: Vec<bool> =
        (0..n).map(|state| state >= 2 && states[state] != blank && states[state] != states[state - 2]).collect();
    // States from which the end can still be reached, and that can be reached from the beginning.
    let within = |frame: usize| n.saturating_sub(2 * (n_frames - frame))..n.min(2 * (frame + 1));

    let mut alpha = vec![f64::NEG_INFINITY; n_frames * n];
    for state in within(0) {
        alpha[state] = y(0, state);
    }
    for frame in 1..n_frames {
        let (before, now) = alpha.split_at_mut(frame * n);
        let before = &before[(frame - 1) * n..];
        for state in within(frame) {
            let one = if state >= 1 { before[state - 1] } else { f64::NEG_INFINITY };
            let two = if skips[state] { before[state - 2] } else { f64::NEG_INFINITY };
            now[state] = log_add(before[state], one, two) + y(frame, state);
        }
    }
    let last = &alpha[(n_frames - 1) * n..];
    let total = log_sum_exp(last[n.saturating_sub(2)..].iter().copied());

    // β of this definition leaves the frame's own probability out, so that α β counts it once.
    let mut beta = vec![f64::NEG_INFINITY; n];
    beta[n.saturating_sub(2)..].fill(0.0);
    let mut derivative: Vec<f32> = log_probabilities.iter().map(|log| log.exp() as f32).collect();
    for frame in (0..n_frames).rev() {
        if frame + 1 < n_frames {
            let behind = |state: usize| beta[state] + y(frame + 1, state);
            let mut now = vec![f64::NEG_INFINITY; n];
            for state in within(frame) {
                let one = if state + 1 < n { behind(state + 1) } else { f64::NEG_INFINITY };
                let two = if state + 2 < n && skips[state + 2] { behind(state + 2) } else { f64::NEG_INFINITY };
                now[state] = log_add(behind(state), one, two);
            }
            beta = now;
        }
        let derivative = &mut derivative[frame * n_classes..][..n_classes];
        for state in within(frame) {
            let occupied = alpha[frame * n + state] + beta[state] - total;
            if occupied > -50.0 {
                derivative[states[state]] -= occupied.exp() as f32;
            }
        }
    }
    Ok((-total, derivative))
}

/// The mean over a batch of each sequence's loss for a letter, with its derivative by the logits; frames behind a
/// sequence's end have none.
///
/// # Shapes
/// - `logits`: `[batch, class, frame]`, `n_frames` and `transcripts`: `[batch]`
pub fn ctc_of_batch(
    logits: &Value,
    n_frames: &[usize],
    transcripts: &[Vec<usize>],
    blank: usize,
) -> Result<(f64, Value)> {
    let logits = logits.to_channels_last()?;
    let (n_classes, row) = (logits.shape()[1], logits.shape()[1] * logits.shape()[2]);
    let numbers = logits.numbers::<f32>()?;
    let rows: Vec<(&[f32], usize, &Vec<usize>)> = numbers
        .chunks_exact(row)
        .zip(n_frames)
        .zip(transcripts)
        .map(|((row, n), letters)| (row, *n, letters))
        .collect();
    let share = 1.0 / rows.len().max(1) as f64;
    let of_row = |(row, n, letters): &(&[f32], usize, &Vec<usize>)| {
        let (loss, mut derivative) = ctc(&row[..n * n_classes], n_classes, letters, blank)?;
        let of_letter = share / letters.len().max(1) as f64;
        derivative.iter_mut().for_each(|number| *number *= of_letter as f32);
        derivative.resize(row.len(), 0.0);
        Ok((loss * of_letter, derivative))
    };
    let found: Vec<(f64, Vec<f32>)> = rows.par_iter().map(of_row).collect::<Result<_, NoPath>>()?;
    let loss = found.iter().map(|(loss, _)| loss).sum();
    let derivative = found.into_iter().flat_map(|(_, derivative)| derivative).collect();
    Ok((loss, Value::from_vec(derivative, logits.shape(), Layout::ChannelsLast)?))
}

fn log_softmax(logits: &[f32], n_classes: usize) -> Vec<f64> {
    let of_frame = |frame: &[f32]| {
        let total = log_sum_exp(frame.iter().map(|logit| f64::from(*logit)));
        frame.iter().map(|logit| f64::from(*logit) - total).collect::<Vec<_>>()
    };
    logits.chunks_exact(n_classes).flat_map(of_frame).collect()
}

/// `log (exp a + exp b + exp c)`
fn log_add(a: f64, b: f64, c: f64) -> f64 {
    let largest = a.max(b).max(c);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    // What is smaller by so much is beyond the last digit.
    let part = |number: f64| if number - largest < -40.0 { 0.0 } else { (number - largest).exp() };
    largest + (part(a) + part(b) + part(c)).ln()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::random::Random;

    fn logits(n_frames: usize, n_classes: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..n_frames * n_classes).map(|_| random.between(-2.0, 2.0) as f32).collect()
    }

    /// The sum over every path, one by one.
    fn slow_twin(logits: &[f32], n_classes: usize, letters: &[usize], blank: usize) -> f64 {
        let n_frames = logits.len() / n_classes;
        let log_probabilities = log_softmax(logits, n_classes);
        let mut sum = 0.0;
        for nth in 0..n_classes.pow(n_frames as u32) {
            let path: Vec<usize> = (0..n_frames).map(|frame| nth / n_classes.pow(frame as u32) % n_classes).collect();
            let mut spelled = path.clone();
            spelled.dedup();
            spelled.retain(|class| *class != blank);
            if spelled == letters {
                sum += path
                    .iter()
                    .enumerate()
                    .map(|(t, class)| log_probabilities[t * n_classes + class])
                    .sum::<f64>()
                    .exp();
            }
        }
        -sum.ln()
    }

    #[test]
    fn the_loss_is_the_sum_over_all_paths() {
        for (letters, blank) in [(&[1usize, 2][..], 0usize), (&[1, 1], 0), (&[0, 2, 0], 1), (&[], 0), (&[2], 0)] {
            for n_frames in [3usize, 5, 6] {
                let logits = logits(n_frames, 3, 7 + n_frames as u64);
                let (loss, _) = ctc(&logits, 3, letters, blank).unwrap();
                let expected = slow_twin(&logits, 3, letters, blank);
                assert!((loss - expected).abs() < 1e-9, "{letters:?} in {n_frames}: {loss} is not {expected}");
            }
        }
    }

    #[test]
    fn the_derivative_is_that_of_differences() {
        let (n_classes, letters) = (4, [1usize, 1, 3, 2]);
        let logits = logits(9, n_classes, 3);
        let (_, derivative) = ctc(&logits, n_classes, &letters, 0).unwrap();
        for index in 0..logits.len() {
            let moved = |step: f32| {
                let mut logits = logits.clone();
                logits[index] += step;
                ctc(&logits, n_classes, &letters, 0).unwrap().0
            };
            let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            let found = f64::from(derivative[index]);
            assert!((found - expected).abs() < 2e-4, "{index}: {found} is not {expected}");
        }
    }

    #[derive(Deserialize)]
    struct Case {
        n_classes: usize,
        blank: usize,
        letters: Vec<usize>,
        logits: Vec<f32>,
        loss: f64,
        derivative: Vec<f32>,
    }

    #[test]
    fn random_cases_are_those_of_pytorch() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../tests/data/ctc.json")).unwrap();
        assert!(cases.len() >= 6);
        for Case { n_classes, blank, letters, logits, loss, derivative } in cases {
            let (found, derivatives) = ctc(&logits, n_classes, &letters, blank).unwrap();
            assert!((found - loss).abs() < 1e-4 * loss.max(1.0), "{found} is not {loss}");
            for (found, expected) in derivatives.into_iter().zip(derivative) {
                assert!((found - expected).abs() < 2e-5, "{found} is not {expected}");
            }
        }
    }

    #[test]
    fn a_transcript_without_a_path_is_named() {
        let error = ctc(&logits(3, 4, 1), 4, &[2, 2, 1], 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a transcript of 3 letters with 1 repeats needs 4 frames but there are 3; no path spells it"
        );
        assert!(ctc(&logits(4, 4, 1), 4, &[2, 2, 1], 0).is_ok());
        assert!(ctc(&[], 4, &[], 0).is_err());
    }

    #[test]
    fn a_batch_is_the_mean_for_a_letter_and_its_padding_has_no_derivative() {
        let (first, second) = (logits(6, 3, 1), logits(6, 3, 2));
        let value =
            Value::from_vec([first.clone(), second.clone()].concat(), &[2, 3, 6], Layout::ChannelsLast).unwrap();
        let (loss, derivative) = ctc_of_batch(&value, &[6, 4], &[vec![1, 2], vec![1]], 0).unwrap();
        let of_first = ctc(&first, 3, &[1, 2], 0).unwrap().0;
        let of_second = ctc(&second[..12], 3, &[1], 0).unwrap().0;
        assert!((loss - (of_first / 2.0 + of_second) / 2.0).abs() < 1e-9);
        assert_eq!(derivative.numbers::<f32>().unwrap()[30..], [0.0; 6]);
    }
}
