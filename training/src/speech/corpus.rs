//! Utterances in memory: the spectrogram of each, its letters, and its phones where their times are known.

use std::path::Path;

use models::corpora::{self, CorpusFiles, Item};
use models::front_ends::audio::{self, AudioFrontEnd, Normalization};
use models::speech::Alphabet;
use models::zoo;
use rayon::prelude::*;

use crate::error::{Result, TrainingError};
use crate::folder::Folder;

/// Phones of English in ARPAbet without stress, and silence; a head's classes are in this order.
pub const PHONES: [&str; 40] = [
    "SIL", "AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW", "B", "D", "G",
    "K", "P", "T", "CH", "JH", "DH", "F", "S", "SH", "TH", "V", "Z", "ZH", "HH", "M", "N", "NG", "L", "R", "W", "Y",
];

/// What a network of the zoo takes and writes.
#[derive(Clone, Debug)]
pub struct Recogniser {
    pub entry: &'static zoo::Entry,
    /// Sound to spectrogram, without the normalisation, which comes behind all changes.
    pub front_end: AudioFrontEnd,
    pub normalization: Normalization,
    pub alphabet: Alphabet,
    pub n_bands: usize,
    /// From one frame to the next.
    pub seconds_per_frame: f64,
    /// The centre of each band (Hz).
    pub bands_hz: Vec<f64>,
}

impl Recogniser {
    /// That of a name.
    pub fn of(architecture: &str) -> Result<Recogniser> {
        let (entry, front_end, alphabet) = super::alphabet_of(architecture)?;
        let scale = front_end.scale();
        let bands_hz = scale.bands_hz.ok_or_else(|| {
            TrainingError::Corpus(format!("`{architecture}` takes waveforms; spectrograms are needed"))
        })?;
        let normalization = front_end.normalization.clone();
        let front_end = AudioFrontEnd { normalization: Normalization::None, ..front_end };
        let n_bands = front_end.n_bands();
        Ok(Recogniser { entry, front_end, normalization, alphabet, n_bands, seconds_per_frame: scale.step, bands_hz })
    }
}

/// What someone said.
#[derive(Clone, Debug)]
pub struct Utterance {
    pub id: String,
    pub speaker: String,
    /// `[frame, band]`, not normalised.
    pub numbers: Vec<f32>,
    pub n_frames: usize,
    pub letters: Vec<usize>,
    /// Start and end (s), and class among [`PHONES`]; empty where no times are known.
    pub phones: Vec<(f32, f32, u8)>,
}

impl Utterance {
    /// Letters that follow their like, between which a path needs a blank.
    pub fn n_repeats(&self) -> usize {
        self.letters.windows(2).filter(|pair| pair[0] == pair[1]).count()
    }
}

/// The utterances of a folder; whatever cannot be used is told of, with its reason.
pub fn read(folder: &Path, recogniser: &Recogniser, mut told: impl FnMut(String)) -> Result<Vec<Utterance>> {
    let files = Folder { root: folder.to_owned() };
    let refuse = |reason: String| TrainingError::Corpus(format!("`{}`: {reason}", folder.display()));
    let corpus = corpora::read(&files, None).map_err(|error| refuse(error.to_string()))?;
    let n_all = corpus.items.len() + corpus.damaged.len();
    let mut skipped: Vec<(String, String)> =
        corpus.damaged.into_iter().map(|damaged| (damaged.path, damaged.reason)).collect();
    let read: Vec<(String, Result<Utterance, String>)> =
        corpus.items.par_iter().map(|item| (item.path.clone(), utterance(&files, item, recogniser))).collect();
    let mut utterances = Vec::with_capacity(read.len());
    for (path, utterance) in read {
        match utterance {
            Ok(utterance) => utterances.push(utterance),
            Err(reason) => skipped.push((path, reason)),
        }
    }
    for (path, reason) in &skipped {
        told(format!("skipped `{path}`: {reason}"));
    }
    if !skipped.is_empty() {
        told(format!("{} of {n_all} files of `{}` were skipped", skipped.len(), folder.display()));
    }
    if utterances.is_empty() {
        return Err(refuse("not one utterance can be used; sounds with transcripts are needed".to_owned()));
    }
    Ok(utterances)
}

fn utterance(files: &Folder, item: &Item, recogniser: &Recogniser) -> Result<Utterance, String> {
    let transcript = item.transcript.as_deref().ok_or("it has no transcript")?;
    let letters = recogniser.alphabet.classes(transcript).map_err(|error| error.to_string())?;
    if letters.is_empty() {
        return Err("its transcript is empty".to_owned());
    }
    let bytes = files.read(&item.path).map_err(|error| error.to_string())?;
    let features = audio::prepare(&bytes, &recogniser.front_end).map_err(|error| error.to_string())?;
    let utterance = Utterance {
        id: item.id.clone(),
        speaker: item.speaker.clone().unwrap_or_default(),
        n_frames: features.n_frames,
        numbers: features.numbers,
        letters,
        phones: phones(files, item)?,
    };
    let needed = utterance.letters.len() + utterance.n_repeats();
    if super::output_frames(utterance.n_frames) < needed {
        return Err(format!(
            "its transcript needs {needed} frames but there are {}; no path spells it",
            super::output_frames(utterance.n_frames)
        ));
    }
    Ok(utterance)
}

fn phones(files: &Folder, item: &Item) -> Result<Vec<(f32, f32, u8)>, String> {
    let Some(path) = &item.phones_path else { return Ok(Vec::new()) };
    let text = files.read(path).map_err(|error| error.to_string())?;
    let text = String::from_utf8(text).map_err(|_| format!("`{path}` is no text in UTF-8"))?;
    let phones = corpora::read_phones(&text).map_err(|error| format!("`{path}`: {error}"))?;
    let known = |phone: corpora::Phone| {
        let class = PHONES.iter().position(|known| *known == phone.arpabet)?;
        Some((phone.start as f32, phone.end as f32, class as u8))
    };
    Ok(phones.into_iter().filter_map(known).collect())
}
