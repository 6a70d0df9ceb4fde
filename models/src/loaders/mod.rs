//! Networks from files' bytes: ONNX as it stands, weights with a builder of the zoo. No file is opened here.

mod checkpoint;
mod file_bytes;
pub mod onnx;
pub mod pth;
pub mod safetensors;

pub(crate) use checkpoint::drawn;
pub use checkpoint::{Checkpoint, Initial, Weights};
pub use file_bytes::FileBytes;

use crate::error::{ModelError, UnsupportedNode};

/// Files beside a model, for weights that its format keeps outside.
pub trait Siblings {
    /// So many bytes (or all) of a file, from an offset. `name` is relative and has no `..`; what else must hold (links
    /// that leave the folder, sizes) is the implementor's to check.
    fn read(&self, name: &str, offset: u64, length: Option<u64>) -> Result<Vec<u8>, LoadError>;
}

/// No files beside the model.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSiblings;

impl Siblings for NoSiblings {
    fn read(&self, name: &str, _offset: u64, _length: Option<u64>) -> Result<Vec<u8>, LoadError> {
        let reason = "its weights are in another file, and the model did not come from a folder".to_owned();
        Err(LoadError::Corrupt { what: name.to_owned(), reason })
    }
}

/// Why bytes are no network.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are not what they should be.
    #[error("{what}: {reason}")]
    Corrupt { what: String, reason: String },
    /// Operators that we lack: all of them, so that one reading tells the whole story.
    #[error("{}", unsupported(.nodes))]
    Unsupported { nodes: Vec<UnsupportedNode> },
    /// A whole format, or a form of it, that is not read.
    #[error("{0}")]
    UnsupportedFormat(String),
    /// Weights that do not fit their architecture.
    #[error("{}", weights(.missing, .unexpected, .wrong_shape))]
    Weights { missing: Vec<String>, unexpected: Vec<String>, wrong_shape: Vec<String> },
    /// A file outside the model's folder.
    #[error("`{name}` lies outside the model's folder; weights are read from beside the model only")]
    Outside { name: String },
    /// The network itself is not sound.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<candle_core::Error> for LoadError {
    fn from(error: candle_core::Error) -> Self {
        LoadError::Model(error.into())
    }
}

fn unsupported(nodes: &[UnsupportedNode]) -> String {
    let Some(first) = nodes.first() else { return "an operator is not supported".to_owned() };
    let mut types: Vec<&str> = nodes.iter().map(|node| node.operator.as_str()).collect();
    types.sort_unstable();
    types.dedup();
    let named: Vec<String> = nodes.iter().take(20).map(|node| format!("`{}` ({})", node.node, node.operator)).collect();
    let more = if nodes.len() > 20 { format!(" and {} more", nodes.len() - 20) } else { String::new() };
    format!(
        "layer `{}` needs the operator {}, which is not supported; missing in all: {} (layers {}{more})",
        first.node,
        first.operator,
        types.join(", "),
        named.join(", ")
    )
}

fn weights(missing: &[String], unexpected: &[String], wrong_shape: &[String]) -> String {
    let list = |what: &str, names: &[String]| {
        let more = if names.len() > 8 { format!(" and {} more", names.len() - 8) } else { String::new() };
        let shown: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
        (!names.is_empty()).then(|| format!("{what}: {}{more}", shown.join(", ")))
    };
    let parts = [list("missing", missing), list("unexpected", unexpected), list("of another shape", wrong_shape)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("the weights do not fit the architecture; {}", parts.join("; "))
}
