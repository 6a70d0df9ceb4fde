//! Reading files that a request names: absolute paths, regular files, no larger than allowed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use client_protocol::{ErrorKind, ErrorObject};
use models::loaders::{FileBytes, LoadError, Siblings};

use crate::errors;

/// A file that is mapped into memory.
#[derive(Debug)]
pub(crate) struct MappedFile(Option<memmap2::Mmap>);

impl std::ops::Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl FileBytes for MappedFile {
    fn release(&self, bytes: std::ops::Range<usize>) {
        let Some(map) = &self.0 else { return };
        // SAFETY: the mapping is read-only and private to nobody, so that pages let go are read from the file again.
        let released =
            unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
        if let Err(error) = released {
            tracing::debug!(%error, "cannot let go of a mapped file's pages");
        }
    }
}

/// The file mapped into memory, or why not; for weights, which are copied from there once.
pub(crate) fn map_limited(path: &str, field: &str, limit: u64) -> Result<MappedFile, ErrorObject> {
    check_limited(path, field, limit)?;
    let of_io = |error: std::io::Error| errors::of_io(&error, field, path);
    let file = File::open(path).map_err(of_io)?;
    // A file of no length cannot be mapped.
    if file.metadata().map_err(of_io)?.len() == 0 {
        return Ok(MappedFile(None));
    }
    // SAFETY: the bytes are only read, and checked as they are. Whoever shortens a file of weights in place while it is
    // being read takes the daemon down; files that are replaced, as all tools do it, stay whole for us.
    Ok(MappedFile(Some(unsafe { memmap2::Mmap::map(&file) }.map_err(of_io)?)))
}

/// A hash of a mapped file, by all threads; its pages are let go.
pub(crate) fn hash_of(bytes: &MappedFile) -> String {
    let hash = blake3::Hasher::new().update_rayon(bytes).finalize().to_hex().to_string();
    bytes.release(0..bytes.len());
    hash
}

/// Fails where a path is no regular file, or too large a one; returns its length.
fn check_limited(path: &str, field: &str, limit: u64) -> Result<u64, ErrorObject> {
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
    Ok(metadata.len())
}

/// The whole file, or why not.
pub(crate) fn read_limited(path: &str, field: &str, limit: u64) -> Result<Vec<u8>, ErrorObject> {
    let length = check_limited(path, field, limit)?;
    let of_io = |error: std::io::Error| errors::of_io(&error, field, path);
    let mut bytes = Vec::with_capacity(length as usize);
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
