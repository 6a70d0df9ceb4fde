//! `docs/protocol.md`: the reference page, written from the method table.

use std::fmt::Write;

use serde_json::Value;

use crate::check_params::expectation;
use crate::error::ErrorKind;
use crate::method_table::{MethodSpec, methods};

/// The page as Markdown.
pub fn reference_page() -> String {
    let mut page = String::from(
        "# The protocol\n\n\
         This page is written from `client-protocol` by `cargo run -p client-protocol --example reference`; a test \
         holds the two together.\n\n\
         JSON-RPC 2.0, parameters by name, over HTTP POST or WebSocket on path `/`. A daemon returns the same as an \
         OpenRPC document from `rpc.discover`.\n\n## Methods\n",
    );
    for method in methods() {
        write_method(&mut page, method);
    }
    page.push_str("\n## Errors\n\n| code | kind |\n| --- | --- |\n");
    for kind in ErrorKind::ALL {
        let name =
            serde_json::to_value(kind).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
        let _ = writeln!(page, "| {} | `{name}` |", kind.code());
    }
    page
}

fn write_method(page: &mut String, method: &MethodSpec) {
    let _ = write!(page, "\n### `{}`\n\n{}\n", method.name, trimmed(method.documentation));
    write_fields(page, "parameter", &(method.params_schema)());
    write_fields(page, "result", &(method.result_schema)());
    let _ = write!(page, "\n```json\n{}\n```\n", method.example);
}

fn trimmed(documentation: &str) -> String {
    documentation.trim().lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

fn write_fields(page: &mut String, what: &str, schema: &Value) {
    let Some(properties) = schema["properties"].as_object().filter(|properties| !properties.is_empty()) else { return };
    let _ = write!(page, "\n| {what} | type | |\n| --- | --- | --- |\n");
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in properties {
        let about = property["description"].as_str().unwrap_or_default().lines().next().unwrap_or_default();
        let default = match property.get("default") {
            Some(Value::Null) | None => String::new(),
            Some(default) => format!(" Default: `{default}`."),
        };
        let mark = if required.contains(&name.as_str()) && what == "parameter" { " (required)" } else { "" };
        let _ = writeln!(
            page,
            "| `{name}`{mark} | {} | {about}{default} |",
            expectation(property, schema).replace('|', "\\|")
        );
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_page_is_the_current_one() {
        let committed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md")).unwrap();
        let is_current = committed == super::reference_page();
        assert!(is_current, "run `cargo run -p client-protocol --example reference > docs/protocol.md`");
    }
}
