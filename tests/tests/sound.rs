//! Sound in: files of any kind become a network's input, answers lie in seconds and Hz, letters can be asked about.

use std::f64::consts::TAU;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tests::{Daemon, folder, numbers};

/// A network of 25 bands in, 29 letters out, untrained, with a front end that fits it.
fn daemon() -> Daemon {
    let daemon = Daemon::start(&[]);
    let letters: Vec<String> = ('a'..='z').map(String::from).chain(["'", "space", "blank"].map(String::from)).collect();
    let spectrogram = json!({
        "window_length": 400, "n_fft": 512, "hop_length": 160, "mel": {"n_bands": 25},
        "logarithm": {"unit": "natural", "floor": 1e-6},
    });
    let description = json!({
        "front_end": {"audio": {"sample_rate": 16000, "spectrogram": spectrogram, "normalization": "utterance"}},
        "labels": letters,
        "ctc": {"blank": 28, "word_boundary": 27},
    });
    let source = folder("golden/speech-a/model.onnx").display().to_string();
    daemon.result("model.load", json!({"source": source, "name": "speech", "description": description}));
    daemon
}

fn speech() -> String {
    folder("data/speech.ogg").display().to_string()
}

/// A WAV file of 16 bits.
fn wav(samples: impl Iterator<Item = f64>, rate: u32, channels: u16) -> Vec<u8> {
    let data: Vec<u8> = samples.flat_map(|sample| ((sample * 32767.0) as i16).to_le_bytes()).collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * u32::from(channels) * 2).to_le_bytes());
    bytes.extend((channels * 2).to_le_bytes());
    bytes.extend(b"\x10\0data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

fn tone(rate: u32, channels: u16) -> Vec<u8> {
    let n_samples = rate as usize * usize::from(channels);
    let sample = |nth: usize| 0.4 * (TAU * 440.0 * (nth / usize::from(channels)) as f64 / f64::from(rate)).sin();
    wav((0..n_samples).map(sample), rate, channels)
}

#[test]
fn a_recording_is_an_input_with_seconds_and_hertz() {
    let daemon = daemon();
    let loaded = daemon.result("input.load", json!({"path": speech(), "model": "speech"}));
    assert_eq!(loaded["kind"], "audio");
    let duration = loaded["duration"].as_f64().unwrap();
    assert!(duration > 1.0 && duration < 10.0, "{duration}");
    let map = daemon.result(
        "attribution.saliency",
        json!({"model": "speech", "input": speech(), "target": {"letter": 0}, "picture": {"format": "png"}}),
    );
    let (shape, _) = numbers(&map["tensor"]);
    assert_eq!(shape[0], 25);
    assert!((shape[1] as f64 - duration / 0.01).abs() < 2.0);
    let [frequency, time] = &map["tensor"]["axes"].as_array().unwrap()[..] else { panic!("two axes") };
    assert_eq!((&frequency["name"], &frequency["unit"]), (&json!("frequency"), &json!("Hz")));
    assert_eq!(frequency["values"].as_array().unwrap().len(), 25);
    assert_eq!((&time["name"], &time["unit"], &time["step"]), (&json!("time"), &json!("s"), &json!(0.01)));
    assert!(!map["picture"]["data"].as_str().unwrap().is_empty());
    // A letter is the class and frame that the transcript has it in.
    let predicted = daemon.result("model.predict", json!({"model": "speech", "input": speech()}));
    let first = &predicted["letters"][0];
    assert_eq!(map["target"]["frame"], first["frame"]);
    let at = |target: Value| {
        let asked = json!({"model": "speech", "input": speech(), "target": target});
        daemon.result("attribution.saliency", asked)["tensor"].clone()
    };
    let class = map["target"]["index"].clone();
    assert_eq!(at(json!({"class": class, "frame": first["frame"]})), map["tensor"]);
}

#[test]
fn a_transcript_has_a_letter_for_each_character() {
    let daemon = daemon();
    for search in ["greedy", "beam"] {
        let asked = json!({"model": "speech", "input": speech(), "search": search, "picture": {"format": "svg"}});
        let predicted = daemon.result("model.predict", asked);
        let letters = predicted["letters"].as_array().unwrap();
        let written: String = letters.iter().map(|letter| letter["letter"].as_str().unwrap()).collect();
        assert_eq!(predicted["transcript"], written);
        for pair in letters.windows(2) {
            assert!(pair[0]["end"].as_f64().unwrap() <= pair[1]["start"].as_f64().unwrap() + 1e-9);
        }
        assert!(predicted["picture"]["data"].as_str().unwrap().ends_with("</svg>\n"));
    }
}

/// Letters left out, put in or mistaken (Levenshtein 1966).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, from) in left.chars().enumerate() {
        let mut line = vec![row + 1];
        for (column, to) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(from != *to);
            line.push(replaced.min(line[column] + 1).min(above[column + 1] + 1));
        }
        above = line;
    }
    above[right.len()]
}

