//! A method's parameters as its JSON schema tells them: types, words that a value may be, fields that may stand flat.

use client_protocol::{MethodSpec, OF_ANSWERS, find_attribution, takes_attribution};
use serde_json::Value;

use crate::method_table::params_schema;

/// A parameter of a method, or a field of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Parameter {
    /// Its name.
    pub(crate) name: String,
    /// Its description's first line.
    pub(crate) description: String,
    /// Whether the method needs it.
    pub(crate) required: bool,
    /// What stands for it where it is left out.
    pub(crate) default: Option<Value>,
    /// The words that it may be, where it is one of some.
    pub(crate) words: Vec<String>,
    /// Whether it may be a text of any kind.
    pub(crate) takes_text: bool,
    /// Whether it may be a number.
    pub(crate) takes_number: bool,
    /// Whether it may be `true` or `false`.
    pub(crate) takes_boolean: bool,
    /// Whether it may be a list.
    pub(crate) takes_list: bool,
    /// Its fields, where it may be an object of known fields; those of all variants together.
    pub(crate) fields: Vec<Parameter>,
}

/// The parameters of a method, in the schema's order.
pub(crate) fn parameters(method: &MethodSpec) -> Vec<Parameter> {
    let schema = params_schema(method);
    fields_of(&schema, &schema, 0)
}

/// The same, with those of the attribution that is named within, where the method takes one's request.
pub(crate) fn parameters_with(method: &MethodSpec, attribution: Option<&str>) -> Vec<Parameter> {
    let mut known = parameters(method);
    let attribution = attribution.filter(|_| takes_attribution(&params_schema(method)));
    if let Some(attribution) = attribution.and_then(|name| find_attribution(name).ok()) {
        let of_map = parameters(attribution).into_iter().filter(|parameter| {
            !OF_ANSWERS.contains(&parameter.name.as_str()) && known.iter().all(|own| own.name != parameter.name)
        });
        known.extend(of_map.collect::<Vec<_>>());
    }
    known
}

/// The fields that an object schema names itself.
fn fields_of(schema: &Value, root: &Value, depth: usize) -> Vec<Parameter> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, property)| {
            let mut parameter = Parameter {
                name: name.clone(),
                description: first_line(property),
                required: required.contains(&name.as_str()),
                default: property.get("default").cloned(),
                ..Parameter::default()
            };
            describe(property, root, depth, &mut parameter);
            parameter
        })
        .collect()
}

/// Adds to a parameter what one schema allows, alternatives and references included.
fn describe(schema: &Value, root: &Value, depth: usize, parameter: &mut Parameter) {
    // Only schemas that contain themselves lie deeper, and no query is written with those.
    if depth > 8 {
        return;
    }
    if let Some(path) = schema["$ref"].as_str() {
        // An array's own fields would stand for numbers, which nobody types flat.
        let is_array = path.ends_with("/Tensor");
        if let Some(definition) = path.strip_prefix('#').and_then(|path| root.pointer(path)).filter(|_| !is_array) {
            describe(definition, root, depth + 1, parameter);
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        for alternative in schema[key].as_array().into_iter().flatten() {
            describe(alternative, root, depth + 1, parameter);
        }
    }
    let words = schema["enum"].as_array().into_iter().flatten().chain(schema.get("const"));
    let had_words = parameter.words.len();
    for word in words.filter_map(Value::as_str) {
        if !parameter.words.iter().any(|known| known == word) {
            parameter.words.push(word.to_owned());
        }
    }
    let is_enumeration =
        parameter.words.len() > had_words || schema.get("enum").is_some() || schema.get("const").is_some();
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    parameter.takes_text |= types.contains(&"string") && !is_enumeration;
    parameter.takes_number |= types.contains(&"number") || types.contains(&"integer");
    parameter.takes_boolean |= types.contains(&"boolean");
    parameter.takes_list |= types.contains(&"array");
    if types.contains(&"array") {
        // The words of a list's items are worth completing too.
        let mut item = Parameter::default();
        describe(&schema["items"], root, depth + 1, &mut item);
        parameter
            .words
            .extend(item.words.into_iter().filter(|word| !parameter.words.contains(word)).collect::<Vec<_>>());
    }
    for field in fields_of(schema, root, depth + 1) {
        match parameter.fields.iter_mut().find(|known| known.name == field.name) {
            Some(known) => {
                let new: Vec<String> = field.words.into_iter().filter(|word| !known.words.contains(word)).collect();
                known.words.extend(new);
            }
            None => parameter.fields.push(field),
        }
    }
}

fn first_line(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}
