//! What completion knows of the world: files, and the names that the daemon told.

use std::path::{Path, PathBuf};

use crate::query_language::absolute;

/// Where completion looks names up; asked only when such a name is being typed.
pub(crate) trait Facts {
    /// The layers of the model that is set.
    fn layers(&self) -> Vec<String>;
    /// The class names of the model that is set, each alone.
    fn classes(&self) -> Vec<String>;
    /// The models that can be loaded by name.
    fn models(&self) -> Vec<String>;
    /// The folder that relative paths start at.
    fn folder(&self) -> PathBuf;
}

/// The paths that start with what is typed, folders with a slash behind.
pub(crate) fn files(typed: &str, folder: &Path) -> Vec<String> {
    let (before, start) = match typed.rfind('/') {
        Some(slash) => typed.split_at(slash + 1),
        None => ("", typed),
    };
    let Ok(entries) = std::fs::read_dir(absolute(before, folder)) else { return Vec::new() };
    let mut files: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_hidden = name.starts_with('.') && !start.starts_with('.');
            let slash = if entry.path().is_dir() { "/" } else { "" };
            (name.starts_with(start) && !is_hidden).then(|| format!("{before}{name}{slash}"))
        })
        .collect();
    files.sort();
    files
}
