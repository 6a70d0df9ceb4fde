//! Results as the daemon sends them, and what a person reads.

use expect_test::{Expect, expect};

use super::render;

#[track_caller]
fn check(method: &str, result: &str, expected: Expect) {
    expected.assert_eq(&render(method, &serde_json::from_str(result).unwrap()));
}

#[test]
fn predictions_are_bars() {
    check(
        "model.predict",
        r#"{"classes": [
            {"index": 282, "label": "tiger cat", "logit": 9.3125, "probability": 0.6204},
            {"index": 281, "label": "tabby, tabby cat", "logit": 8.1, "probability": 0.2},
            {"index": 7, "logit": -1.25, "probability": 0.00001}
        ], "settings": {}}"#,
        expect![[""]],
    );
    check(
        "model.predict",
        r#"{"classes": [], "transcript": "a b", "letters": [
            {"letter": "a", "frame": 3, "start": 0.1, "end": 0.14, "probability": 0.9},
            {"letter": " ", "frame": 5, "probability": 1.0}
        ], "settings": {}}"#,
        expect![[""]],
    );
    check(
        "model.predict",
        r#"{"predictions": [{"classes": [{"index": 1, "logit": 1, "probability": 1.0}], "settings": {}}], "settings": {}}"#,
        expect![[""]],
    );
}

#[test]
fn attributions_are_summed_up() {
    check(
        "attribution.grad_cam",
        r#"{"tensor": {"shape": [2, 6], "axes": [{"name": "row", "unit": "px"}, {"name": "column", "step": 4.0, "unit": "px"}],
            "dtype": "f32", "data": [[0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 2, 3]]},
            "target": {"index": 282, "label": "tiger cat", "score": 9.3125, "probability": 0.62},
            "settings": {"relu": true}, "crop_start": [0, 4], "notes": ["the map is zero nearly everywhere"]}"#,
        expect![[""]],
    );
    check(
        "attribution.saliency",
        r#"{"tensor": {"shape": [3], "data": [1, -2.5, 0]},
            "target": [{"index": 4, "frame": 62, "time": 1.24, "score": -1}, {"layer": "conv5", "channel": 17, "position": [2, 3], "score": 2}],
            "settings": {}}"#,
        expect![[""]],
    );
    check(
        "attribution.saliency",
        r#"{"tensor": {"shape": [9, 9], "data": "/run/user/1/introspect/a.npy"}, "settings": {}}"#,
        expect![[""]],
    );
    check("attribution.saliency", r#"{"tensor": {"shape": [4], "data": "AAAA"}, "settings": {}}"#, expect![[""]]);
}

#[test]
fn models_and_inputs_are_tables() {
    check(
        "model.load",
        r#"{"model": "ab12", "names": ["resnet18"], "layers": ["a", "b"], "inputs": [{"name": "x", "shape": [3, null, 224], "axes": []}],
            "output": {"name": "y", "shape": [1000], "axes": ["class"], "logits": "fc"}, "labels": [], "parameters": 11689512,
            "already_loaded": true}"#,
        expect![[""]],
    );
    check(
        "model.list",
        r#"{"models": [{"model": "ab12", "names": ["resnet18", "mine"], "source": "resnet18", "parameters": 11689512, "bytes": 46758048}],
            "zoo": [{"name": "resnet18", "summary": "He et al. 2016", "has_weights": true},
                    {"name": "vgg16", "summary": "Simonyan 2014", "has_weights": false, "fetch": "fetch-weights vgg16"}]}"#,
        expect![[""]],
    );
    check(
        "model.describe",
        r#"{"model": "ab12", "names": ["tiny"], "source": "tiny.onnx", "inputs": [{"name": "x", "shape": [3, 8, 8], "axes": ["channel", "row", "column"]}],
            "output": {"name": "y", "shape": [2], "axes": ["class"], "logits": "fc"}, "labels": ["a", "b"],
            "layers": [{"name": "conv1", "operator": "Conv", "inputs": ["x"], "shape": [4, 4, 4], "axes": [], "parameters": 1120,
                        "receptive_field": [3, 3], "stride": [2.0, 2.0]},
                       {"name": "fc", "operator": "Gemm", "inputs": ["conv1"], "shape": [2], "axes": [], "parameters": 0}],
            "parameters": 1120, "grad_cam_layer": "conv1"}"#,
        expect![[""]],
    );
    check(
        "input.list",
        r#"{"inputs": [{"input": "5f0c", "kind": "image", "shape": [100, 80, 3], "path": "/photos/cat.png"},
                       {"input": "77aa", "kind": "sound", "shape": [16000], "duration": 1.0}]}"#,
        expect![[""]],
    );
    check("input.list", r#"{"inputs": []}"#, expect![[""]]);
}

#[test]
fn any_other_result_is_its_fields() {
    check(
        "server.stats",
        r#"{"caches": [{"name": "traces", "entries": 3, "bytes": 2048, "hits": 7}], "forward_passes": 12,
            "memory": {"accounted_bytes": 1048576, "resident_bytes": 3145728}, "queue": {"limits": {"waiting": 8}, "names": ["a", "b"]},
            "uptime_s": 12.3456}"#,
        expect![[""]],
    );
    check(
        "job.get",
        r#"{"job": "j1", "method": "model.forward", "state": "failed", "age_s": 2.0,
        "error": {"code": -32034, "message": "the query was cancelled"}}"#,
        expect![[""]],
    );
    check(
        "job.get",
        r#"{"job": "j2", "method": "model.unload", "state": "done", "age_s": 2.0,
        "result": {"model": "ab", "freed_bytes": 4096}}"#,
        expect![[""]],
    );
    check(
        "job.list",
        r#"{"jobs": [{"job": "j1", "method": "model.forward", "state": "running", "age_s": 0.25}]}"#,
        expect![[""]],
    );
    check("later.method", r#"[1, 2.5, "three", null, true]"#, expect![[""]]);
}
