//! Why a question about a network cannot be answered.

use models::{Interrupted, ModelError};

/// Errors name what was asked and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum IntrospectionError {
    /// A class, frame, channel or position that is not there.
    #[error("{what} {asked} is out of range; {expected}")]
    OutOfRange { what: &'static str, asked: String, expected: String },
    /// The layer where the map would be read does not lie below what is explained.
    #[error(
        "nothing that `{layer}` computes reaches `{target}`; the map would be read where the target does not depend on it"
    )]
    Unreached { layer: String, target: String },
    /// An ascent left the finite numbers before it had any picture.
    #[error("{0} at step 1, so that there is no picture yet")]
    NoPicture(String),
    /// The question does not fit this network.
    #[error("{0}")]
    Unfit(String),
    /// A node refused.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<Interrupted> for IntrospectionError {
    fn from(interrupted: Interrupted) -> Self {
        IntrospectionError::Model(interrupted.into())
    }
}

/// Shorthand for this crate.
pub type Result<T, E = IntrospectionError> = std::result::Result<T, E>;
