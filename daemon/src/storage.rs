//! Writing files of our own: whole or not at all.

use std::path::Path;

use client_protocol::{ErrorKind, ErrorObject};

/// Writes under a temporary name and renames, so that no one ever sees half a file. It is not synced: nobody asks for an
/// answer after a crash.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let written = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // What a full disk left behind would only fill it further.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// An error of writing, as the protocol has it.
pub(crate) fn of_write(error: &std::io::Error, path: &Path) -> ErrorObject {
    let path = path.display().to_string();
    let hint = match error.kind() {
        std::io::ErrorKind::StorageFull => "the disk is full; free some room and ask again",
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            "the folder must be writable by the daemon's user"
        }
        _ => "see the message for what the system said",
    };
    ErrorObject::new(ErrorKind::Storage, format!("cannot write `{path}`: {error}")).field("path").value(path).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_whole_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/answer.npy");
        write_whole(&path, b"numbers").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"numbers");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_full_disk_is_an_error_that_says_so_and_leaves_nothing() {
        // Writing to this device always fails with ENOSPC; elsewhere than on Linux there is none.
        if !Path::new("/dev/full").exists() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answer.npy");
        let temporary = folder.path().join(format!(".answer.npy.{}", std::process::id()));
        std::os::unix::fs::symlink("/dev/full", temporary).unwrap();
        let answer = of_write(&write_whole(&path, b"numbers").unwrap_err(), &path);
        assert_eq!(answer.kind(), Some(ErrorKind::Storage));
        assert_eq!(answer.data.unwrap().hint.unwrap(), "the disk is full; free some room and ask again");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
