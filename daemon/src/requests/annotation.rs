//! `corpus.annotate`: transcripts laid over sounds, letters beside phonemes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use client_protocol::corpus::{Agreement, AnnotateParams, Annotated, AnnotatedItem, AnnotatedLetter, DamagedFile};
use client_protocol::model::Letter;
use client_protocol::{ErrorKind, ErrorObject};
use models::corpora::{self, CorpusFiles, Item, Phone};
use models::speech::{self, Dictionary, SpokenLetter, phonemizer};
use models::{Graph, Interrupt, NodeIdx};
use serde_json::json;

use crate::errors;
use crate::files;
use crate::folder::Folder;
use crate::held_corpus::HeldCorpus;
use crate::held_model::HeldModel;
use crate::interrupt::Token;
use crate::requests::model::settings;
use crate::requests::transcript::{Classes, letters, unfit};
use crate::requests::{asked, input};
use crate::state::State;

/// Where CMUdict lies within the cache folder.
const CMUDICT: &str = "dictionary/cmudict.dict";

/// The most skipped files, and unknown words, that an answer names.
const MOST_NAMED: usize = 20;

/// Seconds within which a letter and its phone agree.
const NEAR: f64 = 0.05;

pub(crate) fn annotate(state: &Arc<State>, params: AnnotateParams, token: &Token) -> Result<Annotated, ErrorObject> {
    let model = state.models().get(&params.model)?;
    if model.alphabet.is_none() {
        return Err(unfit());
    }
    let held = state.corpora().get(&params.corpus)?;
    let spoken: Vec<&Item> = held.corpus.items.iter().filter(|item| item.transcript.is_some()).collect();
    if spoken.is_empty() {
        let message = format!("the corpus `{}` has no transcripts", held.path);
        return Err(ErrorObject::new(ErrorKind::Unfit, message).field("corpus").expected("sounds with transcripts"));
    }
    let path = params.dictionary.clone().unwrap_or_else(|| state.config.cache_dir.join(CMUDICT).display().to_string());
    let dictionary = if params.phonemes { Some(dictionary(state, &path)?) } else { None };
    let phonemizer = if params.phonemes { state.phonemizer()? } else { None };
    let one = Annotator { state, model: &model, held: &held, dictionary: dictionary.as_deref(), phonemizer, token };
    let (mut items, mut skipped, mut unknown, mut offsets) = (Vec::new(), Vec::new(), Unknown::new(), Vec::new());
    let (mut log_probability, mut n_letters, mut n_aligned) = (0.0, 0usize, 0usize);
    for (nth, item) in spoken.iter().enumerate() {
        token.check().map_err(errors::of_interrupted)?;
        token.progress(nth, spoken.len());
        let annotated = match one.annotated(item, &mut unknown) {
            Ok(annotated) => annotated,
            // What nobody wants any more is no fault of the file.
            Err(error) => {
                token.check().map_err(errors::of_interrupted)?;
                skipped.push(DamagedFile { path: item.path.clone(), reason: error.message });
                continue;
            }
        };
        log_probability += annotated.log_probability;
        n_letters += annotated.letters.len();
        offsets.extend(one.offsets(item, &annotated.letters));
        n_aligned += 1;
        if (params.offset..params.offset.saturating_add(params.items)).contains(&(n_aligned - 1)) {
            items.push(annotated);
        }
    }
    if n_aligned == 0 {
        let DamagedFile { path, reason } = &skipped[0];
        let message = format!("not one of {} utterances can be aligned, the first `{path}`: {reason}", skipped.len());
        return Err(ErrorObject::new(ErrorKind::Unfit, message).field("corpus"));
    }
    Ok(Annotated {
        corpus: held.id.clone(),
        model: model.id.clone(),
        utterances: n_aligned,
        skipped: skipped.len(),
        skipped_files: skipped.into_iter().take(MOST_NAMED).collect(),
        log_probability: log_probability / n_letters.max(1) as f64,
        unknown_words: unknown.len(),
        first_unknown_words: unknown.into_keys().take(MOST_NAMED).collect(),
        agreement: agreement(offsets),
        items,
        settings: settings([("phonemes", json!(params.phonemes)), ("dictionary", json!(dictionary.map(|_| path)))]),
    })
}

