//! A folder's files, for reading corpora.

use std::io;
use std::path::{Path, PathBuf};

use models::corpora::CorpusFiles;

/// A folder.
#[derive(Clone, Debug)]
pub struct Folder {
    pub root: PathBuf,
}

impl CorpusFiles for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        collect(&self.root, "", &mut found)?;
        found.sort_unstable();
        Ok(found)
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.root.join(path))
    }
}

/// Hidden files belong to other programs, and a name that is no text cannot be written down.
fn collect(folder: &Path, prefix: &str, found: &mut Vec<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}
