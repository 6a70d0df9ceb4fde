//! `corpus.*`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client_protocol::corpus::{
    Corpora, CorpusDescribeParams, CorpusGroups, CorpusLoadParams, DamagedFile, DescribedCorpus, Group, Item,
    LoadedCorpus,
};
use client_protocol::{ErrorKind, ErrorObject, NoParams, nearest};
use models::corpora::{self, CorpusError, ItemKind, Layout};

use crate::errors;
use crate::folder::Folder;
use crate::held_corpus::HeldCorpus;
use crate::interrupt::Token;
use crate::state::State;

/// The most damaged files that an answer names.
const MOST_DAMAGED: usize = 20;

pub(crate) fn load(state: &Arc<State>, params: CorpusLoadParams, token: &Token) -> Result<LoadedCorpus, ErrorObject> {
    let (root, manifest) = place(&params.path)?;
    let folder = Folder { root, longest_file: state.config.limits.file_bytes, token };
    let corpus = corpora::read(&folder, manifest.as_deref());
    // A request that was given up reads no more files, which is no fault of theirs.
    models::Interrupt::check(token).map_err(errors::of_interrupted)?;
    let corpus = corpus.map_err(|error| of_corpus(&error, &params.path))?;
    let held = HeldCorpus::new(folder.root, params.path.clone(), corpus);
    let held = state.corpora().hold(held, params.name.as_deref());
    tracing::info!(corpus = held.id, path = params.path, items = held.corpus.items.len(), "loaded a corpus");
    Ok(loaded(state, &held))
}

/// The folder of a corpus, and its manifest where that is what was named.
fn place(path: &str) -> Result<(PathBuf, Option<String>), ErrorObject> {
    let asked = Path::new(path);
    if !asked.is_absolute() {
        let message = format!("`{path}` is no absolute path");
        return Err(ErrorObject::invalid("path", message).value(path).expected("an absolute path"));
    }
    let metadata = std::fs::metadata(asked).map_err(|error| errors::of_io(&error, "path", path))?;
    if metadata.is_dir() {
        return Ok((asked.to_owned(), None));
    }
    let name = asked.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok((asked.parent().unwrap_or(Path::new("/")).to_owned(), name))
}

fn of_corpus(error: &CorpusError, path: &str) -> ErrorObject {
    let kind = match error {
        CorpusError::NoCorpus { .. } | CorpusError::Unreadable(_) => ErrorKind::NotFound,
        CorpusError::Manifest { .. } | CorpusError::AllDamaged { .. } => ErrorKind::CorruptFile,
    };
    ErrorObject::new(kind, format!("`{path}`: {error}"))
        .field("path")
        .value(path)
        .expected("a folder as LibriSpeech has it, a manifest, or folders named by class")
}

fn loaded(state: &State, held: &HeldCorpus) -> LoadedCorpus {
    let corpus = &held.corpus;
    let of_kind = |kind: ItemKind| corpus.items.iter().filter(move |item| item.kind == kind).count();
    let groupings = held.groupings();
    LoadedCorpus {
        corpus: held.id.clone(),
        name: state.corpora().name_of(&held.id),
        path: held.path.clone(),
        layout: match corpus.layout {
            Layout::LibriSpeech => "libri_speech",
            Layout::Manifest => "manifest",
            Layout::ClassFolders => "class_folders",
        }
        .to_owned(),
        utterances: of_kind(ItemKind::Sound),
        images: of_kind(ItemKind::Image),
        hours: hours(&corpus.items.iter().collect::<Vec<_>>()),
        transcripts: corpus.items.iter().filter(|item| item.transcript.is_some()).count(),
        phones: corpus.items.iter().filter(|item| item.phones_path.is_some()).count(),
        groups: groupings
            .iter()
            .map(|(by, groups)| CorpusGroups { by: (*by).to_owned(), groups: groups.len() })
            .collect(),
        damaged: corpus.damaged.len(),
        damaged_files: corpus
            .damaged
            .iter()
            .take(MOST_DAMAGED)
            .map(|damaged| DamagedFile { path: damaged.path.clone(), reason: damaged.reason.clone() })
            .collect(),
    }
}

/// Of all sounds together; nothing where there is none.
fn hours(items: &[&corpora::Item]) -> Option<f64> {
    let durations: Vec<f64> = items.iter().filter_map(|item| item.duration).collect();
    (!durations.is_empty()).then(|| durations.iter().sum::<f64>() / 3600.0)
}

pub(crate) fn list(state: &Arc<State>, _: NoParams, _: &Token) -> Result<Corpora, ErrorObject> {
    let held = state.corpora().all().to_vec();
    Ok(Corpora { corpora: held.iter().map(|corpus| loaded(state, corpus)).collect() })
}

pub(crate) fn describe(
    state: &Arc<State>,
    params: CorpusDescribeParams,
    _: &Token,
) -> Result<DescribedCorpus, ErrorObject> {
    let held = state.corpora().get(&params.corpus)?;
    let items = &held.corpus.items;
    let durations: Vec<f64> = items.iter().filter_map(|item| item.duration).collect();
    let characters: BTreeSet<char> =
        items.iter().filter_map(|item| item.transcript.as_deref()).flat_map(str::chars).collect();
    let group_list = params.group_by.as_deref().map(|by| groups(&held, by)).transpose()?;
    Ok(DescribedCorpus {
        corpus: loaded(state, &held),
        durations: (!durations.is_empty()).then(|| {
            let shortest = durations.iter().copied().fold(f64::INFINITY, f64::min);
            let longest = durations.iter().copied().fold(0.0, f64::max);
            [shortest, durations.iter().sum::<f64>() / durations.len() as f64, longest]
        }),
        characters: characters.into_iter().collect(),
        group_list: group_list.unwrap_or_default(),
        items: items.iter().skip(params.offset).take(params.items).map(|item| described(&held, item)).collect(),
    })
}

fn groups(held: &HeldCorpus, by: &str) -> Result<Vec<Group>, ErrorObject> {
    let groupings = held.groupings();
    let groups = groupings.get(by).ok_or_else(|| {
        let columns: Vec<&str> = groupings.keys().copied().collect();
        let message = format!("this corpus has no `{by}` to group by; it has {}", columns.join(", "));
        ErrorObject::new(ErrorKind::NotFound, message)
            .field("group_by")
            .value(by)
            .expected(columns.join(", "))
            .nearest(nearest(by, columns.iter().copied()))
    })?;
    let group = |(name, items): (&&str, &Vec<&corpora::Item>)| Group {
        name: (*name).to_owned(),
        items: items.len(),
        hours: hours(items),
    };
    Ok(groups.iter().map(group).collect())
}

fn described(held: &HeldCorpus, item: &corpora::Item) -> Item {
    Item {
        id: item.id.clone(),
        path: held.path_of(item),
        duration: item.duration,
        transcript: item.transcript.clone(),
        class: item.class.clone(),
        speaker: item.speaker.clone(),
        columns: item.columns.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect(),
    }
}
