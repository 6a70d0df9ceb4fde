//! Words in, phonemes out: the phonemizer is a network of the zoo like any other, and says what a dictionary lacks.

use serde_json::{Value, json};
use tests::{Daemon, numbers};

fn daemon() -> Daemon {
    let daemon = Daemon::start(&[]);
    daemon.result("model.load", json!({"source": "phonemizer", "name": "words"}));
    daemon
}

fn word(daemon: &Daemon, text: &str) -> Value {
    daemon.result("input.load", json!({"text": text, "model": "words"}))["input"].clone()
}

#[test]
fn a_word_is_spoken_phoneme_by_phoneme() {
    let daemon = daemon();
    for (text, spoken) in [("speech", "S P IY CH"), ("Teaching", "T IY CH IH NG"), ("cat", "K AE T")] {
        let predicted = daemon.result("model.predict", json!({"model": "words", "input": word(&daemon, text)}));
        assert_eq!(predicted["transcript"], spoken, "{text}");
        let phonemes = predicted["letters"].as_array().unwrap();
        assert_eq!(phonemes.len(), spoken.split(' ').count());
        assert!(phonemes.iter().all(|phoneme| phoneme["probability"].as_f64().unwrap() > 0.3), "{phonemes:?}");
    }
}

/// What is said is searched for as a whole, so that no step alone has to agree; the transcript is what was said.
#[test]
fn a_transcript_is_what_the_network_was_given_of_the_word() {
    let daemon = daemon();
    let described = daemon.result("model.describe", json!({"model": "words"}));
    let labels: Vec<&str> =
        described["labels"].as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect();
    for text in ["benwick", "scheherazade's", "xylophonist", "sultaness", "queueing", "mnemonic", "aaa", "tsk"] {
        let word = word(&daemon, text);
        let asked = json!({"model": "words", "input": word, "layer": "phonemes", "encoding": "base64"});
        let (shape, said) = numbers(&daemon.result("activation.get", asked)["tensor"]);
        assert_eq!(shape.last(), Some(&40));
        let given = said.chunks(40).skip(1).map(|step| labels[step.iter().position(|number| *number == 1.0).unwrap()]);
        let predicted = daemon.result("model.predict", json!({"model": "words", "input": word}));
        assert_eq!(predicted["transcript"], given.collect::<Vec<_>>().join(" "), "{text}");
    }
}

#[test]
fn attention_and_saliency_lie_on_the_letters_that_are_spoken() {
    let daemon = daemon();
    let speech = word(&daemon, "speech");
    // Five steps, the last of them the word's end, look at six letters.
    let attention = daemon.result(
        "activation.get",
        json!({"model": "words", "input": speech, "layer": "attention", "encoding": "base64"}),
    );
    assert_eq!(attention["tensor"]["shape"], json!([5, 6]));
    let (_, weights) = numbers(&attention["tensor"]);
    for row in weights.chunks(6) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{row:?}");
    }
    let target = json!({"class": "IY", "frame": 2});
    let asked = json!({"model": "words", "input": speech, "target": target, "encoding": "base64"});
    let map = daemon.result("attribution.input_x_gradient", asked);
    assert_eq!(map["tensor"]["shape"], json!([6, 27]));
    let of_letters: Vec<f32> =
        numbers(&map["tensor"]).1.chunks(27).map(|row| row.iter().map(|number| number.abs()).sum()).collect();
    let best = (0..6).max_by(|a, b| of_letters[*a].total_cmp(&of_letters[*b])).unwrap();
    assert!((2..=3).contains(&best), "the two e of `speech` say IY, and not letter {best}: {of_letters:?}");
}

#[test]
fn what_is_no_word_is_refused() {
    let daemon = daemon();
    let refused = |text: &str| {
        let error = daemon.call("input.load", json!({"text": text})).unwrap_err();
        assert_eq!(error["data"]["kind"], "invalid_params", "{error}");
        error["message"].as_str().unwrap().to_owned()
    };
    for text in ["", "two words", "naïve", "3rd"] {
        assert_eq!(refused(text), "`text` is no word", "{text}");
    }
    assert_eq!(refused(&"a".repeat(65)), "`text` has 65 letters; at most 64 are read");
    let photo = json!({"dtype": "f32", "shape": [3, 8, 8], "data": vec![0.5; 192]});
    let error = daemon.call("model.predict", json!({"model": "words", "input": photo})).unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("2 inputs, letters, phonemes"), "{error}");
    daemon.result("model.load", json!({"source": "digits-cnn", "weights": "random", "seed": 1, "name": "digits"}));
    let speech = word(&daemon, "speech");
    let error = daemon.call("model.predict", json!({"model": "digits", "input": speech})).unwrap_err();
    assert_eq!(error["message"], "this model reads no words");
}
