//! What can go wrong between us and the daemon, apart from what the daemon itself answers.

use std::io;
use std::path::PathBuf;

use client_protocol::ErrorObject;
use thiserror::Error;

/// No answer, or one that is an error.
#[derive(Debug, Error)]
pub(crate) enum ConnectionError {
    /// Nothing listens there.
    #[error("no daemon answers at {address}: {source}")]
    Unreachable { address: String, source: io::Error },
    /// It went away in the middle.
    #[error("the daemon at {address} closed the connection before it had answered: {reason}")]
    Lost { address: String, reason: String },
    /// What came is no HTTP or no JSON-RPC.
    #[error("what answers at {address} is no Introspect daemon: {reason}")]
    NotOurs { address: String, reason: String },
    /// HTTP refused the request.
    #[error("the daemon at {address} refused the request: HTTP {status} {reason}")]
    Refused { address: String, status: u16, reason: String },
    /// It listens and says nothing, not even what it is.
    #[error("the daemon at {address} took the request {method} and did not answer within {seconds} s")]
    Silent { address: String, method: String, seconds: u64 },
    /// Ctrl-C.
    #[error("interrupted; the query was cancelled")]
    Interrupted,
    /// The daemon's own error.
    #[error("{}", .0.message)]
    Answered(Box<ErrorObject>),
    /// An address that cannot be used.
    #[error("{0}")]
    Address(String),
    /// A folder for the socket that others could write to.
    #[error("the folder {folder} for the daemon's socket {fault}")]
    UnsafeFolder { folder: PathBuf, fault: String },
    /// The daemon could not be started.
    #[error("could not start the daemon: {0}")]
    Start(String),
}

impl ConnectionError {
    /// What to do about it, where that is known.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            ConnectionError::Unreachable { .. } => Some(
                "start one with `introspectd`, or leave out --no-start and --connect; `introspect doctor` says more"
                    .to_owned(),
            ),
            ConnectionError::Refused { status: 401 | 403, .. } => {
                Some("give the daemon's token with --token or INTROSPECT_TOKEN".to_owned())
            }
            ConnectionError::Lost { .. } => {
                Some("`introspect doctor` says where its log is; the next query starts it anew".to_owned())
            }
            ConnectionError::Silent { .. } => {
                Some("end that process and ask again; `introspect doctor` says where its log is".to_owned())
            }
            ConnectionError::Start(_) => Some("`introspect doctor` says what is where".to_owned()),
            ConnectionError::UnsafeFolder { folder, .. } => Some(format!(
                "remove it or make it yours alone: chmod 700 {}; or choose --socket PATH",
                folder.display()
            )),
            ConnectionError::Answered(error) => {
                let data = error.data.as_ref()?;
                match &data.hint {
                    Some(hint) => Some(hint.clone()),
                    None if data.nearest.is_empty() => None,
                    None => Some(format!("near are `{}`", data.nearest.join("`, `"))),
                }
            }
            _ => None,
        }
    }
}
