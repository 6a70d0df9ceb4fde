//! Memory that is ready before it is asked for.
//!
//! Activations come by the megabyte, and what a query keeps of them the next query has to get anew from the system,
//! which clears and maps it page by page: up to two milliseconds a megabyte on a virtual machine, more than it takes to
//! compute what is written there. So the allocator keeps what was freed ([`models::memory`]), and while nobody asks
//! anything the compute thread, whose queries will take it, readies as much as the next is likely to keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is readied at once, so that a query waits no longer than for this.
const PIECE: usize = 2 << 20;

/// How much the next query is likely to keep: as much as the last that kept anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected(Arc<AtomicUsize>);

impl Expected {
    /// A query kept so much, for which nothing else was freed.
    pub(crate) fn kept(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Memory that the allocator has from the system already, touched.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    expected: Expected,
    pieces: Vec<Vec<u8>>,
}

impl Reserve {
    /// A reserve for what is expected.
    pub(crate) fn new(expected: Expected) -> Self {
        Reserve { expected, pieces: Vec::new() }
    }

    /// Readies a piece; returns whether there is more to do. Once all is ready the allocator has it back, and nothing
    /// is done until a query keeps something again: to touch memory for nothing clears the caches.
    pub(crate) fn step(&mut self) -> bool {
        // As much again is needed for what a query does not keep.
        let wanted = 2 * self.expected.0.load(Ordering::Relaxed);
        if self.pieces.len() * PIECE < wanted {
            // Ones, since zeros would be had without being touched.
            self.pieces.push(vec![1; PIECE]);
            return true;
        }
        self.pieces.clear();
        self.expected.0.store(0, Ordering::Relaxed);
        false
    }

    /// Gives all back to the allocator, for a query that begins.
    pub(crate) fn take(&mut self) {
        self.pieces.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_readied_as_is_expected_and_given_back() {
        let expected = Expected::default();
        let mut reserve = Reserve::new(expected.clone());
        assert!(!reserve.step(), "nothing was kept yet");
        expected.kept(3 * PIECE);
        let steps = (0..).take_while(|_| reserve.step()).count();
        assert_eq!(steps, 6);
        assert!(reserve.pieces.is_empty());
        assert!(!reserve.step(), "ready until a query keeps something");
    }
}
