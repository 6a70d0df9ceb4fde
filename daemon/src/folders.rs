//! Where things are: lasting state, fetched weights, the token.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A base directory of the XDG specification, with ours in it.
fn xdg(variable: &str, fallback: &str) -> PathBuf {
    let base = std::env::var_os(variable).filter(|base| !base.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    base.unwrap_or_else(|| home().join(fallback)).join("introspect")
}

/// Where lasting state is unless `--data-dir` says otherwise.
pub(crate) fn default_data_dir() -> PathBuf {
    xdg("XDG_DATA_HOME", ".local/share")
}

/// Where fetched weights, labels and photos are.
pub(crate) fn cache_dir() -> PathBuf {
    xdg("XDG_CACHE_HOME", ".cache")
}

/// Makes the data folder and sees that it can be written.
pub(crate) fn make_data_dir(folder: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| {
        format!("cannot make the data folder `{}`; choose another with --data-dir", folder.display())
    })?;
    let probe = folder.join(".writable");
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).with_context(|| {
        format!("the data folder `{}` cannot be written; choose another with --data-dir", folder.display())
    })
}

/// The token of the data folder, made from the system's randomness at first use.
pub(crate) fn token(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join("token");
    if let Ok(token) = std::fs::read_to_string(&path)
        && token.trim().len() >= 32
    {
        return Ok(token.trim().to_owned());
    }
    let mut random = [0u8; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .context("the system has no randomness")?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    // Created with its mode, so that there is no moment in which others could read it.
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot write the token to `{}`", path.display()))?;
    writeln!(file, "{token}")?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_token_is_made_once_and_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = token(folder.path()).unwrap();
        assert_eq!((first.len(), token(folder.path()).unwrap()), (64, first));
        let mode = std::fs::metadata(folder.path().join("token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_data_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = format!("{:#}", make_data_dir(&file.join("data")).unwrap_err());
        assert!(error.contains("cannot make the data folder") && error.contains("--data-dir"), "{error}");
    }
}
