//! Ctrl-C: remembered, and looked at wherever we wait. A second one while nobody looked ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C cancels the query that runs, and not the process.
pub(crate) fn catch_interrupts() {
    // SAFETY: the handler only touches an atomic and calls _exit, both of which a signal handler may do.
    unsafe {
        libc::signal(libc::SIGINT, remember as *const () as libc::sighandler_t);
    }
}

extern "C" fn remember(_: libc::c_int) {
    if INTERRUPTED.swap(true, Ordering::SeqCst) {
        // SAFETY: _exit may be called from a signal handler and does not return.
        unsafe { libc::_exit(130) }
    }
}

/// Whether Ctrl-C was pressed since the last [`forget_interrupt`].
pub(crate) fn was_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Starts anew.
pub(crate) fn forget_interrupt() {
    INTERRUPTED.store(false, Ordering::SeqCst);
}
