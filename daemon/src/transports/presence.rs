//! Who is connected, and since when nobody is: the limit on connections, `--idle-exit`, and the wait for last answers
//! at the end all ask here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// All connections of the daemon.
#[derive(Debug)]
pub(crate) struct Activity {
    places: Arc<Semaphore>,
    open: watch::Sender<Open>,
    /// Whether work goes on that no connection waits for.
    works: fn() -> bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    connections: usize,
    /// When the number last changed.
    changed: Instant,
}
