//! Which phoneme each letter of a word stands for: the best alignment of the two (Needleman and Wunsch 1970), with
//! scores that are estimated from a dictionary.
//!
//! A word is written by a machine that puts down a letter with its phoneme, a letter that stands for none, or a phoneme
//! that has no letter of its own (Ristad and Yianilos 1998, a memoryless transducer). The logarithms of their
//! probabilities are the scores; expectation maximisation finds them without a single aligned word.

/// What stands above what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// A letter with its phoneme.
    Both(usize, usize),
    /// A letter that is not spoken.
    Letter(usize),
    /// A phoneme without a letter of its own.
    Phoneme(usize),
}

/// The scores of all pairs, natural logarithms of probabilities.
#[derive(Clone, Debug, PartialEq)]
pub struct PairScores {
    n_letters: usize,
    n_phonemes: usize,
    /// `[letter or none, phoneme or none]`
    log: Vec<f64>,
}

/// A word as letters and phonemes, both by number.
pub type Word = (Vec<usize>, Vec<usize>);

impl PairScores {
    /// Estimated from words in so many rounds; a dozen do.
    ///
    /// Words whose letters or phonemes are none of these are left out by the caller. An empty list leaves all alike.
    pub fn estimated(words: &[Word], n_letters: usize, n_phonemes: usize, rounds: usize) -> PairScores {
        // At first a pair is as good as any other, and better than two that each stand alone.
        let n_pairs = (n_letters + 1) * (n_phonemes + 1);
        let mut scores = PairScores { n_letters, n_phonemes, log: vec![-(n_pairs as f64).ln(); n_pairs] };
        scores.log[n_pairs - 1] = f64::NEG_INFINITY;
        for _ in 0..rounds {
            let mut counts = vec![0.0; n_pairs];
            words.iter().for_each(|word| scores.add_counts(word, &mut counts));
            let total: f64 = counts.iter().sum();
            if total <= 0.0 {
                break;
            }
            // A pair that never occurs stays possible, so that every word can be aligned.
            let smoothing = 1e-7 * total;
            let sum = total + smoothing * (n_pairs - 1) as f64;
            for (log, count) in scores.log.iter_mut().zip(&counts) {
                *log = ((count + smoothing) / sum).ln();
            }
            scores.log[n_pairs - 1] = f64::NEG_INFINITY;
        }
        scores
    }

    /// The score of a pair.
    pub fn of(&self, pair: Pair) -> f64 {
        self.log[self.index(pair)]
    }

    fn index(&self, pair: Pair) -> usize {
        let (letter, phoneme) = match pair {
            Pair::Both(letter, phoneme) => (letter, phoneme),
            Pair::Letter(letter) => (letter, self.n_phonemes),
            Pair::Phoneme(phoneme) => (self.n_letters, phoneme),
        };
        letter * (self.n_phonemes + 1) + phoneme
    }

    /// Adds how often each pair is expected in a word (forward and backward sums over all its alignments).
    fn add_counts(&self, (letters, phonemes): &Word, counts: &mut [f64]) {
        let (rows, columns) = (letters.len() + 1, phonemes.len() + 1);
        let at = |row: usize, column: usize| row * columns + column;
        let mut forward = vec![f64::NEG_INFINITY; rows * columns];
        let mut backward = forward.clone();
        forward[0] = 0.0;
        backward[rows * columns - 1] = 0.0;
        for row in 0..rows {
            for column in 0..columns {
                for (pair, (down, right)) in steps(letters, phonemes, row, column) {
                    let to = at(row + down, column + right);
                    forward[to] = log_add(forward[to], forward[at(row, column)] + self.of(pair));
                }
            }
        }
        for row in (0..rows).rev() {
            for column in (0..columns).rev() {
                for (pair, (down, right)) in steps(letters, phonemes, row, column) {
                    let rest = backward[at(row + down, column + right)] + self.of(pair);
                    backward[at(row, column)] = log_add(backward[at(row, column)], rest);
                }
            }
        }
        let all = backward[0];
        if all == f64::NEG_INFINITY {
            return;
        }
        for row in 0..rows {
            for column in 0..columns {
                for (pair, (down, right)) in steps(letters, phonemes, row, column) {
                    let share =
                        forward[at(row, column)] + self.of(pair) + backward[at(row + down, column + right)] - all;
                    counts[self.index(pair)] += share.exp();
                }
            }
        }
    }
}

/// The pairs that may come next, with the letters and phonemes that each takes.
fn steps(
    letters: &[usize],
    phonemes: &[usize],
    row: usize,
    column: usize,
) -> impl Iterator<Item = (Pair, (usize, usize))> {
    let (letter, phoneme) = (letters.get(row).copied(), phonemes.get(column).copied());
    let both = letter.zip(phoneme).map(|(letter, phoneme)| (Pair::Both(letter, phoneme), (1, 1)));
    let alone = letter.map(|letter| (Pair::Letter(letter), (1, 0)));
    both.into_iter().chain(alone).chain(phoneme.map(|phoneme| (Pair::Phoneme(phoneme), (0, 1))))
}

/// Scores that differ by less differ by rounding alone.
const ALIKE: f64 = 1e-9;

