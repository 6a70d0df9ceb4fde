//! Each operator as ONNX defines it: small networks with the answers of ONNX's own reference evaluator
//! (`data/make_onnx.py` writes both).

use std::path::Path;

use models::loaders::{NoSiblings, onnx};
use models::{Graph, Layout, Trace, Uninterrupted, Value};
use safetensors::SafeTensors;

fn floats(tensor: &safetensors::tensor::TensorView<'_>) -> Vec<f32> {
    tensor.data().chunks_exact(4).map(|number| f32::from_le_bytes(number.try_into().unwrap())).collect()
}

/// Each of the cases loads and computes what the reference evaluator does.
#[track_caller]
fn compute_what_the_reference_computes(cases: &[&str]) -> Vec<Graph> {
    let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let check = |case: &&str| {
        let tensor = |what: &str| tensors.tensor(&format!("{case}/{what}")).unwrap();
        let graph = onnx::load(tensor("model").data(), &NoSiblings).unwrap_or_else(|error| panic!("{case}: {error}"));
        let (input, expected) = (tensor("input"), tensor("output"));
        let input = Value::from_vec(floats(&input), input.shape(), Layout::Logical).unwrap();
        let trace = Trace::record(&graph, &[input], &Uninterrupted).unwrap_or_else(|error| panic!("{case}: {error}"));
        let output = trace.value(graph.output()).unwrap();
        assert_eq!(output.shape(), expected.shape(), "{case}");
        for (found, expected) in output.to_f32_vec().unwrap().into_iter().zip(floats(&expected)) {
            let is_close = (found - expected).abs() <= 1e-5 + 1e-5 * expected.abs();
            assert!(is_close, "{case}: {found} instead of {expected}");
        }
        graph
    };
    cases.iter().map(check).collect()
}

#[test]
fn convolutions() {
    let padded = ["conv-same_upper", "conv-same_lower", "conv-valid", "conv-asymmetric"];
    compute_what_the_reference_computes(&padded);
    compute_what_the_reference_computes(&["conv-over-time"]);
}

#[test]
fn pools() {
    compute_what_the_reference_computes(&["max-pool-ceil", "max-pool-dilated", "max-pool-same"]);
    compute_what_the_reference_computes(&["average-pool-with-padding", "average-pool-without-padding"]);
    compute_what_the_reference_computes(&["global-pool-to-softmax", "mean-by-attribute", "mean-by-input"]);
}

#[test]
fn batch_norms_and_padding() {
    compute_what_the_reference_computes(&["batch-norm", "pad", "pad-some-axes"]);
}

#[test]
fn dense_layers() {
    compute_what_the_reference_computes(&["gemm-plain", "gemm-one-bias", "matmul-add-matrix", "matmul-transposed"]);
    let [graph] = &compute_what_the_reference_computes(&["matmul-add"])[..] else { panic!("one case, one graph") };
    assert_eq!(graph.nodes().len(), 2, "the sum is part of the product's layer");
    assert_eq!(graph.layer("product").unwrap(), graph.layer("sum").unwrap());
}

#[test]
fn softmax_before_and_after_opset_13() {
    let cases = ["softmax-1-opset-11", "softmax-2-opset-12", "softmax--1-opset-12", "softmax-1-opset-13"];
    compute_what_the_reference_computes(&cases);
    let defaults = ["softmax--1-opset-17", "softmax-default-opset-11", "softmax-default-opset-13"];
    compute_what_the_reference_computes(&defaults);
}

#[test]
fn arithmetic() {
    let with_constants = ["sub-constant-0", "sub-constant-1", "div-constant-2", "div-constant-3", "mul-constant-4"];
    compute_what_the_reference_computes(&with_constants);
    compute_what_the_reference_computes(&["times-its-sigmoid", "concat-and-sum"]);
}