/// The dictionary of a file; the last one that was read is kept.
fn dictionary(state: &State, path: &str) -> Result<Arc<Dictionary>, ErrorObject> {
    let fetch = |error: ErrorObject| {
        error.hint("scripts/fetch-models fetches CMUdict; `phonemes=false` goes without a dictionary")
    };
    let bytes = files::read_limited(path, "dictionary", state.config.limits.file_bytes).map_err(fetch)?;
    let hash = blake3::hash(&bytes).to_hex().to_string();
    let mut kept = state.dictionary.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, dictionary)) = &*kept
        && *of == hash
    {
        return Ok(dictionary.clone());
    }
    let corrupt = |reason: String| {
        ErrorObject::new(ErrorKind::CorruptFile, format!("`{path}`: {reason}"))
            .field("dictionary")
            .value(path)
            .expected("lines of a word and its phonemes, as CMUdict has them")
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| corrupt("it is no text in UTF-8".to_owned()))?;
    let dictionary = Arc::new(Dictionary::read(text).map_err(|error| corrupt(error.to_string()))?);
    *kept = Some((hash, dictionary.clone()));
    Ok(dictionary)
}

/// What every utterance is annotated with.
struct Annotator<'a> {
    state: &'a Arc<State>,
    model: &'a Arc<HeldModel>,
    held: &'a HeldCorpus,
    dictionary: Option<&'a Dictionary>,
    /// What says words that the dictionary lacks.
    phonemizer: Option<&'a Graph>,
    token: &'a Token,
}

/// Words that the dictionary lacks, each with what the network says of it.
type Unknown = BTreeMap<String, Option<Vec<SpokenLetter>>>;

impl Annotator<'_> {
    /// One utterance; words that the dictionary lacks join the others.
    fn annotated(&self, item: &Item, unknown: &mut Unknown) -> Result<AnnotatedItem, ErrorObject> {
        let alphabet = self.model.alphabet.as_ref().ok_or_else(unfit)?;
        let text = item.transcript.as_deref().unwrap_or_default();
        let classes = alphabet.classes(text).map_err(|error| ErrorObject::new(ErrorKind::Unfit, error.to_string()))?;
        if classes.is_empty() {
            return Err(ErrorObject::new(ErrorKind::Unfit, "its transcript has no letters"));
        }
        let sound = input::from_path(self.state, &self.held.path_of(item), None)?;
        let first: NodeIdx = self.model.graph.inputs()[0];
        let prepared = sound.prepared_as(self.model, first)?;
        let trace = asked::evaluated(self.state, self.model, std::slice::from_ref(&prepared), &[], self.token)?;
        let of_sound = Classes::of(self.model, &trace)?;
        let alignment = speech::forced_alignment(&of_sound.frames(), &classes, alphabet)
            .map_err(|error| ErrorObject::new(ErrorKind::Unfit, error.to_string()))?;
        let letters = letters(self.model, &prepared, alphabet, &alignment.letters);
        Ok(AnnotatedItem {
            id: item.id.clone(),
            transcript: alphabet.text(&classes),
            log_probability: alignment.log_probability.into(),
            letters: self.with_phonemes(letters, unknown)?,
        })
    }

    /// The dictionary's word for it, else the network's.
    fn spoken(&self, word: &str, unknown: &mut Unknown) -> Result<Vec<SpokenLetter>, ErrorObject> {
        let Some(dictionary) = self.dictionary.filter(|_| !word.is_empty()) else { return Ok(Vec::new()) };
        if let Some(spoken) = dictionary.letters(word) {
            return Ok(spoken);
        }
        if let Some(known) = unknown.get(word) {
            return Ok(known.clone().unwrap_or_default());
        }
        let said = match (self.phonemizer, phonemizer::spelled(word)) {
            (Some(graph), Some(letters)) => {
                let said =
                    phonemizer::spoken(graph, &[letters]).map_err(|error| errors::of_model(error, Some(graph)))?;
                let phonemes: Vec<&str> = said[0].iter().map(|phoneme| phonemizer::PHONEMES[*phoneme]).collect();
                dictionary.letters_spoken(word, &phonemes)
            }
            _ => None,
        };
        unknown.insert(word.to_owned(), said.clone());
        Ok(said.unwrap_or_default())
    }

    /// Letters word by word, each with what it stands for.
    fn with_phonemes(&self, letters: Vec<Letter>, unknown: &mut Unknown) -> Result<Vec<AnnotatedLetter>, ErrorObject> {
        let mut annotated = Vec::with_capacity(letters.len());
        for word in letters.split_inclusive(|letter| letter.letter == " ") {
            let is_letter = |letter: &&Letter| letter.letter != " ";
            let spelled: String = word.iter().filter(is_letter).map(|letter| letter.letter.as_str()).collect();
            let mut of_letters = self.spoken(&spelled, unknown)?.into_iter();
            annotated.extend(word.iter().map(|letter| {
                let spoken = if letter.letter == " " { None } else { of_letters.next() };
                AnnotatedLetter {
                    letter: letter.clone(),
                    score: spoken.as_ref().map(|spoken| spoken.score),
                    phonemes: spoken.map(|spoken| spoken.phonemes).unwrap_or_default(),
                }
            }));
        }
        Ok(annotated)
    }

    /// How much later each letter lies than its phone, where the corpus knows phone times.
    fn offsets(&self, item: &Item, letters: &[AnnotatedLetter]) -> Vec<f64> {
        let Some(path) = &item.phones_path else { return Vec::new() };
        let folder = Folder {
            root: self.held.root.clone(),
            longest_file: self.state.config.limits.file_bytes,
            token: self.token,
        };
        let text = folder.read(path).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let phones = text.and_then(|text| corpora::read_phones(&text).ok()).unwrap_or_default();
        let phones: Vec<Phone> = phones.into_iter().filter(|phone| phone.arpabet != "SIL").collect();
        let spoken: Vec<(&str, &Letter)> = letters
            .iter()
            .flat_map(|of| of.phonemes.iter().map(move |phoneme| (phoneme.as_str(), &of.letter)))
            .collect();
        let offset = |(letter, phone): (usize, usize)| {
            let (letter, phone) = (spoken[letter].1, &phones[phone]);
            Some((letter.start? + letter.end?) / 2.0 - (phone.start + phone.end) / 2.0)
        };
        let names: Vec<&str> = phones.iter().map(|phone| phone.arpabet.as_str()).collect();
        common(&spoken.iter().map(|(phoneme, _)| *phoneme).collect::<Vec<_>>(), &names)
            .into_iter()
            .filter_map(offset)
            .collect()
    }
}

