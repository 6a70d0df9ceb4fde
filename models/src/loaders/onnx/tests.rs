//! Small networks built in place: how numbers are stored, what is refused and with which words, what stays free.

use std::collections::HashMap;

use prost::Message;

use super::load;
use super::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::tensor::{self, Numbers};
use crate::graph::{Dim, Graph};
use crate::loaders::{LoadError, NoSiblings, Siblings};

/// A node written as `Type(input, input) -> output`.
fn node(text: &str) -> NodeProto {
    let (op_type, rest) = text.split_once('(').unwrap();
    let (inputs, output) = rest.split_once(") -> ").unwrap();
    let names = |text: &str| text.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    NodeProto { input: names(inputs), output: names(output), op_type: op_type.to_owned(), ..NodeProto::default() }
}

fn named(name: &str, text: &str) -> NodeProto {
    NodeProto { name: name.to_owned(), ..node(text) }
}

fn with_ints(mut node: NodeProto, name: &str, ints: &[i64]) -> NodeProto {
    node.attribute.push(AttributeProto { name: name.to_owned(), ints: ints.to_vec(), ..AttributeProto::default() });
    node
}

fn with_int(mut node: NodeProto, name: &str, i: i64) -> NodeProto {
    node.attribute.push(AttributeProto { name: name.to_owned(), i, ..AttributeProto::default() });
    node
}

/// A value's shape, as numbers and names of open lengths.
fn value(name: &str, shape: &[&str]) -> ValueInfoProto {
    let dim = |length: &&str| match length.parse() {
        Ok(number) => DimensionProto { dim_value: Some(number), dim_param: None },
        Err(_) => DimensionProto { dim_value: None, dim_param: Some((*length).to_owned()) },
    };
    let shape = Some(TensorShapeProto { dim: shape.iter().map(dim).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: 1, shape });
    ValueInfoProto { name: name.to_owned(), value_type: Some(TypeProto { tensor_type }) }
}

fn floats(name: &str, dims: &[i64], numbers: &[f32]) -> TensorProto {
    let raw_data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    TensorProto { name: name.to_owned(), dims: dims.to_vec(), data_type: 1, raw_data, ..TensorProto::default() }
}

/// Weights of so many numbers, all alike.
fn halves(name: &str, dims: &[i64]) -> TensorProto {
    floats(name, dims, &vec![0.5; dims.iter().product::<i64>() as usize])
}

fn ints(name: &str, numbers: &[i64]) -> TensorProto {
    let (dims, int64_data) = (vec![numbers.len() as i64], numbers.to_vec());
    TensorProto { name: name.to_owned(), dims, data_type: 7, int64_data, ..TensorProto::default() }
}

/// A network from `input` to `output`, opset 17.
fn network(shape: &[&str], nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto {
        node: nodes,
        initializer,
        input: vec![value("input", shape)],
        output: vec![value("output", &[])],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    ModelProto { graph: Some(graph), opset_import, ..ModelProto::default() }
}

fn loaded(model: &ModelProto) -> Result<Graph, LoadError> {
    load(&model.encode_to_vec(), &NoSiblings)
}

#[track_caller]
fn refused(model: &ModelProto) -> String {
    loaded(model).unwrap_err().to_string()
}

#[track_caller]
fn layers(graph: &Graph) -> Vec<(&str, &'static str)> {
    graph.nodes().iter().map(|node| (node.name.as_str(), node.operator.kind())).collect()
}

fn relu(shape: &[&str]) -> ModelProto {
    network(shape, vec![node("Relu(input) -> output")], vec![])
}

#[track_caller]
fn stored(tensor: TensorProto, expected: Numbers) {
    assert_eq!(tensor::read(&TensorProto { dims: vec![2], ..tensor }, "w", &NoSiblings).unwrap().numbers, expected);
}

fn raw(data_type: i32, bytes: &[u8]) -> TensorProto {
    TensorProto { data_type, raw_data: bytes.to_vec(), ..TensorProto::default() }
}

#[test]
fn numbers_as_raw_bytes() {
    stored(raw(1, &[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]), Numbers::Float(vec![1.0, -2.0]));
    stored(raw(10, &[0, 0x3c, 0, 0xc0]), Numbers::Float(vec![1.0, -2.0]));
    stored(raw(16, &[0x80, 0x3f, 0, 0xc0]), Numbers::Float(vec![1.0, -2.0]));
    stored(raw(11, &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0]), Numbers::Float(vec![1.0, -2.0]));
    stored(raw(2, &[1, 255]), Numbers::Whole(vec![1, 255]));
    stored(raw(3, &[1, 255]), Numbers::Whole(vec![1, -1]));
    stored(raw(9, &[1, 0]), Numbers::Whole(vec![1, 0]));
    stored(raw(6, &[1, 0, 0, 0, 255, 255, 255, 255]), Numbers::Whole(vec![1, -1]));
    stored(raw(7, &[[1; 1].as_slice(), &[0; 7], &[255; 8]].concat()), Numbers::Whole(vec![1, -1]));
}

