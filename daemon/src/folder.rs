//! A folder's files, for whoever reads corpora.

use std::io;
use std::path::{Path, PathBuf};

use models::Interrupt;
use models::corpora::CorpusFiles;

use crate::interrupt::Token;

/// A folder; reading ends where the request is not wanted any more.
#[derive(Debug)]
pub(crate) struct Folder<'a> {
    pub(crate) root: PathBuf,
    pub(crate) longest_file: u64,
    pub(crate) token: &'a Token,
}

/// Deeper than any corpus lies; links may lead in circles.
const DEEPEST: usize = 16;

/// More than any corpus that headers are read of has.
const MOST_FILES: usize = 2_000_000;

impl CorpusFiles for Folder<'_> {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        self.collect(&self.root, "", DEEPEST, &mut found)?;
        found.sort_unstable();
        Ok(found)
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.check()?;
        // Joining an absolute path gives that path.
        let path = self.root.join(path);
        let metadata = std::fs::metadata(&path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        if metadata.len() > self.longest_file {
            return Err(io::Error::other(format!("it has more than {} bytes", self.longest_file)));
        }
        std::fs::read(path)
    }
}

impl Folder<'_> {
    fn check(&self) -> io::Result<()> {
        self.token.check().map_err(|_| io::Error::new(io::ErrorKind::Interrupted, "the request was given up"))
    }

    fn collect(&self, folder: &Path, prefix: &str, depth: usize, found: &mut Vec<String>) -> io::Result<()> {
        self.check()?;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            // A name that is no text cannot be asked for over the wire; hidden files belong to other programs.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            let path = format!("{prefix}{name}");
            match std::fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_dir() && depth > 0 => {
                    self.collect(&entry.path(), &format!("{path}/"), depth - 1, found)?;
                }
                Ok(metadata) if metadata.is_file() => found.push(path),
                // A link that leads nowhere.
                _ => {}
            }
            if found.len() > MOST_FILES {
                return Err(io::Error::other(format!("it has more than {MOST_FILES} files")));
            }
        }
        Ok(())
    }
}
