//! What can go wrong while training.

use std::path::{Path, PathBuf};

/// Why training cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// The network refused.
    #[error(transparent)]
    Model(#[from] models::ModelError),
    /// Weights could not be read.
    #[error("`{}`: {error}", path.display())]
    Weights { path: PathBuf, error: models::loaders::LoadError },
    /// The weights of a new network could not be drawn.
    #[error(transparent)]
    Architecture(#[from] models::loaders::LoadError),
    /// A file could not be read or written.
    #[error("`{}`: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
    /// What a file holds is not what was expected.
    #[error("`{}`: {reason}", path.display())]
    Content { path: PathBuf, reason: String },
    /// The loss became infinite or no number.
    #[error(
        "the loss is {loss} at step {step}; the last checkpoint is whole, so continue from it with a lower learning rate"
    )]
    Diverged { step: usize, loss: f64 },
    /// Nothing to learn from.
    #[error("{0}")]
    Corpus(String),
    /// A target for which there is no path.
    #[error(transparent)]
    NoPath(#[from] crate::losses::NoPath),
}

impl TrainingError {
    /// An error of a file.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> TrainingError {
        let path = path.to_owned();
        move |error| TrainingError::File { path, error }
    }

    /// An error of what a file holds.
    pub fn content(path: &Path, reason: impl Into<String>) -> TrainingError {
        TrainingError::Content { path: path.to_owned(), reason: reason.into() }
    }
}

impl From<candle_core::Error> for TrainingError {
    fn from(error: candle_core::Error) -> Self {
        TrainingError::Model(error.into())
    }
}

/// Shorthand for this crate.
pub type Result<T, E = TrainingError> = std::result::Result<T, E>;
