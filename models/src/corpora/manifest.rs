//! A manifest: a table (CSV or TSV with a head, or JSON, one object a line) with a line for each file. Common Voice's
//! tables are such, with files in `clips/`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Corpus, CorpusError, CorpusFiles, Damaged, Item, Layout, kind_of};

const PATH: &[&str] = &["path", "file", "filename", "audio", "audio_filepath", "image", "wav"];
const TRANSCRIPT: &[&str] = &["transcript", "text", "sentence", "transcription"];
const CLASS: &[&str] = &["class", "label", "category"];
const SPEAKER: &[&str] = &["speaker", "speaker_id", "client_id"];

/// The manifest at the top of a folder, where there is just one or one of the usual name.
pub(super) fn only_one(listed: &[String]) -> Option<&str> {
    const USUAL: [&str; 4] = ["manifest", "corpus", "validated", "train"];
    let is_manifest = |path: &&str| !path.contains('/') && format_of(path).is_some();
    let found: Vec<&str> = listed.iter().map(String::as_str).filter(is_manifest).collect();
    let of_name = |name: &str| found.iter().find(|path| super::stem(path) == name).copied();
    if let [only] = found[..] { Some(only) } else { USUAL.into_iter().find_map(of_name) }
}

#[derive(Clone, Copy)]
enum Format {
    Separated(u8),
    JsonLines,
}

fn format_of(path: &str) -> Option<Format> {
    match path.rsplit_once('.')?.1 {
        "csv" => Some(Format::Separated(b',')),
        "tsv" => Some(Format::Separated(b'\t')),
        "jsonl" | "ndjson" => Some(Format::JsonLines),
        _ => None,
    }
}

type Row = BTreeMap<String, String>;

pub(super) fn read(files: &dyn CorpusFiles, listed: &[String], manifest: &str) -> Result<Corpus, CorpusError> {
    let wrong = |reason: String| CorpusError::Manifest { file: manifest.to_owned(), reason };
    let format = format_of(manifest).ok_or_else(|| wrong("a manifest ends in .csv, .tsv or .jsonl".to_owned()))?;
    let bytes = files.read(manifest).map_err(|error| wrong(error.to_string()))?;
    let rows = match format {
        Format::Separated(delimiter) => separated(&bytes, delimiter),
        Format::JsonLines => json_lines(&bytes),
    };
    let rows = rows.map_err(wrong)?;
    let known: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    let (mut items, mut damaged, mut ids) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (nth, row) in rows.into_iter().enumerate() {
        match item(row, &known) {
            Ok(item) if ids.insert(item.id.clone()) => items.push(item),
            Ok(item) => {
                damaged.push(Damaged { path: item.path, reason: format!("row {} names it again", nth + 1) });
            }
            Err(of_row) if of_row.path.is_empty() => {
                let columns = PATH.join("`, `");
                return Err(wrong(format!("row {} has no file; one of the columns `{columns}` is needed", nth + 1)));
            }
            Err(of_row) => damaged.push(of_row),
        }
    }
    if items.is_empty() && damaged.is_empty() {
        return Err(wrong("it has no rows".to_owned()));
    }
    Ok(Corpus { layout: Layout::Manifest, items, damaged })
}

fn item(mut row: Row, known: &BTreeSet<&str>) -> Result<Item, Damaged> {
    let mut take = |names: &[&str]| {
        let name = names.iter().find(|name| row.get(**name).is_some_and(|value| !value.is_empty()))?;
        row.remove(*name)
    };
    let asked = take(PATH).unwrap_or_default();
    let (transcript, class, speaker) = (take(TRANSCRIPT), take(CLASS), take(SPEAKER));
    let damaged = |reason: &str| Damaged { path: asked.clone(), reason: reason.to_owned() };
    let in_clips = format!("clips/{asked}");
    // What lies outside the folder is named by an absolute path, and shows when it is opened.
    let path = match &asked {
        path if known.contains(path.as_str()) || path.starts_with('/') => asked.clone(),
        _ if known.contains(in_clips.as_str()) => in_clips,
        _ => return Err(damaged("the manifest names it but it is not there")),
    };
    let kind = kind_of(&path).ok_or_else(|| damaged("it is neither a sound nor an image by its name"))?;
    row.retain(|_, value| !value.is_empty());
    let id = super::stem(&asked).to_owned();
    Ok(Item { id, path, kind, transcript, class, speaker, columns: row, phones_path: None, duration: None })
}

fn separated(bytes: &[u8], delimiter: u8) -> Result<Vec<Row>, String> {
    // In tables with tabs a quotation mark is a letter like others, as Common Voice has it.
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).quoting(delimiter == b',').flexible(false).from_reader(bytes);
    let head = reader.headers().map_err(|error| error.to_string())?.clone();
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.map_err(|error| error.to_string())?;
        Ok(head.iter().map(str::to_owned).zip(record.iter().map(str::to_owned)).collect())
    };
    reader.records().map(row).collect()
}

fn json_lines(bytes: &[u8]) -> Result<Vec<Row>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text in UTF-8".to_owned())?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let row = |(nth, line): (usize, &str)| {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", nth + 1))?;
        let written = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        };
        Ok(object.into_iter().map(|(name, value)| (name, written(value))).collect())
    };
    lines.map(row).collect()
}
