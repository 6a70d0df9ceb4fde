//! Where the letters of a known transcript lie: the most probable path of CTC that writes it (Viterbi).

use super::{Alphabet, Frames, Heard};

/// A transcript laid over frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// Each letter of the transcript.
    pub letters: Vec<Heard>,
    /// Of the best path.
    pub log_probability: f32,
    /// The logarithm of the probability of all paths that write the transcript: what CTC's loss is the negative of.
    pub total_log_probability: f32,
}

/// An utterance too short for its transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sound has {n_frames} frames but its transcript needs {needed}: one for each letter, and one between equal neighbours"
)]
pub struct NoPath {
    /// How many frames there are.
    pub n_frames: usize,
    /// How many would do.
    pub needed: usize,
}

/// Lays the classes of a transcript over frames.
pub fn forced_alignment(frames: &Frames<'_>, classes: &[usize], alphabet: &Alphabet) -> Result<Alignment, NoPath> {
    let n_frames = frames.len();
    let n_doubled = classes.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let needed = classes.len() + n_doubled;
    if n_frames < needed.max(1) {
        return Err(NoPath { n_frames, needed: needed.max(1) });
    }
    // States are the letters with a blank before, between and behind them.
    let n_states = 2 * classes.len() + 1;
    let class_of = |state: usize| if state.is_multiple_of(2) { alphabet.blank() } else { classes[state / 2] };
    // A letter may follow the one before without a blank unless the two are equal.
    let may_skip =
        |state: usize| state >= 3 && !state.is_multiple_of(2) && classes[state / 2] != classes[state / 2 - 1];
    let mut best = vec![f32::NEG_INFINITY; n_states];
    let mut total = best.clone();
    for state in 0..n_states.min(2) {
        best[state] = frames.at(0)[class_of(state)];
        total[state] = best[state];
    }
    // How many states back each state's best path came from.
    let mut steps = vec![0u8; n_frames * n_states];
    for frame in 1..n_frames {
        let (before, total_before) = (best.clone(), total.clone());
        let now = frames.at(frame);
        for state in 0..n_states {
            let furthest = if may_skip(state) { 2 } else { usize::from(state >= 1) };
            let step = (0..=furthest)
                .fold(0, |step, next| if before[state - next] > before[state - step] { next } else { step });
            steps[frame * n_states + state] = step as u8;
            best[state] = before[state - step] + now[class_of(state)];
            let all =
                (0..=furthest).fold(f32::NEG_INFINITY, |sum, step| super::log_add(sum, total_before[state - step]));
            total[state] = all + now[class_of(state)];
        }
    }
    let last_letter = n_states.saturating_sub(2);
    let end = if best[last_letter] > best[n_states - 1] { last_letter } else { n_states - 1 };
    let path = path(&steps, n_states, end);
    let mut letters = Vec::with_capacity(classes.len());
    let mut first = 0;
    for run in path.chunk_by(|a, b| a == b) {
        if !run[0].is_multiple_of(2) {
            letters.push(Heard::over(frames, class_of(run[0]), first, first + run.len()));
        }
        first += run.len();
    }
    let total_log_probability =
        if classes.is_empty() { total[0] } else { super::log_add(total[last_letter], total[n_states - 1]) };
    Ok(Alignment { letters, log_probability: best[end], total_log_probability })
}

/// The state of each frame, read from the last one backwards.
fn path(steps: &[u8], n_states: usize, end: usize) -> Vec<usize> {
    let mut state = end;
    let mut path: Vec<usize> = steps
        .chunks_exact(n_states)
        .rev()
        .map(|steps_of_frame| {
            let here = state;
            state -= usize::from(steps_of_frame[here]);
            here
        })
        .collect();
    path.reverse();
    path
}
