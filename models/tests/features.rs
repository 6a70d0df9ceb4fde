//! Features of sound as torchaudio computes them (`data/make_features.py` writes what is compared).

use std::collections::BTreeMap;
use std::path::Path;

use models::front_ends::audio::{self, AudioFrontEnd};
use safetensors::SafeTensors;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

#[test]
fn features_are_torchaudios() {
    let front_ends: BTreeMap<String, AudioFrontEnd> = serde_json::from_slice(&file("features.json")).unwrap();
    let (bytes, sound) = (file("features.safetensors"), file("features.wav"));
    let references = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(front_ends.len(), 7);
    for (name, front_end) in &front_ends {
        front_end.check().unwrap();
        let features = audio::prepare(&sound, front_end).unwrap();
        let reference = references.tensor(name).unwrap();
        assert_eq!([features.n_frames, features.n_bands], reference.shape()[..], "{name}");
        let expected: Vec<f32> =
            reference.data().chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        let largest = expected.iter().fold(0.0f32, |largest, number| largest.max(number.abs()));
        for (found, expected) in features.numbers.iter().zip(&expected) {
            // Levels below -80 dB, 100 dB under the loudest, hold the rounding of single precision: torchaudio's own are up
            // to 5e-4 of the largest away from the definition in double precision there.
            let tolerance = if *expected < -80.0 { 1e-3 } else { 1e-4 };
            assert!((found - expected).abs() <= tolerance * largest, "{name}: {found} is not {expected}");
        }
    }
}

/// Decoders of what loses nothing, a little, and pads.
#[test]
fn flac_ogg_and_mp3_are_read() {
    let tone = |nth: usize| 0.5 * (std::f32::consts::TAU * 440.0 * nth as f32 / 16_000.0).sin();
    for (name, tolerance) in [("tone.flac", 1e-3), ("tone.ogg", 0.03), ("tone.mp3", 0.03)] {
        let bytes = file(name);
        let info = audio::inspect(&bytes).unwrap();
        assert_eq!((info.sample_rate, info.n_channels), (22_050, 2), "{name}");
        assert!((info.duration() - 0.5).abs() < 0.06, "{name}: {}", info.duration());
        assert_eq!(audio::header(&bytes).unwrap().sample_rate, 22_050);
        let samples = audio::samples(&bytes, 16_000).unwrap();
        // Where an MP3 begins depends on its encoder's delay, which not every file tells.
        let error = |shift: usize| (2000..6000).map(|nth| (samples[nth + shift] - tone(nth)).abs()).fold(0.0, f32::max);
        let nearest = (0..if name == "tone.mp3" { 1200 } else { 1 }).map(error).fold(f32::INFINITY, f32::min);
        assert!(nearest < tolerance, "{name}: {nearest}");
    }
}

#[test]
fn files_that_were_cut_off_are_refused() {
    for name in ["tone.flac", "tone.ogg"] {
        let bytes = file(name);
        let error = audio::inspect(&bytes[..bytes.len() * 2 / 3]).unwrap_err().to_string();
        assert!(error.contains("cut off") || error.contains("cannot be decoded"), "{name}: {error}");
    }
}