#[test]
fn numbers_in_fields() {
    let plain = TensorProto::default;
    stored(TensorProto { data_type: 1, float_data: vec![1.0, -2.0], ..plain() }, Numbers::Float(vec![1.0, -2.0]));
    stored(TensorProto { data_type: 11, double_data: vec![1.0, -2.0], ..plain() }, Numbers::Float(vec![1.0, -2.0]));
    stored(TensorProto { data_type: 10, int32_data: vec![0x3c00, 0xc000], ..plain() }, Numbers::Float(vec![1.0, -2.0]));
    stored(TensorProto { data_type: 16, int32_data: vec![0x3f80, 0xc000], ..plain() }, Numbers::Float(vec![1.0, -2.0]));
    stored(TensorProto { data_type: 7, int64_data: vec![1, -1], ..plain() }, Numbers::Whole(vec![1, -1]));
    stored(TensorProto { data_type: 6, int32_data: vec![1, -1], ..plain() }, Numbers::Whole(vec![1, -1]));
    stored(TensorProto { data_type: 3, int32_data: vec![1, -1], ..plain() }, Numbers::Whole(vec![1, -1]));
    stored(TensorProto { data_type: 9, int32_data: vec![1, 0], ..plain() }, Numbers::Whole(vec![1, 0]));
    stored(TensorProto { data_type: 13, uint64_data: vec![1, 9], ..plain() }, Numbers::Whole(vec![1, 9]));
}

#[track_caller]
fn not_read(tensor: TensorProto, words: &str) {
    assert_eq!(tensor::read(&tensor, "w", &NoSiblings).unwrap_err().to_string(), words);
}

#[test]
fn numbers_that_do_not_fit_their_shape() {
    let short = TensorProto { raw_data: vec![0; 12], ..halves("w", &[2, 2]) };
    not_read(short, "tensor `w`: it holds 12 bytes where its shape needs 4 of 4");
    let few = TensorProto { data_type: 1, dims: vec![2, 2], float_data: vec![1.0; 3], ..TensorProto::default() };
    not_read(few, "tensor `w`: its shape [2, 2] needs 4 numbers but it holds 3");
    let shape = |dims: &[i64]| TensorProto { data_type: 1, dims: dims.to_vec(), ..TensorProto::default() };
    not_read(shape(&[2, -1]), "tensor `w`: its shape [2, -1] is negative");
    let huge = "tensor `w`: its shape [4294967296, 4294967296] has more than 2147483648 numbers";
    not_read(shape(&[1 << 32, 1 << 32]), huge);
    not_read(shape(&[1 << 20]), "tensor `w`: its shape [1048576] needs 1048576 numbers but it holds 0");
    not_read(floats("w", &[2], &[1.0, f32::NAN]), "tensor `w`: number 1 is NaN");
    let words = "tensor `w` holds strings; floats, whole numbers and booleans are read";
    not_read(TensorProto { data_type: 8, ..shape(&[1]) }, words);
}

