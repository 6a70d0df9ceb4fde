//! Paths as they are typed become absolute, since the daemon does not run in the caller's folder.

use std::path::{Path, PathBuf};

use crate::method_table::{FILE_ENDINGS, PathKind};

/// A path as the daemon takes it: `~` is the home, what is relative starts at `folder`, and `.` is gone.
pub(crate) fn absolute(typed: &str, folder: &Path) -> PathBuf {
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    let path = match typed.strip_prefix('~') {
        Some("") => home().unwrap_or_else(|| PathBuf::from(typed)),
        Some(rest) if rest.starts_with('/') => {
            home().map_or_else(|| PathBuf::from(typed), |home| home.join(&rest[1..]))
        }
        _ => folder.join(typed),
    };
    // `..` stays: behind a symbolic link it is not the folder written before it.
    path.components().collect()
}

/// The text as it is sent: absolute where it is a path.
pub(crate) fn sent(text: &str, kind: PathKind, folder: &Path) -> String {
    let looks_like_one = || {
        let has_ending = FILE_ENDINGS.iter().any(|ending| text.ends_with(ending));
        let starts_as_one = ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start));
        starts_as_one || has_ending || absolute(text, folder).is_file()
    };
    let is_path = match kind {
        PathKind::Always => true,
        PathKind::WhereThere => looks_like_one(),
        PathKind::Never => false,
    };
    if is_path { absolute(text, folder).to_string_lossy().into_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn goes_as(typed: &str, kind: PathKind, expected: &str) {
        assert_eq!(sent(typed, kind, Path::new("/photos")), expected);
    }

    #[test]
    fn paths_become_absolute_and_names_stay() {
        goes_as("cat", PathKind::Always, "/photos/cat");
        goes_as("./cat", PathKind::WhereThere, "/photos/cat");
        goes_as("../cat.png", PathKind::WhereThere, "/photos/../cat.png");
        goes_as("/nets/a.onnx", PathKind::WhereThere, "/nets/a.onnx");
        goes_as("a.onnx", PathKind::WhereThere, "/photos/a.onnx");
        goes_as("resnet18", PathKind::WhereThere, "resnet18");
        goes_as("a.onnx", PathKind::Never, "a.onnx");
    }

    #[test]
    fn a_file_that_is_there_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("weights"), "").unwrap();
        let expected = folder.path().join("weights");
        assert_eq!(sent("weights", PathKind::WhereThere, folder.path()), expected.to_string_lossy());
    }
}
