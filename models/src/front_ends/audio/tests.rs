use std::f64::consts::TAU;

use super::*;

const RATE: u32 = 16_000;

fn front_end(json: &str) -> AudioFrontEnd {
    let front_end: AudioFrontEnd = serde_json::from_str(json).unwrap();
    front_end.check().unwrap();
    front_end
}

/// 40 bands in natural logarithms, 10 ms apart.
fn usual() -> AudioFrontEnd {
    front_end(
        r#"{"sample_rate": 16000, "spectrogram": {"window_length": 400, "n_fft": 512, "hop_length": 160,
            "mel": {"n_bands": 40}, "logarithm": {"unit": "natural", "floor": 1e-6}}}"#,
    )
}

fn tone(hertz: f64, rate: u32, seconds: f64) -> Vec<f32> {
    let n_samples = (seconds * f64::from(rate)) as usize;
    (0..n_samples).map(|nth| 0.5 * (TAU * hertz * nth as f64 / f64::from(rate)).sin() as f32).collect()
}

/// A WAV file of samples in the format that `spec` names, the same in all channels.
fn wav_of(samples: &[f32], spec: hound::WavSpec) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for sample in samples.iter().flat_map(|sample| std::iter::repeat_n(*sample, spec.channels.into())) {
        match spec.sample_format {
            hound::SampleFormat::Float => writer.write_sample(sample).unwrap(),
            hound::SampleFormat::Int => {
                let largest = ((1i64 << (spec.bits_per_sample - 1)) - 1) as f32;
                writer.write_sample((sample * largest).round() as i32).unwrap();
            }
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16, sample_format: hound::SampleFormat) -> hound::WavSpec {
    hound::WavSpec { channels, sample_rate, bits_per_sample, sample_format }
}

#[test]
fn blocks_of_any_length_give_the_same_frames() {
    let samples = tone(440.0, RATE, 0.3);
    for json in [
        r#"{"sample_rate": 16000, "spectrogram": {"window_length": 400, "hop_length": 160}}"#,
        r#"{"sample_rate": 16000, "spectrogram": {"window_length": 100, "hop_length": 333, "centered": false}}"#,
        r#"{"sample_rate": 16000, "spectrogram": {"window_length": 37, "hop_length": 90, "padding": "zeros"}}"#,
    ] {
        let front_end = front_end(json);
        let whole = front_end.features(&samples).unwrap();
        for block in [1, 7, 160, 1000] {
            let mut stream = FeatureStream::new(&front_end);
            samples.chunks(block).for_each(|samples| stream.push(samples));
            assert_eq!(stream.finish().unwrap(), whole, "{block} {json}");
        }
    }
}

#[test]
fn a_tone_is_loudest_in_its_band() {
    let front_end = usual();
    let bands = front_end.scale().bands_hz.unwrap();
    for hertz in [300.0, 1000.0, 4000.0] {
        let features = front_end.features(&tone(hertz, RATE, 0.2)).unwrap();
        let frame = &features.numbers[10 * 40..11 * 40];
        let loudest = (0..40).max_by(|a, b| frame[*a].total_cmp(&frame[*b])).unwrap();
        let nearest = (0..40).min_by(|a, b| (bands[*a] - hertz).abs().total_cmp(&(bands[*b] - hertz).abs())).unwrap();
        assert!(loudest.abs_diff(nearest) <= 1, "{hertz}: band {loudest} instead of {nearest}");
    }
}

#[test]
fn every_sample_format_holds_the_same_sound() {
    use hound::SampleFormat::{Float, Int};
    let expected = tone(440.0, RATE, 0.25);
    // 8 bits are coarse; others are as near as their last bit, and 96 kHz as its filter lets through.
    let cases = [
        (spec(1, RATE, 8, Int), 1e-2),
        (spec(1, RATE, 16, Int), 1e-4),
        (spec(2, RATE, 24, Int), 1e-6),
        (spec(1, RATE, 32, Int), 1e-6),
        (spec(3, RATE, 32, Float), 1e-6),
        (spec(2, 96_000, 24, Int), 1e-3),
        (spec(1, 8_000, 16, Int), 1e-3),
    ];
    for (spec, tolerance) in cases {
        let found = samples(&wav_of(&tone(440.0, spec.sample_rate, 0.25), spec), RATE).unwrap();
        assert_eq!(found.len(), expected.len(), "{spec:?}");
        let inner = 1000..expected.len() - 1000;
        let furthest = inner.map(|nth| (found[nth] - expected[nth]).abs()).fold(0.0, f32::max);
        assert!(furthest < tolerance, "{spec:?}: {furthest}");
    }
}

#[test]
fn silence_and_clipping_are_sounds_like_others() {
    let mut normalised = usual();
    normalised.normalization = Normalization::Utterance;
    let silence = normalised.features(&[0.0; 4000]).unwrap();
    assert!(silence.numbers.iter().all(|number| *number == 0.0));
    let clipped: Vec<f32> = tone(440.0, RATE, 0.2).iter().map(|sample| (sample * 40.0).clamp(-1.0, 1.0)).collect();
    assert!(normalised.features(&clipped).is_ok());
}

#[track_caller]
fn refused(bytes: &[u8], because: &str) {
    let error = prepare(bytes, &usual()).unwrap_err().to_string();
    assert!(error.starts_with(because), "{error}");
    let error = inspect(bytes).unwrap_err().to_string();
    assert!(error.starts_with(because), "{error}");
}

#[test]
fn what_is_no_whole_sound_is_refused() {
    use hound::SampleFormat::{Float, Int};
    let whole = wav(&tone(440.0, RATE, 1.0), RATE);
    refused(&whole[..16_044], "the sound ends after 0.50 s where its header says 1.00 s");
    refused(&whole[..20], "the sound cannot be decoded: ");
    refused(&wav(&[], RATE), "the sound has no samples");
    refused(&[], "the sound cannot be decoded: ");
    refused(b"once upon a time there was a text that was no sound", "the sound cannot be decoded: ");
    let mut samples = tone(440.0, RATE, 0.5);
    samples[4000] = f32::NAN;
    refused(&wav_of(&samples, spec(1, RATE, 32, Float)), "the sound holds NaN at 0.250 s");
    samples[4000] = 1e30;
    let error = prepare(&wav_of(&samples, spec(1, RATE, 32, Float)), &usual()).unwrap_err().to_string();
    assert!(error.contains("so large that frame 24 of the spectrogram is inf"), "{error}");
    refused(&wav_of(&samples[..100], spec(1, 10, 16, Int)), "the sound cannot be decoded: its sample rate is 10 Hz");
}

#[test]
fn settings_that_make_no_sense_are_told_what_would() {
    let error = |change: &dyn Fn(&mut AudioFrontEnd)| {
        let mut front_end = usual();
        change(&mut front_end);
        front_end.check().unwrap_err()
    };
    assert!(error(&|front_end| front_end.sample_rate = 10).contains("from 1000 to 384000 Hz"));
    let of =
        |change: &dyn Fn(&mut SpectrogramSettings)| error(&|front_end| change(front_end.spectrogram.as_mut().unwrap()));
    assert!(of(&|settings| settings.hop_length = 0).contains("hop_length 0"));
    assert!(of(&|settings| settings.window_length = 600).contains("window_length 600 of n_fft 512"));
    assert!(of(&|settings| settings.mel.as_mut().unwrap().high = Some(9000.0)).contains("from 0 up to 8000 Hz"));
    assert!(of(&|settings| settings.logarithm.as_mut().unwrap().floor = 0.0).contains("floor 0"));
    let stored = Normalization::Stored { mean: vec![0.0; 3], std: vec![1.0] };
    assert!(error(&|front_end| front_end.normalization = stored.clone()).contains("one a band (40)"));
}

#[test]
fn very_short_sounds_are_mirrored_more_than_once() {
    let features = usual().features(&[0.3, -0.2, 0.1]).unwrap();
    assert_eq!(features.n_frames, 1);
    let mut behind = usual();
    behind.spectrogram.as_mut().unwrap().centered = false;
    let error = behind.features(&[0.3; 100]).unwrap_err().to_string();
    assert_eq!(error, "the sound has 100 samples at 16000 Hz but one frame needs 512");
}

/// `‖a − b‖ / ‖b‖`
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let norm =
        |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|number| f64::from(number).powi(2)).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
}

