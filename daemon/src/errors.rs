//! Where the libraries' errors become the protocol's: the one place that knows codes.

use client_protocol::{ErrorKind, ErrorObject, nearest};
use introspection::IntrospectionError;
use models::loaders::LoadError;
use models::{Graph, Interrupted, ModelError};

/// An error of a graph or its evaluation; `graph` offers names of layers.
pub(crate) fn of_model(error: ModelError, graph: Option<&Graph>) -> ErrorObject {
    let message = error.to_string();
    match error {
        ModelError::UnknownLayer { asked } => unknown_layer(&asked, graph),
        ModelError::InputShape { expected, found, .. } => {
            ErrorObject::invalid("input", message).value(serde_json::json!(found)).expected(format!("shape {expected}"))
        }
        ModelError::Interrupted(interrupted) => of_interrupted(interrupted),
        ModelError::NotFinite { .. } => {
            ErrorObject::new(ErrorKind::Unfit, format!("{message}; the input drives the network out of range"))
        }
        ModelError::Operator { .. } | ModelError::Node { .. } | ModelError::DuplicateLayer(_) => {
            ErrorObject::new(ErrorKind::Unfit, message)
        }
        ModelError::Tensor(_) => ErrorObject::new(ErrorKind::InternalError, message),
    }
}

/// A layer that is not there.
pub(crate) fn unknown_layer(asked: &str, graph: Option<&Graph>) -> ErrorObject {
    let near = graph.map(|graph| nearest(asked, graph.layer_names())).unwrap_or_default();
    ErrorObject::new(ErrorKind::NotFound, format!("no layer `{asked}`"))
        .field("layer")
        .value(asked)
        .expected("a layer that `model.describe` lists")
        .nearest(near)
}

/// An error of an attribution.
pub(crate) fn of_introspection(error: IntrospectionError, graph: &Graph) -> ErrorObject {
    let message = error.to_string();
    match error {
        IntrospectionError::OutOfRange { what, asked, expected } => {
            ErrorObject::invalid(what, message).value(asked).expected(expected)
        }
        IntrospectionError::Unreached { .. } => ErrorObject::new(ErrorKind::Unfit, message).field("at"),
        IntrospectionError::Unfit(_) | IntrospectionError::NoPicture(_) => ErrorObject::new(ErrorKind::Unfit, message),
        IntrospectionError::Model(error) => of_model(error, Some(graph)),
    }
}

/// A query that was stopped.
pub(crate) fn of_interrupted(interrupted: Interrupted) -> ErrorObject {
    match interrupted {
        Interrupted::Cancelled => ErrorObject::new(ErrorKind::Cancelled, "the query was cancelled"),
        Interrupted::DeadlineExceeded => {
            ErrorObject::new(ErrorKind::DeadlineExceeded, "the query took longer than its `timeout`").field("timeout")
        }
    }
}

/// A file that is no network.
pub(crate) fn of_load(error: LoadError, path: &str) -> ErrorObject {
    let message = format!("`{path}`: {error}");
    let kind = match &error {
        LoadError::Unsupported { .. } => ErrorKind::UnsupportedOperator,
        LoadError::Model(ModelError::Interrupted(_)) => ErrorKind::Cancelled,
        _ => ErrorKind::CorruptFile,
    };
    ErrorObject::new(kind, message).field("source").value(path)
}

/// A file that cannot be read or written.
pub(crate) fn of_io(error: &std::io::Error, field: &str, path: &str) -> ErrorObject {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::IsADirectory => {
            ErrorKind::NotFound
        }
        _ => ErrorKind::Storage,
    };
    ErrorObject::new(kind, format!("cannot read `{path}`: {error}")).field(field).value(path)
}
