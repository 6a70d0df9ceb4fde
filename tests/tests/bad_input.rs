//! Truncated, wrong, huge and hostile files and requests: each gets an error that says what was wrong and what would be
//! right, nothing that is held is lost, and the daemon lives on.

use std::path::Path;

use serde_json::{Value, json};
use tests::{Daemon, folder, write_npy};

/// A daemon with a small network and its input.
struct Bench {
    daemon: Daemon,
}

fn bench() -> Bench {
    let daemon = Daemon::start(&[]);
    let golden = folder("golden/vgg-a");
    daemon.result("model.load", json!({"source": golden.join("model.onnx").display().to_string(), "name": "vgg"}));
    daemon.result("input.load", json!({"path": golden.join("input.npy").display().to_string()}));
    Bench { daemon }
}

impl Bench {
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.daemon.folder().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    /// The refusal must hold every one of `parts`, and what was held must still answer.
    #[track_caller]
    fn refuses(&self, method: &str, params: Value, kind: &str, parts: &[&str]) {
        let error = self.daemon.call(method, params).expect_err("this should be refused");
        let message = error["message"].as_str().unwrap();
        for part in parts {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
        assert_eq!(error["data"]["kind"], kind, "{error}");
        let input = folder("golden/vgg-a/input.npy").display().to_string();
        assert!(self.daemon.call("model.predict", json!({"model": "vgg", "input": input})).is_ok());
    }

    #[track_caller]
    fn refuses_model(&self, name: &str, bytes: &[u8], kind: &str, parts: &[&str]) {
        let source = self.file(name, bytes);
        self.refuses("model.load", json!({"source": source}), kind, parts);
    }

    #[track_caller]
    fn refuses_input(&self, name: &str, bytes: &[u8], kind: &str, parts: &[&str]) {
        let path = self.file(name, bytes);
        self.refuses("input.load", json!({"path": path}), kind, parts);
    }

    fn input(&self) -> String {
        folder("golden/vgg-a/input.npy").display().to_string()
    }
}

#[test]
fn what_is_no_onnx_file() {
    let bench = bench();
    bench.refuses_model("photo.onnx", b"\x89PNG\r\n\x1a\n and so on", "corrupt_file", &["not an ONNX file"]);
    bench.refuses_model("empty.onnx", b"", "corrupt_file", &["not an ONNX file"]);
    let whole = std::fs::read(folder("golden/vgg-a/model.onnx")).unwrap();
    for tenth in 1..10 {
        let source = bench.file("torn.onnx", &whole[..whole.len() * tenth / 10]);
        let message = bench.daemon.refusal("model.load", json!({"source": source}));
        assert!(!message.is_empty());
    }
    // An operator that nobody has, under a name as long as that of one that we have.
    let mut unknown = std::fs::read(folder("golden/lstm-a/model.onnx")).unwrap();
    let places: Vec<usize> = (0..unknown.len() - 4).filter(|&at| unknown[at..].starts_with(b"LSTM")).collect();
    places.into_iter().for_each(|at| unknown[at..at + 4].copy_from_slice(b"LSTX"));
    bench.refuses_model("unknown.onnx", &unknown, "unsupported_operator", &["LSTX", "/rnn/LSTX"]);
    bench.refuses("model.load", json!({"source": "/no/such/file.onnx"}), "not_found", &["/no/such/file.onnx"]);
    bench.refuses("model.load", json!({"source": "relative.onnx"}), "invalid_params", &["absolute path"]);
    bench.refuses(
        "model.load",
        json!({"source": "eficientnet-lite0"}),
        "not_found",
        &["did you mean `efficientnet-lite0`"],
    );
}

#[test]
fn weights_that_do_not_fit_or_would_run_code() {
    let bench = bench();
    let hostile = std::fs::read(folder("../models/tests/data/runs_code.pth")).unwrap();
    let source = bench.file("hostile.pth", &hostile);
    let load = |source: &str| json!({"source": source, "architecture": "resnet18"});
    bench.refuses("model.load", load(&source), "corrupt_file", &["`posix.system`", "nothing else is ever run"]);
    let small = folder("../models/tests/data/legacy.pth").display().to_string();
    bench.refuses(
        "model.load",
        load(&small),
        "corrupt_file",
        &["do not fit the architecture", "missing: conv1.weight", "unexpected: conv.weight"],
    );
    bench.refuses("model.load", json!({"source": small}), "invalid_params", &["`architecture` must say", "resnet18"]);
    let header = br#"{"conv1.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let wrong = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
    let wrong = bench.file("wrong.safetensors", &wrong);
    bench.refuses(
        "model.load",
        load(&wrong),
        "corrupt_file",
        &["of another shape: conv1.weight is [2] and not [64, 3, 7, 7]"],
    );
    bench.refuses(
        "model.load",
        json!({"source": "vgg16"}),
        "not_found",
        &["no trained weights", "`random` with a `seed`"],
    );
    bench.refuses("model.load", json!({"source": "vgg16", "weights": "random"}), "invalid_params", &["needs a `seed`"]);
}

/// An ONNX file by hand: a convolution whose weights lie in another file.
fn with_external_data(location: &str) -> Vec<u8> {
    use prost::encoding::{bytes, string};
    fn field(tag: u32, content: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        bytes::encode(tag, &content.to_vec(), &mut buffer);
        buffer
    }
    fn text(tag: u32, content: &str) -> Vec<u8> {
        let mut buffer = Vec::new();
        string::encode(tag, &content.to_owned(), &mut buffer);
        buffer
    }
    fn number(tag: u32, content: u64) -> Vec<u8> {
        let mut buffer = Vec::new();
        prost::encoding::uint64::encode(tag, &content, &mut buffer);
        buffer
    }
    let entry = [text(1, "location"), text(2, location)].concat();
    let tensor =
        [number(1, 1), number(1, 2), number(1, 3), number(2, 1), text(8, "w"), field(13, &entry), number(14, 1)]
            .concat();
    let node = [text(1, "x"), text(1, "w"), text(2, "y"), text(3, "conv"), text(4, "Conv")].concat();
    let dims = [field(1, &number(1, 1)), field(1, &number(1, 2)), field(1, &number(1, 8))].concat();
    let input = [text(1, "x"), field(2, &field(1, &[number(1, 1), field(2, &dims)].concat()))].concat();
    let graph = [field(1, &node), field(5, &tensor), field(11, &input), field(12, &text(1, "y"))].concat();
    [number(1, 8), field(7, &graph), field(8, &number(2, 17))].concat()
}

#[test]
fn external_data_are_read_from_beside_the_model_only() {
    let bench = bench();
    let beside: Vec<u8> = [1.0f32, 0.0, 0.0, 0.0, 0.0, 1.0].iter().flat_map(|n| n.to_le_bytes()).collect();
    bench.file("w.bin", &beside);
    let source = bench.file("beside.onnx", &with_external_data("w.bin"));
    bench.daemon.result("model.load", json!({"source": source}));
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("w.bin"), &beside).unwrap();
    std::os::unix::fs::symlink(secret.path().join("w.bin"), bench.daemon.folder().join("link.bin")).unwrap();
    let outside = secret.path().join("w.bin").display().to_string();
    for location in ["../w.bin", &outside, "link.bin"] {
        bench.refuses_model(
            "outside.onnx",
            &with_external_data(location),
            "corrupt_file",
            &["outside the model's folder"],
        );
    }
    bench.refuses_model("missing.onnx", &with_external_data("nowhere.bin"), "corrupt_file", &["nowhere.bin"]);
    bench.file("short.bin", &beside[..10]);
    bench.refuses_model("short.onnx", &with_external_data("short.bin"), "corrupt_file", &["short.bin"]);
}

