//! What can go wrong when a graph is built or evaluated; what can go wrong with a file is in `loaders`.

/// An operator that a file asks for and that we do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedNode {
    /// The node as the file names it.
    pub node: String,
    /// The operator's type as the file spells it, with its domain where that is not the standard one.
    pub operator: String,
}

/// Why a graph cannot be built or evaluated.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// An operator's parameters contradict each other or its inputs.
    #[error("{operator}: {reason}")]
    Operator { operator: &'static str, reason: String },
    /// The same, once the node is known.
    #[error("layer `{node}`: {reason}")]
    Node { node: String, reason: String },
    /// The input does not fit the network.
    #[error("input `{input}` must have shape {expected} but has {found:?}")]
    InputShape { input: String, expected: String, found: Vec<usize> },
    /// A name that is not there.
    #[error("no layer `{asked}`")]
    UnknownLayer { asked: String },
    /// Two nodes of one name.
    #[error("two layers are called `{0}`")]
    DuplicateLayer(String),
    /// A value that is not a number where one was computed.
    #[error("layer `{node}` computed {value} at {position:?}")]
    NotFinite { node: String, value: f64, position: Vec<usize> },
    /// The caller asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The tensor library refused.
    #[error("tensor: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl ModelError {
    /// An error of an operator that does not know its node's name yet.
    pub fn operator(operator: &'static str, reason: impl Into<String>) -> Self {
        ModelError::Operator { operator, reason: reason.into() }
    }

    /// Names the node, once it is known.
    #[must_use]
    pub fn at_node(self, node: &str) -> Self {
        match self {
            ModelError::Operator { operator, reason } => {
                ModelError::Node { node: node.to_owned(), reason: format!("{operator}: {reason}") }
            }
            ModelError::Tensor(error) => ModelError::Node { node: node.to_owned(), reason: error.to_string() },
            other => other,
        }
    }
}

/// Shorthand for this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// Why a computation stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Interrupted {
    /// The caller went away or said so.
    #[error("cancelled")]
    Cancelled,
    /// The caller's time is up.
    #[error("deadline exceeded")]
    DeadlineExceeded,
}

/// Asked between layers whether to go on, and told how far long work has come; the daemon's cancellation, deadlines and
/// progress stand behind it.
pub trait Interrupt {
    /// An error as soon as the work is not wanted any more.
    fn check(&self) -> Result<(), Interrupted>;

    /// So many of all steps of a long method are done.
    fn progress(&self, _done: usize, _total: usize) {}
}

/// Never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uninterrupted;

impl Interrupt for Uninterrupted {
    fn check(&self) -> Result<(), Interrupted> {
        Ok(())
    }
}

/// One of several equal parts of a long method, so that its steps are told as some of all.
#[derive(Clone, Copy)]
pub struct PartOf<'a> {
    /// Whoever asked for all of it.
    pub whole: &'a dyn Interrupt,
    /// Which part, from 0.
    pub part: usize,
    /// How many there are.
    pub n_parts: usize,
}

impl std::fmt::Debug for PartOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "part {} of {}", self.part, self.n_parts)
    }
}

impl Interrupt for PartOf<'_> {
    fn check(&self) -> Result<(), Interrupted> {
        self.whole.check()
    }

    fn progress(&self, done: usize, total: usize) {
        self.whole.progress(self.part * total + done, self.n_parts * total);
    }
}
