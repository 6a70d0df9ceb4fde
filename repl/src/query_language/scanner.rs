//! A cursor over a query's text: words, quoted texts and single marks, each with its place.

use super::error::QueryError;
use super::syntax::Text;

/// Where in a query the cursor stands.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    position: usize,
}

/// What ends a bare word, beside white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// At the top: `;` and `>`.
    Statement,
    /// In a list or object: also `,`, `]` and `}`.
    Brackets,
    /// Before the `:` of an object's field.
    Field,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Scanner { text, position: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Goes over a mark where it stands next.
    pub(crate) fn take(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(mark);
        if found {
            self.position += mark.len_utf8();
        }
        found
    }

    /// Goes over white space; a newline only where `over_lines`.
    pub(crate) fn skip_space(&mut self, over_lines: bool) {
        let space = |c: char| c.is_whitespace() && (over_lines || c != '\n');
        let rest = self.rest();
        self.position += rest.find(|c| !space(c)).unwrap_or(rest.len());
    }

    /// Goes over a comment, up to the end of its line.
    pub(crate) fn skip_comment(&mut self) {
        if self.peek() == Some('#') {
            let rest = self.rest();
            self.position += rest.find('\n').unwrap_or(rest.len());
        }
    }

    /// A key with its `=`, where one stands next.
    pub(crate) fn key(&mut self) -> Option<Text> {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))?;
        let starts_a_name = rest.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !starts_a_name || !rest[end..].starts_with('=') {
            return None;
        }
        let start = self.position;
        self.position += end + 1;
        Some(Text { text: rest[..end].to_owned(), span: start..start + end })
    }

    /// A bare word, empty where none stands next.
    pub(crate) fn word(&mut self, within: Within) -> Text {
        let ends = |c: char| {
            c.is_whitespace()
                || match within {
                    Within::Statement => matches!(c, ';' | '>' | '"'),
                    Within::Brackets => matches!(c, ';' | '>' | '"' | ',' | '[' | ']' | '{' | '}'),
                    Within::Field => matches!(c, ';' | '>' | '"' | ',' | '[' | ']' | '{' | '}' | ':'),
                }
        };
        let rest = self.rest();
        let start = self.position;
        self.position += rest.find(ends).unwrap_or(rest.len());
        Text { text: self.text[start..self.position].to_owned(), span: start..self.position }
    }

    /// A text in quotes, where one stands next: `"…"` with JSON's escapes, `'…'` as it is.
    pub(crate) fn quoted(&mut self) -> Option<Result<Text, QueryError>> {
        let quote = self.peek().filter(|quote| matches!(quote, '"' | '\''))?;
        let start = self.position;
        let inside = start + 1;
        let mut escaped = false;
        let end = self.text[inside..].char_indices().find_map(|(offset, c)| {
            let ends = !escaped && (c == quote || c == '\n');
            escaped = quote == '"' && c == '\\' && !escaped;
            ends.then_some((inside + offset, c))
        });
        let Some((end, _)) = end.filter(|(_, c)| *c == quote) else {
            let message = format!("this text has no closing {quote}");
            return Some(Err(QueryError::at(start..start + 1, message)));
        };
        self.position = end + 1;
        let span = start..self.position;
        if quote == '\'' {
            return Some(Ok(Text { text: self.text[inside..end].to_owned(), span }));
        }
        Some(match serde_json::from_str(&self.text[span.clone()]) {
            Ok(text) => Ok(Text { text, span }),
            Err(_) => {
                let message = "this text has an escape that JSON does not know";
                Err(QueryError::at(span, message).hint("`\\\\` is a backslash, `\\\"` a quote; '…' takes all as it is"))
            }
        })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }
}
