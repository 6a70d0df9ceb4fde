//! Checks parameters against a method's schema before anything is computed, so that an error names the field, what
//! it held and what would be right. The same check runs in the REPL before a query is sent.

use serde_json::{Map, Value};

use crate::attribution_request::find_attribution;
use crate::error::{ErrorKind, ErrorObject};
use crate::method_table::MethodSpec;
use crate::nearest::nearest;

/// Fails at the first parameter that is unknown, missing or of the wrong type.
pub fn check_params(method: &MethodSpec, params: &Map<String, Value>) -> Result<(), ErrorObject> {
    let schema = (method.params_schema)();
    let no_properties = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&no_properties);
    let attribution = attribution_within(&schema, params)?;
    let own_names = properties.keys().map(String::as_str);
    // Whose the others are is not known before `method` says it.
    let is_open = takes_attribution(&schema);
    if let Some(name) = params.keys().find(|name| !is_open && !properties.contains_key(*name)) {
        return Err(unknown(method, name, own_names.collect()));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !params.contains_key(name) {
            let about = properties[name]["description"].as_str().unwrap_or_default();
            let message = format!("`{}` needs `{name}`: {}", method.name, sentence(about));
            return Err(ErrorObject::invalid(name, message).expected(expectation(&properties[name], &schema)));
        }
    }
    for (name, value) in params.iter().filter(|(name, _)| properties.contains_key(*name)) {
        check_value(name, value, &properties[name], &schema)?;
    }
    let Some(attribution) = attribution else { return Ok(()) };
    let of_attribution = (attribution.params_schema)();
    let no_properties = Map::new();
    let taken = of_attribution["properties"].as_object().unwrap_or(&no_properties);
    for (name, value) in params.iter().filter(|(name, _)| !properties.contains_key(*name)) {
        let Some(property) = taken.get(name).filter(|_| !OF_ANSWERS.contains(&name.as_str())) else {
            let is_more = |name: &&str| !properties.contains_key(*name) && !OF_ANSWERS.contains(name);
            let names = own_names.chain(taken.keys().map(String::as_str).filter(is_more));
            return Err(unknown(method, name, names.collect()));
        };
        check_value(name, value, property, &of_attribution)?;
    }
    Ok(())
}

/// Parameters that say how a map comes, which nobody asks of an attribution within another request.
pub const OF_ANSWERS: [&str; 7] = ["encoding", "picture", "timeout", "background", "watch", "crop", "check"];

/// Whether a method takes an attribution's request: the parameters of the method that its `method` names beside its own.
pub fn takes_attribution(schema: &Value) -> bool {
    schema["additionalProperties"] == Value::Bool(true) && schema["properties"].get("method").is_some()
}

fn attribution_within(schema: &Value, params: &Map<String, Value>) -> Result<Option<&'static MethodSpec>, ErrorObject> {
    let name = params.get("method").and_then(Value::as_str).filter(|_| takes_attribution(schema));
    name.map(find_attribution).transpose()
}

fn unknown(method: &MethodSpec, name: &str, taken: Vec<&str>) -> ErrorObject {
    let near = nearest(name, taken.iter().copied());
    let takes = if taken.is_empty() { "no parameters".to_owned() } else { taken.join(", ") };
    ErrorObject::invalid(name, format!("`{}` has no parameter `{name}`; it takes {takes}", method.name))
        .expected(takes)
        .nearest(near)
}

/// A description as it stands within a sentence.
fn sentence(description: &str) -> String {
    let line = description.lines().next().unwrap_or_default().trim_end_matches('.');
    let mut chars = line.chars();
    let starts_a_word = line.chars().nth(1).is_some_and(char::is_lowercase);
    match chars.next() {
        Some(first) if starts_a_word || line.len() == 1 || line.chars().nth(1) == Some(' ') => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => line.to_owned(),
    }
}

fn check_value(field: &str, value: &Value, schema: &Value, root: &Value) -> Result<(), ErrorObject> {
    let schema = resolved(schema, root);
    if !fits(value, schema, root) {
        let expected = expectation(schema, root);
        let words = words_of(schema, root);
        let near = value.as_str().map(|asked| nearest(asked, words.iter().map(String::as_str))).unwrap_or_default();
        let message = format!("`{field}` must be {expected}, not {}", shortened(value));
        return Err(ErrorObject::new(ErrorKind::InvalidParams, message)
            .field(field)
            .value(if value.to_string().len() <= 200 { value.clone() } else { Value::String(shortened(value)) })
            .expected(expected)
            .nearest(near));
    }
    Ok(())
}

/// A value as an error shows it.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Follows `$ref`.
fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|path| path.strip_prefix('#')).and_then(|path| root.pointer(path)) {
        Some(definition) => resolved(definition, root),
        None => schema,
    }
}

/// Whether a value fits as far as types, enumerations and required fields go; ranges are the handler's to check.
fn fits(value: &Value, schema: &Value, root: &Value) -> bool {
    let schema = resolved(schema, root);
    let alternatives = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array());
    if alternatives.is_some_and(|alternatives| !alternatives.iter().any(|one| fits(value, one, root))) {
        return false;
    }
    if let Some(constant) = schema.get("const") {
        return value == constant;
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.contains(value);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => return true,
    };
    let is_of_type = |name: &str| match name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => {
            value.is_u64() || (value.is_i64() && schema["minimum"].as_f64().is_none_or(|minimum| minimum < 0.0))
        }
        "array" => value.as_array().is_some_and(|items| items.iter().all(|item| fits(item, &schema["items"], root))),
        "object" => value.as_object().is_some_and(|object| object_fits(object, schema, root)),
        _ => true,
    };
    types.into_iter().any(is_of_type)
}

