//! The most probable transcript, all of its paths together: prefix beam search (Graves 2012, section 7.5; Hannun et al.
//! 2014), with a language model over words or letters where there is one.

use std::collections::HashMap;

use super::language_model::State;
use super::{Alphabet, Frames, Heard, LanguageModel, forced_alignment, log_add};

/// How far the search goes, and what counts.
#[derive(Clone, Debug, PartialEq)]
pub struct BeamSettings {
    /// How many prefixes are kept from frame to frame.
    pub width: usize,
    /// How much the language model's log probability counts.
    pub language_weight: f32,
    /// What each word (or letter, where the model is one of letters) is worth, since a language model makes every one cost.
    pub word_bonus: f32,
}

impl Default for BeamSettings {
    fn default() -> Self {
        BeamSettings { width: 50, language_weight: 0.8, word_bonus: 1.0 }
    }
}

/// A transcript that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its letters where the best of its paths has them.
    pub letters: Vec<Heard>,
    /// The logarithm of the probability of all its paths that were kept, without the language model.
    pub log_probability: f32,
    /// With the language model's share.
    pub score: f32,
}

/// Classes that are less probable in a frame are not looked at; e⁻¹² is one in 160,000.
const LEAST_LOG_PROBABILITY: f32 = -12.0;

/// A prefix of a transcript; prefixes share what they begin with.
struct Prefix {
    parent: usize,
    class: usize,
    /// The language model's share so far, weighed, with the bonus.
    language: f32,
    state: State,
}

/// The probability of a prefix by the paths that end in a blank and in its last letter.
#[derive(Clone, Copy)]
struct Paths {
    blank: f32,
    letter: f32,
}

impl Paths {
    const NONE: Paths = Paths { blank: f32::NEG_INFINITY, letter: f32::NEG_INFINITY };

    fn total(self) -> f32 {
        log_add(self.blank, self.letter)
    }
}

struct Search<'a> {
    alphabet: &'a Alphabet,
    model: Option<&'a LanguageModel>,
    settings: &'a BeamSettings,
    prefixes: Vec<Prefix>,
    children: HashMap<(usize, usize), usize>,
}

/// The empty prefix.
const ROOT: usize = 0;

/// The most probable transcript that was found; exact where `width` is large.
pub fn beam_search(
    frames: &Frames<'_>,
    alphabet: &Alphabet,
    model: Option<&LanguageModel>,
    settings: &BeamSettings,
) -> Found {
    let state = model.map_or_else(State::default, LanguageModel::start);
    let root = Prefix { parent: ROOT, class: alphabet.blank(), language: 0.0, state };
    let mut search = Search { alphabet, model, settings, prefixes: vec![root], children: HashMap::new() };
    let mut beam = vec![(ROOT, Paths { blank: 0.0, letter: f32::NEG_INFINITY })];
    for frame in 0..frames.len() {
        beam = search.extended(&beam, frames.at(frame));
    }
    let ended = beam.iter().map(|(prefix, paths)| (*prefix, paths.total(), search.ended(*prefix)));
    let best = ended.max_by(|a, b| (a.1 + a.2).total_cmp(&(b.1 + b.2)));
    let (prefix, log_probability, language) = best.expect("the beam holds at least one prefix");
    let classes = search.classes(prefix);
    let letters = forced_alignment(frames, &classes, alphabet).map(|alignment| alignment.letters).unwrap_or_default();
    let letters = alphabet.without_idle_spaces(letters);
    Found { letters, log_probability, score: log_probability + language }
}

impl Search<'_> {
    /// The best prefixes one frame on.
    fn extended(&mut self, beam: &[(usize, Paths)], frame: &[f32]) -> Vec<(usize, Paths)> {
        let mut next: HashMap<usize, Paths> = HashMap::with_capacity(beam.len() * 4);
        for &(prefix, paths) in beam {
            let last = self.prefixes[prefix].class;
            for (class, &log_probability) in frame.iter().enumerate() {
                if log_probability < LEAST_LOG_PROBABILITY {
                    continue;
                }
                if class == self.alphabet.blank() {
                    let stays = next.entry(prefix).or_insert(Paths::NONE);
                    stays.blank = log_add(stays.blank, paths.total() + log_probability);
                    continue;
                }
                let is_repeated = prefix != ROOT && class == last;
                if is_repeated {
                    let stays = next.entry(prefix).or_insert(Paths::NONE);
                    stays.letter = log_add(stays.letter, paths.letter + log_probability);
                }
                // After a letter its like is another one only behind a blank.
                let from = if is_repeated { paths.blank } else { paths.total() };
                if from > f32::NEG_INFINITY {
                    let longer = self.child(prefix, class);
                    let grown = next.entry(longer).or_insert(Paths::NONE);
                    grown.letter = log_add(grown.letter, from + log_probability);
                }
            }
        }
        let mut all: Vec<(usize, Paths)> = next.into_iter().collect();
        if all.is_empty() {
            // Every class was improbable, which no probabilities are; what was found stays.
            return beam.to_vec();
        }
        let score = |&(prefix, paths): &(usize, Paths)| paths.total() + self.prefixes[prefix].language;
        // Ties by number, so that an answer does not depend on the order of a map.
        all.sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.0.cmp(&b.0)));
        all.truncate(self.settings.width.max(1));
        all
    }

    fn child(&mut self, prefix: usize, class: usize) -> usize {
        if let Some(child) = self.children.get(&(prefix, class)) {
            return *child;
        }
        let parent = &self.prefixes[prefix];
        let (mut language, mut state) = (parent.language, parent.state.clone());
        if let Some(model) = self.model {
            let is_boundary = Some(class) == self.alphabet.word_boundary();
            let told = model.heard(&mut state, self.alphabet.letter(class), is_boundary);
            language += told.map_or(0.0, |log| self.settings.language_weight * log + self.settings.word_bonus);
        }
        let child = self.prefixes.len();
        self.prefixes.push(Prefix { parent: prefix, class, language, state });
        self.children.insert((prefix, class), child);
        child
    }

    /// The language model's share once the last word has ended too.
    fn ended(&self, prefix: usize) -> f32 {
        let Prefix { language, state, .. } = &self.prefixes[prefix];
        let Some(model) = self.model else { return *language };
        let (last_word, end) = model.end(state.clone());
        let bonus = if last_word.is_some() { self.settings.word_bonus } else { 0.0 };
        language + self.settings.language_weight * (last_word.unwrap_or(0.0) + end) + bonus
    }

    fn classes(&self, mut prefix: usize) -> Vec<usize> {
        let mut classes = Vec::new();
        while prefix != ROOT {
            classes.push(self.prefixes[prefix].class);
            prefix = self.prefixes[prefix].parent;
        }
        classes.reverse();
        classes
    }
}
