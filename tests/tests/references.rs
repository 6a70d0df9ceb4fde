//! What PyTorch and Captum say of EfficientNet-Lite0 and photos (`scripts/make-references`, in f64), held against the
//! daemon: how photos are prepared, logits, saliency, guided backpropagation, Grad-CAM at two layers; and what PyTorch
//! says of small recurrent networks and transformers (`scripts/make-sequence-references`): logits and saliency.

use serde_json::{Value, json};
use tests::{Daemon, cached, folder, numbers, read_npy};

/// Maps over the photo were kept at every third row and column.
const STEP: usize = 3;

/// How far an answer may be off.
struct Tolerance {
    /// The largest difference, as a part of the reference's largest number.
    largest: f64,
    /// One less the cosine of the angle between both.
    angle: f64,
}

/// What rounding to f32 does.
const ROUNDING: Tolerance = Tolerance { largest: 2e-5, angle: 1e-9 };

/// Units within rounding of a rectifier's kink may be on its other side, and their part of a gradient comes or goes.
const KINKS: Tolerance = Tolerance { largest: 5e-3, angle: 1e-6 };

/// Every third row and column of `[channel, row, column]`; anything of fewer axes as it is.
fn kept(shape: &[usize], all: &[f32]) -> Vec<f32> {
    let [_, n_rows, n_columns] = *shape else { return all.to_vec() };
    let is_kept =
        |place: usize| (place / n_columns % n_rows).is_multiple_of(STEP) && (place % n_columns).is_multiple_of(STEP);
    all.iter().enumerate().filter(|(place, _)| is_kept(*place)).map(|(_, number)| *number).collect()
}

#[track_caller]
fn agrees(name: &str, answer: &Value, tolerance: &Tolerance) {
    let (shape, all) = numbers(&answer["tensor"]);
    let found = kept(&shape, &all);
    let (_, expected) = read_npy(&folder("references").join(format!("{name}.npy")));
    assert_eq!(found.len(), expected.len(), "{name}: shape {shape:?}");
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = dot(&found, &expected) / (dot(&found, &found) * dot(&expected, &expected)).sqrt();
    let scale = expected.iter().fold(0.0, |largest: f64, number| largest.max(f64::from(number.abs())));
    let off = found.iter().zip(&expected).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max) / scale;
    // Written so that no NaN passes.
    assert!(off <= tolerance.largest, "{name}: off by {off:e} of the largest number");
    assert!(1.0 - cosine <= tolerance.angle, "{name}: the cosine is {cosine}");
}

fn check(photo: &str) {
    let Some(_) = cached("models/efficientnet-lite0.pth") else { return };
    let Some(path) = cached(&format!("photos/{photo}.png")) else { return };
    let daemon = Daemon::start(&[]);
    let model = daemon.result("model.load", json!({"source": "efficientnet-lite0"}))["model"].clone();
    let ask = |method: &str, more: Value| {
        let mut params = json!({"model": model, "input": path.display().to_string()});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        daemon.result(method, params)
    };
    let calls = [
        ("input", "activation.get", json!({"layer": "input"}), ROUNDING),
        ("logits", "model.forward", json!({}), ROUNDING),
        ("saliency", "attribution.saliency", json!({}), KINKS),
        ("guided_backprop", "attribution.guided_backprop", json!({}), KINKS),
        ("grad_cam-conv_head", "attribution.grad_cam", json!({"upsample": false}), ROUNDING),
        ("grad_cam-blocks.10", "attribution.grad_cam", json!({"upsample": false, "layer": "blocks.10"}), KINKS),
    ];
    for (name, method, params, tolerance) in calls {
        agrees(&format!("efficientnet-lite0/{photo}/{name}"), &ask(method, params), &tolerance);
    }
}

#[test]
fn a_cup_of_coffee() {
    check("coffee");
}

#[test]
fn a_cat() {
    check("chelsea");
}

fn check_sequence(network: &str) {
    let daemon = Daemon::start(&[]);
    let file = |name: &str| folder("references/sequences").join(network).join(name).display().to_string();
    let model = daemon.result("model.load", json!({"source": file("model.onnx")}))["model"].clone();
    let params = json!({"model": model, "input": file("input.npy")});
    for (name, method) in [("logits", "model.forward"), ("saliency", "attribution.saliency")] {
        agrees(&format!("sequences/{network}/{name}"), &daemon.result(method, params.clone()), &ROUNDING);
    }
}

#[test]
fn gated_recurrent_units_in_both_directions() {
    check_sequence("gru");
}

#[test]
fn long_short_term_memory_from_the_newer_exporter() {
    check_sequence("lstm");
}

#[test]
fn transformers_from_both_exporters() {
    for network in ["transformer-14", "transformer-17", "transformer-newer"] {
        check_sequence(network);
    }
}