fn object_fits(object: &Map<String, Value>, schema: &Value, root: &Value) -> bool {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let has_all = required.into_iter().all(|name| object.contains_key(name));
    let of_field = |name: &String| schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
    has_all && object.iter().all(|(name, value)| fits(value, of_field(name), root))
}

/// The words that a value may be, where it is one of some.
pub(crate) fn words_of(schema: &Value, root: &Value) -> Vec<String> {
    let schema = resolved(schema, root);
    let mut words: Vec<String> =
        schema["enum"].as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect();
    words.extend(schema["const"].as_str().map(str::to_owned));
    for alternative in ["anyOf", "oneOf"].iter().flat_map(|key| schema[key].as_array().into_iter().flatten()) {
        words.extend(words_of(alternative, root));
    }
    words
}

/// What would be right, in words.
pub(crate) fn expectation(schema: &Value, root: &Value) -> String {
    let schema = resolved(schema, root);
    let words = words_of(schema, root);
    let may_be_object = ["anyOf", "oneOf"].iter().flat_map(|key| schema[key].as_array().into_iter().flatten());
    let is_words_alone = may_be_object.into_iter().all(|alternative| resolved(alternative, root)["type"] != "object");
    if !words.is_empty() && is_words_alone && (schema["oneOf"].is_array() || schema["enum"].is_array()) {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        return format!("one of {}", quoted.join(", "));
    }
    if let Some(constant) = schema.get("const") {
        return constant.to_string();
    }
    if let Some(alternatives) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        let mut all: Vec<String> = alternatives
            .iter()
            .map(|alternative| expectation(alternative, root))
            .filter(|words| words != "nothing")
            .collect();
        all.dedup();
        return all.join(" or ");
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    let named: Vec<String> = names
        .iter()
        .filter(|name| **name != "null" || names.len() == 1)
        .map(|name| type_in_words(name, schema, root))
        .collect();
    if named.is_empty() { "anything".to_owned() } else { named.join(" or ") }
}

fn type_in_words(name: &str, schema: &Value, root: &Value) -> String {
    match name {
        "string" => "a text".to_owned(),
        "boolean" => "true or false".to_owned(),
        "number" => "a number".to_owned(),
        "integer" if schema["minimum"].as_f64() == Some(0.0) => "a whole number from 0".to_owned(),
        "integer" => "a whole number".to_owned(),
        "array" => format!("a list of {}", expectation(&schema["items"], root).trim_start_matches("a ")),
        "object" => {
            let fields: Vec<&str> =
                schema["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
            match (fields.is_empty(), schema["additionalProperties"].is_object()) {
                (true, true) => format!("an object of {}", expectation(&schema["additionalProperties"], root)),
                (true, false) => "an object".to_owned(),
                (false, _) => format!("an object with {}", fields.join(", ")),
            }
        }
        _ => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method_table::find_method;

    #[track_caller]
    fn refused(method: &str, params: Value, because: &str) {
        let error = check_params(find_method(method).unwrap(), params.as_object().unwrap()).unwrap_err();
        assert_eq!(error.message, because);
        assert_eq!(error.code, -32602);
    }

    #[test]
    fn an_unknown_parameter_is_told_the_nearest() {
        let error = check_params(
            find_method("model.predict").unwrap(),
            serde_json::json!({"model": "m", "input": "i", "topp": 3}).as_object().unwrap(),
        );
        assert!(error.unwrap_err().message.ends_with("did you mean `top`?"));
    }

    #[test]
    fn a_missing_parameter_is_explained() {
        refused(
            "model.load",
            serde_json::json!({}),
            "`model.load` needs `source`: a name of the zoo, or the absolute path of an `.onnx`, `.safetensors` or `.pth` file",
        );
    }

    #[test]
    fn a_wrong_type_is_told_the_right_one() {
        refused(
            "model.predict",
            serde_json::json!({"model": "m", "input": "i", "top": "three"}),
            "`top` must be a whole number from 0, not \"three\"",
        );
        refused(
            "model.predict",
            serde_json::json!({"model": "m", "input": "i", "top": -3}),
            "`top` must be a whole number from 0, not -3",
        );
        refused("model.predict", serde_json::json!({"model": 5, "input": "i"}), "`model` must be a text, not 5");
    }

    #[test]
    fn a_list_of_words_and_objects_is_told_both() {
        refused(
            "visualization.maximize",
            serde_json::json!({"model": "m", "objective": {"kind": "layer", "layer": "l"}, "transforms": [{"spin": 3}]}),
            "`transforms` must be a list of \"none\" or \"standard\" or an object with pad or an object with jitter or an object with scale or an object with rotate or an object with shift, not [{\"spin\":3}]",
        );
    }

    #[test]
    fn a_wrong_word_is_told_the_right_ones() {
        refused(
            "attribution.saliency",
            serde_json::json!({"model": "m", "input": "i", "post": "abss"}),
            "`post` must be one of \"none\", \"abs\", \"max_channel\", not \"abss\"; did you mean `abs`?",
        );
    }
}
