//! What the query language knows of the protocol beside its table of methods: which parameters are paths, targets, or
//! filled in from the lines before.

use std::cell::OnceCell;

use client_protocol::{MethodSpec, methods};
use serde_json::Value;

/// Words of the language itself, which are no methods.
pub(crate) const BUILT_INS: &[(&str, &str)] = &[
    ("model", "model NAME loads a network (model.load) and sets it for later lines"),
    ("input", "input FILE loads an input (input.load) and sets it for later lines"),
    ("help", "help lists the methods; help METHOD says what one takes"),
    ("reset", "forgets the model and the input"),
    ("quit", "leaves"),
];

/// What a name ends with that is a file's and no network's or class's.
pub(crate) const FILE_ENDINGS: [&str; 14] = [
    ".onnx",
    ".safetensors",
    ".pth",
    ".pt",
    ".png",
    ".jpg",
    ".jpeg",
    ".npy",
    ".wav",
    ".flac",
    ".ogg",
    ".mp3",
    ".json",
    ".txt",
];

/// How a text given to a parameter may be a path of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathKind {
    /// It always is.
    Always,
    /// It is where it looks like one, or where such a file is there; else it is a name.
    WhereThere,
    /// It never is.
    Never,
}

/// Whether a parameter's text may be a path.
pub(crate) fn path_kind(parameter: &str) -> PathKind {
    match parameter {
        "path" => PathKind::Always,
        "source" | "weights" | "description" | "labels" | "input" | "inputs" | "reference" | "language_model"
        | "prior" | "start" => PathKind::WhereThere,
        _ => PathKind::Never,
    }
}

/// Whether a parameter is a target, in which `e@1.24` and `@1.24` mean a place of a sequence.
pub(crate) fn is_target(parameter: &str) -> bool {
    matches!(parameter, "target" | "targets")
}

/// The method that a word of the language stands for.
pub(crate) fn method_of_built_in(word: &str) -> Option<&'static str> {
    match word {
        "model" => Some("model.load"),
        "input" => Some("input.load"),
        _ => None,
    }
}

/// The shortest name that means a method: its last part where no other method has that.
pub(crate) fn shortest_name(method: &MethodSpec) -> &'static str {
    let short = method.short_name();
    let is_built_in = BUILT_INS.iter().any(|(word, _)| *word == short);
    let alone = methods().iter().filter(|other| other.short_name() == short).count() == 1;
    if alone && !is_built_in { short } else { method.name }
}

/// Whether a method answers an array or a curve with a picture of it; predictions are tables already.
pub(crate) fn answers_array(method: &MethodSpec) -> bool {
    let schema = (method.result_schema)();
    let has = |field: &str| schema["properties"].get(field).is_some();
    (has("tensor") || has("curve")) && has("picture")
}

thread_local! {
    // A schema is made anew at each call, which is too slow for completion at every key.
    static SCHEMAS: OnceCell<Vec<(&'static str, Value)>> = const { OnceCell::new() };
}

/// The JSON schema of a method's parameters.
pub(crate) fn params_schema(method: &MethodSpec) -> Value {
    SCHEMAS.with(|schemas| {
        let schemas =
            schemas.get_or_init(|| methods().iter().map(|method| (method.name, (method.params_schema)())).collect());
        schemas.iter().find(|(name, _)| *name == method.name).map(|(_, schema)| schema.clone()).unwrap_or_default()
    })
}
