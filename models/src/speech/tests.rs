use super::*;

/// Classes `a`, `b`, space, blank.
fn alphabet() -> Alphabet {
    let labels: Vec<String> = ["a", "b", "space", "blank"].map(String::from).into();
    Alphabet::new(&labels, CtcSettings { blank: 3, word_boundary: Some(2) }).unwrap()
}

/// Frames in which the named class (`a`, `b`, `-` for the space, `_` for the blank) has the given probability.
fn frames_of(path: &[(char, f32)]) -> Vec<f32> {
    let frame = |&(name, share): &(char, f32)| {
        let class = "ab-_".find(name).unwrap();
        (0..4).map(move |other| if other == class { share } else { (1.0 - share) / 3.0 }.ln())
    };
    path.iter().flat_map(frame).collect()
}

fn sure(path: &str) -> Vec<f32> {
    frames_of(&path.chars().map(|name| (name, 0.97)).collect::<Vec<_>>())
}

fn text(letters: &[Heard]) -> String {
    alphabet().text(&letters.iter().map(|heard| heard.class).collect::<Vec<_>>())
}

#[test]
fn equal_neighbours_are_one_letter_and_a_blank_makes_two() {
    for (path, expected) in [("aa_a", "aa"), ("_ab_", "ab"), ("-a--_-b-", "a b"), ("____", ""), ("a", "a")] {
        let numbers = sure(path);
        let frames = Frames::new(&numbers, 4);
        assert_eq!(text(&greedy(&frames, &alphabet())), expected, "{path}");
        assert_eq!(
            text(&beam_search(&frames, &alphabet(), None, &BeamSettings::default()).letters),
            expected,
            "{path}"
        );
    }
}

#[test]
fn letters_know_their_frames() {
    let numbers = frames_of(&[('_', 0.9), ('a', 0.7), ('a', 0.9), ('a', 0.8), ('_', 0.9), ('b', 0.6)]);
    let [a, b] = &greedy(&Frames::new(&numbers, 4), &alphabet())[..] else { panic!("two letters") };
    assert_eq!((a.first, a.frame, a.end), (1, 2, 4));
    assert!((a.log_probability - 0.9f32.ln()).abs() < 1e-6);
    assert_eq!((b.class, b.first, b.end), (1, 5, 6));
}

/// All transcripts of up to `n_frames` letters with the probability of all their paths, the slow way.
fn by_enumeration(frames: &Frames<'_>) -> HashMap<Vec<usize>, f64> {
    let (n_frames, n_classes) = (frames.len(), 4usize);
    let mut of_transcripts: HashMap<Vec<usize>, f64> = HashMap::new();
    for number in 0..n_classes.pow(n_frames as u32) {
        let path: Vec<usize> = (0..n_frames).map(|frame| number / n_classes.pow(frame as u32) % n_classes).collect();
        let log: f64 = path.iter().enumerate().map(|(frame, class)| f64::from(frames.at(frame)[*class])).sum();
        let transcript: Vec<usize> =
            path.chunk_by(|a, b| a == b).map(|run| run[0]).filter(|class| *class != 3).collect();
        *of_transcripts.entry(transcript).or_default() += log.exp();
    }
    of_transcripts
}

use std::collections::HashMap;

#[test]
fn sums_over_paths_are_those_of_all_paths_counted_one_by_one() {
    // Numbers without a pattern, each frame's probabilities summing to 1.
    let mut numbers = Vec::new();
    for frame in 0..6 {
        let levels: Vec<f32> = (0..4).map(|class| ((frame * 7 + class * 13) % 11) as f32 / 3.0).collect();
        let sum = levels.iter().fold(f32::NEG_INFINITY, |sum, level| log_add(sum, *level));
        numbers.extend(levels.iter().map(|level| level - sum));
    }
    let frames = Frames::new(&numbers, 4);
    let all = by_enumeration(&frames);
    assert!((all.values().sum::<f64>() - 1.0).abs() < 1e-5);
    for (transcript, probability) in &all {
        let alignment = forced_alignment(&frames, transcript, &alphabet()).unwrap();
        assert!((f64::from(alignment.total_log_probability) - probability.ln()).abs() < 1e-4, "{transcript:?}");
        assert_eq!(alignment.letters.iter().map(|heard| heard.class).collect::<Vec<_>>(), *transcript);
        assert!(alignment.log_probability <= alignment.total_log_probability + 1e-5);
    }
    let (best, probability) = all.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    let found = beam_search(&frames, &alphabet(), None, &BeamSettings { width: 1000, ..BeamSettings::default() });
    assert!((f64::from(found.log_probability) - probability.ln()).abs() < 1e-4);
    assert_eq!(text(&found.letters), alphabet().text(best).trim());
}

