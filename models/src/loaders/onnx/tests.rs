//! Small networks, written as ONNX would write them.
