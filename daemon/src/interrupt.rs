//! Whether a query is still wanted: its caller may go away, cancel it, or have given it only so many seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use models::{Interrupt, Interrupted};

use crate::standing::Standing;

/// Set once, by whoever does not want the answer any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Stops what polls it.
    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was set.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets the flag when dropped, as a request is whose connection closes.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub(crate) CancelFlag);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What a query polls between layers, and tells how far it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Token {
    pub(crate) cancel: CancelFlag,
    pub(crate) deadline: Option<Instant>,
    /// Where it stands, if somebody may watch it.
    pub(crate) standing: Option<Arc<Standing>>,
}

/// Asks whether to go on, but tells nothing of how far a part of longer work has come.
#[derive(Debug)]
pub(crate) struct Quiet<'a>(pub(crate) &'a Token);

impl Interrupt for Quiet<'_> {
    fn check(&self) -> Result<(), Interrupted> {
        self.0.check()
    }
}

impl Interrupt for Token {
    fn check(&self) -> Result<(), Interrupted> {
        if self.cancel.is_cancelled() {
            return Err(Interrupted::Cancelled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Interrupted::DeadlineExceeded),
            _ => Ok(()),
        }
    }

    fn progress(&self, done: usize, total: usize) {
        self.standing.iter().for_each(|standing| standing.progress(done, total));
    }
}
