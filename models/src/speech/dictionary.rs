//! A pronouncing dictionary as CMUdict is written, and which phoneme each letter of a word stands for.

use std::collections::BTreeMap;

use super::needleman_wunsch::{Pair, PairScores, Word, needleman_wunsch};

/// Letters of words: a to z, and the apostrophe.
const N_LETTERS: usize = 27;

/// Words that the scores of letters and phonemes are estimated from: every so many of the dictionary's.
const ESTIMATED_FROM: usize = 4000;

/// Rounds of expectation maximisation.
const ROUNDS: usize = 10;

/// Words with how they are spoken, without stress.
#[derive(Clone, Debug)]
pub struct Dictionary {
    words: BTreeMap<String, Vec<u8>>,
    /// Further ways to say a word.
    others: BTreeMap<String, Vec<Vec<u8>>>,
    phonemes: Vec<String>,
    scores: PairScores,
}

/// A letter of a word with what it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct SpokenLetter {
    /// Its phonemes: none where it is silent, two where a sound has no letter of its own (`x`).
    pub phonemes: Vec<String>,
    /// How well they go together: the logarithm of the pairs' probability.
    pub score: f64,
}

/// A line that is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no `word PHONEME PHONEME …`: {text}")]
pub struct DictionaryError {
    /// Counted from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
}

