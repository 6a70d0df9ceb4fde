//! The arrows between crates, held: what may know what.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// For each package of the workspace the packages that it names as dependencies, those of its tests left out.
fn direct(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let packages = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| members.contains(package["id"].as_str().unwrap()));
    let named = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter().filter(|of| of["kind"].is_null());
        dependencies.map(|of| of["name"].as_str().unwrap().to_owned()).collect()
    };
    packages.map(|package| (package["name"].as_str().unwrap().to_owned(), named(package))).collect()
}

/// Everything that a package leads to, by name.
fn reach(metadata: &Value, package: &str) -> BTreeSet<String> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let name_of = |id: &str| {
        let found = metadata["packages"].as_array().unwrap().iter().find(|package| package["id"] == id).unwrap();
        found["name"].as_str().unwrap().to_owned()
    };
    let start = nodes.iter().find(|node| name_of(node["id"].as_str().unwrap()) == package).unwrap();
    let (mut seen, mut left) = (BTreeSet::new(), vec![start["id"].as_str().unwrap().to_owned()]);
    while let Some(id) = left.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == id.as_str()).unwrap();
        for dependency in node["deps"].as_array().unwrap() {
            let is_normal = dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
            if is_normal {
                left.push(dependency["pkg"].as_str().unwrap().to_owned());
            }
        }
    }
    seen.iter().map(|id| name_of(id)).collect()
}

#[test]
fn imports_run_one_way() {
    let metadata = metadata();
    let direct = direct(&metadata);
    let ours: BTreeSet<&String> = direct.keys().collect();
    let arrows = |package: &str| -> Vec<&str> {
        direct[package].iter().filter(|name| ours.contains(name)).map(String::as_str).collect()
    };
    assert_eq!(arrows("client-protocol"), [""; 0]);
    assert_eq!(arrows("models"), [""; 0]);
    assert_eq!(arrows("pictures"), [""; 0]);
    assert_eq!(arrows("introspection"), ["models"]);
    assert_eq!(arrows("training"), ["models"]);
    assert_eq!(arrows("daemon"), ["client-protocol", "introspection", "models", "pictures"]);
    assert_eq!(arrows("repl"), ["client-protocol"]);
    // Tests reach the others as programs, not as libraries.
    assert_eq!(arrows("tests"), [""; 0]);
}

#[test]
fn each_crate_stays_out_of_what_is_not_its_own() {
    let metadata = metadata();
    let foreign: [(&str, &[&str]); 6] = [
        ("client-protocol", &["tokio", "candle-core", "jsonrpsee", "hyper"]),
        ("models", &["tokio", "jsonrpsee", "plotters", "hyper"]),
        ("introspection", &["tokio", "jsonrpsee", "plotters", "serde_path_to_error"]),
        ("training", &["tokio", "jsonrpsee", "plotters"]),
        ("pictures", &["tokio", "candle-core", "jsonrpsee"]),
        ("repl", &["candle-core", "models", "introspection", "gemm", "jsonrpsee"]),
    ];
    for (package, forbidden) in foreign {
        let reached = reach(&metadata, package);
        let found: Vec<&&str> = forbidden.iter().filter(|name| reached.contains(**name)).collect();
        assert!(found.is_empty(), "{package} leads to {found:?}");
    }
}
