//! Functions of a model, written out where they are called.
//!
//! Early versions of PyTorch's newer exporter write a layer as a call of a function that the file defines. A call's
//! nodes get the caller's name before their own, and so do the values within it.

use std::collections::HashMap;

use super::proto::{AttributeProto, FunctionProto, NodeProto, OperatorSetIdProto};
use super::reading::layer_name;
use crate::loaders::LoadError;

/// How deep calls may lie in each other; ONNX forbids recursion, and a file may not keep to it.
const DEEPEST: usize = 16;

/// The most nodes that a model may have once all calls are written out.
const MOST_NODES: usize = 1 << 18;

type Functions<'a> = HashMap<(&'a str, &'a str, &'a str), &'a FunctionProto>;

/// The nodes with every call of a function replaced by what it does.
pub(super) fn written_out(
    nodes: Vec<NodeProto>,
    functions: &[FunctionProto],
    opset: i64,
) -> Result<Vec<NodeProto>, LoadError> {
    let by_name: Functions<'_> = functions
        .iter()
        .map(|function| ((&*function.domain, &*function.name, &*function.overload), function))
        .collect();
    let mut written = Vec::new();
    for node in nodes {
        write_out(node, &by_name, opset, 0, &mut written)?;
    }
    Ok(written)
}

fn write_out(
    node: NodeProto,
    functions: &Functions<'_>,
    opset: i64,
    depth: usize,
    written: &mut Vec<NodeProto>,
) -> Result<(), LoadError> {
    let Some(function) = functions.get(&(&*node.domain, &*node.op_type, &*node.overload)) else {
        written.push(node);
        return Ok(());
    };
    if depth == DEEPEST || written.len() > MOST_NODES {
        let reason = format!("calls lie deeper than {DEEPEST}, or there are more than {MOST_NODES} nodes");
        return Err(LoadError::Corrupt { what: format!("function `{}`", function.name), reason });
    }
    check_opset(function, &function.opset_import, opset)?;
    let mut call = Call::new(&node, function);
    for inner in &function.node {
        let inner = call.renamed(inner);
        write_out(inner, functions, opset, depth + 1, written)?;
    }
    // An output that is an input passes through no node that could be renamed.
    for (formal, actual) in function.output.iter().zip(&node.output) {
        if function.input.contains(formal) {
            let (input, output) = (vec![call.value(formal)], vec![actual.clone()]);
            written.push(NodeProto { input, output, op_type: "Identity".to_owned(), ..NodeProto::default() });
        }
    }
    Ok(())
}

fn check_opset(function: &FunctionProto, imports: &[OperatorSetIdProto], opset: i64) -> Result<(), LoadError> {
    let own = imports.iter().find(|import| import.domain.is_empty() || import.domain == "ai.onnx");
    match own {
        Some(own) if own.version != opset => Err(LoadError::UnsupportedFormat(format!(
            "function `{}` has opset {} in a file of opset {opset}; they must be the same",
            function.name, own.version
        ))),
        _ => Ok(()),
    }
}

/// One call: what the function's names mean there.
struct Call<'a> {
    node: &'a NodeProto,
    function: &'a FunctionProto,
    values: HashMap<&'a str, String>,
}

impl<'a> Call<'a> {
    fn new(node: &'a NodeProto, function: &'a FunctionProto) -> Self {
        let left_out = std::iter::repeat(String::new());
        let inputs = function.input.iter().map(String::as_str).zip(node.input.iter().cloned().chain(left_out));
        let mut values: HashMap<&str, String> = inputs.collect();
        for (formal, actual) in function.output.iter().zip(&node.output).filter(|(_, actual)| !actual.is_empty()) {
            if !function.input.contains(formal) {
                values.insert(formal, actual.clone());
            }
        }
        Call { node, function, values }
    }

    fn value(&mut self, formal: &'a str) -> String {
        if formal.is_empty() {
            return String::new();
        }
        let inner = || format!("{}/{formal}", layer_name(self.node));
        self.values.entry(formal).or_insert_with(inner).clone()
    }

    fn renamed(&mut self, inner: &'a NodeProto) -> NodeProto {
        let name = format!("{}/{}", layer_name(self.node), layer_name(inner));
        NodeProto {
            input: inner.input.iter().map(|formal| self.value(formal)).collect(),
            output: inner.output.iter().map(|formal| self.value(formal)).collect(),
            name,
            attribute: inner.attribute.iter().filter_map(|attribute| self.attribute(attribute)).collect(),
            ..inner.clone()
        }
    }

    /// An attribute, or that of the call where it refers to one; `None` where neither call nor function give one.
    fn attribute(&self, inner: &AttributeProto) -> Option<AttributeProto> {
        if inner.ref_attr_name.is_empty() {
            return Some(inner.clone());
        }
        let mut given = self.node.attribute.iter().chain(&self.function.attribute_proto);
        let given = given.find(|attribute| attribute.name == inner.ref_attr_name)?;
        Some(AttributeProto { name: inner.name.clone(), ..given.clone() })
    }
}
