//! ONNX files, opsets 11 to 21, as both of PyTorch's exporters write them.
//!
//! `proto` is the file's own structure, `tensor` its numbers, `folding` what is computed at load, and `convert` turns
//! each node into an operator. The first axis of every input is the batch and stays free, wherever the file moves it
//! (see `axes`); so does the length of time wherever the network allows it, whatever length it was exported with.

mod arrays;
mod attributes;
mod axes;
mod choices;
mod convert;
mod einsum;
mod folding;
mod functions;
mod norms;
mod operators;
mod places;
mod proto;
mod reading;
mod recurrent;
mod resampling;
mod tensor;
#[cfg(test)]
mod tests;
mod windows;

use std::collections::{HashMap, HashSet};

use prost::Message;

use self::attributes::Attributes;
use self::convert::Source;
use self::folding::Known;
use self::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use self::reading::layer_name;
use super::{LoadError, Siblings};
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
    let graph = model.graph.filter(|graph| !graph.node.is_empty() && !graph.output.is_empty());
    let mut graph = graph.ok_or_else(|| no_onnx("it holds no network".to_owned()))?;
    let opset = model.opset_import.iter().find(|import| import.domain.is_empty() || import.domain == "ai.onnx");
    let Some(opset) = opset.map(|import| import.version).filter(|opset| OPSETS.contains(opset)) else {
        let found = opset.map_or("no opset".to_owned(), |import| format!("opset {}", import.version));
        let message = format!("the file has {found}; opsets {} to {} are read", OPSETS.start(), OPSETS.end());
        return Err(LoadError::UnsupportedFormat(message));
    };
    if !graph.sparse_initializer.is_empty() {
        return Err(LoadError::UnsupportedFormat("the file holds sparse weights; only dense ones are read".to_owned()));
    }
    let nodes = functions::written_out(std::mem::take(&mut graph.node), &model.functions, opset)?;
    let is_stored = |name: &str| graph.initializer.iter().any(|stored| stored.name == name);
    let nodes = einsum::written_out(nodes, &is_stored);
    let (nodes, needed) = needed(nodes, &graph);
    let initializers = std::mem::take(&mut graph.initializer);
    let inputs = declared_inputs(&graph, &initializers)?;
    let constants = read_constants(initializers, &nodes, &needed, siblings)?;
    let outputs = graph.output.into_iter().map(|output| output.name).collect();
    let source = Source { nodes, outputs, constants, opset, declared_batch: inputs.batch };
    let (candidates, telling) = candidates(&inputs.lengths);
    first_that_fits(&candidates, telling, |inputs| convert::convert(&source, inputs))
}

