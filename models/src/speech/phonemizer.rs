//! How words are spoken that no dictionary has: a network that says one phoneme after the other.

use super::dictionary::letter_numbers;
use crate::error::{ModelError, Result, Uninterrupted};
use crate::graph::Graph;
use crate::trace::Trace;
use crate::value::{Layout, Value};

/// The letters of a word, in the order of the network's input.
pub const LETTERS: [&str; 27] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w",
    "x", "y", "z", "'",
];

/// The phonemes of English in ARPAbet without stress, in the order of the network's classes. One class more is the
/// word's end; as an input its place stands for the word's beginning.
pub const PHONEMES: [&str; 39] = [
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY", "JH", "K",
    "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
];

/// The class of the word's end, and the place of its beginning.
pub const END: usize = PHONEMES.len();

/// Words of one length, as the network's first input.
///
/// # Shapes
/// - `words`: letters by number; returns `[word, letter, LETTERS]`, 1 at each letter's place
pub fn letters_input<W: AsRef<[usize]>>(words: &[W]) -> Result<Value> {
    one_hot(words, LETTERS.len(), &[])
}

/// What was said of each word so far, as the network's second input: its beginning, then phonemes.
///
/// # Shapes
/// - `said`: phonemes by number, as many for each word; returns `[word, 1 + phoneme, PHONEMES + 1]`
pub fn phonemes_input<W: AsRef<[usize]>>(said: &[W]) -> Result<Value> {
    one_hot(said, PHONEMES.len() + 1, &[END])
}

fn one_hot<W: AsRef<[usize]>>(rows: &[W], n: usize, before: &[usize]) -> Result<Value> {
    let length = before.len() + rows.first().map_or(0, |row| row.as_ref().len());
    let mut numbers = vec![0.0f32; rows.len() * length * n];
    for (row, numbers) in rows.iter().zip(numbers.chunks_exact_mut((length * n).max(1))) {
        if before.len() + row.as_ref().len() != length {
            return Err(ModelError::operator("spelling", "all words of a batch must be of one length"));
        }
        for (place, symbol) in before.iter().chain(row.as_ref()).enumerate() {
            numbers[place * n + symbol] = 1.0;
        }
    }
    Value::from_vec(numbers, &[rows.len(), length, n], Layout::Logical)
}

/// The letters of a word by number; nothing where it has others than a to z and the apostrophe.
pub fn spelled(word: &str) -> Option<Vec<usize>> {
    letter_numbers(&word.to_lowercase())
}

/// Beginnings of a word that are followed at once.
const BEAM: usize = 4;

/// A beginning of a word, or all of it.
#[derive(Clone)]
struct Beginning {
    /// Behind its end it goes on with anything, so that all are of one length.
    said: Vec<usize>,
    end: Option<usize>,
    log_probability: f64,
}

/// How words of one length are spoken: the likeliest phonemes that a beam search finds, step by step.
///
/// # Shapes
/// - `words`: letters by number; returns phonemes by number
pub fn spoken(graph: &Graph, words: &[Vec<usize>]) -> Result<Vec<Vec<usize>>> {
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    // No word of CMUdict has as many phonemes.
    let longest = 2 * first.len() + 6;
    let nothing = Beginning { said: Vec::new(), end: None, log_probability: 0.0 };
    let mut beams: Vec<Vec<Beginning>> = vec![vec![nothing]; words.len()];
    for step in 0..longest {
        // Words that have ended wait for the others.
        let rows: Vec<(usize, usize)> = (0..words.len())
            .filter(|word| !has_ended(&beams[*word]))
            .flat_map(|word| (0..beams[word].len()).map(move |nth| (word, nth)))
            .collect();
        if rows.is_empty() {
            break;
        }
        let letters: Vec<&[usize]> = rows.iter().map(|(word, _)| &words[*word][..]).collect();
        let said: Vec<&[usize]> = rows.iter().map(|(word, nth)| &beams[*word][*nth].said[..]).collect();
        let trace = Trace::record(graph, &[letters_input(&letters)?, phonemes_input(&said)?], &Uninterrupted)?;
        let logits = trace.value(graph.output())?.to_logical()?;
        if logits.shape() != [rows.len(), step + 1, END + 1] {
            let reason = format!("the output is {:?}; [word, step, {}] is needed", logits.shape(), END + 1);
            return Err(ModelError::operator("spelling", reason));
        }
        let logits = logits.numbers::<f32>()?;
        let mut grown: Vec<Vec<Beginning>> = vec![Vec::new(); words.len()];
        for ((word, nth), row) in rows.iter().zip(logits.chunks_exact((step + 1) * (END + 1))) {
            grown[*word].extend(continued(&beams[*word][*nth], &row[step * (END + 1)..], step));
        }
        for (beam, mut grown) in beams.iter_mut().zip(grown).filter(|(_, grown)| !grown.is_empty()) {
            grown.sort_by(|a, b| b.log_probability.total_cmp(&a.log_probability));
            grown.truncate(BEAM);
            *beam = grown;
        }
    }
    let best = |beam: Vec<Beginning>| {
        let Beginning { mut said, end, .. } = beam.into_iter().next().expect("a beam is never empty");
        said.truncate(end.unwrap_or(longest));
        said
    };
    Ok(beams.into_iter().map(best).collect())
}

/// Whether nothing can become likelier than what is said already.
fn has_ended(beam: &[Beginning]) -> bool {
    beam.first().is_some_and(|best| best.end.is_some())
}

/// A beginning with each of what may follow.
///
/// # Shapes
/// - `logits`: `[PHONEMES + 1]`
fn continued(beginning: &Beginning, logits: &[f32], step: usize) -> Vec<Beginning> {
    let with = |symbol: usize, end: Option<usize>, log_probability: f64| {
        let said = beginning.said.iter().copied().chain([symbol]).collect();
        Beginning { said, end, log_probability: beginning.log_probability + log_probability }
    };
    if beginning.end.is_some() {
        return vec![with(0, beginning.end, 0.0)];
    }
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum::<f64>().ln() + f64::from(largest);
    let follow = |(class, logit): (usize, &f32)| match class {
        END => with(0, Some(step), f64::from(*logit) - total),
        phoneme => with(phoneme, None, f64::from(*logit) - total),
    };
    logits.iter().enumerate().map(follow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loaders::Weights;
    use crate::zoo;

    #[test]
    fn words_are_said_alone_as_in_company() {
        let graph = zoo::build(zoo::find("phonemizer").unwrap(), Weights::random(3)).unwrap();
        let words: Vec<Vec<usize>> = ["cat", "dog", "it'"].iter().map(|word| spelled(word).unwrap()).collect();
        let together = spoken(&graph, &words).unwrap();
        for (word, said) in words.iter().zip(&together) {
            assert_eq!(&spoken(&graph, std::slice::from_ref(word)).unwrap()[0], said);
            assert!(said.len() <= 12 && said.iter().all(|phoneme| *phoneme < END));
        }
        assert!(spoken(&graph, &[]).unwrap().is_empty());
        assert!(letters_input(&[vec![0, 1], vec![0]]).is_err());
        assert_eq!((spelled("It's"), spelled("naïve")), (Some(vec![8, 19, 26, 18]), None));
    }
}
