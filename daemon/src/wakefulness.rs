//! Workers that stay awake while a query runs.
//!
//! A query forks and joins its kernels a hundred times, and a worker that has gone to sleep in between comes late to
//! each of them: on a virtual machine it takes as long to wake one as many a kernel. So while a query runs the other
//! workers look for work without sleeping, until there was none for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a worker stays awake without finding work.
const PATIENCE: Duration = Duration::from_millis(5);

/// Looks between two glances at the clock.
const LOOKS: usize = 64;

/// Keeps the other workers of the pool awake until it is dropped; to be made on one of them.
#[derive(Debug)]
pub(crate) struct Wakefulness {
    is_over: Arc<AtomicBool>,
}

impl Wakefulness {
    /// Wakes the others. One at a time: a worker that waits for another's part must not look for work of its own.
    pub(crate) fn begin() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let own = rayon::current_thread_index();
        if own.is_some() && rayon::current_num_threads() > 1 {
            let is_over = is_over.clone();
            // The one that runs the query may come upon this as it waits for a part of its own.
            rayon::spawn_broadcast(move |_| {
                if rayon::current_thread_index() != own {
                    stay_awake(&is_over);
                }
            });
        }
        Wakefulness { is_over }
    }
}

impl Drop for Wakefulness {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn stay_awake(is_over: &AtomicBool) {
    let mut worked = Instant::now();
    while worked.elapsed() < PATIENCE {
        for _ in 0..LOOKS {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            match rayon::yield_now() {
                Some(rayon::Yield::Executed) => worked = Instant::now(),
                _ => std::hint::spin_loop(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A pool of its own, since a test that waits holds a worker of the common one.
    fn pool() -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap()
    }

    #[test]
    fn work_is_shared_while_workers_stay_awake_and_they_rest_afterwards() {
        let pool = pool();
        let sum = pool.install(|| {
            let _awake = Wakefulness::begin();
            let mut sum = 0;
            for n in 0..1000 {
                let (left, right) = rayon::join(|| n, || 1);
                sum += left + right;
            }
            sum
        });
        assert_eq!(sum, 500_500);
        // All three are free for what waits for each other.
        let (arrived, all) = mpsc::channel();
        pool.broadcast(|_| arrived.send(()).unwrap());
        assert_eq!(all.try_iter().count(), 3);
    }

    #[test]
    fn one_query_after_another_ends() {
        let pool = pool();
        for _ in 0..200 {
            pool.scope(|_| {
                let _awake = Wakefulness::begin();
                rayon::join(|| (), || ());
            });
        }
    }

    #[test]
    fn a_worker_rests_once_it_has_found_nothing_for_a_while() {
        let started = Instant::now();
        pool().install(|| stay_awake(&AtomicBool::new(false)));
        assert!(started.elapsed() >= PATIENCE);
    }
}
