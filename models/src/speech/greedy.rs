//! Each frame's best class, equal neighbours as one letter.

use super::{Alphabet, Frames, Heard};

/// The letters that are best frame by frame.
pub fn greedy(frames: &Frames<'_>, alphabet: &Alphabet) -> Vec<Heard> {
    let best =
        |frame: &[f32]| (0..frame.len()).fold(0, |best, class| if frame[class] > frame[best] { class } else { best });
    let classes: Vec<usize> = frames.iter().map(best).collect();
    let mut heard = Vec::new();
    let mut first = 0;
    for run in classes.chunk_by(|a, b| a == b) {
        if run[0] != alphabet.blank() {
            heard.push(Heard::over(frames, run[0], first, first + run.len()));
        }
        first += run.len();
    }
    alphabet.without_idle_spaces(heard)
}
