//! ONNX files, opsets 11 to 21, as both of PyTorch's exporters write them.
//!
//! `proto` is the file's own structure, `tensor` its numbers, `folding` what is computed at load, and `convert` turns
//! each node into an operator. The first axis of every input is the batch and stays free; so does the length of time
//! wherever the network allows it, whatever length it was exported with.

mod attributes;
mod convert;
mod folding;
mod proto;
mod tensor;

use std::collections::{HashMap, HashSet};

use prost::Message;

use self::attributes::Attributes;
use self::convert::Converter;
use self::folding::Known;
use self::proto::{GraphProto, ModelProto, ValueInfoProto};
use super::{LoadError, Siblings};
use crate::error::UnsupportedNode;
use crate::graph::{Dim, Graph};

/// The opsets that are read.
const OPSETS: std::ops::RangeInclusive<i64> = 11..=21;

/// Reads a network.
///
/// Layers have their nodes' names as the exporter wrote them, or their first output's where a node has none. Constants
/// and what is computed from shapes alone are folded and are no layers.
pub fn load(bytes: &[u8], siblings: &dyn Siblings) -> Result<Graph, LoadError> {
    let no_onnx = |reason: String| LoadError::Corrupt { what: "not an ONNX file, or a damaged one".to_owned(), reason };
    let model = ModelProto::decode(bytes).map_err(|error| no_onnx(error.to_string()))?;
    let graph = model.graph.as_ref().filter(|graph| !graph.node.is_empty() && !graph.output.is_empty());
    let graph = graph.ok_or_else(|| no_onnx("it holds no network".to_owned()))?;
    let opset = model.opset_import.iter().find(|import| import.domain.is_empty() || import.domain == "ai.onnx");
    let opset = opset.map_or(1, |import| import.version);
    if !OPSETS.contains(&opset) {
        let message = format!("the file has opset {opset}; opsets {} to {} are read", OPSETS.start(), OPSETS.end());
        return Err(LoadError::UnsupportedFormat(message));
    }
    if !graph.sparse_initializer.is_empty() {
        return Err(LoadError::UnsupportedFormat("the file holds sparse weights; only dense ones are read".to_owned()));
    }
    refuse_unsupported(graph)?;
    let constants = read_constants(graph, siblings)?;
    let declared = declared_inputs(graph, &constants)?;
    first_that_fits(candidates(&declared), |inputs| Converter::new(graph, opset, &constants).convert(inputs))
}

/// Fails with the list of all operators that we lack.
fn refuse_unsupported(graph: &GraphProto) -> Result<(), LoadError> {
    let is_standard = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let missing = graph.node.iter().filter(|node| !is_standard(&node.domain) || !convert::is_known(&node.op_type));
    let nodes: Vec<UnsupportedNode> = missing
        .map(|node| UnsupportedNode {
            node: convert::layer_name(node).to_owned(),
            operator: if is_standard(&node.domain) {
                node.op_type.clone()
            } else {
                format!("{}.{}", node.domain, node.op_type)
            },
        })
        .collect();
    if nodes.is_empty() { Ok(()) } else { Err(LoadError::Unsupported { nodes }) }
}

/// All initialisers and constant nodes by the name of their value.
fn read_constants(graph: &GraphProto, siblings: &dyn Siblings) -> Result<HashMap<String, Known>, LoadError> {
    let mut constants = HashMap::new();
    for tensor in &graph.initializer {
        constants.insert(tensor.name.clone(), Known::constant(tensor::read(tensor, &tensor.name, siblings)?));
    }
    for node in graph.node.iter().filter(|node| node.op_type == "Constant") {
        let attributes = Attributes(&node.attribute);
        let name = convert::layer_name(node);
        let constant = match attributes.tensor("value") {
            Some(tensor) => tensor::read(tensor, name, siblings)?,
            None => convert::plain_constant(&attributes).ok_or_else(|| {
                LoadError::UnsupportedFormat(format!("constant `{name}` holds neither numbers nor a tensor of numbers"))
            })?,
        };
        if let Some(output) = node.output.first() {
            constants.insert(output.clone(), Known::constant(constant));
        }
    }
    Ok(constants)
}

/// An input's name with its lengths behind the batch; `None` where the file leaves one open.
type Declared = Vec<(String, Vec<Option<usize>>)>;

fn declared_inputs(graph: &GraphProto, constants: &HashMap<String, Known>) -> Result<Declared, LoadError> {
    let initialised: HashSet<&String> = constants.keys().collect();
    let inputs = graph.input.iter().filter(|input| !initialised.contains(&input.name));
    let declared: Declared =
        inputs.map(|input| Ok((input.name.clone(), lengths(input)?))).collect::<Result<_, LoadError>>()?;
    if declared.is_empty() {
        return Err(LoadError::UnsupportedFormat("the network takes no input".to_owned()));
    }
    Ok(declared)
}

fn lengths(input: &ValueInfoProto) -> Result<Vec<Option<usize>>, LoadError> {
    let shape = input.value_type.as_ref().and_then(|of| of.tensor_type.as_ref()).and_then(|of| of.shape.as_ref());
    let Some(shape) = shape.filter(|shape| shape.dim.len() > 1) else {
        let message = format!("input `{}` does not say its shape, batch axis first; export with one", input.name);
        return Err(LoadError::UnsupportedFormat(message));
    };
    let length = |dim: &proto::DimensionProto| {
        dim.dim_value.and_then(|length| usize::try_from(length).ok()).filter(|length| *length > 0)
    };
    let lengths: Vec<Option<usize>> = shape.dim[1..].iter().map(length).collect();
    if lengths.iter().flatten().any(|length| *length > 1 << 24) {
        return Err(LoadError::UnsupportedFormat(format!(
            "input `{}` has shape {lengths:?}, which no input of ours has",
            input.name
        )));
    }
    Ok(lengths)
}

/// What inputs to try, the most general first: a fixed length of time is only a hint where the network allows others.
fn candidates(declared: &Declared) -> Vec<Vec<(String, Vec<Dim>)>> {
    const HINTS: [usize; 5] = [224, 1000, 64, 32, 256];
    let mut all = Vec::new();
    let has_open = declared.iter().any(|(_, lengths)| lengths.contains(&None));
    for hint in if has_open { &HINTS[..] } else { &HINTS[..1] } {
        let dims = |free: Option<usize>| -> Vec<(String, Vec<Dim>)> {
            let dim = |axis: usize, length: &Option<usize>| match length {
                Some(length) if Some(axis) == free => Dim::Any(*length),
                Some(length) => Dim::Known(*length),
                None => Dim::Any(*hint),
            };
            declared
                .iter()
                .map(|(name, lengths)| {
                    (name.clone(), lengths.iter().enumerate().map(|(axis, length)| dim(axis, length)).collect())
                })
                .collect()
        };
        // Two axes behind the batch are channels and time, or time and features.
        let is_sequence = declared.iter().any(|(_, lengths)| lengths.len() == 2);
        let free: &[Option<usize>] = if is_sequence { &[Some(1), Some(0), None] } else { &[None] };
        all.extend(free.iter().map(|&free| dims(free)));
    }
    all.dedup();
    all
}

/// The first candidate that converts; where none does, the error of the last, which asks for no more than the file says.
fn first_that_fits<T>(
    candidates: Vec<T>,
    convert: impl Fn(&T) -> Result<Graph, LoadError>,
) -> Result<Graph, LoadError> {
    let mut failed = Err(LoadError::UnsupportedFormat("the network takes no input".to_owned()));
    for candidate in candidates {
        failed = convert(&candidate);
        if failed.is_ok() {
            return failed;
        }
    }
    failed
}
