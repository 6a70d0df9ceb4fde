//! An n-gram language model with back-off, from a file in the ARPA format, over words or over letters.

use std::collections::HashMap;

/// How probable a word (or letter) is behind those before it.
///
/// Katz 1987: where an n-gram is not known, a shorter one counts, times the back-off weight of what is left out.
#[derive(Clone, Debug)]
pub struct LanguageModel {
    vocabulary: HashMap<String, u32>,
    /// Log probability and back-off weight (natural logarithms) of each n-gram.
    ngrams: HashMap<Box<[u32]>, (f32, f32)>,
    order: usize,
    is_of_letters: bool,
}

/// Where a transcript stands in a language model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    /// The words (or letters) before, the last `order - 1` of them.
    context: Vec<u32>,
    /// The letters of a word that has not ended.
    word: String,
}

/// Why a file is no language model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the ARPA file: {reason}")]
pub struct ArpaError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// The log probability of a word that a model without `<unk>` does not know.
const UNKNOWN: f32 = -16.0;

impl LanguageModel {
    /// Reads a file in the ARPA format, with logarithms to base 10.
    ///
    /// A model whose words are all of one character is one of letters, `|` or `<space>` being the space.
    pub fn from_arpa(text: &str) -> Result<LanguageModel, ArpaError> {
        let mut model =
            LanguageModel { vocabulary: HashMap::new(), ngrams: HashMap::new(), order: 0, is_of_letters: false };
        let mut length = 0;
        let mut has_begun = false;
        for (nth, line) in text.lines().enumerate() {
            let wrong = |reason: String| ArpaError { line: nth + 1, reason };
            let line = line.trim();
            match line {
                "" => {}
                "\\data\\" => has_begun = true,
                "\\end\\" => break,
                _ if line.starts_with('\\') => {
                    let of_order = line.trim_start_matches('\\').strip_suffix("-grams:");
                    let of_order =
                        of_order.and_then(|order| order.parse().ok()).filter(|order| (1..=9).contains(order));
                    length = of_order.ok_or_else(|| wrong(format!("`{line}` is no heading such as `\\2-grams:`")))?;
                    model.order = model.order.max(length);
                }
                _ if !has_begun || line.starts_with("ngram ") => {}
                _ if length == 0 => return Err(wrong("n-grams come behind a heading such as `\\1-grams:`".to_owned())),
                _ => model.add(line, length).map_err(wrong)?,
            }
        }
        if !has_begun || model.order == 0 {
            let reason = "it has no `\\data\\` with n-grams behind it".to_owned();
            return Err(ArpaError { line: text.lines().count(), reason });
        }
        model.is_of_letters = model.vocabulary.keys().all(|word| is_letter(word));
        Ok(model)
    }

    fn add(&mut self, line: &str, length: usize) -> Result<(), String> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |field: &str| field.parse::<f32>().ok().filter(|number| !number.is_nan());
        let wrong = || format!("`{line}` is no log probability, {length} words and, maybe, a back-off weight");
        if fields.len() != length + 1 && fields.len() != length + 2 {
            return Err(wrong());
        }
        let log = number(fields[0]).ok_or_else(wrong)?;
        let back_off = fields.get(length + 1).map_or(Some(0.0), |field| number(field)).ok_or_else(wrong)?;
        let n_known = self.vocabulary.len() as u32;
        let mut words = Vec::with_capacity(length);
        for word in &fields[1..=length] {
            let plain = word.to_lowercase();
            let next = self.vocabulary.len() as u32;
            words.push(*self.vocabulary.entry(plain).or_insert(next));
        }
        debug_assert!(length == 1 || self.vocabulary.len() as u32 >= n_known);
        let natural = |log10: f32| log10 * std::f32::consts::LN_10;
        self.ngrams.insert(words.into(), (natural(log), natural(back_off)));
        Ok(())
    }

    /// Whether it is one of letters rather than words.
    pub fn is_of_letters(&self) -> bool {
        self.is_of_letters
    }

    /// The longest n-gram.
    pub fn order(&self) -> usize {
        self.order
    }

    /// The log probability of a word behind others.
    pub fn log_probability(&self, before: &[&str], word: &str) -> f32 {
        let before: Vec<u32> = before.iter().filter_map(|word| self.id(word)).collect();
        self.id(word).map_or(UNKNOWN, |word| self.log_of(&before, word))
    }

    fn id(&self, word: &str) -> Option<u32> {
        self.vocabulary.get(&word.to_lowercase()).or_else(|| self.vocabulary.get("<unk>")).copied()
    }

    fn log_of(&self, before: &[u32], word: u32) -> f32 {
        let mut context = &before[before.len().saturating_sub(self.order - 1)..];
        let mut left_out = 0.0;
        loop {
            let ngram: Vec<u32> = context.iter().copied().chain([word]).collect();
            if let Some((log, _)) = self.ngrams.get(&ngram[..]) {
                return left_out + log;
            }
            if context.is_empty() {
                return left_out + UNKNOWN;
            }
            left_out += self.ngrams.get(context).map_or(0.0, |(_, back_off)| *back_off);
            context = &context[1..];
        }
    }

    pub(super) fn start(&self) -> State {
        State { context: self.vocabulary.get("<s>").copied().into_iter().collect(), word: String::new() }
    }

    /// Takes one letter; the log probability of what it completed, a word or itself.
    pub(super) fn heard(&self, state: &mut State, letter: &str, is_boundary: bool) -> Option<f32> {
        if self.is_of_letters {
            let letter = if is_boundary { self.space()? } else { letter };
            return Some(self.told(state, letter));
        }
        if !is_boundary {
            state.word.push_str(letter);
            return None;
        }
        let word = std::mem::take(&mut state.word);
        (!word.is_empty()).then(|| self.told(state, &word))
    }

    /// The log probabilities of the word that has not ended, if there is one, and of the end.
    pub(super) fn end(&self, mut state: State) -> (Option<f32>, f32) {
        let word = std::mem::take(&mut state.word);
        let last_word = (!word.is_empty()).then(|| self.told(&mut state, &word));
        let end = self.vocabulary.get("</s>").map_or(0.0, |end| self.log_of(&state.context, *end));
        (last_word, end)
    }

    fn told(&self, state: &mut State, word: &str) -> f32 {
        let Some(id) = self.id(word) else {
            state.context.clear();
            return UNKNOWN;
        };
        let log = self.log_of(&state.context, id);
        state.context.push(id);
        let most = self.order - 1;
        state.context.drain(..state.context.len().saturating_sub(most));
        log
    }

    fn space(&self) -> Option<&'static str> {
        ["|", "<space>"].into_iter().find(|space| self.vocabulary.contains_key(*space))
    }
}

fn is_letter(word: &str) -> bool {
    word.chars().count() == 1 || ["<s>", "</s>", "<unk>", "<space>"].contains(&word)
}
