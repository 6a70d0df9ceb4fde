//! The protocol's errors: JSON-RPC's own codes and ours, each with data that a program can act on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request is no JSON.
    ParseError,
    /// The JSON is no request.
    InvalidRequest,
    /// No such method.
    MethodNotFound,
    /// A parameter is unknown, missing, of the wrong type or out of range.
    InvalidParams,
    /// The daemon is at fault.
    InternalError,
    /// A model, input, layer, class, file or job that is not there.
    NotFound,
    /// A network with an operator that we lack.
    UnsupportedOperator,
    /// More than a limit allows.
    LimitExceeded,
    /// Try again later.
    Busy,
    /// The caller asked to stop or went away.
    Cancelled,
    /// `timeout` has passed.
    DeadlineExceeded,
    /// It would not fit into memory.
    OutOfMemory,
    /// A file that is not what it should be.
    CorruptFile,
    /// The token is missing or wrong.
    Unauthorized,
    /// The question does not fit the network.
    Unfit,
    /// The daemon could not write or read its own files.
    Storage,
}

impl ErrorKind {
    /// Every kind, in the order of the codes.
    pub const ALL: [ErrorKind; 16] = [
        ErrorKind::ParseError,
        ErrorKind::InvalidRequest,
        ErrorKind::MethodNotFound,
        ErrorKind::InvalidParams,
        ErrorKind::InternalError,
        ErrorKind::NotFound,
        ErrorKind::UnsupportedOperator,
        ErrorKind::LimitExceeded,
        ErrorKind::Busy,
        ErrorKind::Cancelled,
        ErrorKind::DeadlineExceeded,
        ErrorKind::OutOfMemory,
        ErrorKind::CorruptFile,
        ErrorKind::Unauthorized,
        ErrorKind::Unfit,
        ErrorKind::Storage,
    ];

    /// The number on the wire.
    pub const fn code(self) -> i32 {
        match self {
            ErrorKind::ParseError => -32700,
            ErrorKind::InvalidRequest => -32600,
            ErrorKind::MethodNotFound => -32601,
            ErrorKind::InvalidParams => -32602,
            ErrorKind::InternalError => -32603,
            ErrorKind::NotFound => -32030,
            ErrorKind::UnsupportedOperator => -32031,
            ErrorKind::LimitExceeded => -32032,
            ErrorKind::Busy => -32033,
            ErrorKind::Cancelled => -32034,
            ErrorKind::DeadlineExceeded => -32035,
            ErrorKind::OutOfMemory => -32036,
            ErrorKind::CorruptFile => -32037,
            ErrorKind::Unauthorized => -32038,
            ErrorKind::Unfit => -32039,
            ErrorKind::Storage => -32040,
        }
    }

    /// The kind that a code stands for.
    pub fn from_code(code: i32) -> Option<ErrorKind> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// An error as JSON-RPC carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorObject {
    /// See [`ErrorKind::code`].
    pub code: i32,
    /// One sentence: what was wrong with which field or file, and what would be right.
    pub message: String,
    /// The same for a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<ErrorData>>,
}

/// What was wrong, for a program; absent parts do not apply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorData {
    /// The kind by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ErrorKind>,
    /// The parameter or file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What it held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What would be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Names that are there and near to the one asked, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ErrorObject {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let data = ErrorData { kind: Some(kind), ..ErrorData::default() };
        ErrorObject { code: kind.code(), message: message.into(), data: Some(Box::new(data)) }
    }

    /// A parameter that is wrong: `message` says how.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidParams, message).field(field)
    }

    /// The kind, where the code is one of the protocol's.
    pub fn kind(&self) -> Option<ErrorKind> {
        ErrorKind::from_code(self.code)
    }

    /// Names the parameter or file.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.data_mut().field = Some(field.into());
        self
    }

    /// Holds what was given.
    #[must_use]
    pub fn value(mut self, value: impl Into<Value>) -> Self {
        self.data_mut().value = Some(value.into());
        self
    }

    /// Says what would be right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.data_mut().expected = Some(expected.into());
        self
    }

    /// Offers names; the message gains "did you mean …?" where there are any.
    #[must_use]
    pub fn nearest(mut self, nearest: Vec<String>) -> Self {
        if !nearest.is_empty() {
            let quoted: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
            self.message = format!("{}; did you mean {}?", self.message, quoted.join(" or "));
        }
        self.data_mut().nearest = nearest;
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.data_mut().hint = Some(hint.into());
        self
    }

    fn data_mut(&mut self) -> &mut ErrorData {
        self.data.get_or_insert_default()
    }
}

impl std::fmt::Display for ErrorObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ErrorObject {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_protocol_and_lead_back() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_code(kind.code()), Some(kind));
        }
        assert_eq!(ErrorKind::NotFound.code(), -32030);
    }

    #[test]
    fn an_error_reads_as_one_sentence() {
        let error = ErrorObject::new(ErrorKind::NotFound, "no layer `conv3` in `tiny`")
            .field("layer")
            .nearest(vec!["conv2".to_owned()]);
        assert_eq!(error.to_string(), "no layer `conv3` in `tiny`; did you mean `conv2`?");
        let json = serde_json::to_value(&error).unwrap();
        assert_eq!(json["data"], serde_json::json!({"kind": "not_found", "field": "layer", "nearest": ["conv2"]}));
    }
}
