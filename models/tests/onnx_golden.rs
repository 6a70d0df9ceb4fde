//! Networks as PyTorch exports them, with the outputs that PyTorch computes for them (`tests/golden`).

use std::path::{Path, PathBuf};

use models::loaders::{LoadError, NoSiblings, onnx};
use models::{Dim, Graph, Layout, Trace, Uninterrupted, Value};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

fn load(name: &str) -> Result<Graph, LoadError> {
    onnx::load(&std::fs::read(case(name).join("model.onnx")).unwrap(), &NoSiblings)
}

/// Shape and numbers of a `.npy` file of f32 in row-major order.
fn read_npy(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\0", "{}", path.display());
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..end]).unwrap();
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split_once('(').unwrap().1.split_once(')').unwrap().0;
    let shape = shape.split(',').map(str::trim).filter(|length| !length.is_empty());
    let numbers = bytes[end..].chunks_exact(4).map(|number| f32::from_le_bytes(number.try_into().unwrap()));
    (shape.map(|length| length.parse().unwrap()).collect(), numbers.collect())
}

/// What exporters compute of shapes, by the beginnings of the names that they give it.
const FOLDED: [&str; 6] = ["Constant", "Shape", "Gather", "Unsqueeze", "Concat", "Expand"];

/// The output for the case's input is the expected one, and every layer that the case names is there.
#[track_caller]
fn computes_what_pytorch_computes(name: &str) -> Graph {
    let graph = load(name).unwrap();
    let description = std::fs::read_to_string(case(name).join("case.json")).unwrap();
    let description: serde_json::Value = serde_json::from_str(&description).unwrap();
    for layer in description["layers"].as_array().unwrap().iter().map(|layer| layer.as_str().unwrap()) {
        let kind = layer.rsplit('/').next().unwrap_or(layer);
        let is_folded = FOLDED.iter().any(|folded| kind.starts_with(folded));
        assert_eq!(graph.layer(layer).is_ok(), !is_folded, "layer {layer}");
    }
    let call = &description["calls"][0];
    assert_eq!(call["method"], "model.forward");
    let (shape, numbers) = read_npy(&case(name).join("input.npy"));
    let input = Value::from_vec(numbers, &shape, Layout::Logical).unwrap();
    let trace = Trace::record(&graph, &[input], &Uninterrupted).unwrap();
    let output = trace.value(graph.output()).unwrap();
    let (expected_shape, expected) = read_npy(&case(name).join(call["expected"].as_str().unwrap()));
    assert_eq!(output.shape(), expected_shape);
    let (relative, absolute) = (call["rtol"].as_f64().unwrap(), call["atol"].as_f64().unwrap());
    for (place, (found, expected)) in output.to_f32_vec().unwrap().into_iter().zip(expected).enumerate() {
        let (found, expected) = (f64::from(found), f64::from(expected));
        let allowed = absolute + relative * expected.abs();
        assert!((found - expected).abs() <= allowed, "place {place}: {found} instead of {expected} ± {allowed}");
    }
    graph
}

#[test]
fn a_plain_network() {
    let graph = computes_what_pytorch_computes("vgg-a");
    assert_eq!(graph.input_shape(graph.inputs()[0]), [Dim::Known(3), Dim::Known(32), Dim::Known(32)]);
}

#[test]
fn a_network_of_depthwise_convolutions_and_clips() {
    computes_what_pytorch_computes("mobile-a");
}

#[test]
fn a_network_with_branches() {
    computes_what_pytorch_computes("residual-a");
}

#[test]
fn a_network_over_time() {
    let graph = computes_what_pytorch_computes("speech-a");
    assert!(matches!(graph.input_shape(graph.inputs()[0]), [Dim::Known(_), Dim::Any(_)]));
}

#[test]
fn a_recurrent_network() {
    let graph = computes_what_pytorch_computes("lstm-a");
    let shapes = graph.shapes(&[vec![3, 40, 14]]).unwrap();
    let shape = |layer: &str| {
        let outlet = graph.layer(layer).unwrap();
        shapes[outlet.node.0][outlet.port].clone()
    };
    assert_eq!(shape("/rnn/Transpose"), [3, 40, 14], "the batch comes first wherever the file has it");
    assert_eq!(shape("/rnn/LSTM"), [3, 40, 1, 16]);
    assert_eq!(shape("/rnn/LSTM/cell"), [3, 40, 1, 16]);
    assert_eq!(shape("/rnn/LSTM/gates"), [3, 40, 1, 64]);
    assert_eq!(shape("/rnn/Squeeze_1"), [3, 40, 16]);
    assert_eq!(graph.n_parameters(), 64 * 14 + 64 * 16 * 3 + 2 * 128 + 16 * 11 + 11);
}