/// Files by name.
struct Folder(HashMap<&'static str, Vec<u8>>);

impl Siblings for Folder {
    fn read(&self, name: &str, offset: u64, length: Option<u64>) -> Result<Vec<u8>, LoadError> {
        let missing = || LoadError::Corrupt { what: name.to_owned(), reason: "no such file".to_owned() };
        let file = self.0.get(name).ok_or_else(missing)?;
        let end = length.map_or(file.len(), |length| (offset + length) as usize).min(file.len());
        Ok(file[offset as usize..end].to_vec())
    }
}

fn outside(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto { key: (*key).into(), value: (*value).into() };
    let external_data = entries.iter().map(entry).collect();
    let (dims, data_location) = (dims.to_vec(), 1);
    TensorProto { name: name.into(), dims, data_type: 1, external_data, data_location, ..TensorProto::default() }
}

#[test]
fn weights_in_another_file() {
    let file: Vec<u8> = [9.0f32, 1.0, -2.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    let folder = Folder(HashMap::from([("weights.data", file)]));
    let read = |entries: &[(&str, &str)]| tensor::read(&outside("w", &[2], entries), "w", &folder);
    let sound = [("location", "weights.data"), ("offset", "4"), ("length", "8")];
    assert_eq!(read(&sound).unwrap().numbers, Numbers::Float(vec![1.0, -2.0]));
    assert_eq!(read(&sound[..2]).unwrap().numbers, Numbers::Float(vec![1.0, -2.0]));
    let error = read(&[sound[0], ("offset", "8")]).unwrap_err().to_string();
    assert_eq!(error, "tensor `w`: it holds 4 bytes where its shape needs 2 of 4");
    let error = read(&[sound[0], ("length", "80")]).unwrap_err().to_string();
    assert_eq!(error, "tensor `w`: its shape needs 8 bytes but 80 are named in `weights.data`");
    let error = read(&[sound[0], ("offset", "-4")]).unwrap_err().to_string();
    assert_eq!(error, "tensor `w`: its offset or length is no number");
    for name in ["../weights.data", "/weights.data", "a/../../weights.data", "..\\weights.data", ""] {
        assert!(matches!(read(&[("location", name)]), Err(LoadError::Outside { .. })), "{name}");
    }
    let error = tensor::read(&outside("w", &[2], &sound), "w", &NoSiblings).unwrap_err().to_string();
    assert_eq!(error, "weights.data: its weights are in another file, and the model did not come from a folder");
}

#[test]
fn bytes_that_are_no_network() {
    let message = "not an ONNX file, or a damaged one: ";
    for bytes in [&b""[..], b"PK\x03\x04 a checkpoint", b"just some text, long enough", &[0xff; 64], &[0; 64]] {
        let error = load(bytes, &NoSiblings).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let whole = relu(&["N", "4"]).encode_to_vec();
    assert!(load(&whole, &NoSiblings).is_ok());
    for length in 0..whole.len() {
        assert!(load(&whole[..length], &NoSiblings).is_err(), "the first {length} bytes");
    }
}

#[test]
fn damaged_networks_are_errors_and_never_panics() {
    let weights = vec![halves("w", &[2, 3, 3, 3]), halves("b", &[2]), halves("m", &[8, 2]), ints("to", &[0, -1])];
    let nodes = vec![
        with_ints(named("conv", "Conv(input, w, b) -> a"), "pads", &[1, 1, 1, 1]),
        with_ints(node("MaxPool(a) -> p"), "kernel_shape", &[2, 2]),
        with_ints(node("Transpose(p) -> t"), "perm", &[0, 2, 3, 1]),
        node("Shape(t) -> s"),
        with_int(node("Gather(s, zero) -> g"), "axis", 0),
        node("Unsqueeze(g, first) -> u"),
        with_int(node("Concat(u, rest) -> v"), "axis", 0),
        node("Reshape(t, v) -> r"),
        node("MatMul(r, m) -> output"),
    ];
    let scalar = TensorProto { dims: vec![], ..ints("zero", &[0]) };
    let weights = [weights, vec![scalar, ints("first", &[0]), ints("rest", &[-1])]].concat();
    let mut model = network(&["N", "3", "5", "3"], nodes, weights);
    // A product over what is left after the pool: 4 × 2 places of 2 channels.
    model.graph.as_mut().unwrap().initializer[2] = halves("m", &[16, 2]);
    let sound = model.encode_to_vec();
    load(&sound, &NoSiblings).unwrap();
    let mut n_errors = 0;
    for place in 0..sound.len() {
        for change in [1u8, 0x7f, 0x80, 0xff] {
            let mut damaged = sound.clone();
            damaged[place] ^= change;
            n_errors += usize::from(load(&damaged, &NoSiblings).is_err());
        }
    }
    assert!(n_errors > sound.len(), "{n_errors} of {} changes are errors", sound.len() * 4);
}

#[test]
fn opsets_outside_the_range() {
    let with_opset = |version: i64| ModelProto {
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version }],
        ..relu(&["N", "4"])
    };
    assert_eq!(refused(&with_opset(10)), "the file has opset 10; opsets 11 to 21 are read");
    assert_eq!(refused(&with_opset(22)), "the file has opset 22; opsets 11 to 21 are read");
    let none = ModelProto { opset_import: vec![], ..relu(&["N", "4"]) };
    assert_eq!(refused(&none), "the file has no opset; opsets 11 to 21 are read");
    assert!(loaded(&with_opset(11)).is_ok() && loaded(&with_opset(21)).is_ok());
}

#[test]
fn all_missing_operators_are_listed_at_once() {
    let nodes = vec![
        named("rnn", "RNN(input) -> a"),
        NodeProto { domain: "com.example".to_owned(), ..named("own", "Trick(a) -> b") },
        named("det", "Det(b) -> c"),
        named("pick", "Expand(input, i) -> d"),
        named("attend", "Einsum(input, input) -> e"),
        node("Concat(c, d, e) -> output"),
    ];
    let Err(LoadError::Unsupported { nodes }) = loaded(&network(&["N", "4"], nodes, vec![ints("i", &[0])])) else {
        panic!("not refused for its operators")
    };
    let listed: Vec<(&str, &str)> = nodes.iter().map(|node| (&*node.node, &*node.operator)).collect();
    let expected = [
        ("rnn", "RNN"),
        ("own", "com.example.Trick"),
        ("det", "Det"),
        ("pick", "Expand of computed values"),
        ("attend", "Einsum"),
    ];
    assert_eq!(listed, expected);
    assert_eq!(
        LoadError::Unsupported { nodes: nodes[..3].to_vec() }.to_string(),
        "layer `rnn` needs the operator RNN, which is not supported; missing in all: Det, RNN, com.example.Trick \
         (layers `rnn` (RNN), `own` (com.example.Trick), `det` (Det))"
    );
}

#[test]
fn what_no_output_needs_is_not_read() {
    let nodes = vec![node("RNN(input) -> a"), node("Relu(input) -> output"), node("Mul(output, w) -> b")];
    let graph = loaded(&network(&["N", "4"], nodes, vec![outside("w", &[4], &[("location", "gone")])])).unwrap();
    assert_eq!(layers(&graph), [("input", "Input"), ("output", "Relu")]);
}

#[test]
fn names_of_layers() {
    let nodes = vec![
        named("same", "Relu(input) -> a"),
        named("same", "Tanh(a) -> b"),
        node("Sigmoid(b) -> c"),
        named("input", "Relu(c) -> d"),
        named("keep", "Identity(d) -> output"),
    ];
    let graph = loaded(&network(&["N", "4"], nodes, vec![])).unwrap();
    let expected = [
        ("input", "Input"),
        ("same", "Relu"),
        ("same#2", "Tanh"),
        ("c", "Sigmoid"),
        ("input#2", "Relu"),
        ("keep", "Identity"),
    ];
    assert_eq!(layers(&graph), expected);
    assert_eq!(graph.outputs()[0].0, "output");
}

#[test]
fn networks_that_are_refused_say_why() {
    let weights = || vec![halves("w", &[2, 3, 3, 3]), halves("m", &[4, 2]), ints("i", &[0])];
    let image = |nodes: Vec<NodeProto>| refused(&network(&["N", "3", "8", "8"], nodes, weights()));
    assert_eq!(
        image(vec![named("filters", "Relu(w2) -> f"), named("conv", "Conv(input, f) -> output")]),
        "layer `filters`: it reads `w2`, which nothing before it computes"
    );
    assert_eq!(
        image(vec![named("filters", "Relu(input) -> f"), named("conv", "Conv(input, f) -> output")]),
        "layer `conv`: Conv: input 1, `f`, is computed by the network; only constants are supported here"
    );
    assert_eq!(
        image(vec![with_ints(named("swap", "Transpose(input) -> output"), "perm", &[1, 0, 2, 2])]),
        "layer `swap`: Transpose: `perm` is [1, 0, 2, 2] for 4 axes; each must be there once"
    );
    assert_eq!(
        image(vec![
            with_ints(named("swap", "Transpose(input) -> s"), "perm", &[1, 0, 2, 3]),
            named("conv", "Conv(s, w) -> output")
        ]),
        "layer `conv`: Conv: the batch is in axis 1 of its input in the file; here it must be the first axis"
    );
    assert_eq!(
        image(vec![named("attend", "MatMul(input, input) -> a"), named("sum", "ReduceSum(a) -> output")]),
        "layer `sum`: ReduceSum: without axes it takes the sum over the batch too"
    );
    assert_eq!(
        image(vec![with_int(named("pick", "Gather(input, i) -> output"), "axis", 0)]),
        "layer `pick`: Gather: axis 0 is the batch, or holds it"
    );
    assert_eq!(
        image(vec![with_int(named("mean", "ReduceMean(input) -> output"), "keepdims", 1)]),
        "layer `mean`: ReduceMean: without axes it takes the mean over the batch too"
    );
    assert_eq!(
        image(vec![with_ints(named("conv", "Conv(input, w) -> output"), "strides", &[0, 1])]),
        "layer `conv`: Conv: `strides` is [0, 1]; positive numbers are needed"
    );
    assert_eq!(
        image(vec![named("dense", "Gemm(input, m) -> output")]),
        "layer `dense`: Gemm: its input has shape [1, 3, 8, 8]; a matrix is needed"
    );
    assert_eq!(image(vec![node("Relu(input) -> a")]), "`output`: no node computes this output");
    let constant = refused(&network(&["N", "4"], vec![node("Identity(w) -> output")], weights()));
    assert_eq!(constant, "no output of the network depends on its input");
    let none = refused(&relu(&["N"]));
    assert_eq!(
        none,
        "input `input` does not say its shape, or has no axis behind the batch; export the network with both"
    );
    let huge = refused(&relu(&["N", "3", "1000000000", "T"]));
    assert_eq!(huge, "input `input` has shape [3, 1000000000, any]; inputs of up to 1073741824 numbers are read");
    let mut sparse = relu(&["N", "4"]);
    sparse.graph.as_mut().unwrap().sparse_initializer = vec![SparseTensorProto { values: None }];
    assert_eq!(refused(&sparse), "the file holds sparse weights; only dense ones are read");
}

/// An LSTM of two units over three features, as exporters write it, with changes.
fn lstm(change: impl Fn(&mut NodeProto)) -> ModelProto {
    let mut layer = named("rnn", "LSTM(turned, w, r, b, lengths, h, c, p) -> states");
    // What is optional is left out.
    layer.input[4..].iter_mut().for_each(String::clear);
    change(&mut layer);
    let nodes = vec![
        with_ints(node("Transpose(input) -> turned"), "perm", &[1, 0, 2]),
        layer,
        with_ints(node("Transpose(states) -> output"), "perm", &[2, 0, 1, 3]),
    ];
    let weights = vec![
        halves("w", &[1, 8, 3]),
        halves("r", &[1, 8, 2]),
        halves("b", &[1, 16]),
        halves("p", &[1, 6]),
        halves("h", &[1, 1, 2]),
        floats("many", &[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]),
        ints("short", &[4]),
    ];
    network(&["N", "9", "3"], nodes, weights)
}

#[test]
fn recurrent_layers_keep_their_states() {
    let graph = loaded(&lstm(|layer| layer.input[5] = "h".to_owned())).unwrap();
    assert_eq!(layers(&graph)[2], ("rnn", "LSTM"));
    let shapes = graph.shapes(&[vec![7, 20, 3]]).unwrap();
    for (layer, expected) in [("rnn", &[7, 20, 1, 2][..]), ("rnn/cell", &[7, 20, 1, 2]), ("rnn/gates", &[7, 20, 1, 8])]
    {
        let outlet = graph.layer(layer).unwrap();
        assert_eq!(shapes[outlet.node.0][outlet.port], expected, "{layer}");
    }
}

#[test]
fn recurrent_layers_that_are_refused_say_why() {
    let with = |change: &dyn Fn(&mut NodeProto)| refused(&lstm(change));
    let attribute = |attribute: AttributeProto| with(&|layer| layer.attribute.push(attribute.clone()));
    let named = |name: &str| AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    let input = |nth: usize, name: &str| with(&|layer| layer.input[nth] = name.to_owned());
    assert_eq!(
        attribute(AttributeProto { i: 1, ..named("layout") }),
        "layer `rnn`: LSTM: `layout` is 1; only 0 is supported"
    );
    assert_eq!(
        attribute(AttributeProto { f: 3.0, ..named("clip") }),
        "layer `rnn`: LSTM: `clip` is 3; only layers that do not clip are supported"
    );
    let functions = ["Sigmoid", "Relu", "Tanh"].map(|function| function.as_bytes().to_vec()).to_vec();
    assert_eq!(
        attribute(AttributeProto { strings: functions, ..named("activations") }),
        "layer `rnn`: LSTM: `activations` are Sigmoid, Relu, Tanh; only Sigmoid, Tanh, Tanh are supported"
    );
    assert_eq!(
        attribute(AttributeProto { s: b"sideways".to_vec(), ..named("direction") }),
        "layer `rnn`: LSTM: `direction` is `sideways`; forward, reverse and bidirectional are understood"
    );
    assert_eq!(
        attribute(AttributeProto { i: 5, ..named("hidden_size") }),
        "layer `rnn`: LSTM: `hidden_size` is 5 but its weights are for 2 units"
    );
    assert_eq!(
        input(7, "p"),
        "layer `rnn`: LSTM: it has peephole weights (input `P`); only layers without them are supported"
    );
    assert_eq!(
        input(4, "short"),
        "layer `rnn`: LSTM: `sequence_lens` must be left out, or be the constant length of the whole sequence"
    );
    assert_eq!(
        input(5, "many"),
        "layer `rnn`: LSTM: `initial_h` must be [direction, batch, unit], the same for every input of a batch and \
         every length"
    );
    assert_eq!(
        input(6, "turned"),
        "layer `rnn`: LSTM: `initial_c` is computed by the network; only constant states are supported"
    );
    assert_eq!(
        input(0, "input"),
        "layer `rnn`: LSTM: its input has shape [1, 9, 3], with the batch as axis 0; [time, batch, feature] is needed, \
         which an exporter writes for a layer that takes the batch first (`batch_first=True`)"
    );
}

#[track_caller]
fn input_is(model: &ModelProto, expected: &[Dim]) {
    let graph = loaded(model).unwrap();
    assert_eq!(graph.input_shape(graph.inputs()[0]), expected);
}

#[test]
fn lengths_that_stay_free() {
    let (known, any) = (Dim::Known, Dim::Any);
    let conv = |shape: &[&str]| network(shape, vec![node("Conv(input, w) -> output")], vec![halves("w", &[2, 5, 3])]);
    input_is(&conv(&["1", "5", "40"]), &[known(5), any(40)]);
    input_is(&conv(&["N", "5", "T"]), &[known(5), any(224)]);
    let over_time =
        |shape: &[&str]| network(shape, vec![node("MatMul(input, w) -> output")], vec![halves("w", &[5, 2])]);
    input_is(&over_time(&["N", "40", "5"]), &[any(40), known(5)]);
    let flat = |shape: &[&str]| {
        let nodes = vec![node("Flatten(input) -> f"), node("MatMul(f, w) -> output")];
        network(shape, nodes, vec![halves("w", &[280, 2])])
    };
    input_is(&flat(&["N", "5", "56"]), &[known(5), known(56)]);
    let image =
        |shape: &[&str]| network(shape, vec![node("Conv(input, w) -> output")], vec![halves("w", &[2, 3, 3, 3])]);
    input_is(&image(&["N", "3", "16", "20"]), &[known(3), known(16), known(20)]);
    input_is(&image(&["N", "3", "H", "W"]), &[known(3), any(224), any(224)]);
    // The weights allow one length only: it is found and fixed, though the file leaves it open.
    let open = network(
        &["N", "2", "T"],
        vec![node("Flatten(input) -> f"), node("MatMul(f, w) -> output")],
        vec![halves("w", &[128, 2])],
    );
    input_is(&open, &[known(2), known(64)]);
}

#[test]
fn a_batch_that_the_exporter_fixed_is_free_all_the_same() {
    for (batch, target) in [("1", [1, 12]), ("4", [4, 12]), ("4", [-1, 12])] {
        let nodes = vec![node("Reshape(input, to) -> output")];
        let graph = loaded(&network(&[batch, "3", "4"], nodes, vec![ints("to", &target)])).unwrap();
        assert_eq!(layers(&graph)[1], ("output", "Flatten"));
        assert_eq!(graph.shapes(&[vec![7, 3, 4]]).unwrap()[1], [[7, 12]]);
    }
    let reshaped = |target: &[i64]| {
        network(&["N", "9", "4"], vec![named("r", "Reshape(input, to) -> output")], vec![ints("to", target)])
    };
    // Joined with another axis in the file, it is still the first of ours.
    assert_eq!(loaded(&reshaped(&[-1, 4])).unwrap().shapes(&[vec![7, 9, 4]]).unwrap()[1], [[7, 9, 4]]);
    let error = refused(&reshaped(&[3, -1, 4]));
    assert_eq!(error, "layer `r`: Reshape: [2, 9, 4] to [3, 6, 4] does not keep the batch together");
}

/// A network as PyTorch's newer exporter writes it: weights by their Python names, in a file beside it.
#[test]
fn the_newer_exporter_with_weights_outside() {
    let numbers: Vec<u8> = [0.5f32; 2 * 27 + 2 + 2 * 32].iter().flat_map(|number| number.to_le_bytes()).collect();
    let at = |name: &str, dims: &[i64], offset: &str, length: &str| {
        outside(name, dims, &[("location", "net.onnx.data"), ("offset", offset), ("length", length)])
    };
    let initializers = vec![
        at("0.weight", &[2, 3, 3, 3], "0", "216"),
        at("0.bias", &[2], "216", "8"),
        at("3.weight", &[2, 32], "224", "256"),
        ints("val_3", &[1, 32]),
    ];
    let nodes = vec![
        with_ints(named("node_conv2d", "Conv(input, 0.weight, 0.bias) -> conv2d"), "pads", &[1, 1, 1, 1]),
        named("node_relu", "Relu(conv2d) -> relu"),
        with_int(named("node_view", "Reshape(relu, val_3) -> view"), "allowzero", 1),
        with_int(named("node_linear", "Gemm(view, 3.weight) -> output"), "transB", 1),
    ];
    let mut model = network(&["1", "3", "4", "4"], nodes, initializers);
    model.opset_import[0].version = 20;
    let mut bytes = model.encode_to_vec();
    // `metadata_props` (14) of the model, which is passed over.
    bytes.extend([14 << 3 | 2, 6, 10, 1, b'k', 18, 1, b'v']);
    let graph = load(&bytes, &Folder(HashMap::from([("net.onnx.data", numbers)]))).unwrap();
    let expected = [
        ("input", "Input"),
        ("node_conv2d", "Conv"),
        ("node_relu", "Relu"),
        ("node_view", "Flatten"),
        ("node_linear", "Gemm"),
    ];
    assert_eq!(layers(&graph), expected);
    assert_eq!(graph.shapes(&[vec![5, 3, 4, 4]]).unwrap()[4], [[5, 2]]);
    assert_eq!(graph.n_parameters(), 2 * 27 + 2 + 2 * 32);
}
