//! What a query is made of, as it was written: nothing is resolved yet, and every part knows its place in the text.

use std::ops::Range;

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text {
    /// What was written, quotes and escapes taken away.
    pub(crate) text: String,
    /// The bytes of the query that it was written with.
    pub(crate) span: Range<usize>,
}

/// `METHOD VALUE key=value … > FILE`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    /// The method, or a word of the language itself.
    pub(crate) head: Text,
    /// Values without a key.
    pub(crate) bare: Vec<Node>,
    /// `key=value`, in order.
    pub(crate) arguments: Vec<(Text, Node)>,
    /// The file behind `>`.
    pub(crate) redirect: Option<Text>,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// The value.
    pub(crate) kind: NodeKind,
    /// The bytes of the query that it was written with.
    pub(crate) span: Range<usize>,
}

/// A value as it was written; what a word means depends on the parameter it goes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NodeKind {
    /// Without quotes: a name, a number, `true`.
    Word(String),
    /// In quotes: always a text.
    Quoted(String),
    /// `[a, b]`.
    List(Vec<Node>),
    /// `{key: value}`.
    Object(Vec<(Text, Node)>),
}
