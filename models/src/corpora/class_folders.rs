//! Folders named by class, with images or sounds in them, as many image sets lie.

use super::{Corpus, Item, Layout, kind_of, stem};

/// The corpus, unless no folder holds an image or a sound.
pub(super) fn read(listed: &[String]) -> Option<Corpus> {
    let item = |path: &String| {
        let kind = kind_of(path)?;
        let (folder, _) = path.rsplit_once('/')?;
        // The innermost folder is the class; what lies above it is a part, such as train and test.
        let (part, class) = folder.rsplit_once('/').unwrap_or(("", folder));
        let part = (!part.is_empty()).then(|| ("part".to_owned(), part.to_owned()));
        Some(Item {
            id: stem(path).to_owned(),
            path: path.clone(),
            kind,
            transcript: None,
            class: Some(class.to_owned()),
            speaker: None,
            columns: part.into_iter().collect(),
            phones_path: None,
            duration: None,
        })
    };
    let items: Vec<Item> = listed.iter().filter_map(item).collect();
    (!items.is_empty()).then_some(Corpus { layout: Layout::ClassFolders, items, damaged: vec![] })
}
