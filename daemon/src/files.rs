//! Reading files that a request names: absolute paths, regular files, no larger than allowed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use client_protocol::{ErrorKind, ErrorObject};
use models::loaders::{LoadError, Siblings};

use crate::errors;

/// The whole file, or why not.
pub(crate) fn read_limited(path: &str, field: &str, limit: u64) -> Result<Vec<u8>, ErrorObject> {
    if !Path::new(path).is_absolute() {
        let message = format!("`{path}` is no absolute path; the daemon does not know the caller's folder");
        return Err(ErrorObject::invalid(field, message).value(path).expected("an absolute path"));
    }
    let of_io = |error: std::io::Error| errors::of_io(&error, field, path);
    let metadata = std::fs::metadata(path).map_err(of_io)?;
    if !metadata.is_file() {
        let message = format!("`{path}` is no regular file");
        return Err(ErrorObject::invalid(field, message).value(path).expected("a file"));
    }
    if metadata.len() > limit {
        let message = format!("`{path}` has {} bytes, more than the {limit} that are read", metadata.len());
        return Err(ErrorObject::new(ErrorKind::LimitExceeded, message).field(field).value(path));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(of_io)?;
    Ok(bytes)
}

/// The files beside a model, for weights that its format keeps outside; never outside the model's own folder.
#[derive(Debug)]
pub(crate) struct Beside {
    folder: PathBuf,
    limit: u64,
}

impl Beside {
    /// The folder that holds `model`.
    pub(crate) fn of(model: &str, limit: u64) -> Beside {
        Beside { folder: Path::new(model).parent().unwrap_or(Path::new("/")).to_path_buf(), limit }
    }
}

impl Siblings for Beside {
    fn read(&self, name: &str, offset: u64, length: Option<u64>) -> Result<Vec<u8>, LoadError> {
        let unreadable =
            |error: std::io::Error| LoadError::Corrupt { what: name.to_owned(), reason: error.to_string() };
        let folder = self.folder.canonicalize().map_err(unreadable)?;
        let path = folder.join(name).canonicalize().map_err(unreadable)?;
        // After links were followed: a link inside the folder may still lead out of it.
        if !path.starts_with(&folder) {
            return Err(LoadError::Outside { name: name.to_owned() });
        }
        let mut file = File::open(&path).map_err(unreadable)?;
        let held = file.metadata().map_err(unreadable)?.len();
        let wanted = length.unwrap_or_else(|| held.saturating_sub(offset));
        if offset.checked_add(wanted).is_none_or(|end| end > held) || wanted > self.limit {
            let reason = format!(
                "{wanted} bytes from {offset} were asked but the file has {held} (and {} are read at most)",
                self.limit
            );
            return Err(LoadError::Corrupt { what: name.to_owned(), reason });
        }
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(offset)).map_err(unreadable)?;
        let mut bytes = Vec::with_capacity(wanted as usize);
        file.take(wanted).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }
}
