//! An attribution's request within another's, such as a sanity check's: which method, of what, with which parameters.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::check_params::check_params;
use crate::common::{InputRef, OneOrMany};
use crate::error::{ErrorKind, ErrorObject};
use crate::method_table::{MethodSpec, find_method, methods};
use crate::nearest::nearest;
use crate::target::Target;

/// The first part of the names of all attributions.
const NOUN: &str = "attribution.";

/// Which attribution is asked, and of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttributionRequest {
    /// An attribution by name, or the last part of its name: `grad_cam`; its own parameters may stand beside.
    pub method: AttributionName,
    /// A model's id or name.
    pub model: String,
    /// One input or a list.
    pub input: OneOrMany<InputRef>,
    /// What is explained (default: the predicted class).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Parameters of the method whose names mean something else here, such as its own `seed`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// All other parameters of the method.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// The name of an attribution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttributionName(pub String);

// By hand: what completes it is the table of methods.
impl JsonSchema for AttributionName {
    fn schema_name() -> Cow<'static, str> {
        "AttributionName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = attributions().map(MethodSpec::short_name).collect();
        // Full names are checked where the method is looked up.
        json_schema!({"anyOf": [{"type": "string", "enum": names}, {"type": "string"}]})
    }
}

fn attributions() -> impl Iterator<Item = &'static MethodSpec> {
    methods().iter().filter(|method| method.name.starts_with(NOUN))
}

/// The attribution that a name means.
pub fn find_attribution(name: &str) -> Result<&'static MethodSpec, ErrorObject> {
    let full = if name.starts_with(NOUN) { Cow::from(name) } else { Cow::from(format!("{NOUN}{name}")) };
    find_method(&full).ok_or_else(|| {
        let near = nearest(name, attributions().flat_map(|method| [method.short_name(), method.name]));
        let names: Vec<&str> = attributions().map(MethodSpec::short_name).collect();
        ErrorObject::new(ErrorKind::NotFound, format!("no attribution `{name}`"))
            .field("method")
            .value(name)
            .expected(format!("one of {}", names.join(", ")))
            .nearest(near)
    })
}

impl AttributionRequest {
    /// The attribution with its parameters, checked.
    pub fn call(&self) -> Result<(&'static MethodSpec, Map<String, Value>), ErrorObject> {
        let method = find_attribution(&self.method.0)?;
        let mut params = self.others.clone();
        params.extend(self.params.clone());
        params.insert("model".to_owned(), Value::from(self.model.as_str()));
        params.insert("input".to_owned(), serde_json::json!(self.input));
        if let Some(target) = &self.target {
            params.insert("target".to_owned(), serde_json::json!(target));
        }
        check_params(method, &params)?;
        Ok((method, params))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(value: Value) -> AttributionRequest {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn parameters_stand_beside_or_below() {
        let request = request(json!({
            "method": "smooth_grad", "model": "m", "input": ["a", "b"], "samples": 5, "params": {"seed": 3}
        }));
        let (method, params) = request.call().unwrap();
        assert_eq!(method.name, "attribution.smooth_grad");
        assert_eq!(Value::Object(params), json!({"model": "m", "input": ["a", "b"], "samples": 5, "seed": 3}));
    }

    #[test]
    fn a_method_that_is_none_is_told_the_nearest() {
        let error = find_attribution("gradcam").unwrap_err();
        assert!(error.message.contains("did you mean `grad_cam`"), "{}", error.message);
        assert!(find_attribution("model.predict").is_err() && find_attribution("predict").is_err());
        assert_eq!(find_attribution("attribution.lrp").unwrap().name, "attribution.lrp");
    }

    #[test]
    fn a_parameter_that_the_method_does_not_have_is_refused() {
        let error = request(json!({"method": "grad_cam", "model": "m", "input": "i", "layr": "x"})).call().unwrap_err();
        assert!(error.message.contains("`attribution.grad_cam` has no parameter `layr`"), "{}", error.message);
    }
}
