//! The threads that compute.

use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};

/// Of each thread: a walk over a deep graph has long frames.
const STACK_BYTES: usize = 8 << 20;

/// Starts them, as rayon's global pool.
///
/// Where they are as many as the processors that the process may use, each has one of its own. The system would put two
/// of them on the same one if another program runs at that moment, and there they stay: they look for work without
/// sleeping, so that nothing wakes them elsewhere, and the first 40 ms of a query after a rest take twice as long.
/// Fewer threads are free to go where it is quiet.
pub(crate) fn start(threads: usize) -> Result<(), ThreadPoolBuildError> {
    let processors = processors();
    let has_own = processors.len() == threads;
    let pool = ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK_BYTES);
    pool.start_handler(move |nth| {
        if has_own {
            stay_on(processors[nth])
        }
    })
    .build_global()
}

/// The numbers of those that the process may use; none where the system does not tell.
#[cfg(target_os = "linux")]
fn processors() -> Vec<usize> {
    let allowed = rustix::thread::sched_getaffinity(None).ok();
    allowed
        .into_iter()
        .flat_map(|set| (0..rustix::thread::CpuSet::MAX_CPU).filter(move |&cpu| set.is_set(cpu)))
        .collect()
}

#[cfg(not(target_os = "linux"))]
fn processors() -> Vec<usize> {
    Vec::new()
}

/// Has the calling thread run on one processor alone.
#[cfg(target_os = "linux")]
fn stay_on(processor: usize) {
    let mut own = rustix::thread::CpuSet::new();
    own.set(processor);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &own) {
        tracing::debug!(processor, %error, "a thread that computes has no processor of its own");
    }
}

#[cfg(not(target_os = "linux"))]
fn stay_on(_: usize) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_on_the_processor_that_it_is_given() {
        let all = processors();
        assert_eq!(all.len(), all.iter().collect::<std::collections::BTreeSet<_>>().len());
        for &processor in &all {
            let seen = std::thread::spawn(move || {
                stay_on(processor);
                processors()
            });
            assert_eq!(seen.join().unwrap(), [processor]);
        }
        // Those of other threads are as they were.
        assert_eq!(processors(), all);
    }
}
