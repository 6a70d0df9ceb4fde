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
        expect![[r#"
            class             index  logit  probability
            tiger cat           282  9.312      62.04 %  ██████████████▉
            tabby, tabby cat    281    8.1      20.00 %  ████▊
            –                     7  -1.25       0.00 %  ▏"#]],
    );
    check(
        "model.predict",
        r#"{"classes": [], "transcript": "a b", "letters": [
            {"letter": "a", "frame": 3, "start": 0.1, "end": 0.14, "probability": 0.9},
            {"letter": " ", "frame": 5, "probability": 1.0}
        ], "settings": {}}"#,
        expect![[r#"
            “a b”

               letter  frame  start (s)  end (s)  probability
            0  a           3       0.10     0.14      90.00 %
            1  ␣           5                         100.00 %"#]],
    );
    check(
        "model.predict",
        r#"{"predictions": [{"classes": [{"index": 1, "logit": 1, "probability": 1.0}], "settings": {}}], "settings": {}}"#,
        expect![[r#"
            input 0
            class  index  logit  probability
            –          1      1     100.00 %  ████████████████████████"#]],
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
        expect![[r#"
            target tiger cat (282): score 9.312, probability 62.00 %
            crop_start: 0, 4
            2 × 6  (row px, column every 4 px)
            min 0  max 3  mean 0.5  sum 6
            note: the map is zero nearly everywhere"#]],
    );
    check(
        "attribution.saliency",
        r#"{"tensor": {"shape": [3], "data": [1, -2.5, 0]},
            "target": [{"index": 4, "frame": 62, "time": 1.24, "score": -1}, {"layer": "conv5", "channel": 17, "position": [2, 3], "score": 2}],
            "settings": {}}"#,
        expect![[r#"
            target class 4 at 1.24 s in frame 62: score -1
            target conv5 channel 17 at [2, 3]: score 2
            3
            1  -2.5  0"#]],
    );
    check(
        "attribution.saliency",
        r#"{"tensor": {"shape": [9, 9], "data": "/run/user/1/introspect/a.npy"}, "settings": {}}"#,
        expect![[r#"
            9 × 9
            in /run/user/1/introspect/a.npy"#]],
    );
    check(
        "attribution.saliency",
        r#"{"tensor": {"shape": [4], "data": "AAAA"}, "settings": {}}"#,
        expect![[r#"
        4
        unreadable: `data` holds 3 bytes, which are no whole number of f32"#]],
    );
}

#[test]
fn annotated_letters_stand_beside_their_phonemes() {
    check(
        "corpus.annotate",
        r#"{"corpus": "c", "model": "m", "utterances": 2, "skipped": 1, "log_probability": -0.25, "unknown_words": 1,
        "skipped_files": [{"path": "b.wav", "reason": "it is empty"}], "first_unknown_words": ["vext"],
        "agreement": {"letters": 4, "median_offset": 0.11, "within_50_ms": 0.25}, "items": [{"id": "1-1", "transcript": "x a",
        "log_probability": -1, "letters": [
            {"letter": "x", "frame": 3, "start": 0.06, "end": 0.08, "probability": 0.5, "phonemes": ["K", "S"], "score": -4.25},
            {"letter": " ", "frame": 5, "start": 0.1, "end": 0.12, "probability": 0.9},
            {"letter": "a", "frame": 7, "start": 0.14, "end": 0.16, "probability": 0.9, "phonemes": ["AH"], "score": -3}]}],
        "settings": {}}"#,
        expect![[r#"
            2 utterances aligned, 1 skipped; a letter's mean log probability is -0.25
            4 letters beside known phones: median +110 ms, 25 % within 50 ms
            1 words that the dictionary lacks: vext
            skipped b.wav: it is empty

            1-1 “x a”
            letter  phonemes  start (s)  end (s)  score
            x       K S            0.06     0.08   -4.2
            ␣                      0.10     0.12
            a       AH             0.14     0.16   -3.0"#]],
    );
}

#[test]
fn sanity_checks_are_curves() {
    check(
        "sanity.randomize",
        r#"{"curve": [
            {"layer": "original", "randomized": [], "similarities": [
                {"metric": "spearman_abs", "mean": 1, "std": 0, "values": [1, 1]}, {"metric": "ssim", "mean": 1, "std": 0, "values": [1, 1]}]},
            {"layer": "blocks.15", "randomized": ["blocks.15.project_conv"], "similarities": [
                {"metric": "spearman_abs", "mean": 0.25, "std": 0.05, "values": [0.2, 0.3]}, {"metric": "ssim", "mean": -0.1, "std": 0, "values": [-0.1, -0.1]}]}
        ], "target": [{"score": 1}, {"score": 2}], "settings": {}, "notes": ["left out: HOG"]}"#,
        expect![[r#"
            randomised  Spearman (abs)            SSIM
            original     1.000 ± 0.000   1.000 ± 0.000  ████████████████████████
            blocks.15    0.250 ± 0.050  -0.100 ± 0.000  ██████
            note: left out: HOG"#]],
    );
    check(
        "metric.pixel_flipping",
        r#"{"curve": {"flipped": [0, 2, 3], "scores": [0.9, 0.3, 0], "area": 0.45}, "area": 0.45, "target": {"score": 1}, "settings": {}}"#,
        expect![[r#"
            flipped  score
                  0    0.9  ████████████████████████
                  2    0.3  ████████
                  3      0
            area 0.45"#]],
    );
    check(
        "metric.mprt",
        r#"{"entropies": {"before": 2, "after": 3, "score": 0.5}, "target": {"score": 1}, "settings": {}}"#,
        expect![[r#"
            input  entropy before  after  growth
                0               2      3     0.5"#]],
    );
}

#[test]
fn models_and_inputs_are_tables() {
    check(
        "model.load",
        r#"{"model": "ab12", "names": ["resnet18"], "layers": ["a", "b"], "inputs": [{"name": "x", "shape": [3, null, 224], "axes": []}],
            "output": {"name": "y", "shape": [1000], "axes": ["class"], "logits": "fc"}, "labels": [], "parameters": 11689512,
            "already_loaded": true}"#,
        expect!["resnet18: 11,689,512 parameters in 2 layers, from 3 × any × 224 to 1000 (class) (held already)"],
    );
    check(
        "model.list",
        r#"{"models": [{"model": "ab12", "names": ["resnet18", "mine"], "source": "resnet18", "parameters": 11689512, "bytes": 46758048}],
            "zoo": [{"name": "resnet18", "summary": "He et al. 2016", "has_weights": true},
                    {"name": "vgg16", "summary": "Simonyan 2014", "has_weights": false, "fetch": "fetch-weights vgg16"}]}"#,
        expect![[r#"
            held            parameters    memory  id
            resnet18, mine  11,689,512  44.6 MiB  ab12

            can be loaded  weights
            resnet18       here                 He et al. 2016
            vgg16          fetch-weights vgg16  Simonyan 2014"#]],
    );
    check(
        "model.describe",
        r#"{"model": "ab12", "names": ["tiny"], "source": "tiny.onnx", "inputs": [{"name": "x", "shape": [3, 8, 8], "axes": ["channel", "row", "column"]}],
            "output": {"name": "y", "shape": [2], "axes": ["class"], "logits": "fc"}, "labels": ["a", "b"],
            "layers": [{"name": "conv1", "operator": "Conv", "inputs": ["x"], "shape": [4, 4, 4], "axes": [], "parameters": 1120,
                        "receptive_field": [3, 3], "stride": [2.0, 2.0]},
                       {"name": "fc", "operator": "Gemm", "inputs": ["conv1"], "shape": [2], "axes": [], "parameters": 0}],
            "parameters": 1120, "grad_cam_layer": "conv1"}"#,
        expect![[r#"
            tiny (tiny.onnx): 1,120 parameters in 2 layers, 2 class names
            input  x: 3 × 8 × 8 (channel, row, column)
            output y: 2 (class); logits in fc
            Grad-CAM reads conv1 where no layer is named

            layer  operator  shape      parameters  receptive field  stride
            conv1  Conv      4 × 4 × 4       1,120              3×3     2×2
            fc     Gemm      2"#]],
    );
    check(
        "input.list",
        r#"{"inputs": [{"input": "5f0c", "kind": "image", "shape": [100, 80, 3], "path": "/photos/cat.png"},
                       {"input": "77aa", "kind": "sound", "shape": [16000], "duration": 1.0}]}"#,
        expect![[r#"
            input  kind   shape         from
            5f0c   image  100 × 80 × 3  /photos/cat.png
            77aa   sound  16000"#]],
    );
    check("input.list", r#"{"inputs": []}"#, expect!["no input is held"]);
}

#[test]
fn any_other_result_is_its_fields() {
    check(
        "server.stats",
        r#"{"caches": [{"name": "traces", "entries": 3, "bytes": 2048, "hits": 7}], "forward_passes": 12,
            "memory": {"accounted_bytes": 1048576, "resident_bytes": 3145728}, "queue": {"limits": {"waiting": 8}, "names": ["a", "b"]},
            "uptime_s": 12.3456}"#,
        expect![[r#"
            caches:
              bytes 2.0 KiB, entries 3, hits 7, name traces
            forward_passes: 12
            memory: accounted_bytes 1.0 MiB, resident_bytes 3.0 MiB
            queue:
              limits: waiting 8
              names: a, b
            uptime_s: 12.35"#]],
    );
    check(
        "job.get",
        r#"{"job": "j1", "method": "model.forward", "state": "failed", "age_s": 2.0,
        "error": {"code": -32034, "message": "the query was cancelled"}}"#,
        expect![[r#"
            j1 (model.forward): failed, asked 2 s ago
            error: the query was cancelled"#]],
    );
    check(
        "job.get",
        r#"{"job": "j2", "method": "model.unload", "state": "done", "age_s": 2.0,
        "result": {"model": "ab", "freed_bytes": 4096}}"#,
        expect![[r#"
            j2 (model.unload): done, asked 2 s ago
            freed_bytes: 4.0 KiB
            model: ab"#]],
    );
    check(
        "job.get",
        r#"{"job": "j3", "method": "attribution.rise", "state": "running", "age_s": 2.0,
        "progress": {"done": 64, "total": 256, "rate": 8.0, "left_s": 24.0}}"#,
        expect![[r#"j3 (attribution.rise): running, 64 of 256 steps, 24 s left, asked 2 s ago"#]],
    );
    check(
        "job.list",
        r#"{"jobs": [{"job": "j1", "method": "model.forward", "state": "running", "age_s": 0.25}]}"#,
        expect![[r#"
            job  method         state    asked ago
            j1   model.forward  running     0.25 s"#]],
    );
    check("later.method", r#"[1, 2.5, "three", null, true]"#, expect!["1, 2.5, three, none, true"]);
}