#[test]
fn the_recogniser_that_comes_with_the_program_writes_down_a_voice_it_has_not_heard() {
    let daemon = Daemon::start(&[]);
    daemon.result("model.load", json!({"source": "wav2letter-small"}));
    let heard = daemon.result("model.predict", json!({"model": "wav2letter-small", "input": speech()}));
    let (said, written) = ("she should not think herself very well used", heard["transcript"].as_str().unwrap());
    let errors = distance(said, written);
    assert!(errors <= said.len() / 2, "{errors} errors in `{written}`");
}

#[test]
fn a_known_transcript_is_laid_over_its_sound() {
    let daemon = daemon();
    let align = |transcript: &str| {
        daemon.call("transcript.align", json!({"model": "speech", "input": speech(), "transcript": transcript}))
    };
    let aligned = align("She should not  think").unwrap();
    assert_eq!(aligned["transcript"], "she should not think");
    assert_eq!(aligned["letters"].as_array().unwrap().len(), 20);
    let (best, all) =
        (aligned["log_probability"].as_f64().unwrap(), aligned["total_log_probability"].as_f64().unwrap());
    assert!(best < all && all < 0.0, "{best} {all}");
    let refused = |transcript: &str| align(transcript).unwrap_err()["message"].as_str().unwrap().to_owned();
    assert!(refused("she, too").contains("`,` at position 3"), "{}", refused("she, too"));
    assert!(refused(&"ab".repeat(2000)).contains("but its transcript needs 4000"));
    assert!(refused("  ").contains("no letters"));
}

#[test]
fn rates_and_channels_make_no_difference() {
    let daemon = daemon();
    let features = |rate: u32, channels: u16| {
        let data = BASE64.encode(tone(rate, channels));
        let input = daemon.result("input.load", json!({"data": data}))["input"].clone();
        let answer = daemon.result("activation.get", json!({"model": "speech", "input": input, "layer": "input"}));
        numbers(&answer["tensor"])
    };
    let (shape, expected) = features(16_000, 1);
    for (rate, channels) in [(16_000, 2), (96_000, 2), (44_100, 1)] {
        let (of_other, found) = features(rate, channels);
        assert_eq!(of_other, shape);
        // Between the ends, where filters meet silence, and in the bands of the tone.
        let far = |nth: &usize| (10..90).contains(&(nth % shape[1])) && (3..8).contains(&(nth / shape[1]));
        let furthest =
            (0..expected.len()).filter(far).map(|nth| (found[nth] - expected[nth]).abs()).fold(0.0, f32::max);
        assert!(furthest < 0.05, "{rate} {channels}: {furthest}");
    }
}

#[test]
fn what_a_unit_wants_can_be_heard() {
    let daemon = daemon();
    let asked = json!({
        "model": "speech", "objective": {"kind": "channel", "layer": "/4/Conv", "channel": 3}, "steps": 8,
        "shape": [25, 60], "picture": {"format": "png"},
    });
    let found = daemon.result("visualization.maximize", asked.clone());
    let wav = BASE64.decode(found["wav"].as_str().unwrap()).unwrap();
    assert!(wav.starts_with(b"RIFF"));
    let loaded = daemon.result("input.load", json!({"data": found["wav"]}));
    assert!((loaded["duration"].as_f64().unwrap() - 0.59).abs() < 0.02, "{loaded}");
    assert_eq!(daemon.result("visualization.maximize", asked.clone())["wav"], found["wav"]);
    let mut without = asked;
    without["wav"] = json!(false);
    assert_eq!(daemon.result("visualization.maximize", without)["wav"], Value::Null);
}