/// The places of a longest common subsequence in both.
fn common(left: &[&str], right: &[&str]) -> Vec<(usize, usize)> {
    let columns = right.len() + 1;
    let mut longest = vec![0u32; (left.len() + 1) * columns];
    for row in (0..left.len()).rev() {
        for column in (0..right.len()).rev() {
            longest[row * columns + column] = match left[row] == right[column] {
                true => 1 + longest[(row + 1) * columns + column + 1],
                false => longest[(row + 1) * columns + column].max(longest[row * columns + column + 1]),
            };
        }
    }
    let (mut row, mut column, mut pairs) = (0, 0, Vec::new());
    while row < left.len() && column < right.len() {
        if left[row] == right[column] {
            pairs.push((row, column));
            (row, column) = (row + 1, column + 1);
        } else if longest[(row + 1) * columns + column] >= longest[row * columns + column + 1] {
            row += 1;
        } else {
            column += 1;
        }
    }
    pairs
}

fn agreement(mut offsets: Vec<f64>) -> Option<Agreement> {
    offsets.sort_by(f64::total_cmp);
    let near = offsets.iter().filter(|offset| offset.abs() <= NEAR).count();
    offsets.get(offsets.len() / 2).map(|median| Agreement {
        letters: offsets.len(),
        median_offset: *median,
        within_50_ms: near as f64 / offsets.len() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_lists_have_in_common_keeps_its_order() {
        assert_eq!(common(&["S", "P", "IY", "CH"], &["P", "IY", "T", "CH", "S"]), [(1, 0), (2, 1), (3, 3)]);
        assert_eq!(common(&[], &["P"]), []);
    }

    #[test]
    fn agreement_is_median_and_share() {
        let found = agreement(vec![0.2, -0.01, 0.03, 0.04]).unwrap();
        assert_eq!((found.letters, found.median_offset, found.within_50_ms), (4, 0.04, 0.75));
        assert_eq!(agreement(vec![]), None);
    }
}
