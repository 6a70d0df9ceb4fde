//! LibriSpeech's folders (Panayotov et al. 2015): `SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt` with a line
//! `SPEAKER-CHAPTER-NUMBER WORDS` for each sound beside it; phones with times may lie there too.

use std::collections::{BTreeMap, BTreeSet};

use super::{Corpus, CorpusFiles, Damaged, Item, ItemKind, Layout, kind_of, stem};

/// How a file of transcripts is called.
pub(super) const TRANSCRIPTS: &str = ".trans.txt";

const PHONES: &str = ".phones.tsv";

pub(super) fn read(files: &dyn CorpusFiles, listed: &[String]) -> Corpus {
    let mut sounds: BTreeMap<&str, &str> = BTreeMap::new();
    let is_sound = |path: &&String| kind_of(path) == Some(ItemKind::Sound);
    sounds.extend(listed.iter().filter(is_sound).map(|path| (stem(path), path.as_str())));
    let phones: BTreeSet<&str> = listed.iter().filter_map(|path| path.strip_suffix(PHONES)).collect();
    let (mut items, mut damaged) = (Vec::new(), Vec::new());
    for path in listed.iter().filter(|path| path.ends_with(TRANSCRIPTS)) {
        let text = files.read(path).map_err(|error| error.to_string());
        let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is no text in UTF-8".to_owned()));
        let text = match text {
            Ok(text) => text,
            Err(reason) => {
                damaged.push(Damaged { path: path.clone(), reason });
                continue;
            }
        };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (id, transcript) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
            let place = if folder.is_empty() { id.to_owned() } else { format!("{folder}/{id}") };
            match sounds.remove(place.as_str()) {
                Some(sound) => items.push(item(id, sound, folder, transcript, phones.contains(place.as_str()))),
                None => damaged.push(Damaged {
                    path: place,
                    reason: format!("`{path}` has its transcript but no sound lies beside it"),
                }),
            }
        }
    }
    let left =
        sounds.into_values().map(|path| Damaged { path: path.to_owned(), reason: "it has no transcript".to_owned() });
    damaged.extend(left);
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Corpus { layout: Layout::LibriSpeech, items, damaged }
}

fn item(id: &str, sound: &str, folder: &str, transcript: &str, has_phones: bool) -> Item {
    let mut names = folder.rsplit('/').filter(|name| !name.is_empty());
    let (chapter, speaker) = (names.next(), names.next());
    let parts: Vec<&str> = names.collect();
    let part = parts.into_iter().rev().collect::<Vec<_>>().join("/");
    let columns = [("chapter", chapter.unwrap_or_default()), ("part", part.as_str())];
    let of_sound = stem(sound);
    Item {
        id: id.to_owned(),
        path: sound.to_owned(),
        kind: ItemKind::Sound,
        transcript: Some(transcript.trim().to_owned()),
        class: None,
        speaker: speaker.or_else(|| id.split('-').next()).map(str::to_owned),
        columns: columns
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        phones_path: has_phones.then(|| format!("{of_sound}{PHONES}")),
        duration: None,
    }
}
