//! Corpora: which files belong to one, what is said or shown in each, by whom.
//!
//! Three layouts are read as they are: LibriSpeech's folders, a manifest with a line for each file, and folders named by
//! class. Files come through [`CorpusFiles`], since this crate opens none. What is damaged is named and left out, and the
//! rest is used.

mod class_folders;
mod libri_speech;
mod manifest;
mod phones;

use std::collections::BTreeMap;

use rayon::prelude::*;

pub use phones::{Phone, read_phones};

use crate::front_ends::{audio, image};

/// The files of a folder, by their paths within it, with `/` between names.
pub trait CorpusFiles: Sync {
    /// Every file, sorted.
    fn list(&self) -> std::io::Result<Vec<String>>;
    /// A file's bytes.
    fn read(&self, path: &str) -> std::io::Result<Vec<u8>>;
}

/// How a corpus lies in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `SPEAKER/CHAPTER/*.trans.txt` with a sound for each of its lines.
    LibriSpeech,
    /// A table with a line for each file.
    Manifest,
    /// Folders named by class.
    ClassFolders,
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemKind {
    /// A sound.
    Sound,
    /// A photo.
    Image,
}

/// One utterance or image.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its name, which no other of the corpus has.
    pub id: String,
    /// Its file.
    pub path: String,
    /// What it is.
    pub kind: ItemKind,
    /// What is said, where that is known.
    pub transcript: Option<String>,
    /// What is shown, where that is known.
    pub class: Option<String>,
    /// Who speaks, where that is known.
    pub speaker: Option<String>,
    /// What else is known: LibriSpeech's chapter and part, other columns of a manifest.
    pub columns: BTreeMap<String, String>,
    /// The file of phones with their times, where there is one.
    pub phones_path: Option<String>,
    /// Of a sound (s).
    pub duration: Option<f64>,
}

/// A file that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Which.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct Corpus {
    /// How it lies in its folder.
    pub layout: Layout,
    /// What can be used, by path.
    pub items: Vec<Item>,
    /// What cannot.
    pub damaged: Vec<Damaged>,
}

/// Why there is no corpus.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// The folder cannot be listed.
    #[error("the folder cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// None of the layouts is there.
    #[error(
        "no corpus is here: neither transcripts as LibriSpeech has them (SPEAKER/CHAPTER/*.trans.txt), nor a manifest \
         (.csv, .tsv or .jsonl with a column `path`), nor folders named by class with images or sounds ({found})"
    )]
    NoCorpus { found: String },
    /// A manifest that cannot be read.
    #[error("manifest `{file}`: {reason}")]
    Manifest { file: String, reason: String },
    /// Every file is damaged.
    #[error("all {n_files} files are damaged, the first `{path}`: {reason}")]
    AllDamaged { n_files: usize, path: String, reason: String },
}

/// Reads a folder in the layout that it has; `manifest` names the table where there is one in particular.
///
/// Every file is opened, and its header read, so that what is damaged there is known from the start.
pub fn read(files: &dyn CorpusFiles, manifest: Option<&str>) -> Result<Corpus, CorpusError> {
    let listed = files.list()?;
    let corpus = find(files, &listed, manifest)?;
    let inspected: Vec<Result<Item, Damaged>> =
        corpus.items.into_par_iter().map(|item| inspected(files, item)).collect();
    let mut damaged = corpus.damaged;
    let mut items = Vec::with_capacity(inspected.len());
    for item in inspected {
        match item {
            Ok(item) => items.push(item),
            Err(of_item) => damaged.push(of_item),
        }
    }
    match (items.is_empty(), damaged.first()) {
        (true, Some(Damaged { path, reason })) => {
            Err(CorpusError::AllDamaged { n_files: damaged.len(), path: path.clone(), reason: reason.clone() })
        }
        _ => Ok(Corpus { layout: corpus.layout, items, damaged }),
    }
}

fn find(files: &dyn CorpusFiles, listed: &[String], manifest: Option<&str>) -> Result<Corpus, CorpusError> {
    if let Some(manifest) = manifest {
        return manifest::read(files, listed, manifest);
    }
    if listed.iter().any(|path| path.ends_with(libri_speech::TRANSCRIPTS)) {
        return Ok(libri_speech::read(files, listed));
    }
    if let Some(manifest) = manifest::only_one(listed) {
        return manifest::read(files, listed, manifest);
    }
    class_folders::read(listed).ok_or_else(|| CorpusError::NoCorpus {
        found: match listed.len() {
            0 => "the folder is empty".to_owned(),
            n_files => format!("{n_files} files, the first `{}`", listed[0]),
        },
    })
}

/// An item with its duration, from its file's header.
fn inspected(files: &dyn CorpusFiles, mut item: Item) -> Result<Item, Damaged> {
    const MOST_PIXELS: u64 = 100_000_000;
    let damaged = |reason: String| Damaged { path: item.path.clone(), reason };
    let bytes = files.read(&item.path).map_err(|error| damaged(error.to_string()))?;
    match item.kind {
        ItemKind::Sound => {
            let info = audio::header(&bytes).map_err(|error| damaged(error.to_string()))?;
            item.duration = Some(info.duration());
        }
        ItemKind::Image => {
            image::checked_size(&bytes, MOST_PIXELS).map_err(|error| damaged(error.to_string()))?;
        }
    }
    Ok(item)
}

/// What a file is by the end of its name; nothing where it is neither.
fn kind_of(path: &str) -> Option<ItemKind> {
    let (_, extension) = path.rsplit_once('.')?;
    match extension.to_ascii_lowercase().as_str() {
        "flac" | "ogg" | "wav" | "mp3" | "oga" => Some(ItemKind::Sound),
        "png" | "jpg" | "jpeg" => Some(ItemKind::Image),
        _ => None,
    }
}

/// A path without the end of its name.
fn stem(path: &str) -> &str {
    match path.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') => stem,
        _ => path,
    }
}

#[cfg(test)]
mod tests;