#[test]
fn a_spectrogram_turned_into_samples_gives_itself_again() {
    let glide = |nth: usize| {
        let time = nth as f64 / f64::from(RATE);
        (0.5 * (TAU * (300.0 * time + 900.0 * time * time)).sin() + 0.2 * (TAU * 2500.0 * time).sin()) as f32
    };
    let samples: Vec<f32> = (0..RATE as usize).map(glide).collect();
    for (json, most) in [
        (r#"{"sample_rate": 16000, "spectrogram": {"window_length": 512, "hop_length": 128, "power": 1}}"#, 0.12),
        (
            r#"{"sample_rate": 16000, "spectrogram": {"window_length": 512, "hop_length": 128, "power": 1,
                "mel": {"n_bands": 128, "scale": "slaney", "norm": "slaney"}}}"#,
            0.15,
        ),
    ] {
        let front_end = front_end(json);
        let wanted = front_end.features(&samples).unwrap().numbers;
        let found = GriffinLim::default().samples(&front_end, &wanted).unwrap();
        assert!(found.len().abs_diff(samples.len()) < 128);
        let again = front_end.features(&found).unwrap().numbers;
        // The loudest sample is fixed, so that levels may differ by a factor.
        let factor = wanted.iter().sum::<f32>() / again.iter().sum::<f32>();
        let again: Vec<f32> = again.iter().map(|number| number * factor).collect();
        let convergence = distance(&again, &wanted);
        println!("spectral convergence {convergence:.3}");
        assert!(convergence < most, "{convergence} {json}");
    }
}

#[test]
fn a_tone_comes_back_as_a_tone() {
    for normalization in [Normalization::None, Normalization::Utterance] {
        let front_end = AudioFrontEnd { normalization, ..usual() };
        let features = front_end.features(&tone(1000.0, RATE, 0.5)).unwrap();
        let samples = GriffinLim::default().samples(&front_end, &features.numbers).unwrap();
        let loudest = samples.iter().fold(0.0f32, |loudest, sample| loudest.max(sample.abs()));
        assert!((loudest - 0.9).abs() < 1e-6);
        // A fine spectrum of the middle has its peak at the tone.
        let fine = self::front_end(
            r#"{"sample_rate": 16000, "spectrogram": {"window_length": 4096, "hop_length": 4096, "centered": false}}"#,
        );
        let spectrum = fine.features(&samples[2000..6200]).unwrap().numbers;
        let peak = (0..spectrum.len()).max_by(|a, b| spectrum[*a].total_cmp(&spectrum[*b])).unwrap();
        let hertz = peak as f64 * f64::from(RATE) / 4096.0;
        assert!((hertz - 1000.0).abs() < 60.0, "{hertz}");
    }
}

#[test]
fn the_same_seed_gives_the_same_samples() {
    let front_end = usual();
    let features = front_end.features(&tone(500.0, RATE, 0.1)).unwrap();
    let of_seed = |seed| GriffinLim { seed, ..GriffinLim::default() }.samples(&front_end, &features.numbers).unwrap();
    assert_eq!(of_seed(3), of_seed(3));
    assert_ne!(of_seed(3), of_seed(4));
}