/// The nodes that the outputs depend on, and the names of all values that these nodes and the outputs read.
fn needed(nodes: Vec<NodeProto>, graph: &GraphProto) -> (Vec<NodeProto>, HashSet<String>) {
    let mut values: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    let mut kept = Vec::new();
    for node in nodes.into_iter().rev() {
        if node.output.iter().any(|output| values.contains(output)) {
            values.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    (kept, values)
}

/// The initialisers that are needed, and all constant nodes, by the name of their value.
fn read_constants(
    initializers: Vec<TensorProto>,
    nodes: &[NodeProto],
    needed: &HashSet<String>,
    siblings: &dyn Siblings,
) -> Result<HashMap<String, Known>, LoadError> {
    let mut constants = HashMap::new();
    // Each goes as soon as it is read, so that large weights are not held twice.
    for tensor in initializers.into_iter().filter(|tensor| needed.contains(&tensor.name)) {
        constants.insert(tensor.name.clone(), Known::constant(tensor::read(&tensor, &tensor.name, siblings)?));
    }
    for node in nodes.iter().filter(|node| node.op_type == "Constant") {
        let attributes = Attributes(&node.attribute);
        let name = layer_name(node);
        let constant = match attributes.tensor("value") {
            Some(tensor) => tensor::read(tensor, name, siblings)?,
            None => attributes.plain_constant().ok_or_else(|| {
                LoadError::UnsupportedFormat(format!("constant `{name}` holds neither numbers nor a tensor of numbers"))
            })?,
        };
        constants.extend(node.output.first().map(|output| (output.clone(), Known::constant(constant))));
    }
    Ok(constants)
}

/// Inputs by name with their lengths behind the batch; `None` where the file leaves one open.
type Lengths = Vec<(String, Vec<Option<usize>>)>;

struct Declared {
    lengths: Lengths,
    /// The first input's batch, where the file fixes it.
    batch: Option<i64>,
}

fn declared_inputs(graph: &GraphProto, initializers: &[TensorProto]) -> Result<Declared, LoadError> {
    // Before IR version 4 initialisers are listed as inputs too.
    let initialised: HashSet<&str> = initializers.iter().map(|tensor| tensor.name.as_str()).collect();
    let mut declared = Declared { lengths: Vec::new(), batch: None };
    for input in graph.input.iter().filter(|input| !initialised.contains(input.name.as_str())) {
        let (batch, lengths) = shape(input)?;
        declared.batch = declared.batch.or(batch);
        declared.lengths.push((input.name.clone(), lengths));
    }
    if declared.lengths.is_empty() {
        return Err(LoadError::UnsupportedFormat("the network takes no input".to_owned()));
    }
    Ok(declared)
}

/// The batch and the lengths behind it.
fn shape(input: &ValueInfoProto) -> Result<(Option<i64>, Vec<Option<usize>>), LoadError> {
    /// An image of 16384 × 16384 pixels has as many.
    const MOST_NUMBERS: usize = 1 << 30;
    let shape = input.value_type.as_ref().and_then(|of| of.tensor_type.as_ref()).and_then(|of| of.shape.as_ref());
    let Some(shape) = shape.filter(|shape| shape.dim.len() > 1) else {
        let message = format!(
            "input `{}` does not say its shape, or has no axis behind the batch; export the network with both",
            input.name
        );
        return Err(LoadError::UnsupportedFormat(message));
    };
    let positive = |dim: &proto::DimensionProto| dim.dim_value.filter(|length| *length > 0);
    let length = |dim| positive(dim).and_then(|length| usize::try_from(length).ok());
    let lengths: Vec<Option<usize>> = shape.dim[1..].iter().map(length).collect();
    let product = lengths.iter().flatten().try_fold(1usize, |n, &length| n.checked_mul(length));
    if product.is_none_or(|product| product > MOST_NUMBERS) {
        let shown: Vec<String> =
            lengths.iter().map(|length| length.map_or("any".to_owned(), |length| length.to_string())).collect();
        return Err(LoadError::UnsupportedFormat(format!(
            "input `{}` has shape [{}]; inputs of up to {MOST_NUMBERS} numbers are read",
            input.name,
            shown.join(", ")
        )));
    }
    Ok((positive(&shape.dim[0]), lengths))
}

/// Inputs to try: each by its name, with its lengths.
type Candidate = Vec<(String, Vec<Dim>)>;

/// What inputs to try, the most general first: a fixed length of time is only a hint where the network allows others,
/// and one that the file leaves open is fixed where the network does not. The number is the place of the candidate that
/// asks for just what the file says, whose error tells the most.
fn candidates(declared: &Lengths) -> (Vec<Candidate>, usize) {
    const HINTS: [usize; 12] = [224, 1000, 64, 32, 256, 28, 299, 128, 512, 16000, 16, 8];
    let has_open = declared.iter().any(|(_, lengths)| lengths.contains(&None));
    let hints = if has_open { &HINTS[..] } else { &HINTS[..1] };
    let candidate = |free: Option<usize>, open: &dyn Fn() -> Dim| -> Candidate {
        let dims = |lengths: &[Option<usize>]| {
            // Two axes behind the batch are channels and time, or time and features.
            let free = free.filter(|_| lengths.len() == 2);
            let dim = |(axis, length): (usize, &Option<usize>)| match length {
                Some(length) if Some(axis) == free => Dim::Any(*length),
                Some(length) => Dim::Known(*length),
                None => open(),
            };
            lengths.iter().enumerate().map(dim).collect()
        };
        declared.iter().map(|(name, lengths)| (name.clone(), dims(lengths))).collect()
    };
    let mut all = Vec::new();
    for &hint in hints {
        all.extend([Some(1), Some(0), None].map(|free| candidate(free, &|| Dim::Any(hint))));
    }
    all.extend(hints.iter().map(|&hint| candidate(None, &|| Dim::Known(hint))));
    all.dedup();
    let as_declared = candidate(None, &|| Dim::Any(HINTS[0]));
    let telling = all.iter().position(|candidate| *candidate == as_declared).unwrap_or(0);
    (all, telling)
}

/// The first candidate that converts; where none does, the error of the telling one.
fn first_that_fits(
    candidates: &[Candidate],
    telling: usize,
    convert: impl Fn(&Candidate) -> Result<Graph, LoadError>,
) -> Result<Graph, LoadError> {
    let mut told = Err(LoadError::UnsupportedFormat("the network takes no input".to_owned()));
    for (nth, candidate) in candidates.iter().enumerate() {
        match convert(candidate) {
            // Only these errors can depend on the lengths.
            Err(LoadError::Model(error)) if nth == telling => told = Err(error.into()),
            Err(LoadError::Model(_)) => {}
            other => return other,
        }
    }
    told
}