/// The best alignment of a word, in order.
pub fn needleman_wunsch(letters: &[usize], phonemes: &[usize], scores: &PairScores) -> Vec<Pair> {
    let (rows, columns) = (letters.len() + 1, phonemes.len() + 1);
    let mut best = vec![f64::NEG_INFINITY; rows * columns];
    let mut from: Vec<Option<(Pair, usize)>> = vec![None; rows * columns];
    best[0] = 0.0;
    for row in 0..rows {
        for column in 0..columns {
            let here = row * columns + column;
            for (pair, (down, right)) in steps(letters, phonemes, row, column) {
                let to = (row + down) * columns + column + right;
                let score = best[here] + scores.of(pair);
                // Of two that are as good, the phoneme goes to the first of the letters.
                if score > best[to] - ALIKE || from[to].is_none() {
                    best[to] = score;
                    from[to] = Some((pair, here));
                }
            }
        }
    }
    let mut pairs = Vec::new();
    let mut place = rows * columns - 1;
    while let Some((pair, before)) = from[place] {
        pairs.push(pair);
        place = before;
    }
    pairs.reverse();
    pairs
}

/// `ln(eᵃ + eᵇ)`
fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONEMES: [&str; 13] = ["S", "P", "IY", "CH", "T", "AE", "K", "M", "N", "AY", "F", "OW", "B"];

    fn word(letters: &str, phonemes: &str) -> Word {
        let number = |phoneme: &str| PHONEMES.iter().position(|known| *known == phoneme).unwrap();
        (letters.bytes().map(|letter| usize::from(letter - b'a')).collect(), phonemes.split(' ').map(number).collect())
    }

    fn dictionary() -> Vec<Word> {
        [
            ("see", "S IY"),
            ("pea", "P IY"),
            ("tee", "T IY"),
            ("peach", "P IY CH"),
            ("teach", "T IY CH"),
            ("beach", "B IY CH"),
            ("beech", "B IY CH"),
            ("cat", "K AE T"),
            ("map", "M AE P"),
            ("tap", "T AE P"),
            ("sat", "S AE T"),
            ("tax", "T AE K S"),
            ("chat", "CH AE T"),
            ("phone", "F OW N"),
            ("fat", "F AE T"),
            ("knee", "N IY"),
            ("no", "N OW"),
            ("mine", "M AY N"),
            ("pine", "P AY N"),
            ("bat", "B AE T"),
        ]
        .into_iter()
        .map(|(letters, phonemes)| word(letters, phonemes))
        .collect()
    }

    #[track_caller]
    fn aligns(letters: &str, phonemes: &str, expected: &str) {
        let scores = PairScores::estimated(&dictionary(), 26, PHONEMES.len(), 20);
        let (of_letters, of_phonemes) = word(letters, phonemes);
        let letter = |letter: usize| (b'a' + letter as u8) as char;
        let written = |pair: &Pair| match *pair {
            Pair::Both(of, phoneme) => format!("{}:{}", letter(of), PHONEMES[phoneme]),
            Pair::Letter(of) => format!("{}:", letter(of)),
            Pair::Phoneme(phoneme) => format!(":{}", PHONEMES[phoneme]),
        };
        let pairs = needleman_wunsch(&of_letters, &of_phonemes, &scores);
        assert_eq!(pairs.iter().map(written).collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn letters_find_their_phonemes() {
        aligns("speech", "S P IY CH", "s:S p:P e:IY e: c:CH h:");
        aligns("cat", "K AE T", "c:K a:AE t:T");
        aligns("map", "M AE P", "m:M a:AE p:P");
    }

    #[test]
    fn every_letter_and_phoneme_stands_somewhere_even_in_words_that_no_dictionary_has() {
        let scores = PairScores::estimated(&dictionary(), 26, PHONEMES.len(), 5);
        let (letters, phonemes) = word("zzz", "B B B B");
        let pairs = needleman_wunsch(&letters, &phonemes, &scores);
        let n_letters = pairs.iter().filter(|pair| !matches!(pair, Pair::Phoneme(_))).count();
        let n_phonemes = pairs.iter().filter(|pair| !matches!(pair, Pair::Letter(_))).count();
        assert_eq!((n_letters, n_phonemes), (3, 4));
        assert_eq!(needleman_wunsch(&[], &[], &scores), []);
        PairScores::estimated(&[], 26, 3, 5);
    }

    /// Every alignment, one by one.
    fn all_alignments(letters: &[usize], phonemes: &[usize]) -> Vec<Vec<Pair>> {
        if letters.is_empty() && phonemes.is_empty() {
            return vec![vec![]];
        }
        let then = |pair: Pair, rest: Vec<Vec<Pair>>| {
            rest.into_iter().map(move |rest| std::iter::once(pair).chain(rest).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        steps(letters, phonemes, 0, 0)
            .flat_map(|(pair, (down, right))| then(pair, all_alignments(&letters[down..], &phonemes[right..])))
            .collect()
    }

    #[test]
    fn no_other_alignment_is_better_and_counts_are_those_of_all() {
        let scores = PairScores::estimated(&dictionary(), 26, PHONEMES.len(), 3);
        let word = word("tax", "T AE K S");
        let score = |pairs: &[Pair]| pairs.iter().map(|pair| scores.of(*pair)).sum::<f64>();
        let all = all_alignments(&word.0, &word.1);
        let best = all.iter().map(|pairs| score(pairs)).fold(f64::NEG_INFINITY, f64::max);
        assert!((score(&needleman_wunsch(&word.0, &word.1, &scores)) - best).abs() < 1e-6);
        let total: f64 = all.iter().map(|pairs| score(pairs).exp()).sum();
        let mut expected = vec![0.0; 27 * (PHONEMES.len() + 1)];
        for pairs in &all {
            pairs.iter().for_each(|pair| expected[scores.index(*pair)] += score(pairs).exp() / total);
        }
        let mut counts = vec![0.0; expected.len()];
        scores.add_counts(&word, &mut counts);
        assert!(counts.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9));
    }
}
