//! Corpora that are held, by id and by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use client_protocol::{ErrorKind, ErrorObject, nearest};
use models::corpora::{Corpus, Item};

/// A corpus with where it lies.
#[derive(Debug)]
pub(crate) struct HeldCorpus {
    /// A hash of its files' names, lengths and transcripts.
    pub(crate) id: String,
    /// The folder that its paths begin at.
    pub(crate) root: PathBuf,
    /// As it was asked for: the folder, or a manifest in it.
    pub(crate) path: String,
    pub(crate) corpus: Corpus,
}

impl HeldCorpus {
    /// Names it by what it holds.
    pub(crate) fn new(root: PathBuf, path: String, corpus: Corpus) -> HeldCorpus {
        let mut hasher = blake3::Hasher::new();
        hasher.update(root.to_string_lossy().as_bytes());
        for item in &corpus.items {
            hasher.update(format!("{item:?}").as_bytes());
        }
        HeldCorpus { id: hasher.finalize().to_hex()[..16].to_owned(), root, path, corpus }
    }

    /// The absolute path of an item's file.
    pub(crate) fn path_of(&self, item: &Item) -> String {
        self.root.join(&item.path).to_string_lossy().into_owned()
    }

    /// What an item has in a column; `speaker` and `class` are columns like others.
    pub(crate) fn value_of<'a>(item: &'a Item, column: &str) -> Option<&'a str> {
        match column {
            "speaker" => item.speaker.as_deref(),
            "class" => item.class.as_deref(),
            other => item.columns.get(other).map(String::as_str),
        }
    }

    /// The columns that items have values in, each with its values and their items.
    pub(crate) fn groupings(&self) -> BTreeMap<&str, BTreeMap<&str, Vec<&Item>>> {
        let mut groupings: BTreeMap<&str, BTreeMap<&str, Vec<&Item>>> = BTreeMap::new();
        for item in &self.corpus.items {
            let columns = ["speaker", "class"].into_iter().chain(item.columns.keys().map(String::as_str));
            for column in columns {
                if let Some(value) = HeldCorpus::value_of(item, column) {
                    groupings.entry(column).or_default().entry(value).or_default().push(item);
                }
            }
        }
        groupings
    }
}

/// The corpora held.
#[derive(Debug, Default)]
pub(crate) struct Corpora {
    held: Vec<Arc<HeldCorpus>>,
    names: BTreeMap<String, String>,
}

impl Corpora {
    /// Holds a corpus unless an equal one is held; answers the one that is.
    pub(crate) fn hold(&mut self, corpus: HeldCorpus, name: Option<&str>) -> Arc<HeldCorpus> {
        let held = self.held.iter().find(|held| held.id == corpus.id).cloned();
        let held = held.unwrap_or_else(|| {
            let corpus = Arc::new(corpus);
            self.held.push(corpus.clone());
            corpus
        });
        if let Some(name) = name {
            self.names.insert(name.to_owned(), held.id.clone());
        }
        held
    }

    /// The corpus of an id or name.
    pub(crate) fn get(&self, asked: &str) -> Result<Arc<HeldCorpus>, ErrorObject> {
        let id = self.names.get(asked).map_or(asked, String::as_str);
        self.held.iter().find(|corpus| corpus.id == id || corpus.path == asked).cloned().ok_or_else(|| {
            let known = self.names.keys().map(String::as_str).chain(self.held.iter().map(|corpus| corpus.id.as_str()));
            ErrorObject::new(ErrorKind::NotFound, format!("no corpus `{asked}` is loaded"))
                .field("corpus")
                .value(asked)
                .expected("an id or name that `corpus.load` gave")
                .hint("load it first: corpus.load path=FOLDER")
                .nearest(nearest(asked, known))
        })
    }

    /// A name that it answers to.
    pub(crate) fn name_of(&self, id: &str) -> Option<String> {
        self.names.iter().find(|(_, of)| *of == id).map(|(name, _)| name.clone())
    }

    /// All corpora, in the order in which they came.
    pub(crate) fn all(&self) -> &[Arc<HeldCorpus>] {
        &self.held
    }
}
