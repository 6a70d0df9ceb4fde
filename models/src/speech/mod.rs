//! From classes over time to letters: what a recogniser trained with CTC wrote down, and where each letter lies.
//!
//! Connectionist temporal classification (Graves et al. 2006): equal neighbours are one letter, the blank is none.
//! `greedy` takes each frame's best class, `beam_search` the best transcript, with a language model where there is one;
//! `forced_alignment` finds where the letters of a known transcript lie.

mod beam_search;
mod dictionary;
mod forced_alignment;
mod greedy;
mod language_model;
pub mod needleman_wunsch;
pub mod phonemizer;

pub use beam_search::{BeamSettings, Found, beam_search};
pub use dictionary::{Dictionary, DictionaryError, SpokenLetter};
pub use forced_alignment::{Alignment, NoPath, forced_alignment};
pub use greedy::greedy;
pub use language_model::{ArpaError, LanguageModel};

use crate::description::CtcSettings;

/// Log probabilities of classes over time.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a> {
    numbers: &'a [f32],
    n_classes: usize,
}

impl<'a> Frames<'a> {
    /// `numbers` is `[frame, class]`, natural logarithms of probabilities.
    ///
    /// # Panics
    /// Where there are no classes, or the last frame is not whole.
    pub fn new(numbers: &'a [f32], n_classes: usize) -> Self {
        assert!(n_classes > 0 && numbers.len().is_multiple_of(n_classes), "frames of {n_classes} classes");
        Frames { numbers, n_classes }
    }

    /// How many frames.
    pub fn len(&self) -> usize {
        self.numbers.len() / self.n_classes
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// One frame's log probabilities.
    pub fn at(&self, frame: usize) -> &'a [f32] {
        &self.numbers[frame * self.n_classes..(frame + 1) * self.n_classes]
    }

    fn iter(&self) -> impl Iterator<Item = &'a [f32]> {
        self.numbers.chunks_exact(self.n_classes)
    }
}

/// A letter and the frames that it was heard in.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Its class.
    pub class: usize,
    /// Its most probable frame.
    pub frame: usize,
    /// Its first frame.
    pub first: usize,
    /// The frame behind its last.
    pub end: usize,
    /// Its log probability at its most probable frame.
    pub log_probability: f32,
}

impl Heard {
    /// A class over a range of frames.
    fn over(frames: &Frames<'_>, class: usize, first: usize, end: usize) -> Heard {
        let of = |frame: usize| frames.at(frame)[class];
        // The first of equals.
        let frame = (first..end).fold(first, |best, frame| if of(frame) > of(best) { frame } else { best });
        Heard { class, frame, first, end, log_probability: of(frame) }
    }
}

/// What classes are as letters.
#[derive(Clone, Debug, PartialEq)]
pub struct Alphabet {
    letters: Vec<String>,
    ctc: CtcSettings,
}

/// A text that cannot be written with an alphabet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transcript has `{character}` at position {position}, which is no letter of this model ({letters})")]
pub struct UnknownCharacter {
    /// The character.
    pub character: String,
    /// Where it stands, counted in characters from 0.
    pub position: usize,
    /// All letters.
    pub letters: String,
}

impl Alphabet {
    /// From the labels of classes; the error says what does not fit.
    pub fn new(labels: &[String], ctc: CtcSettings) -> Result<Alphabet, String> {
        let highest = ctc.blank.max(ctc.word_boundary.unwrap_or(0));
        if highest >= labels.len() || ctc.word_boundary == Some(ctc.blank) {
            return Err(format!(
                "ctc has blank {} and word_boundary {:?}; two different classes of {} are needed",
                ctc.blank,
                ctc.word_boundary,
                labels.len()
            ));
        }
        let letter = |(class, label): (usize, &String)| match class {
            class if class == ctc.blank => String::new(),
            class if Some(class) == ctc.word_boundary => " ".to_owned(),
            _ => label.clone(),
        };
        Ok(Alphabet { letters: labels.iter().enumerate().map(letter).collect(), ctc })
    }

    /// How many classes.
    pub fn n_classes(&self) -> usize {
        self.letters.len()
    }

    /// The class that is no letter.
    pub fn blank(&self) -> usize {
        self.ctc.blank
    }

    /// The class between two words.
    pub fn word_boundary(&self) -> Option<usize> {
        self.ctc.word_boundary
    }

    /// A class as it is written; a space between words, nothing for the blank.
    pub fn letter(&self, class: usize) -> &str {
        &self.letters[class]
    }

    /// Classes as text.
    pub fn text(&self, classes: &[usize]) -> String {
        classes.iter().map(|class| self.letter(*class)).collect()
    }

    /// The classes of a text; case does not matter, nor how many spaces lie between two words.
    pub fn classes(&self, text: &str) -> Result<Vec<usize>, UnknownCharacter> {
        let lower: Vec<String> = self.letters.iter().map(|letter| letter.to_lowercase()).collect();
        let mut classes: Vec<usize> = Vec::new();
        for (position, character) in text.chars().enumerate() {
            if character.is_whitespace() {
                match self.ctc.word_boundary {
                    // None in front, and one between two words.
                    Some(boundary) if classes.last().is_some_and(|last| *last != boundary) => classes.push(boundary),
                    _ => {}
                }
                continue;
            }
            let wanted = character.to_lowercase().to_string();
            let class = lower.iter().position(|letter| *letter == wanted);
            classes.push(class.ok_or_else(|| UnknownCharacter {
                character: character.to_string(),
                position,
                letters: self.letters.iter().filter(|letter| !letter.trim().is_empty()).cloned().collect(),
            })?);
        }
        if classes.last().is_some_and(|last| Some(*last) == self.ctc.word_boundary) {
            classes.pop();
        }
        Ok(classes)
    }

    /// Leaves out spaces in front, at the end, and all but one between two words, so that a transcript has a letter for
    /// each of its characters.
    fn without_idle_spaces(&self, heard: Vec<Heard>) -> Vec<Heard> {
        let is_space = |heard: &Heard| Some(heard.class) == self.ctc.word_boundary;
        let mut kept: Vec<Heard> = Vec::with_capacity(heard.len());
        for letter in heard {
            if !is_space(&letter) || kept.last().is_some_and(|last| !is_space(last)) {
                kept.push(letter);
            }
        }
        if kept.last().is_some_and(is_space) {
            kept.pop();
        }
        kept
    }
}

/// `ln(eᵃ + eᵇ)`
fn log_add(a: f32, b: f32) -> f32 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f32::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

#[cfg(test)]
mod tests;
