//! The commands, a file each: arguments in, files and lines out.

pub(crate) mod digits;
pub(crate) mod phoneme_error;
pub(crate) mod phonemes;
pub(crate) mod prior;
pub(crate) mod speech;
pub(crate) mod speech_error;

use std::path::{Path, PathBuf};

use anyhow::Context;
use models::loaders::{Weights, safetensors};
use models::{Graph, zoo};

/// A network of the zoo with the weights of a file.
fn trained(path: &Path, entry: &zoo::Entry) -> anyhow::Result<Graph> {
    let refuse = || format!("`{}` are no weights of `{}`", path.display(), entry.name);
    let bytes = std::fs::read(path).with_context(|| format!("`{}`", path.display()))?;
    let checkpoint = safetensors::load(&bytes).with_context(refuse)?;
    zoo::build(entry, Weights::from_checkpoint(checkpoint)).with_context(refuse)
}

/// `${XDG_CACHE_HOME:-~/.cache}/introspect`, where fetched files lie.
fn cache_folder() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let set = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
    set.map_or_else(home, PathBuf::from).join("introspect")
}