#[test]
fn an_alignment_finds_where_letters_lie() {
    let numbers = sure("__aa_bb-a_");
    let frames = Frames::new(&numbers, 4);
    let alphabet = alphabet();
    let aligned = forced_alignment(&frames, &alphabet.classes("AB A").unwrap(), &alphabet).unwrap();
    let places: Vec<(usize, usize)> = aligned.letters.iter().map(|heard| (heard.first, heard.end)).collect();
    assert_eq!(places, [(2, 4), (5, 7), (7, 8), (8, 9)]);
    let too_long = alphabet.classes("aaaaaa").unwrap();
    let error = forced_alignment(&frames, &too_long, &alphabet).unwrap_err();
    assert_eq!((error.n_frames, error.needed), (10, 11));
}

#[test]
fn text_is_written_with_the_alphabet_or_refused() {
    let alphabet = alphabet();
    assert_eq!(alphabet.classes("  Ab \t a ").unwrap(), [0, 1, 2, 0]);
    let error = alphabet.classes("abc").unwrap_err().to_string();
    assert_eq!(error, "the transcript has `c` at position 2, which is no letter of this model (ab)");
    let labels = vec!["a".to_owned()];
    assert!(Alphabet::new(&labels, CtcSettings { blank: 1, word_boundary: None }).is_err());
}

const ARPA: &str = "\\data\\\nngram 1=5\nngram 2=2\n\n\\1-grams:\n-1.0\t<s>\t-0.5\n-1.0\t</s>\n-0.3\tab\t-0.2\n\
                    -2.0\taa\n-3.0\t<unk>\n\n\\2-grams:\n-0.1\t<s> ab\n-0.4\tab ab\n\n\\end\\\n";

#[test]
fn a_language_model_backs_off() {
    let model = LanguageModel::from_arpa(ARPA).unwrap();
    assert_eq!((model.order(), model.is_of_letters()), (2, false));
    let is_near =
        |found: f32, log10: f32| assert!((found - log10 * std::f32::consts::LN_10).abs() < 1e-5, "{found} {log10}");
    is_near(model.log_probability(&["<s>"], "ab"), -0.1);
    is_near(model.log_probability(&["<s>"], "aa"), -0.5 - 2.0);
    is_near(model.log_probability(&["ab", "aa"], "ab"), -0.3);
    is_near(model.log_probability(&["ab"], "bb"), -0.2 - 3.0);
}

#[test]
fn a_language_model_turns_the_scale() {
    // Letters alone say `aa`; the model knows `ab` to be usual.
    let numbers = frames_of(&[('a', 0.9), ('_', 0.9), ('a', 0.4)]);
    let frames = Frames::new(&numbers, 4);
    let model = LanguageModel::from_arpa(ARPA).unwrap();
    let found = |model| text(&beam_search(&frames, &alphabet(), model, &BeamSettings::default()).letters);
    assert_eq!(found(None), "aa");
    assert_eq!(found(Some(&model)), "ab");
    let letters = "\\data\\\n\\1-grams:\n-0.2 b\n-1.2 a\n-1 |\n\\end\\";
    let model = LanguageModel::from_arpa(letters).unwrap();
    assert!(model.is_of_letters());
    assert_eq!(found(Some(&model)), "ab");
}

#[test]
fn what_is_no_arpa_file_is_told_where() {
    let refused = |text: &str| LanguageModel::from_arpa(text).unwrap_err().to_string();
    assert_eq!(refused("hello"), "line 1 of the ARPA file: it has no `\\data\\` with n-grams behind it");
    assert!(refused("\\data\\\n-1 a").starts_with("line 2 of the ARPA file: n-grams come behind"));
    assert!(refused("\\data\\\n\\1-grams:\nx a").starts_with("line 3"));
    assert!(refused("\\data\\\n\\grams:").starts_with("line 2"));
}
