//! A sign of life on standard error while a query runs: which one, and for how long.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How long a query may take before anything is shown.
const PATIENCE: Duration = Duration::from_millis(300);
const FRAMES: [char; 8] = ['⣷', '⣯', '⣟', '⡿', '⢿', '⣻', '⣽', '⣾'];

/// The sign of life of one query.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    is_shown: bool,
    is_wanted: bool,
}

impl Progress {
    /// Nothing is shown yet, and nothing ever where it is not wanted or standard error is no terminal.
    pub(crate) fn new(started: Instant, is_wanted: bool) -> Self {
        Progress { started, is_shown: false, is_wanted: is_wanted && std::io::stderr().is_terminal() }
    }

    /// Shows the query and the seconds since it began.
    pub(crate) fn show(&mut self, what: &str) {
        let elapsed = self.started.elapsed();
        if !self.is_wanted || elapsed < PATIENCE {
            return;
        }
        self.is_shown = true;
        let frame = FRAMES[(elapsed.as_millis() / 100) as usize % FRAMES.len()];
        eprint!("\r\x1b[K{frame} {what} {:.1} s (Ctrl-C cancels)", elapsed.as_secs_f64());
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