#[test]
fn pointwise_functions() {
    let plain = ["relu", "sigmoid", "tanh", "softplus", "hardswish", "leakyrelu", "elu", "hardsigmoid", "identity"];
    compute_what_the_reference_computes(&plain);
    compute_what_the_reference_computes(&["leakyrelu-alpha", "elu-alpha", "hardsigmoid-alpha", "gelu", "gelu-tanh"]);
    compute_what_the_reference_computes(&["clip", "clip-above"]);
}

#[test]
fn rearrangements() {
    compute_what_the_reference_computes(&["transpose", "flatten-from-the-end"]);
    let axes = ["squeeze-attribute", "squeeze-input", "unsqueeze-attribute", "unsqueeze-input"];
    compute_what_the_reference_computes(&axes);
}

#[test]
fn shape_arithmetic_of_exporters() {
    let reshapes = ["reshape-minus-one", "reshape-batch-free"];
    let views = ["view-by-size", "view-by-slices", "view-by-first-length"];
    for graph in compute_what_the_reference_computes(&[&reshapes[..], &views].concat()) {
        let folded = ["Shape", "Gather", "Slice", "Concat", "Unsqueeze"];
        assert!(graph.nodes().iter().all(|node| !folded.contains(&node.operator.kind())), "{graph:?}");
    }
    compute_what_the_reference_computes(&["expanded-constant", "range-as-weights"]);
}

#[test]
fn recurrent_layers() {
    compute_what_the_reference_computes(&["lstm-forward", "lstm-reverse", "lstm-bidirectional", "lstm-without-bias"]);
    compute_what_the_reference_computes(&[
        "gru-forward",
        "gru-reverse",
        "gru-bidirectional",
        "gru-linear-before-reset",
    ]);
}

#[test]
fn what_attention_is_made_of() {
    compute_what_the_reference_computes(&["layer-norm", "layer-norm-two-axes", "matmul-computed"]);
    compute_what_the_reference_computes(&["gather-one", "gather-list", "slice", "split"]);
    compute_what_the_reference_computes(&["sum", "sum-kept", "power", "square-root"]);
}

#[test]
fn a_batch_that_moves_and_is_joined() {
    let [graph] = &compute_what_the_reference_computes(&["batch-moved-and-joined"])[..] else {
        panic!("one case, one graph")
    };
    let shapes = graph.shapes(&[vec![7, 3, 4]]).unwrap();
    assert!(shapes.iter().flatten().all(|shape| shape[0] == 7), "the batch is first everywhere");
}

#[test]
fn other_norms_and_transposed_convolutions() {
    compute_what_the_reference_computes(&["instance-norm", "group-norm"]);
    compute_what_the_reference_computes(&["conv-transpose", "conv-transpose-over-time"]);
}

#[test]
fn resizing_and_padding_by_what_is_there() {
    compute_what_the_reference_computes(&["resize-nearest-asymmetric", "resize-linear-half_pixel"]);
    compute_what_the_reference_computes(&["resize-linear-align_corners", "resize-to-sizes"]);
    compute_what_the_reference_computes(&["pad-reflect", "pad-edge"]);
}

#[test]
fn functions_in_pieces() {
    compute_what_the_reference_computes(&[
        "selu",
        "celu",
        "softsign",
        "abs",
        "neg",
        "exp",
        "mish",
        "log",
        "reciprocal",
    ]);
    compute_what_the_reference_computes(&["prelu-channels", "prelu-one", "max-constant", "min-computed"]);
    compute_what_the_reference_computes(&["function-in-pieces", "pieces-with-a-constant"]);
}

#[test]
fn largest_numbers_and_norms() {
    compute_what_the_reference_computes(&["global-max-pool", "max-by-attribute", "max-by-input", "norm-over-axis"]);
}

#[test]
fn functions_are_written_out() {
    let [graph] = &compute_what_the_reference_computes(&["functions"])[..] else { panic!("one case, one graph") };
    let layers: Vec<&str> = graph.layer_names().collect();
    assert_eq!(layers, ["input", "first/rectify", "first/join", "second/rectify", "second/join"]);
}
