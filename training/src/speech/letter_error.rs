//! Letter error: letters left out, put in or mistaken, as a share of the letters said (Levenshtein 1966).

use std::collections::BTreeMap;

use models::speech::{Frames, greedy};
use models::{Graph, Layout, Trace, Uninterrupted, Value};
use rayon::prelude::*;

use super::{Recogniser, Utterance};
use crate::error::Result;

/// Errors among so many letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    pub n_errors: usize,
    pub n_letters: usize,
}

impl Errors {
    /// The share; above 1 where more was put in than said.
    pub fn share(&self) -> f64 {
        self.n_errors as f64 / self.n_letters.max(1) as f64
    }

    pub(crate) fn plus(self, other: Errors) -> Errors {
        Errors { n_errors: self.n_errors + other.n_errors, n_letters: self.n_letters + other.n_letters }
    }
}

/// What was written down for an utterance.
#[derive(Clone, Debug)]
pub struct Transcribed {
    pub said: String,
    pub written: String,
    pub speaker: String,
    pub errors: Errors,
}

/// The fewest changes that make one of the other.
pub fn distance(left: &[usize], right: &[usize]) -> usize {
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, from) in left.iter().enumerate() {
        let mut corner = std::mem::replace(&mut above[0], row + 1);
        for (column, to) in right.iter().enumerate() {
            let replaced = corner + usize::from(from != to);
            corner = above[column + 1];
            above[column + 1] = replaced.min(corner + 1).min(above[column] + 1);
        }
    }
    above[right.len()]
}

/// Writes utterances down, greedily and without a language model, one by one.
pub fn transcribe(graph: &Graph, recogniser: &Recogniser, utterances: &[Utterance]) -> Result<Vec<Transcribed>> {
    let one = |utterance: &Utterance| {
        let mut numbers = utterance.numbers.clone();
        recogniser.normalization.apply(&mut numbers, recogniser.n_bands);
        let shape = [1, recogniser.n_bands, utterance.n_frames];
        let input = Value::from_vec(numbers, &shape, Layout::ChannelsLast)?;
        let trace = Trace::record(graph, &[input], &Uninterrupted)?;
        let logits = trace.value(graph.output())?.to_channels_last()?;
        // The best class of a frame is the same before the softmax as behind it.
        let logits = logits.numbers::<f32>()?;
        let frames = Frames::new(&logits, recogniser.alphabet.n_classes());
        let heard: Vec<usize> = greedy(&frames, &recogniser.alphabet).iter().map(|heard| heard.class).collect();
        Ok(Transcribed {
            said: recogniser.alphabet.text(&utterance.letters),
            written: recogniser.alphabet.text(&heard),
            speaker: utterance.speaker.clone(),
            errors: Errors { n_errors: distance(&heard, &utterance.letters), n_letters: utterance.letters.len() },
        })
    };
    utterances.par_iter().map(one).collect()
}

/// Of all together, and by speaker.
pub fn summed(transcribed: &[Transcribed]) -> (Errors, BTreeMap<String, Errors>) {
    let mut of_speakers: BTreeMap<String, Errors> = BTreeMap::new();
    for one in transcribed {
        let sum = of_speakers.entry(one.speaker.clone()).or_default();
        *sum = sum.plus(one.errors);
    }
    (of_speakers.values().fold(Errors::default(), |sum, errors| sum.plus(*errors)), of_speakers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted() {
        let letters = |text: &str| text.bytes().map(usize::from).collect::<Vec<_>>();
        for (left, right, expected) in
            [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("speech", "peach", 2)]
        {
            assert_eq!(distance(&letters(left), &letters(right)), expected, "{left} {right}");
            assert_eq!(distance(&letters(right), &letters(left)), expected, "{right} {left}");
        }
    }

    #[test]
    fn shares_are_of_letters_and_not_of_utterances() {
        let one = |speaker: &str, n_errors, n_letters| Transcribed {
            said: String::new(),
            written: String::new(),
            speaker: speaker.to_owned(),
            errors: Errors { n_errors, n_letters },
        };
        let (all, by_speaker) = summed(&[one("a", 1, 10), one("b", 10, 10), one("a", 0, 30)]);
        assert_eq!(all.share(), 11.0 / 50.0);
        assert_eq!((by_speaker["a"].share(), by_speaker["b"].share()), (0.025, 1.0));
    }
}
