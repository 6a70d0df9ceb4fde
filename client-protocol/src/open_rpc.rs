//! The OpenRPC document, made from the method table; `rpc.discover` answers with it.

use serde_json::{Map, Value, json};

use crate::error::ErrorKind;
use crate::method_table::{MethodSpec, methods};

/// The document for a daemon of this version.
pub fn open_rpc(version: &str) -> Value {
    let mut schemas = Map::new();
    let methods: Vec<Value> = methods().iter().map(|method| describe(method, &mut schemas)).collect();
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "Introspect",
            "version": version,
            "description": "Answers questions about trained neural networks. Parameters are by name.",
            "license": {"name": "MIT OR Apache-2.0"}
        },
        "methods": methods,
        "components": {"schemas": schemas}
    })
}

fn describe(method: &MethodSpec, schemas: &mut Map<String, Value>) -> Value {
    let schema = shared((method.params_schema)(), schemas);
    let required: Vec<&Value> = schema["required"].as_array().into_iter().flatten().collect();
    let params: Vec<Value> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let is_required = required.iter().any(|required| *required == name);
            json!({"name": name, "required": is_required, "description": schema["description"], "schema": schema})
        })
        .collect();
    let errors: Vec<Value> = ErrorKind::ALL.iter().map(|kind| json!({"code": kind.code(), "message": kind})).collect();
    json!({
        "name": method.name,
        "summary": method.summary(),
        "description": method.documentation.trim(),
        "paramStructure": "by-name",
        "params": params,
        "result": {"name": "result", "schema": shared((method.result_schema)(), schemas)},
        "errors": errors,
        "examples": [{
            "name": "example",
            "params": example_params(method),
        }]
    })
}

fn example_params(method: &MethodSpec) -> Vec<Value> {
    let params: Map<String, Value> = serde_json::from_str(method.example).unwrap_or_default();
    params.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

/// Moves a schema's definitions to the document's own, since one name means one type throughout the protocol.
fn shared(mut schema: Value, schemas: &mut Map<String, Value>) -> Value {
    if let Some(Value::Object(definitions)) = schema.as_object_mut().and_then(|schema| schema.remove("$defs")) {
        for (name, mut definition) in definitions {
            redirect(&mut definition);
            schemas.entry(name).or_insert(definition);
        }
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
    }
    redirect(&mut schema);
    schema
}

fn redirect(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref") {
                *reference = reference.replace("#/$defs/", "#/components/schemas/");
            }
            object.values_mut().for_each(redirect);
        }
        Value::Array(items) => items.iter_mut().for_each(redirect),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_method_is_there_and_every_reference_leads_somewhere() {
        let document = open_rpc("0.0.0");
        assert_eq!(document["methods"].as_array().unwrap().len(), methods().len());
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    #[test]
    fn one_name_means_one_type() {
        let mut seen: Map<String, Value> = Map::new();
        for method in methods() {
            for schema in [(method.params_schema)(), (method.result_schema)()] {
                for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
                    let known = seen.entry(name.clone()).or_insert(definition.clone());
                    assert_eq!(known, definition, "two types are called {name}");
                }
            }
        }
    }
}
