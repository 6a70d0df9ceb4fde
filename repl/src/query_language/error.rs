//! What is wrong with a query: a sentence, where in the line, and what to do.

use std::ops::Range;

use client_protocol::ErrorObject;
use thiserror::Error;

/// A query that cannot be sent, or that the daemon refused.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{message}")]
pub(crate) struct QueryError {
    /// One sentence.
    pub(crate) message: String,
    /// Bytes of the text that are meant.
    pub(crate) span: Option<Range<usize>>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl QueryError {
    /// An error about a part of the text.
    pub(crate) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        QueryError { message: message.into(), span: Some(span), hint: None }
    }

    /// An error about no part in particular.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        QueryError { message: message.into(), span: None, hint: None }
    }

    /// Says what to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Suggests names that are there, where there are any.
    #[must_use]
    pub(crate) fn nearest(self, names: &[String]) -> Self {
        match names {
            [] => self,
            [only] => self.hint(format!("did you mean `{only}`?")),
            [some @ .., last] => self.hint(format!("did you mean `{}` or `{last}`?", some.join("`, `"))),
        }
    }

    /// The error as lines for a terminal: the sentence, the line of the query with a caret below, and the hint.
    pub(crate) fn render(&self, text: &str) -> String {
        let mut lines = vec![format!("error: {}", self.message)];
        if let Some(span) = &self.span {
            let start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
            let end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
            let before = text[start..span.start].chars().count();
            let marked = text.get(span.start..span.end.min(end)).map_or(1, |marked| marked.chars().count().max(1));
            lines.push(format!("  {}", &text[start..end]));
            lines.push(format!("  {}{}", " ".repeat(before), "^".repeat(marked)));
        }
        lines.extend(self.hint.iter().map(|hint| format!("hint: {hint}")));
        lines.join("\n")
    }
}

impl From<ErrorObject> for QueryError {
    fn from(error: ErrorObject) -> Self {
        let found = QueryError::new(error.message);
        let Some(data) = error.data else { return found };
        match data.hint {
            Some(hint) => found.hint(hint),
            // Some messages name the nearest themselves.
            None if found.message.contains("did you mean") => found,
            None => found.nearest(&data.nearest),
        }
    }
}
