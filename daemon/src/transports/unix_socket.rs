//! The place of the Unix socket: a folder of the user's own, a lock so that one daemon has it, the socket itself.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::net::UnixListener;

/// Where the socket is unless `--socket` says otherwise.
pub(crate) fn default_socket() -> PathBuf {
    let folder = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder).join("introspect"),
        _ => std::env::temp_dir().join(format!("introspect-{}", rustix::process::getuid().as_raw())),
    };
    folder.join("introspectd.sock")
}

/// A socket that is ours as long as this lives.
#[derive(Debug)]
pub(crate) struct OwnedSocket {
    path: PathBuf,
    _lock: File,
}

impl Drop for OwnedSocket {
    fn drop(&mut self) {
        // The lock stays until after, so that no other daemon's socket is taken away.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes the place and listens there; a daemon that has it already is named.
pub(crate) fn take_socket(path: &Path) -> anyhow::Result<(UnixListener, OwnedSocket)> {
    let folder = path.parent().context("the socket's path has no folder")?;
    make_private_folder(folder)?;
    let lock_path = path.with_extension("lock");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .with_context(|| format!("cannot open `{}`", lock_path.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            bail!(
                "a daemon already answers on `{}` (process {}); stop it first, or choose another --socket",
                path.display(),
                pid.trim()
            );
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock `{}`", lock_path.display()));
        }
    }
    std::fs::write(&lock_path, format!("{}\n", std::process::id()))
        .with_context(|| format!("cannot write `{}`", lock_path.display()))?;
    // Whoever left a socket here is gone, or the lock would be held.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace `{}`", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on `{}`", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok((listener, OwnedSocket { path: path.to_path_buf(), _lock: lock }))
}

/// A folder that only its owner, who must be us, can enter.
fn make_private_folder(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let metadata = std::fs::symlink_metadata(folder)?;
    let own = rustix::process::getuid().as_raw();
    if !metadata.is_dir() || metadata.uid() != own {
        bail!("`{}` belongs to another user or is no folder; remove it, or choose another --socket", folder.display());
    }
    if metadata.mode() & 0o022 != 0 {
        bail!("others can write in `{}`; make it private (chmod 700), or choose another --socket", folder.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    #[tokio::test]
    async fn a_second_daemon_is_told_of_the_first_and_a_stale_socket_is_replaced() {
        let folder = private();
        let path = folder.path().join("d.sock");
        let first = take_socket(&path).unwrap();
        let error = take_socket(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(!path.exists());
        std::fs::write(&path, "left behind").unwrap();
        take_socket(&path).unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_others_can_write_is_refused() {
        let folder = private();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = take_socket(&folder.path().join("d.sock")).unwrap_err().to_string();
        assert!(error.contains("others can write"), "{error}");
    }
}
