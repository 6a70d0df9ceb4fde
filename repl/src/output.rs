//! Where results go: as text or JSON to standard output, as pictures to the terminal, or to a file.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use client_protocol::{Picture, PictureFormat, Tensor, TensorData};
use serde_json::Value;
use thiserror::Error;

use crate::npy::npy;
use crate::print;
use crate::query_language::QueryError;

/// How results are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// The raw result, one on a line.
    pub(crate) json: bool,
    /// Whether pictures are wanted, where they can be shown.
    pub(crate) pictures: bool,
    /// Whether nothing is said beside results.
    pub(crate) quiet: bool,
}

/// What a result is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Its picture in pixels.
    Png,
    /// Its picture in lines.
    Svg,
    /// Its tensor for NumPy.
    Npy,
    /// What it sounds like.
    Wav,
    /// All of it.
    Json,
}

impl FileKind {
    /// What a file is, by its ending.
    pub(crate) fn of(path: &Path) -> Result<Self, QueryError> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        match ending.as_str() {
            "png" => Ok(FileKind::Png),
            "svg" => Ok(FileKind::Svg),
            "npy" => Ok(FileKind::Npy),
            "wav" => Ok(FileKind::Wav),
            "json" => Ok(FileKind::Json),
            _ => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let message = format!("`{name}` does not say by its ending what to write");
                Err(QueryError::new(message).hint("`> FILE` takes .png, .svg, .npy, .wav and .json"))
            }
        }
    }
}

/// A result that could not be written.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
    /// The file system's fault.
    #[error("could not write {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// The result has nothing of that kind.
    #[error("the result has no {what} to write to {path}")]
    Missing { what: &'static str, path: PathBuf },
    /// The result's array cannot be read.
    #[error("the result's array cannot be read: {0}")]
    Unreadable(String),
}

impl WriteError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            WriteError::Missing { .. } => Some("`> FILE.json` writes all of any result".to_owned()),
            _ => None,
        }
    }
}

impl Output {
    /// Whether pictures are shown: standard output is a terminal, and nothing speaks against it.
    pub(crate) fn shows_pictures(&self) -> bool {
        self.pictures && !self.json && io::stdout().is_terminal()
    }

    /// Whether a running query shows that it runs.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet
    }

    /// A line for people, which is no result.
    pub(crate) fn say(&self, text: &str) {
        to_stdout(text);
    }

    /// Shows a result.
    pub(crate) fn print(&self, method: &str, result: &Value) {
        if self.json {
            return to_stdout(&result.to_string());
        }
        if self.shows_pictures()
            && let Ok(picture) = serde_json::from_value::<Picture>(result["picture"].clone())
            && let Err(why) = print::show(&picture)
        {
            eprintln!("introspect: {why}");
        }
        to_stdout(&print::render(method, result));
    }

    /// Writes a result to a file.
    pub(crate) fn write(&self, result: &Value, path: &Path, kind: FileKind) -> Result<(), WriteError> {
        let bytes = match kind {
            FileKind::Json => {
                serde_json::to_vec_pretty(result).map_err(|error| WriteError::Unreadable(error.to_string()))?
            }
            FileKind::Npy => array(result, path)?,
            FileKind::Png => picture(result, path, PictureFormat::Png)?,
            FileKind::Svg => picture(result, path, PictureFormat::Svg)?,
            FileKind::Wav => sound(result, path)?,
        };
        std::fs::write(path, &bytes).map_err(|source| WriteError::Io { path: path.to_owned(), source })?;
        if !self.quiet {
            eprintln!("introspect: wrote {} ({})", path.display(), print::bytes(bytes.len() as u64));
        }
        Ok(())
    }
}

fn array(result: &Value, path: &Path) -> Result<Vec<u8>, WriteError> {
    let missing = || WriteError::Missing { what: "array", path: path.to_owned() };
    let tensor: Tensor = serde_json::from_value(result["tensor"].clone()).map_err(|_| missing())?;
    match &tensor.data {
        TensorData::Text(written) if written.ends_with(".npy") => {
            std::fs::read(written).map_err(|source| WriteError::Io { path: PathBuf::from(written), source })
        }
        _ => Ok(npy(&tensor.shape, &tensor.numbers().map_err(WriteError::Unreadable)?)),
    }
}

fn picture(result: &Value, path: &Path, format: PictureFormat) -> Result<Vec<u8>, WriteError> {
    let missing = || WriteError::Missing { what: "picture", path: path.to_owned() };
    let picture: Picture = serde_json::from_value(result["picture"].clone()).map_err(|_| missing())?;
    if picture.format != format {
        return Err(missing());
    }
    match format {
        PictureFormat::Svg => Ok(picture.data.into_bytes()),
        PictureFormat::Png => {
            BASE64.decode(&picture.data).map_err(|error| WriteError::Unreadable(format!("it is no base64: {error}")))
        }
    }
}

/// A sound; the first of several.
fn sound(result: &Value, path: &Path) -> Result<Vec<u8>, WriteError> {
    let first = result["wav"].as_array().and_then(|sounds| sounds.first()).unwrap_or(&result["wav"]);
    let text = first.as_str().ok_or_else(|| WriteError::Missing { what: "sound", path: path.to_owned() })?;
    BASE64.decode(text).map_err(|error| WriteError::Unreadable(format!("it is no base64: {error}")))
}

/// Prints a line. A reader that went away, as `head` does, ends us quietly.
pub(crate) fn to_stdout(text: &str) {
    if writeln!(io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}
