//! Training of a recogniser, end to end in a tiny form: a language of three letters, each a tone of its own, in a folder
//! as LibriSpeech has them; by the library, and by the command that is killed and goes on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use models::front_ends::audio::wav;
use training::random::Random;
use training::speech::augmentation::Augmentation;
use training::speech::corpus::{self, Recogniser};
use training::speech::letter_error::{summed, transcribe};
use training::speech::{Run, Settings};

const RATE: u32 = 16_000;

/// A tenth of a second of a tone for each letter, a pause for each space.
fn sound(text: &str, pitch: f32, random: &mut Random) -> Vec<f32> {
    let samples_of_letter = RATE as usize / 10;
    let mut samples = vec![0.0f32; samples_of_letter];
    for letter in text.chars() {
        let hertz = match letter {
            'a' => 400.0,
            'b' => 1100.0,
            'c' => 2600.0,
            _ => 0.0,
        } * pitch;
        for nth in 0..samples_of_letter {
            let within = nth as f32 / samples_of_letter as f32;
            let loudness = 0.3 * (std::f32::consts::PI * within).sin();
            samples.push(loudness * (std::f32::consts::TAU * hertz * nth as f32 / RATE as f32).sin());
        }
    }
    samples.resize(samples.len() + samples_of_letter, 0.0);
    random.add_noise(&mut samples, 0.003);
    samples
}

/// Where each tone lies, as phones of the same order.
fn phones(text: &str) -> String {
    let phone = |(nth, letter): (usize, char)| {
        let start = 0.1 * (nth + 1) as f64;
        let arpabet = match letter {
            'a' => "AA",
            'b' => "B",
            'c' => "K",
            _ => "SIL",
        };
        format!("{start:.4}\t{:.4}\t{letter}\t{arpabet}\n", start + 0.1)
    };
    text.chars().enumerate().map(phone).collect()
}

/// A corpus of so many utterances by one speaker.
fn corpus(folder: &Path, n: usize, seed: u64) -> PathBuf {
    let mut random = Random::new(seed);
    let chapter = folder.join("7/1");
    std::fs::create_dir_all(&chapter).unwrap();
    let mut transcripts = String::new();
    for nth in 0..n {
        let word = |random: &mut Random| (0..2 + random.below(3)).map(|_| ['a', 'b', 'c'][random.below(3)]).collect();
        let words: Vec<String> = (0..3).map(|_| word(&mut random)).collect();
        let text = words.join(" ");
        let samples = sound(&text, 1.0 + 0.1 * random.between(-1.0, 1.0) as f32, &mut random);
        std::fs::write(chapter.join(format!("7-1-{nth:04}.wav")), wav(&samples, RATE)).unwrap();
        std::fs::write(chapter.join(format!("7-1-{nth:04}.phones.tsv")), phones(&text)).unwrap();
        transcripts.push_str(&format!("7-1-{nth:04} {}\n", text.to_uppercase()));
    }
    std::fs::write(chapter.join("7-1.trans.txt"), transcripts).unwrap();
    folder.to_owned()
}

/// The numbers of all weights in a file.
fn weights(path: &str) -> Vec<Vec<f32>> {
    let checkpoint = models::loaders::safetensors::load(&std::fs::read(path).unwrap()).unwrap();
    let mut names: Vec<&str> = checkpoint.names().collect();
    names.sort_unstable();
    let numbers = |name: &&str| checkpoint.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    names.iter().map(numbers).collect()
}

fn train(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_introspect-train")).arg("speech").args(arguments).output().unwrap()
}

#[test]
fn a_language_of_tones_is_learned_and_written_down() {
    // Every processor rounds in its own way and so learns in its own way; after so many steps all have learned it.
    const STEPS: usize = 240;
    let folder = tempfile::tempdir().unwrap();
    let recogniser = Recogniser::of("wav2letter-small").unwrap();
    let read = |name: &str, n, seed| {
        corpus::read(&corpus(&folder.path().join(name), n, seed), &recogniser, |line| panic!("{line}")).unwrap()
    };
    let (learned, held_out) = (read("train", 60, 1), read("dev", 8, 2));
    let mut settings = Settings::new("wav2letter-small", STEPS);
    (settings.batch_seconds, settings.augmentation) = (10.0, Augmentation::none());
    let mut run = Run::new(settings, &learned, None).unwrap();
    let losses: Vec<f64> = (0..STEPS).map(|_| run.step(&learned).unwrap().loss).collect();
    let transcribed = transcribe(&run.trainer.network.plain().unwrap(), &recogniser, &held_out).unwrap();
    let share = summed(&transcribed).0.share();
    println!("letter error {share:.3}");
    assert!(share < 0.2, "letter error {share}: {:?}; losses {losses:?}", transcribed[0]);
}

#[test]
fn a_run_that_stops_goes_on_and_ends_as_one_that_did_not() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(&folder.path().join("train"), 6, 3).display().to_string();
    std::fs::write(folder.path().join("train/7/1/broken.wav"), b"RIFF").unwrap();
    let out = |name: &str| folder.path().join(name).display().to_string();
    let (whole, halted) = (out("whole.safetensors"), out("halted.safetensors"));
    let common = ["--corpus", &corpus, "--hours", "0.01", "--batch-seconds", "6", "--seed", "5", "--out"];
    let with = |more: &[&str]| train(&[&common[..], more].concat());
    let done = with(&[&whole]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    assert!(said.contains("skipped `7/1/broken.wav`") && said.contains("1 of 7 files"), "{said}");

    let mut n_runs = 0;
    loop {
        n_runs += 1;
        let halted = with(&[&halted, "--pause-after", "0"]);
        assert!(halted.status.success());
        if !String::from_utf8_lossy(&halted.stdout).contains("paused at step") {
            break;
        }
    }
    assert!(n_runs > 2, "{n_runs}");
    assert_eq!(weights(&whole), weights(&halted), "to the bit");

    // What one machine has learned another goes on from, and of another network it says so.
    let from = with(&[&out("more.safetensors"), "--from", &whole]);
    assert!(from.status.success(), "{}", String::from_utf8_lossy(&from.stderr));
    let other = with(&[&out("whole.safetensors"), "--architecture", "wav2letter"]);
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && said.contains("another architecture"), "{said}");
}

#[test]
fn folders_and_networks_that_are_of_no_use_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().display().to_string();
    let refused = |arguments: &[&str]| {
        let output = train(arguments);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused(&["--corpus", &empty, "--out", "x.safetensors"]);
    assert!(said.contains("no corpus is here") && said.contains("*.trans.txt"), "{said}");
    let said = refused(&["--corpus", &empty, "--out", "x", "--architecture", "vgg16"]);
    assert!(said.contains("`vgg16` takes no sound"), "{said}");
    std::fs::create_dir_all(folder.path().join("7/1")).unwrap();
    std::fs::write(folder.path().join("7/1/7-1-0.wav"), wav(&[0.1; 4000], RATE)).unwrap();
    std::fs::write(folder.path().join("7/1/7-1.trans.txt"), "7-1-0 A LONG SENTENCE IN NO TIME AT ALL\n").unwrap();
    let said = refused(&["--corpus", &empty, "--out", "x.safetensors"]);
    assert!(said.contains("needs 34 frames but there are 13; no path spells it"), "{said}");
    std::fs::write(folder.path().join("7/1/7-1.trans.txt"), "7-1-0 ÜBER\n").unwrap();
    let said = refused(&["--corpus", &empty, "--out", "x.safetensors"]);
    assert!(said.contains("the transcript has `Ü` at position 0"), "{said}");
}