#[test]
fn what_is_no_whole_sound_is_refused_and_the_daemon_lives_on() {
    let daemon = daemon();
    let refused = |bytes: &[u8], because: &str| {
        let error = daemon.call("input.load", json!({"data": BASE64.encode(bytes)})).unwrap_err();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(because), "{message}");
        assert_eq!(error["data"]["kind"], "corrupt_file");
    };
    let (whole, ogg) = (tone(16_000, 1), std::fs::read(speech()).unwrap());
    refused(&whole[..20_000], "cut off");
    refused(&whole[..10], "cannot be decoded");
    refused(&ogg[..ogg.len() / 2], "cut off");
    refused(b"fLaC", "cannot be decoded");
    refused(b"ID3 and then nothing of the kind", "cannot be decoded");
    refused(&wav(std::iter::empty(), 16_000, 1), "no samples");
    refused(b"a text", "is no PNG, JPEG, WAV, FLAC, Ogg, MP3 or NumPy file");
    let silence = BASE64.encode(wav(std::iter::repeat_n(0.0, 16_000), 16_000, 1));
    let input = daemon.result("input.load", json!({"data": silence}))["input"].clone();
    assert!(daemon.result("model.predict", json!({"model": "speech", "input": input}))["transcript"].is_string());
    // A photo's network takes no sound, and says what it takes.
    let vgg = folder("golden/vgg-a/model.onnx").display().to_string();
    daemon.result("model.load", json!({"source": vgg, "name": "vgg"}));
    let message = daemon.refusal("model.predict", json!({"model": "vgg", "input": speech()}));
    assert!(message.contains("does not say how a sound becomes its input"), "{message}");
}

