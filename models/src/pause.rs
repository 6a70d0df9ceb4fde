//! Points at which long work can be held up for something more urgent.
//!
//! Whoever runs work that may wait says what to do at such a point; the work itself only marks the points, between
//! nodes and within long kernels, so that no stretch between two of them takes much more than 20 ms on one core.

use std::cell::RefCell;
use std::rc::Rc;

/// Multiplications between two points.
pub(crate) const MULTIPLICATIONS: usize = 1 << 30;

type Pause = Rc<dyn Fn()>;

thread_local! {
    static PAUSE: RefCell<Option<Pause>> = const { RefCell::new(None) };
}

/// Runs work with `pause` called at each of its points on this thread; not within a pause itself.
pub fn with_pauses<R>(pause: Rc<dyn Fn()>, work: impl FnOnce() -> R) -> R {
    let _restored = Restore(PAUSE.replace(Some(pause)));
    work()
}

/// A point at which work may be held up.
pub fn point() {
    let Some(pause) = PAUSE.take() else { return };
    let _restored = Restore(Some(pause.clone()));
    pause();
}

/// Puts back what was there, also when the work panics.
struct Restore(Option<Pause>);

impl Drop for Restore {
    fn drop(&mut self) {
        PAUSE.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn pauses_are_called_within_their_work_alone_and_not_within_each_other() {
        let count = Rc::new(Cell::new(0));
        let counted = count.clone();
        let pause = Rc::new(move || {
            counted.set(counted.get() + 1);
            point();
        });
        point();
        with_pauses(pause, || {
            point();
            point();
        });
        point();
        assert_eq!(count.get(), 2);
    }
}
