//! A sign of life on standard error while a query runs: which one, for how long, and how far it is where that is known.
//!
//! A query that may take long is sent with a name (`watch`), and the daemon is asked on another connection how far the
//! query of that name is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use client_protocol::job::{Job, Progress};
use serde_json::{Map, Value, json};

use crate::connection::{Address, Client};

/// How long a query may take before anything is shown.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often the daemon is asked how far it is.
const BETWEEN: Duration = Duration::from_millis(200);
/// How long that may take, since meanwhile nobody looks whether the answer has come.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);
const FRAMES: [char; 8] = ['⣷', '⣯', '⣟', '⡿', '⢿', '⣻', '⣽', '⣾'];
const BAR_WIDTH: usize = 24;

/// The sign of life of one query.
#[derive(Debug)]
pub(crate) struct SignOfLife {
    started: Instant,
    is_shown: bool,
    watcher: Option<Watcher>,
}

impl SignOfLife {
    /// Nothing is shown yet, and nothing ever where standard error is no terminal.
    pub(crate) fn new(started: Instant, watcher: Option<Watcher>) -> Self {
        SignOfLife { started, is_shown: false, watcher }
    }

    /// Whether signs of life can be shown at all.
    pub(crate) fn can_be_shown() -> bool {
        std::io::stderr().is_terminal()
    }

    /// Shows the query, how far it is and the seconds since it began.
    pub(crate) fn show(&mut self, what: &str) {
        let elapsed = self.started.elapsed();
        if !Self::can_be_shown() || elapsed < PATIENCE {
            return;
        }
        self.is_shown = true;
        let progress = self.watcher.as_mut().and_then(Watcher::progress);
        let frame = FRAMES[(elapsed.as_millis() / 100) as usize % FRAMES.len()];
        eprint!("\r\x1b[K{frame} {}", line(what, elapsed.as_secs_f64(), progress));
        let _ = std::io::stderr().flush();
    }

    /// Takes away what was shown.
    pub(crate) fn clear(&mut self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
            let _ = std::io::stderr().flush();
            self.is_shown = false;
        }
    }
}

/// What is shown of a query.
fn line(what: &str, seconds: f64, progress: Option<&Progress>) -> String {
    let Some(progress) = progress.filter(|progress| progress.total > 0) else {
        return format!("{what} {seconds:.1} s (Ctrl-C cancels)");
    };
    let filled = BAR_WIDTH * progress.done.min(progress.total) / progress.total;
    let bar = "█".repeat(filled) + &"░".repeat(BAR_WIDTH - filled);
    let left = progress.left_s.map(|left| format!(", {left:.0} s left")).unwrap_or_default();
    format!("{what} ▕{bar}▏ {}/{}, {seconds:.0} s{left} (Ctrl-C cancels)", progress.done, progress.total)
}

/// Asks how far the query of a name is.
#[derive(Debug)]
pub(crate) struct Watcher {
    name: String,
    client: Option<Client>,
    address: Address,
    asked: Option<Instant>,
    last: Option<Progress>,
}

impl Watcher {
    /// For a query that is sent with this name.
    pub(crate) fn new(name: &str, address: &Address) -> Self {
        Watcher { name: name.to_owned(), client: None, address: address.clone(), asked: None, last: None }
    }

    /// What the daemon said last, asked anew where that was a while ago; a daemon that does not say is not minded.
    fn progress(&mut self) -> Option<&Progress> {
        if self.asked.is_none_or(|asked| asked.elapsed() > BETWEEN) {
            self.asked = Some(Instant::now());
            self.last = self.ask().or(self.last.take());
        }
        self.last.as_ref()
    }

    fn ask(&mut self) -> Option<Progress> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.address).ok()?,
        };
        let params = Map::from_iter([("job".to_owned(), json!(self.name)), ("partial".to_owned(), json!(false))]);
        let answer: Value = client.call_within(ANSWERED_WITHIN, "job.get", &params).ok()?;
        self.client = Some(client);
        serde_json::from_value::<Job>(answer).ok()?.progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_with_the_steps() {
        assert_eq!(line("predict", 1.23, None), "predict 1.2 s (Ctrl-C cancels)");
        let progress = Progress { done: 64, total: 256, rate: 8.0, left_s: Some(24.0), partial: None };
        assert_eq!(
            line("visualization.maximize", 8.1, Some(&progress)),
            "visualization.maximize ▕██████░░░░░░░░░░░░░░░░░░▏ 64/256, 8 s, 24 s left (Ctrl-C cancels)"
        );
        let begun = Progress { done: 0, rate: 0.0, left_s: None, ..progress };
        assert!(line("rise", 1.0, Some(&begun)).starts_with("rise ▕░"));
    }
}