#[test]
fn a_corpus_is_read_as_it_lies_and_what_is_damaged_is_named() {
    let daemon = daemon();
    let chapter = daemon.folder().join("corpus/dev/12129/0");
    std::fs::create_dir_all(&chapter).unwrap();
    let sound = std::fs::read(speech()).unwrap();
    for name in ["12129-0-0000.ogg", "12129-0-0001.ogg"] {
        let bytes = if name.contains("0001") { &sound[..sound.len() / 2] } else { &sound[..] };
        std::fs::write(chapter.join(name), bytes).unwrap();
    }
    std::fs::copy(folder("data/speech.phones.tsv"), chapter.join("12129-0-0000.phones.tsv")).unwrap();
    let lines = "12129-0-0000 SHE SHOULD NOT THINK HERSELF VERY WELL USED\n12129-0-0001 CUT OFF\n12129-0-0002 LOST\n";
    std::fs::write(chapter.join("12129-0.trans.txt"), lines).unwrap();
    let path = daemon.folder().join("corpus").display().to_string();
    let loaded = daemon.result("corpus.load", json!({"path": path, "name": "tiny"}));
    assert_eq!(
        (&loaded["layout"], &loaded["utterances"], &loaded["phones"]),
        (&json!("libri_speech"), &json!(1), &json!(1))
    );
    assert_eq!(loaded["damaged"], 2);
    assert_eq!(loaded["damaged_files"].as_array().unwrap().len(), 2);
    let described = daemon.result("corpus.describe", json!({"corpus": "tiny", "group_by": "speaker"}));
    assert_eq!(described["group_list"][0]["name"], "12129");
    let item = &described["items"][0];
    assert_eq!(item["transcript"], "SHE SHOULD NOT THINK HERSELF VERY WELL USED");
    // An item's path is an input as it is.
    daemon.result("model.predict", json!({"model": "speech", "input": item["path"]}));
    assert_eq!(daemon.result("corpus.list", json!({}))["corpora"][0]["name"], "tiny");
    let words = daemon.folder().join("words.dict");
    let entries =
        "she SH IY1\nshould SH UH1 D\nnot N AA1 T\nthink TH IH1 NG K\nvery V EH1 R IY0\nwell W EH1 L\nused Y UW1 Z D\n";
    std::fs::write(&words, entries).unwrap();
    let annotate = |dictionary: &str| json!({"model": "speech", "corpus": "tiny", "dictionary": dictionary});
    let annotated = daemon.result("corpus.annotate", annotate(&words.display().to_string()));
    assert_eq!((&annotated["utterances"], &annotated["skipped"]), (&json!(1), &json!(0)));
    assert_eq!(annotated["first_unknown_words"], json!(["herself"]));
    let letters = annotated["items"][0]["letters"].as_array().unwrap();
    assert_eq!(letters.len(), "she should not think herself very well used".len());
    let phonemes_of = |range: std::ops::Range<usize>| -> Vec<&str> {
        let of_letters = letters[range].iter().flat_map(|letter| letter["phonemes"].as_array());
        of_letters.flatten().map(|phoneme| phoneme.as_str().unwrap()).collect()
    };
    assert_eq!(phonemes_of(0..10), ["SH", "IY", "SH", "UH", "D"]);
    assert!(phonemes_of(21..28).is_empty(), "herself");
    assert!(letters.windows(2).all(|pair| pair[0]["start"].as_f64() <= pair[1]["start"].as_f64()));
    // All phonemes of known words are among the phones whose times the corpus has.
    assert!(annotated["agreement"]["letters"].as_u64().unwrap() >= 15, "{}", annotated["agreement"]);
    assert!(daemon.refusal("corpus.annotate", annotate("/no/such.dict")).contains("/no/such.dict"));
    std::fs::write(&words, "she\n").unwrap();
    let message = daemon.refusal("corpus.annotate", annotate(&words.display().to_string()));
    assert!(message.contains("line 1 is no `word PHONEME PHONEME …`"), "{message}");
    let refused = |params: Value| daemon.refusal("corpus.describe", params);
    assert!(refused(json!({"corpus": "tyni"})).contains("no corpus `tyni`"));
    assert!(refused(json!({"corpus": "tiny", "group_by": "age"})).contains("it has chapter, part, speaker"));
    let empty = daemon.folder().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let message = daemon.refusal("corpus.load", json!({"path": empty.display().to_string()}));
    assert!(message.contains("the folder is empty"), "{message}");
}

#[test]
fn maps_at_a_list_of_layers_are_those_at_each() {
    let daemon = daemon();
    let described = daemon.result("model.describe", json!({"model": "speech"}));
    let layers = described["layers"].as_array().unwrap();
    let convolutions: Vec<&Value> =
        layers.iter().filter(|layer| layer["operator"] == "Conv").map(|layer| &layer["name"]).collect();
    let at = [convolutions[2], convolutions[0], &layers[0]["name"], convolutions[0]];
    let targets = json!([{"class": 3, "frame": 5}, {"class": 7, "frame": 40}]);
    for (method, crop) in [
        ("attribution.saliency", true),
        ("attribution.guided_backprop", false),
        ("attribution.input_x_gradient", true),
        ("attribution.lrp", false),
    ] {
        let ask = |at: Value| {
            let asked = json!({
                "model": "speech", "input": speech(), "target": targets, "at": at, "crop": crop, "check": true,
            });
            daemon.result(method, asked)
        };
        let together = ask(json!(at));
        let maps = together["layers"].as_array().unwrap();
        assert_eq!(together["tensor"], maps[0]["tensor"], "{method}");
        assert_eq!(together["settings"]["at"], json!(at));
        assert_eq!(maps.len(), at.len());
        for (map, at) in maps.iter().zip(at) {
            assert_eq!(map["layer"], *at);
            let alone = ask(at.clone());
            assert_eq!(alone.get("layers"), None);
            for field in ["tensor", "crop_start", "checks", "relevance_sums"] {
                assert_eq!(map.get(field), alone.get(field), "{method} at {at}: {field}");
            }
        }
    }
}
