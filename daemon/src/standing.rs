//! Where one query stands that somebody may watch: how far it is, what there is of its result, how it ended.
//!
//! The compute thread writes it between steps; `job.get` reads it and `job.subscribe` waits for changes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use client_protocol::ErrorObject;
use client_protocol::job::{Job, JobState, Partial, Progress};
use tokio::sync::watch;

use crate::interrupt::CancelFlag;

/// A query that is watched.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) id: String,
    pub(crate) method: &'static str,
    pub(crate) asked: Instant,
    pub(crate) cancel: CancelFlag,
    now: Mutex<Now>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Now {
    state: JobState,
    error: Option<ErrorObject>,
    steps: Option<Steps>,
    partial: Option<Partial>,
}

#[derive(Clone, Copy, Debug)]
struct Steps {
    began: Instant,
    done: usize,
    total: usize,
    /// When the last was done.
    last: Instant,
}

impl Standing {
    /// One that waits for its turn.
    pub(crate) fn new(id: String, method: &'static str, cancel: CancelFlag) -> Standing {
        let now = Now { state: JobState::Running, error: None, steps: None, partial: None };
        Standing { id, method, asked: Instant::now(), cancel, now: Mutex::new(now), changed: watch::Sender::new(()) }
    }

    /// So many steps are done.
    pub(crate) fn progress(&self, done: usize, total: usize) {
        let last = Instant::now();
        let mut now = self.lock();
        let began = now.steps.map_or(last, |steps| steps.began);
        now.steps = Some(Steps { began, done, total, last });
        drop(now);
        self.changed.send_replace(());
    }

    /// There is a picture so far.
    pub(crate) fn show(&self, partial: Partial) {
        self.lock().partial = Some(partial);
        self.changed.send_replace(());
    }

    /// It has ended.
    pub(crate) fn end(&self, state: JobState, error: Option<ErrorObject>) {
        let mut now = self.lock();
        (now.state, now.error) = (state, error);
        drop(now);
        self.changed.send_replace(());
    }

    /// Whoever waits for changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// As a job without its result.
    pub(crate) fn job(&self, with_partial: bool) -> Job {
        let now = self.lock();
        let progress = now.steps.map(|steps| {
            let seconds = (steps.last - steps.began).as_secs_f64();
            let rate = if seconds > 0.0 { steps.done as f64 / seconds } else { 0.0 };
            let left_s = (rate > 0.0).then(|| steps.total.saturating_sub(steps.done) as f64 / rate);
            let partial = now.partial.clone().filter(|_| with_partial);
            Progress { done: steps.done, total: steps.total, rate, left_s, partial }
        });
        Job {
            job: self.id.clone(),
            method: self.method.to_owned(),
            state: now.state,
            age_s: self.asked.elapsed().as_secs_f64(),
            progress,
            result: None,
            error: now.error.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_rate_and_time_left() {
        let standing = Standing::new("j1".to_owned(), "visualization.maximize", CancelFlag::default());
        assert_eq!(standing.job(true).progress, None);
        standing.progress(0, 40);
        std::thread::sleep(std::time::Duration::from_millis(20));
        standing.progress(10, 40);
        let progress = standing.job(true).progress.unwrap();
        assert_eq!((progress.done, progress.total), (10, 40));
        assert!(progress.rate > 0.0 && progress.rate <= 500.0, "{}", progress.rate);
        assert!((progress.left_s.unwrap() - 30.0 / progress.rate).abs() < 1e-9);
    }

    #[test]
    fn whoever_waits_is_told_of_each_change() {
        let standing = Standing::new("j1".to_owned(), "attribution.rise", CancelFlag::default());
        let mut waiting = standing.subscribe();
        assert!(!waiting.has_changed().unwrap());
        standing.progress(1, 2);
        assert!(waiting.has_changed().unwrap());
        waiting.mark_unchanged();
        standing.end(JobState::Done, None);
        assert!(waiting.has_changed().unwrap());
        assert_eq!(standing.job(true).state, JobState::Done);
    }
}
