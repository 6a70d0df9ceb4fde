//! Every reference answer through a running daemon, compared as `golden/check.py` compares.

use serde_json::json;
use tests::{Daemon, check_case, folder, numbers, without_ones};

fn check(case: &str) {
    check_case(&folder("golden").join(case));
}

#[test]
fn vgg_a() {
    check("vgg-a");
}

#[test]
fn mobile_a() {
    check("mobile-a");
}

#[test]
fn residual_a() {
    check("residual-a");
}

#[test]
fn speech_a() {
    check("speech-a");
}

#[test]
fn lstm_a() {
    check("lstm-a");
}

/// What an LSTM is made of can be looked at and asked about: `h = o ⊙ tanh(c)`, and no state knows what comes later.
#[test]
fn cells_and_gates_of_a_recurrent_layer() {
    const N_UNITS: usize = 16;
    let daemon = Daemon::start(&[]);
    let file = |name: &str| folder("golden/lstm-a").join(name).display().to_string();
    let model = daemon.result("model.load", json!({"source": file("model.onnx")}))["model"].clone();
    let layer = |name: &str| {
        let params = json!({"model": model, "input": file("input.npy"), "layer": name});
        numbers(&daemon.result("activation.get", params)["tensor"])
    };
    let ((shape, hidden), (_, cell)) = (layer("/rnn/LSTM"), layer("/rnn/LSTM/cell"));
    let (of_gates, gates) = layer("/rnn/LSTM/gates");
    assert_eq!((without_ones(&shape), without_ones(&of_gates)), (vec![23, 1, N_UNITS], vec![23, 1, 4 * N_UNITS]));
    for (place, hidden) in hidden.iter().enumerate() {
        let (step, unit) = (place / N_UNITS, place % N_UNITS);
        let output_gate = gates[step * 4 * N_UNITS + N_UNITS + unit];
        assert!((hidden - output_gate * cell[place].tanh()).abs() < 1e-6);
    }
    for name in ["/rnn/LSTM/cell", "/rnn/LSTM/gates"] {
        let target = json!({"layer": name, "channel": 3, "position": [12, 0]});
        let params = json!({"model": model, "input": file("input.npy"), "target": target});
        let (shape, saliency) = numbers(&daemon.result("attribution.saliency", params)["tensor"]);
        assert_eq!(without_ones(&shape), [23, 14]);
        assert!(saliency[..13 * 14].iter().all(|number| *number != 0.0), "{name}");
        assert!(saliency[13 * 14..].iter().all(|number| *number == 0.0), "{name}");
    }
    let described = daemon.result("model.describe", json!({"model": model}));
    let layers: Vec<&str> =
        described["layers"].as_array().unwrap().iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    assert_eq!(layers[1..5], ["/rnn/Transpose", "/rnn/LSTM", "/rnn/LSTM/cell", "/rnn/LSTM/gates"]);
}
