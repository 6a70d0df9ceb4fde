//! Queries that outlive their connection: asked with `background`, their results are kept a day within a byte budget.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client_protocol::job::{Job, JobState};
use client_protocol::{ErrorKind, ErrorObject, nearest};
use serde_json::value::RawValue;

use crate::interrupt::CancelFlag;

const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The jobs known, the newest last.
#[derive(Debug)]
pub(crate) struct Jobs {
    budget_bytes: usize,
    next: AtomicU64,
    known: Mutex<VecDeque<Entry>>,
}

#[derive(Debug)]
struct Entry {
    id: String,
    method: &'static str,
    started: Instant,
    cancel: CancelFlag,
    outcome: Option<Result<Box<RawValue>, ErrorObject>>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.outcome.as_ref().map_or(0, |outcome| outcome.as_ref().map_or(256, |result| result.get().len()))
    }

    fn job(&self, with_result: bool) -> Result<Job, serde_json::Error> {
        let state = match &self.outcome {
            None => JobState::Running,
            Some(Ok(_)) => JobState::Done,
            Some(Err(error)) if error.kind() == Some(ErrorKind::Cancelled) => JobState::Cancelled,
            Some(Err(_)) => JobState::Failed,
        };
        let result = match &self.outcome {
            Some(Ok(result)) if with_result => Some(serde_json::from_str(result.get())?),
            _ => None,
        };
        let error = self.outcome.as_ref().and_then(|outcome| outcome.as_ref().err().cloned());
        let age_s = self.started.elapsed().as_secs_f64();
        Ok(Job { job: self.id.clone(), method: self.method.to_owned(), state, age_s, result, error })
    }
}

impl Jobs {
    /// No jobs yet; their results may take so many bytes.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        Jobs { budget_bytes, next: AtomicU64::new(1), known: Mutex::default() }
    }

    /// A job that starts now.
    pub(crate) fn begin(&self, method: &'static str, cancel: CancelFlag) -> String {
        let id = format!("j{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.lock().push_back(Entry { id: id.clone(), method, started: Instant::now(), cancel, outcome: None });
        id
    }

    /// A job's end; the oldest results go where the budget is passed.
    pub(crate) fn end(&self, id: &str, outcome: Result<Box<RawValue>, ErrorObject>) {
        let mut known = self.lock();
        if let Some(entry) = known.iter_mut().find(|entry| entry.id == id) {
            entry.outcome = Some(outcome);
        }
        known.retain(|entry| entry.outcome.is_none() || entry.started.elapsed() < KEPT_FOR);
        let mut bytes: usize = known.iter().map(Entry::bytes).sum();
        while bytes > self.budget_bytes {
            let Some(oldest) = known.iter().position(|entry| entry.outcome.is_some() && entry.id != id) else { break };
            bytes -= known.remove(oldest).map_or(0, |entry| entry.bytes());
        }
    }

    /// Where a job stands.
    pub(crate) fn get(&self, id: &str) -> Result<Job, ErrorObject> {
        let known = self.lock();
        let entry = known.iter().find(|entry| entry.id == id).ok_or_else(|| unknown(id, &known))?;
        entry.job(true).map_err(|error| ErrorObject::new(ErrorKind::InternalError, error.to_string()))
    }

    /// Asks a job to stop; whether it still ran.
    pub(crate) fn cancel(&self, id: &str) -> Result<bool, ErrorObject> {
        let known = self.lock();
        let entry = known.iter().find(|entry| entry.id == id).ok_or_else(|| unknown(id, &known))?;
        entry.cancel.cancel();
        Ok(entry.outcome.is_none())
    }

    /// All jobs, the newest first, without results.
    pub(crate) fn list(&self) -> Vec<Job> {
        self.lock().iter().rev().filter_map(|entry| entry.job(false).ok()).collect()
    }

    /// How many are known.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(id: &str, known: &VecDeque<Entry>) -> ErrorObject {
    ErrorObject::new(ErrorKind::NotFound, format!("no job `{id}`"))
        .field("job")
        .value(id)
        .expected("a job that `job.list` lists; results are kept a day")
        .nearest(nearest(id, known.iter().map(|entry| entry.id.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_result_can_be_had_until_newer_ones_need_the_room() {
        let jobs = Jobs::new(12);
        let first = jobs.begin("model.forward", CancelFlag::default());
        assert_eq!(jobs.get(&first).unwrap().state, JobState::Running);
        jobs.end(&first, Ok(raw("[1, 2, 3]")));
        assert_eq!(jobs.get(&first).unwrap().result, Some(serde_json::json!([1, 2, 3])));
        let second = jobs.begin("model.forward", CancelFlag::default());
        jobs.end(&second, Ok(raw("[4, 5, 6]")));
        assert_eq!(jobs.get(&first).unwrap_err().kind(), Some(ErrorKind::NotFound));
        assert_eq!(jobs.get(&second).unwrap().state, JobState::Done);
    }

    #[test]
    fn cancelling_sets_the_flag_and_says_whether_it_ran() {
        let (jobs, flag) = (Jobs::new(100), CancelFlag::default());
        let job = jobs.begin("model.forward", flag.clone());
        assert!(jobs.cancel(&job).unwrap() && flag.is_cancelled());
        jobs.end(&job, Err(ErrorObject::new(ErrorKind::Cancelled, "cancelled")));
        assert_eq!(jobs.get(&job).unwrap().state, JobState::Cancelled);
        assert!(!jobs.cancel(&job).unwrap());
    }
}