impl Dictionary {
    /// Reads lines `word AH0 B IY1`, and `word(2) …` for a further way to say it; comments begin with `;;;` or `#`.
    pub fn read(text: &str) -> Result<Dictionary, DictionaryError> {
        let mut words: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut others: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let mut phonemes: Vec<String> = Vec::new();
        for (nth, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() || entry.starts_with(";;;") {
                continue;
            }
            let mut fields = entry.split_whitespace();
            let word = fields.next().unwrap_or_default();
            let spoken: Vec<&str> =
                fields.map(|phoneme| phoneme.trim_end_matches(|last: char| last.is_ascii_digit())).collect();
            if spoken.is_empty() || spoken.iter().any(|phoneme| phoneme.is_empty()) {
                return Err(DictionaryError { line: nth + 1, text: line.chars().take(60).collect() });
            }
            let mut number = |phoneme: &str| {
                let known = phonemes.iter().position(|known| known == phoneme);
                known.unwrap_or_else(|| {
                    phonemes.push(phoneme.to_owned());
                    phonemes.len() - 1
                })
            };
            let spoken: Vec<usize> = spoken.into_iter().map(&mut number).collect();
            let fits = spoken.iter().map(|phoneme| u8::try_from(*phoneme)).collect::<Result<Vec<u8>, _>>();
            let fits = fits.map_err(|_| DictionaryError { line: nth + 1, text: line.chars().take(60).collect() })?;
            match word.split_once('(').filter(|_| word.ends_with(')')) {
                Some((word, _)) => others.entry(word.to_lowercase()).or_default().push(fits),
                None => _ = words.entry(word.to_lowercase()).or_insert(fits),
            }
        }
        let step = words.len().div_ceil(ESTIMATED_FROM).max(1);
        let of_word = |(word, spoken): (&String, &Vec<u8>)| -> Option<Word> {
            Some((letter_numbers(word)?, spoken.iter().copied().map(usize::from).collect()))
        };
        let sample: Vec<Word> = words.iter().step_by(step).filter_map(of_word).collect();
        let scores = PairScores::estimated(&sample, N_LETTERS, phonemes.len(), ROUNDS);
        Ok(Dictionary { words, others, phonemes, scores })
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// All words in alphabetical order, each with the ways to say it, the first of them first.
    pub fn words(&self) -> impl Iterator<Item = (&str, Vec<Vec<&str>>)> {
        let names = |spoken: &Vec<u8>| -> Vec<&str> {
            spoken.iter().map(|phoneme| self.phonemes[usize::from(*phoneme)].as_str()).collect()
        };
        self.words.iter().map(move |(word, spoken)| {
            let others = self.others.get(word).into_iter().flatten();
            (word.as_str(), std::iter::once(spoken).chain(others).map(names).collect())
        })
    }

    /// What each letter of a word stands for; nothing where the dictionary lacks the word.
    pub fn letters(&self, word: &str) -> Option<Vec<SpokenLetter>> {
        let word = word.to_lowercase();
        let spoken: Vec<usize> = self.words.get(&word)?.iter().copied().map(usize::from).collect();
        self.laid_out(&word, &spoken)
    }

    /// The same of a word that is spoken like this, which the dictionary need not have; nothing where it knows a phoneme
    /// or letter not.
    pub fn letters_spoken(&self, word: &str, phonemes: &[&str]) -> Option<Vec<SpokenLetter>> {
        let number = |phoneme: &&str| self.phonemes.iter().position(|known| known == phoneme);
        let spoken: Option<Vec<usize>> = phonemes.iter().map(number).collect();
        self.laid_out(&word.to_lowercase(), &spoken?)
    }

    fn laid_out(&self, word: &str, spoken: &[usize]) -> Option<Vec<SpokenLetter>> {
        let letters = letter_numbers(word)?;
        let mut found = vec![SpokenLetter { phonemes: Vec::new(), score: 0.0 }; letters.len()];
        let mut next = 0usize;
        for pair in needleman_wunsch(&letters, spoken, &self.scores) {
            // A phoneme without a letter goes to the letter before, the first to the first.
            let at = match pair {
                Pair::Phoneme(_) => next.saturating_sub(1),
                Pair::Both(..) | Pair::Letter(_) => {
                    next += 1;
                    next - 1
                }
            };
            if let Pair::Both(_, phoneme) | Pair::Phoneme(phoneme) = pair {
                found[at].phonemes.push(self.phonemes[phoneme].clone());
            }
            found[at].score += self.scores.of(pair);
        }
        Some(found)
    }
}

/// The letters of a word by number; nothing where it has others.
pub(super) fn letter_numbers(word: &str) -> Option<Vec<usize>> {
    let number = |letter: char| match letter {
        'a'..='z' => Some(letter as usize - 'a' as usize),
        '\'' => Some(N_LETTERS - 1),
        _ => None,
    };
    let letters: Option<Vec<usize>> = word.chars().map(number).collect();
    letters.filter(|letters| !letters.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
;;; a comment
see S IY1
sea S IY1
tea T IY1
each IY1 CH
teach T IY1 CH
peach P IY1 CH # of fruit
peach(2) P EH1 CH
speech S P IY1 CH
tax T AE1 K S
ax AE1 K S
at AE1 T
sat S AE1 T
cat K AE1 T
pat P AE1 T
it's IH1 T S
sit S IH1 T
";

    fn spoken(dictionary: &Dictionary, word: &str) -> Vec<String> {
        dictionary.letters(word).unwrap().into_iter().map(|letter| letter.phonemes.join("+")).collect()
    }

    #[test]
    fn letters_get_their_phonemes_and_every_phoneme_has_a_letter() {
        let dictionary = Dictionary::read(TEXT).unwrap();
        assert_eq!(dictionary.len(), 15);
        assert_eq!(spoken(&dictionary, "Cat"), ["K", "AE", "T"]);
        assert_eq!(spoken(&dictionary, "it's"), ["IH", "T", "", "S"]);
        assert_eq!(spoken(&dictionary, "speech").concat(), "SPIYCH");
        assert_eq!(spoken(&dictionary, "tax").concat().replace('+', ""), "TAEKS");
        assert!(dictionary.letters("cat").unwrap().iter().all(|letter| letter.score < 0.0));
        assert_eq!(dictionary.letters("dog"), None);
        let told = dictionary.letters_spoken("Peat", &["P", "IY", "T"]).unwrap();
        assert_eq!(told.iter().flat_map(|letter| &letter.phonemes).map(String::as_str).collect::<String>(), "PIYT");
        assert_eq!(dictionary.letters_spoken("peat", &["P", "OY"]), None, "a phoneme that it has not");
        assert_eq!(dictionary.words().next().unwrap(), ("at", vec![vec!["AE", "T"]]));
        let peach = dictionary.words().find(|(word, _)| *word == "peach").unwrap().1;
        assert_eq!(peach, [["P", "IY", "CH"], ["P", "EH", "CH"]]);
    }

    #[test]
    fn what_is_no_entry_is_named() {
        let error = Dictionary::read("a AH0\nword\n").unwrap_err().to_string();
        assert_eq!(error, "line 2 is no `word PHONEME PHONEME …`: word");
        assert!(Dictionary::read("").unwrap().is_empty());
    }
}
