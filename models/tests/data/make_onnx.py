"""Writes `onnx.safetensors`: small networks, and what ONNX's own reference evaluator answers for them.

Each is a case of three tensors: `<case>/model` (the file's bytes), `<case>/input`, `<case>/output`. Needs the Python
packages `onnx`, `numpy` and `safetensors`; the tests only read the file.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import save_file

TENSORS = {}
RANDOM = np.random.default_rng(7)


def numbers(*shape):
    return RANDOM.normal(0, 1, shape).astype(np.float32)


def positive(*shape):
    return RANDOM.uniform(0.5, 2, shape).astype(np.float32)


def ints(*values):
    return np.array(values, dtype=np.int64)


def add(name, model, given, answer=None):
    if answer is None:
        [answer] = ReferenceEvaluator(model).run(None, {"input": given})
    TENSORS[f"{name}/model"] = np.frombuffer(model.SerializeToString(), dtype=np.uint8)
    TENSORS[f"{name}/input"] = given
    TENSORS[f"{name}/output"] = np.ascontiguousarray(answer, dtype=np.float32)


def case(name, opset, shape, nodes, constants=None, input_shape=None, answer=None):
    """`shape` is that of the input given, `input_shape` what the file declares; nodes are (type, inputs, attributes)."""
    made, value = [], "input"
    for nth, (kind, inputs, attributes) in enumerate(nodes):
        output = "output" if nth == len(nodes) - 1 else f"value{nth}"
        label = attributes.pop("label", f"{kind.lower()}{nth}")
        output = attributes.pop("to_value", output)
        inputs = [value if each == "_" else each for each in inputs.split()]
        inputs = ["" if each == "." else each for each in inputs]
        made.append(helper.make_node(kind, inputs, [output], name=label, **attributes))
        value = output
    declared = input_shape or ["batch", *shape[1:]]
    graph = helper.make_graph(
        made,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, declared)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, label) for label, array in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    given = numbers(*shape)
    add(name, made, given, answer and answer(given))


def images():
    for pad in ["SAME_UPPER", "SAME_LOWER", "VALID"]:
        weights = {"w": numbers(4, 3, 2, 4), "b": numbers(4)}
        attributes = dict(auto_pad=pad, strides=[2, 1], kernel_shape=[2, 4])
        case(f"conv-{pad.lower()}", 17, (2, 3, 7, 6), [("Conv", "_ w b", attributes)], weights)
    case("conv-asymmetric", 11, (2, 4, 9, 8),
         [("Conv", "_ w", dict(pads=[2, 0, 1, 3], dilations=[2, 1], strides=[1, 2], group=2))],
         {"w": numbers(6, 2, 3, 3)})
    case("conv-over-time", 21, (2, 4, 20), [("Conv", "_ w b", dict(pads=[3, 1], dilations=[2], strides=[2]))],
         {"w": numbers(5, 4, 3), "b": numbers(5)})
    case("max-pool-ceil", 12, (2, 3, 8, 9),
         [("MaxPool", "_", dict(kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1, pads=[1, 0, 1, 0]))])
    case("max-pool-dilated", 17, (2, 3, 12), [("MaxPool", "_", dict(kernel_shape=[3], dilations=[2], strides=[1]))])
    case("max-pool-same", 17, (2, 3, 7, 7),
         [("MaxPool", "_", dict(kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"))])
    for counted in [0, 1]:
        case(f"average-pool-{'with' if counted else 'without'}-padding", 17, (2, 3, 8, 8),
             [("AveragePool", "_", dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 1], count_include_pad=counted))])
    case("batch-norm", 15, (2, 4, 3, 3), [("BatchNormalization", "_ scale shift mean variance", dict(epsilon=1e-3))],
         {"scale": numbers(4), "shift": numbers(4), "mean": numbers(4), "variance": positive(4)})
    case("global-pool-to-softmax", 17, (2, 4, 5, 5),
         [("GlobalAveragePool", "_", {}), ("Flatten", "_", {}), ("Gemm", "_ w b", dict(transB=1)), ("Softmax", "_", {})],
         {"w": numbers(3, 4), "b": numbers(3)})
    case("pad", 13, (2, 3, 4, 5), [("Pad", "_ pads value", {})],
         {"pads": ints(0, 0, 1, 2, 0, 0, 3, 0), "value": np.float32(0.5)})
    case("pad-some-axes", 18, (2, 3, 4), [("Pad", "_ pads . axes", {})], {"pads": ints(1, 2), "axes": ints(-1)})
    case("mean-by-attribute", 13, (2, 3, 4, 5), [("ReduceMean", "_", dict(axes=[-1, 2], keepdims=0))])
    case("mean-by-input", 18, (2, 3, 4, 5), [("ReduceMean", "_ axes", dict(keepdims=1))], {"axes": ints(2, 3)})


def joined_softmax(axis):
    """Softmax before opset 13, which the reference evaluator lacks: over all axes from `axis` on as if they were one."""

    def evaluate(given):
        exponentials = np.exp(given).reshape(*given.shape[:axis], -1)
        return (exponentials / exponentials.sum(-1, keepdims=True)).reshape(given.shape)

    return evaluate


def features():
    case("gemm-plain", 13, (3, 4), [("Gemm", "_ w b", dict(alpha=0.5, beta=2.0))], {"w": numbers(4, 5), "b": numbers(1, 5)})
    case("gemm-one-bias", 13, (3, 4), [("Gemm", "_ w b", dict(transB=1))], {"w": numbers(5, 4), "b": numbers(1)})
    case("matmul-add", 17, (3, 6, 4), [("MatMul", "_ w", dict(label="product")), ("Add", "b _", dict(label="sum"))],
         {"w": numbers(4, 5), "b": numbers(5)})
    case("matmul-add-matrix", 17, (3, 6, 4), [("MatMul", "_ w", {}), ("Add", "_ b", {})],
         {"w": numbers(4, 5), "b": numbers(6, 5)})
    case("matmul-transposed", 17, (3, 4), [("Transpose", "w", dict(perm=[1, 0], to_value="t")), ("MatMul", "input t", {})],
         {"w": numbers(5, 4)})
    for axis, opset in [(1, 11), (2, 12), (-1, 12), (1, 13), (-1, 17)]:
        answer = joined_softmax(axis) if opset < 13 else None
        case(f"softmax-{axis}-opset-{opset}", opset, (2, 3, 4, 2), [("Softmax", "_", dict(axis=axis))], answer=answer)
    case("softmax-default-opset-11", 11, (2, 3, 4), [("LogSoftmax", "_", {})],
         answer=lambda given: np.log(joined_softmax(1)(given)))
    case("softmax-default-opset-13", 13, (2, 3, 4), [("LogSoftmax", "_", {})])
    for sign, (kind, inputs) in enumerate([("Sub", "c _"), ("Sub", "_ c"), ("Div", "c _"), ("Div", "_ c"), ("Mul", "_ c")]):
        case(f"{kind.lower()}-constant-{sign}", 14, (2, 3, 4), [(kind, inputs, {})], {"c": positive(3, 1)})
    case("times-its-sigmoid", 17, (2, 5), [("Sigmoid", "_", {}), ("Mul", "input _", {})])
    case("concat-and-sum", 17, (2, 3, 4), [("Relu", "_", {}), ("Concat", "_ input", dict(axis=1)), ("Add", "_ _", {})])
    case("transpose", 17, (2, 3, 4, 5), [("Transpose", "_", dict(perm=[0, 2, 3, 1]))])
    case("flatten-from-the-end", 13, (2, 3), [("Flatten", "_", dict(axis=-1))])


def pointwise():
    plain = ["Relu", "Sigmoid", "Tanh", "Softplus", "HardSwish", "LeakyRelu", "Elu", "HardSigmoid", "Identity"]
    for kind in plain:
        case(kind.lower(), 14, (2, 9), [(kind, "_", {})])
    case("leakyrelu-alpha", 16, (2, 9), [("LeakyRelu", "_", dict(alpha=0.2))])
    case("elu-alpha", 11, (2, 9), [("Elu", "_", dict(alpha=0.7))])
    case("hardsigmoid-alpha", 11, (2, 9), [("HardSigmoid", "_", dict(alpha=1 / 6, beta=0.4))])
    case("gelu", 20, (2, 9), [("Gelu", "_", {})])
    case("gelu-tanh", 20, (2, 9), [("Gelu", "_", dict(approximate="tanh"))])
    case("clip", 13, (2, 9), [("Clip", "_ low high", {})], {"low": np.float32(-0.5), "high": np.float32(0.75)})
    case("clip-above", 11, (2, 9), [("Clip", "_ . high", {})], {"high": np.float32(0.75)})


def shapes():
    constant = lambda value: dict(value=numpy_helper.from_array(np.array(value, dtype=np.int64)))
    case("squeeze-attribute", 11, (2, 3, 1, 4), [("Squeeze", "_", dict(axes=[2]))])
    case("squeeze-input", 13, (2, 3, 1, 4), [("Squeeze", "_ axes", {})], {"axes": ints(-2)})
    case("unsqueeze-attribute", 11, (2, 3, 4), [("Unsqueeze", "_", dict(axes=[1, 4]))])
    case("unsqueeze-input", 13, (2, 3, 4), [("Unsqueeze", "_ axes", {})], {"axes": ints(1, -1)})
    case("reshape-minus-one", 17, (2, 3, 4), [("Reshape", "_ to", {})], {"to": ints(0, -1)})
    case("reshape-batch-free", 17, (3, 3, 4), [("Reshape", "_ to", {})], {"to": ints(-1, 2, 6)})
    # What the older exporter writes for `x.view(x.size(0), -1)`.
    view = [
        ("Shape", "input", {}),
        ("Constant", "", dict(to_value="zero", **constant(0))),
        ("Gather", "value0 zero", dict(axis=0)),
        ("Constant", "", dict(to_value="first", **constant([0]))),
        ("Unsqueeze", "value2 first", {}),
        ("Constant", "", dict(to_value="rest", **constant([-1]))),
        ("Concat", "value4 rest", dict(axis=0)),
        ("Reshape", "input value6", {}),
    ]
    case("view-by-size", 13, (3, 2, 4), view)
    # `x.view(x.size(0), x.size(1), x.size(2) * x.size(3))` in one slice of the shape.
    joined = [
        ("Shape", "input", {}),
        ("Slice", "value0 zero two", {}),
        ("Slice", "value0 two four", {}),
        ("ReduceProd", "value2", dict(keepdims=1)),
        ("Concat", "value1 value3", dict(axis=0)),
        ("Reshape", "input value4", {}),
        ("ReduceMean", "_", dict(axes=[2], keepdims=0)),
    ]
    case("view-by-slices", 13, (3, 2, 4, 5), joined, {"zero": ints(0), "two": ints(2), "four": ints(4)},
         input_shape=["batch", 2, "height", "width"])
    # What the newer exporter writes for a flatten where the batch is open.
    kept = [
        ("Shape", "input", dict(start=0, end=1)),
        ("Concat", "value0 rest", dict(axis=0)),
        ("Reshape", "input value1", dict(allowzero=1)),
    ]
    case("view-by-first-length", 18, (3, 2, 4), kept, {"rest": ints(8)})
    # `torch.full(shape, -1)` against a shape, and the choice between both, as `expand` is written.
    expanded = [
        ("ConstantOfShape", "length", dict(value=numpy_helper.from_array(ints(1)))),
        ("Mul", "value0 minus", {}),
        ("Equal", "wanted value1", {}),
        ("Where", "value2 value0 wanted", {}),
        ("Expand", "c value3", {}),
        ("Add", "input _", {}),
    ]
    case("expanded-constant", 17, (2, 3, 4), expanded,
         {"length": ints(2), "minus": ints(-1), "wanted": ints(3, -1), "c": numbers(1, 4)})
    ranged = [
        ("Range", "start end step", {}),
        ("Cast", "_", dict(to=TensorProto.FLOAT)),
        ("Div", "_ four", {}),
        ("Mul", "input _", {}),
    ]
    case("range-as-weights", 17, (2, 3, 4), ranged,
         {"start": np.int64(0), "end": np.int64(4), "step": np.int64(1), "four": np.float32(4)})


def recurrent():
    """Layers as exporters write them: time first, and back behind the layer."""
    for kind, n_gates in [("LSTM", 4), ("GRU", 3)]:
        for direction, n in [("forward", 1), ("reverse", 1), ("bidirectional", 2)]:
            weights = {"w": numbers(n, n_gates * 4, 3) / 2, "r": numbers(n, n_gates * 4, 4) / 2, "b": numbers(n, n_gates * 8) / 2}
            states = [("h", numbers(n, 1, 4))] + ([("c", numbers(n, 1, 4))] if kind == "LSTM" else [])
            batch = [
                ("Transpose", "_", dict(perm=[1, 0, 2])),
                ("Shape", "_", dict(start=1, end=2)),
                ("Concat", "n value1 four", dict(axis=0)),
                *[("Expand", f"{name} value2", {}) for name, _ in states],
            ]
            given = " ".join(f"value{3 + nth}" for nth in range(len(states)))
            layer = [
                (kind, f"value0 w r b . {given}", dict(hidden_size=4, direction=direction)),
                ("Transpose", "_", dict(perm=[2, 0, 1, 3])),
                ("Reshape", "_ to", {}),
            ]
            constants = weights | dict(states) | {"n": ints(n), "four": ints(4), "to": ints(0, 0, -1)}
            case(f"{kind.lower()}-{direction}", 17, (3, 5, 3), batch + layer, constants)
    weights = {"w": numbers(1, 12, 3) / 2, "r": numbers(1, 12, 4) / 2, "b": numbers(1, 24) / 2}
    turned = [("Transpose", "_", dict(perm=[1, 0, 2]))]
    back = [("Squeeze", "_ one", {}), ("Transpose", "_", dict(perm=[1, 0, 2]))]
    plain = ("GRU", "_ w r b", dict(hidden_size=4, linear_before_reset=1))
    case("gru-linear-before-reset", 17, (2, 5, 3), [*turned, plain, *back], weights | {"one": ints(1)})
    without_bias = ("LSTM", "_ w r", dict(hidden_size=3))
    case("lstm-without-bias", 14, (2, 5, 3), [*turned, without_bias, *back],
         {"w": numbers(1, 12, 3) / 2, "r": numbers(1, 12, 3) / 2, "one": ints(1)})


def attention():
    case("layer-norm", 17, (2, 3, 4), [("LayerNormalization", "_ w b", dict(epsilon=0.01))], {"w": numbers(4), "b": numbers(4)})
    case("layer-norm-two-axes", 17, (2, 3, 4), [("LayerNormalization", "_ w", dict(axis=1))], {"w": numbers(3, 4)})
    case("matmul-computed", 17, (2, 3, 4), [("Transpose", "_", dict(perm=[0, 2, 1])), ("MatMul", "input _", {})])
    case("gather-one", 17, (2, 3, 4), [("Gather", "_ i", dict(axis=1))], {"i": np.int64(-1)})
    case("gather-list", 17, (2, 3, 4), [("Gather", "_ i", dict(axis=2))], {"i": ints(3, 0, 0)})
    case("slice", 17, (2, 5, 7), [("Slice", "_ s e a t", {})],
         {"s": ints(1, -6), "e": ints(2**62, -1), "a": ints(1, -1), "t": ints(1, 2)})
    parts = lambda inputs: [("Split", inputs, dict(axis=1)), ("Relu", "_", {})]
    case("split", 13, (2, 5, 3), parts("_ lengths"), {"lengths": ints(5)})
    case("sum-kept", 13, (2, 3, 4), [("ReduceSum", "_ axes", dict(keepdims=1))], {"axes": ints(-1)})
    case("sum", 13, (2, 3, 4), [("ReduceSum", "_ axes", dict(keepdims=0))], {"axes": ints(1)})
    case("power", 13, (2, 3), [("Pow", "_ two", {})], {"two": np.float32(2)})
    case("square-root", 13, (2, 3), [("Mul", "_ _", {}), ("Sqrt", "_", {})])
    # Time first in between, where a constant, a mean and a concatenation meet it; time and batch joined before a product.
    moved = [
        ("Transpose", "_", dict(perm=[1, 0, 2])),
        ("Add", "_ c", {}),
        ("ReduceMean", "_", dict(axes=[2], keepdims=1)),
        ("Concat", "value1 value2", dict(axis=2)),
        ("Shape", "value3", dict(start=1, end=2)),
        ("Reshape", "value3 joined", {}),
        ("Gemm", "_ w", {}),
        ("Concat", "three value4 two", dict(axis=0)),
        ("Reshape", "value6 value7", {}),
        ("Transpose", "_", dict(perm=[1, 2, 0])),
    ]
    case("batch-moved-and-joined", 17, (2, 3, 4), moved,
         {"c": numbers(3, 1, 4), "joined": ints(-1, 5), "w": numbers(5, 2), "three": ints(3), "two": ints(2)})


def functions():
    """A call with an attribute that the function refers to, as early versions of the newer exporter write layers."""
    inner = [helper.make_node("LeakyRelu", ["x"], ["rectified"], name="rectify", alpha=0.25)]
    inner.append(helper.make_node("Concat", ["rectified", "x"], ["y"], name="join"))
    attribute = inner[1].attribute.add()
    attribute.name, attribute.ref_attr_name, attribute.type = "axis", "along", 2
    function = helper.make_function("own", "Layer", ["x"], ["y"], inner, [helper.make_opsetid("", 18)], ["along"])
    call = lambda label, given, to, along: helper.make_node("Layer", [given], [to], name=label, domain="own", along=along)
    graph = helper.make_graph(
        [call("first", "input", "value", 1), call("second", "value", "output", 2)],
        "functions",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 2, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    made = helper.make_model(graph, opset_imports=imports, functions=[function], ir_version=8)
    add("functions", made, numbers(2, 2, 3))


def transposed(weights, bias, strides, pads, dilations, more, groups):
    """ConvTranspose over two axes, which the reference evaluator has wrong for groups and dilations."""

    def evaluate(given):
        outs, extent = weights.shape[1], [d * (k - 1) + 1 for d, k in zip(dilations, weights.shape[2:])]
        whole = [(n - 1) * s + e + m for n, s, e, m in zip(given.shape[2:], strides, extent, more)]
        spread = np.zeros((given.shape[0], outs * groups, *whole), np.float64)
        for i in range(weights.shape[0]):
            first = i // (weights.shape[0] // groups) * outs
            for r, c in np.ndindex(*weights.shape[2:]):
                rows = slice(r * dilations[0], r * dilations[0] + given.shape[2] * strides[0], strides[0])
                columns = slice(c * dilations[1], c * dilations[1] + given.shape[3] * strides[1], strides[1])
                spread[:, first:first + outs, rows, columns] += given[:, i:i + 1] * weights[i, :, r, c].reshape(1, outs, 1, 1)
        cut = spread[:, :, pads[0]:whole[0] - pads[2], pads[1]:whole[1] - pads[3]]
        return cut + bias.reshape(1, -1, 1, 1)

    return evaluate


def more_layers():
    """What networks beyond plain convolutions have: other norms, upsampling, functions in pieces."""
    for kind in ["Selu", "Celu", "Softsign", "Abs", "Neg", "Exp"]:
        case(kind.lower(), 14, (2, 9), [(kind, "_", {})])
    case("mish", 18, (2, 9), [("Mish", "_", {})])
    case("log", 14, (2, 9), [("Exp", "_", {}), ("Add", "_ _", {}), ("Log", "_", {})])
    case("reciprocal", 14, (2, 9), [("Exp", "_", {}), ("Reciprocal", "_", {})])
    case("prelu-channels", 16, (2, 3, 4, 5), [("PRelu", "_ slope", {})], {"slope": numbers(3, 1, 1)})
    case("prelu-one", 16, (2, 5), [("PRelu", "_ slope", {})], {"slope": numbers(1)})
    case("max-constant", 13, (2, 5), [("Max", "low _", {})], {"low": np.float32(0.25)})
    case("min-computed", 13, (2, 5), [("Neg", "_", {}), ("Min", "_ input", {})])
    pieces = [("Greater", "_ edge", {}), ("Exp", "input", {}), ("Where", "value0 input value1", {})]
    case("function-in-pieces", 16, (2, 3, 4), pieces, {"edge": np.float32(0.5)})
    turned = [("LessOrEqual", "edge _", {}), ("Where", "_ input other", {})]
    case("pieces-with-a-constant", 16, (2, 3, 4), turned, {"edge": np.float32(0.5), "other": numbers(3, 1)})
    case("global-max-pool", 17, (2, 3, 4, 5), [("GlobalMaxPool", "_", {})])
    case("max-by-attribute", 13, (2, 3, 4, 5), [("ReduceMax", "_", dict(axes=[-1, 1], keepdims=0))])
    case("max-by-input", 18, (2, 3, 4), [("ReduceMax", "_ axes", dict(keepdims=1))], {"axes": ints(2)})
    case("norm-over-axis", 18, (2, 3, 4), [("ReduceL2", "_ axes", dict(keepdims=0))], {"axes": ints(1)})
    case("instance-norm", 17, (2, 3, 4, 5), [("InstanceNormalization", "_ scale shift", dict(epsilon=1e-2))],
         {"scale": numbers(3), "shift": numbers(3)})
    case("group-norm", 21, (2, 6, 4), [("GroupNormalization", "_ scale shift", dict(num_groups=2, epsilon=1e-2))],
         {"scale": numbers(6), "shift": numbers(6)})
    attributes = dict(strides=[2, 3], pads=[1, 0, 0, 2], output_padding=[1, 2], group=2)
    w, b = numbers(4, 3, 3, 4), numbers(6)
    case("conv-transpose", 17, (2, 4, 5, 4), [("ConvTranspose", "_ w b", attributes)], {"w": w, "b": b},
         answer=transposed(w, b, [2, 3], [1, 0, 0, 2], [1, 1], [1, 2], 2))
    w = numbers(3, 2, 3)
    over_time = transposed(w[:, :, None], np.zeros(2), [1, 2], [0, 1, 0, 1], [1, 2], [0, 0], 1)
    case("conv-transpose-over-time", 11, (2, 3, 7), [("ConvTranspose", "_ w", dict(strides=[2], dilations=[2], pads=[1, 1]))],
         {"w": w}, answer=lambda given: over_time(given[:, :, None])[:, :, 0])
    scales = {"scales": np.array([1, 1, 2, 1.5], dtype=np.float32)}
    for mode, coordinates in [("nearest", "asymmetric"), ("linear", "half_pixel"), ("linear", "align_corners")]:
        attributes = dict(mode=mode, coordinate_transformation_mode=coordinates, nearest_mode="floor")
        case(f"resize-{mode}-{coordinates}", 17, (2, 3, 4, 6), [("Resize", "_ . scales", attributes)], scales)
    half = dict(mode="nearest", nearest_mode="round_prefer_floor")
    case("resize-to-sizes", 17, (2, 3, 4, 6), [("Resize", "_ . . sizes", half)], {"sizes": ints(2, 3, 8, 3)},
         input_shape=[2, 3, 4, 6])
    for mode in ["reflect", "edge"]:
        case(f"pad-{mode}", 13, (2, 3, 4, 5), [("Pad", "_ pads", dict(mode=mode))], {"pads": ints(0, 0, 1, 2, 0, 0, 3, 0)})


if __name__ == "__main__":
    images()
    features()
    pointwise()
    shapes()
    functions()
    recurrent()
    attention()
    more_layers()
    save_file(TENSORS, Path(__file__).parent / "onnx.safetensors")