fn png(columns: u32, rows: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(columns, rows).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn images_that_are_none_or_too_large() {
    let bench = bench();
    bench.refuses_input(
        "notes.png",
        b"just text",
        "corrupt_file",
        &["no PNG, JPEG, WAV, FLAC, Ogg, MP3 or NumPy file", "begins with 6a 75 73 74"],
    );
    bench.refuses_input("empty.png", b"", "corrupt_file", &["it is empty"]);
    let whole = png(300, 300);
    bench.refuses_input("torn.png", &whole[..whole.len() / 2], "corrupt_file", &["cannot be decoded"]);
    // A header that claims 60000 × 60000 pixels; its checksum is right.
    let mut bomb = png(1, 1);
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let crc = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    bench.refuses_input("bomb.png", &bomb, "limit_exceeded", &["60000 × 60000 pixels", "100000000"]);
    let path = bench.file("fine.png", &whole);
    bench.refuses(
        "model.predict",
        json!({"model": "vgg", "input": path}),
        "unfit",
        &["does not say how a photo becomes its input"],
    );
    bench.refuses("input.load", json!({"path": "/"}), "invalid_params", &["no regular file"]);
    bench.refuses("input.load", json!({}), "invalid_params", &["exactly one of `path`, `data`, `tensor` and `text`"]);
    bench.refuses("input.load", json!({"data": "%%%"}), "invalid_params", &["no base64"]);
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn arrays_that_do_not_fit() {
    let bench = bench();
    let path = bench.daemon.folder().join("nan.npy");
    let mut numbers = vec![0.0f32; 3 * 8 * 8];
    numbers[70] = f32::NAN;
    write_npy(&path, &[3, 8, 8], &numbers);
    let path_text = |path: &Path| path.display().to_string();
    bench.refuses("input.load", json!({"path": path_text(&path)}), "invalid_params", &["NaN at [1, 0, 6]", "finite"]);
    let path = bench.daemon.folder().join("wrong.npy");
    write_npy(&path, &[5, 5], &[0.0; 25]);
    bench.refuses(
        "model.predict",
        json!({"model": "vgg", "input": path_text(&path)}),
        "invalid_params",
        &["has shape [5, 5] but this model takes [3, "],
    );
    let whole = std::fs::read(folder("golden/vgg-a/input.npy")).unwrap();
    bench.refuses_input("torn.npy", &whole[..whole.len() / 2], "corrupt_file", &["cut off"]);
    let tensor = json!({"shape": [2, 2], "data": [[1, 2], [3]]});
    bench.refuses("input.load", json!({"tensor": tensor}), "invalid_params", &["a list of 1 where the shape says 2"]);
    let huge = json!({"shape": [4_000_000_000u64, 4_000_000_000u64, 16], "data": ""});
    bench.refuses("input.load", json!({"tensor": huge}), "invalid_params", &["memory"]);
}

#[test]
fn names_and_numbers_that_are_not_there() {
    let bench = bench();
    let asked = |more: Value| {
        let mut params = json!({"model": "vgg", "input": bench.input()});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    bench.refuses(
        "attribution.grad_cam",
        asked(json!({"layer": "/5/Conf"})),
        "not_found",
        &["no layer `/5/Conf`", "did you mean `/5/Conv`"],
    );
    bench.refuses("attribution.saliency", asked(json!({"at": "/5/Con"})), "not_found", &["did you mean `/5/Conv`"]);
    bench.refuses("attribution.saliency", asked(json!({"at": []})), "invalid_params", &["list of layers is empty"]);
    bench.refuses("attribution.lrp", asked(json!({"at": ["/5/Conv", "x"]})), "not_found", &["no layer `x`"]);
    bench.refuses("attribution.grad_cam", asked(json!({"at": ["/5/Conv"]})), "invalid_params", &["leave `at` out"]);
    bench.refuses(
        "sanity.randomize",
        asked(json!({"method": "saliency", "at": ["/5/Conv"]})),
        "invalid_params",
        &["`at` is a list"],
    );
    bench.refuses(
        "attribution.saliency",
        asked(json!({"target": {"class": 9999}})),
        "invalid_params",
        &["class 9999 is out of range", "classes 0 to"],
    );
    bench.refuses(
        "attribution.saliency",
        asked(json!({"target": "tabby"})),
        "not_found",
        &["no class `tabby`", "without labels"],
    );
    bench.refuses(
        "attribution.saliency",
        asked(json!({"target": {"class": 1, "frame": 3}})),
        "invalid_params",
        &["frame 3 is out of range", "leave `frame` out"],
    );
    bench.refuses("attribution.saliency", asked(json!({"target": {"clas": 1}})), "invalid_params", &["a target is"]);
    bench.refuses(
        "attribution.saliency",
        asked(json!({"target": {"layer": "/5/Conv", "channel": 10_000}})),
        "invalid_params",
        &["channel 10000", "`/5/Conv` has channels 0 to"],
    );
    bench.refuses(
        "attribution.grad_cam",
        asked(json!({"layer": "/9/Gemm"})),
        "unfit",
        &["`/9/Gemm` has no spatial axis"],
    );
    bench.refuses(
        "attribution.saliency",
        asked(json!({"at": "/11/Gemm", "target": {"layer": "/5/Conv", "channel": 1}})),
        "unfit",
        &["does not depend on it"],
    );
    bench.refuses("attribution.saliency", asked(json!({"pots": "abs"})), "invalid_params", &["did you mean `post`"]);
    bench.refuses(
        "attribution.saliency",
        asked(json!({"timeout": -1})),
        "invalid_params",
        &["`timeout` is in seconds"],
    );
    bench.refuses(
        "attribution.saliency",
        asked(json!({"picture": {"colormap": "jet"}})),
        "invalid_params",
        &["no colour map `jet`", "viridis"],
    );
    bench.refuses(
        "attribution.saliency",
        asked(json!({"picture": {"width": 9}})),
        "invalid_params",
        &["200 to 4000 pixels"],
    );
    bench.refuses(
        "activation.get",
        asked(json!({"layer": "/5/Conv", "channels": [10_000]})),
        "invalid_params",
        &["channel 10000 is out of range"],
    );
    bench.refuses("model.predict", asked(json!({"top": 0})), "invalid_params", &["how many classes", "from 1"]);
    bench.refuses(
        "model.predict",
        json!({"model": "vg", "input": bench.input()}),
        "not_found",
        &["no model `vg` is loaded", "did you mean `vgg`"],
    );
    bench.refuses(
        "model.predict",
        json!({"model": "vgg", "input": "0123456789abcdef"}),
        "not_found",
        &["no input `0123456789abcdef`"],
    );
    bench.refuses("model.load", json!({"source": "vgg16", "device": "cuda:0"}), "not_found", &["no device `cuda:0`"]);
}

#[test]
fn relevance_and_variations_that_do_not_fit() {
    let bench = bench();
    let asked = |more: Value| {
        let mut params = json!({"model": "vgg", "input": bench.input()});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let lrp = |more: Value, kind: &str, parts: &[&str]| bench.refuses("attribution.lrp", asked(more), kind, parts);
    let described = bench.daemon.result("model.describe", json!({"model": "vgg"}));
    let layers = described["layers"].as_array().unwrap();
    let named = |operator: &str| {
        let is_one = |layer: &&Value| layer["operator"] == operator;
        layers.iter().find(is_one).unwrap()["name"].as_str().unwrap().to_owned()
    };
    let (relu, convolution) = (named("Relu"), named("Conv"));
    lrp(json!({"rules": {&relu: "z_plus"}}), "unfit", &["rule z_plus at", &relu, "it takes norm, pass or gradient"]);
    lrp(json!({"rules": {&convolution: "pass"}}), "unfit", &["unchanged", &convolution]);
    lrp(json!({"rules": {"no/such*": "flat"}}), "not_found", &["no layer fits `no/such*`"]);
    lrp(json!({"rules": {&convolution: "zplus"}}), "invalid_params", &["`rules`", "z_plus"]);
    lrp(
        json!({"rules": {&convolution: {"rule": "gamma", "gamma": -1}}}),
        "unfit",
        &["gamma must be 0 or more but is -1"],
    );
    lrp(json!({"rules": {&convolution: {"rule": "alpha_beta", "alpha": 2, "beta": 2}}}), "unfit", &["must be 1"]);
    lrp(json!({"composite": "epsilon_pluss"}), "invalid_params", &["`composite`", "epsilon_plus_flat"]);
    lrp(json!({"composite": "epsilon_gamma_box"}), "invalid_params", &["`low` is needed"]);
    let reversed = json!({"composite": "epsilon_gamma_box", "low": 1.0, "high": -1.0});
    lrp(reversed, "invalid_params", &["the low bound 1 is above the high bound -1"]);
    let two = json!({"composite": "epsilon_gamma_box", "low": [0.0, 0.0], "high": 1.0});
    lrp(two, "unfit", &["2 bounds for an input of 3 channels"]);
    let taylor = json!({"input_domain": "box", "low": 2.0, "high": 1.0});
    bench.refuses("attribution.deep_taylor", asked(taylor), "invalid_params", &["the low bound 2 is above"]);
    let shape = |lengths: [usize; 3]| json!({"shape": lengths, "axes": [], "dtype": "f32", "data": [[[0.0]]]});
    for method in ["attribution.integrated_gradients", "attribution.deep_lift", "attribution.occlusion"] {
        let wrong = asked(json!({"baseline": shape([1, 1, 1])}));
        bench.refuses(method, wrong, "invalid_params", &["the baseline has shape [1, 1, 1]", "the input's shape"]);
        bench.refuses(method, asked(json!({"baseline": "grey"})), "invalid_params", &["`baseline`", "blur"]);
    }
    bench.refuses("attribution.integrated_gradients", asked(json!({"steps": 0})), "invalid_params", &["`steps` is 0"]);
    bench.refuses("attribution.smooth_grad", asked(json!({"samples": 0})), "invalid_params", &["`samples` is 0"]);
    bench.refuses("attribution.smooth_grad", asked(json!({"noise": -1})), "invalid_params", &["`noise` is -1"]);
    bench.refuses("attribution.rise", asked(json!({"masks": 0})), "invalid_params", &["`masks` is 0"]);
    let window = json!({"window": [3, 0, 4], "stride": [3, 1, 4]});
    bench.refuses("attribution.occlusion", asked(window), "unfit", &["window [3, 0, 4]", "1 or more"]);
    let inside = json!({"at": convolution});
    bench.refuses("attribution.integrated_gradients", asked(inside), "unfit", &["leave `at` out"]);
    let objective = json!({"objective": {"kind": "channel", "layer": "conv99", "channel": 0}});
    bench.refuses("visualization.gradient", asked(objective), "not_found", &["no layer `conv99`"]);
    bench.refuses(
        "attribution.saliency",
        asked(json!({"target": {"output": "age"}})),
        "not_found",
        &["no output `age`"],
    );
    bench.refuses(
        "attribution.saliency",
        asked(json!({"input": {"image": "x"}})),
        "invalid_params",
        &["no input `image`"],
    );
}

/// An LSTM has a rule under every composite but excitation backprop, which says so by the layer's name.
#[test]
fn composites_without_a_rule_for_a_layer() {
    let daemon = Daemon::start(&[]);
    let file = |name: &str| folder("golden/lstm-a").join(name).display().to_string();
    let model = daemon.result("model.load", json!({"source": file("model.onnx")}))["model"].clone();
    let ask = |more: Value| {
        let mut params = json!({"model": model, "input": file("input.npy"), "target": {"class": 6, "frame": 12}});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let message = daemon.refusal("attribution.lrp", ask(json!({"composite": "excitation_backprop"})));
    for part in ["/rnn/LSTM", "this composite has no rule for it", "`epsilon` or `gradient`"] {
        assert!(message.contains(part), "{message}");
    }
    let message = daemon.refusal("attribution.lrp", ask(json!({"rules": {"/rnn/LSTM": "z_plus"}})));
    assert!(message.contains("it takes epsilon or gradient"), "{message}");
    let message = daemon.refusal("attribution.deep_taylor", ask(json!({"input_domain": "real"})));
    assert!(message.contains("`/rnn/LSTM` (LSTM) has gates"), "{message}");
    daemon.result("attribution.lrp", ask(json!({})));
}

#[test]
fn a_frame_beyond_the_recording() {
    let daemon = Daemon::start(&[]);
    let golden = folder("golden/speech-a");
    daemon.result("model.load", json!({"source": golden.join("model.onnx").display().to_string(), "name": "speech"}));
    let input = golden.join("input.npy").display().to_string();
    let refused = |target: Value| {
        daemon.refusal("attribution.saliency", json!({"model": "speech", "input": input, "target": target}))
    };
    assert!(refused(json!({"class": 3, "frame": 100_000})).contains("this input gives frames 0 to"));
    assert!(refused(json!({"class": 3, "time": 1.5})).contains("how many seconds"));
    assert!(refused(json!({"letter": 2})).contains("no transcript"));
}

#[test]
fn what_would_not_fit_into_memory_is_refused_with_its_size() {
    let daemon = Daemon::start(&["--query-bytes", "1000000"]);
    let golden = folder("golden/vgg-a");
    daemon.result("model.load", json!({"source": golden.join("model.onnx").display().to_string(), "name": "vgg"}));
    let input = golden.join("input.npy").display().to_string();
    let targets: Vec<usize> = vec![1; 5000];
    let error =
        daemon.call("attribution.saliency", json!({"model": "vgg", "input": input, "target": targets})).unwrap_err();
    assert_eq!(error["data"]["kind"], "out_of_memory", "{error}");
    assert!(daemon.call("attribution.saliency", json!({"model": "vgg", "input": input})).is_ok());
}
