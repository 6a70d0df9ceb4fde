//! Queries that can be asked about while they run: jobs, asked with `background`, outlive their connection, and their
//! results are kept a day within a byte budget; watched queries are known by a name until they are answered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client_protocol::job::{Job, JobState};
use client_protocol::{ErrorKind, ErrorObject, nearest};
use serde_json::value::RawValue;

use crate::interrupt::CancelFlag;
use crate::standing::Standing;

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
    standing: Arc<Standing>,
    outcome: Option<Result<Box<RawValue>, ErrorObject>>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.outcome.as_ref().map_or(0, |outcome| outcome.as_ref().map_or(256, |result| result.get().len()))
    }
}

impl Jobs {
    /// No jobs yet; their results may take so many bytes.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        Jobs { budget_bytes, next: AtomicU64::new(1), known: Mutex::default() }
    }

    /// A job that starts now.
    pub(crate) fn begin(&self, method: &'static str, cancel: CancelFlag) -> Arc<Standing> {
        let id = format!("j{}", self.next.fetch_add(1, Ordering::Relaxed));
        let standing = Arc::new(Standing::new(id, method, cancel));
        self.lock().push_back(Entry { standing: standing.clone(), outcome: None });
        standing
    }

    /// A job's end; the oldest results go where the budget is passed.
    pub(crate) fn end(&self, standing: &Standing, outcome: Result<Box<RawValue>, ErrorObject>) {
        let error = outcome.as_ref().err().cloned();
        let mut known = self.lock();
        if let Some(entry) = known.iter_mut().find(|entry| entry.standing.id == standing.id) {
            entry.outcome = Some(outcome);
        }
        known.retain(|entry| entry.outcome.is_none() || entry.standing.asked.elapsed() < KEPT_FOR);
        let mut bytes: usize = known.iter().map(Entry::bytes).sum();
        while bytes > self.budget_bytes {
            let is_oldest = |entry: &Entry| entry.outcome.is_some() && entry.standing.id != standing.id;
            let Some(oldest) = known.iter().position(is_oldest) else { break };
            bytes -= known.remove(oldest).map_or(0, |entry| entry.bytes());
        }
        drop(known);
        standing.end(state_of(error.as_ref()), error);
    }

    /// Lets a query that somebody waits for be known by a name until what this answers is dropped.
    pub(crate) fn watch(
        self: &Arc<Self>,
        name: &str,
        method: &'static str,
        cancel: CancelFlag,
    ) -> Result<Watched, ErrorObject> {
        let mut known = self.lock();
        if known.iter().any(|entry| entry.standing.id == name) {
            let message = format!("`watch` {name} is what another query is known by already");
            return Err(ErrorObject::invalid("watch", message).value(name).expected("a name of its own"));
        }
        let standing = Arc::new(Standing::new(name.to_owned(), method, cancel));
        known.push_back(Entry { standing: standing.clone(), outcome: None });
        Ok(Watched { jobs: self.clone(), standing })
    }

    /// Where a job stands, with its result once it is done.
    pub(crate) fn get(&self, id: &str, with_partial: bool) -> Result<Job, ErrorObject> {
        let known = self.lock();
        let entry = known.iter().find(|entry| entry.standing.id == id).ok_or_else(|| unknown(id, &known))?;
        let result = match &entry.outcome {
            Some(Ok(result)) => Some(serde_json::from_str(result.get())),
            _ => None,
        };
        let result = result.transpose();
        let result = result.map_err(|error| ErrorObject::new(ErrorKind::InternalError, error.to_string()))?;
        Ok(Job { result, ..entry.standing.job(with_partial) })
    }

    /// What tells where a job stands.
    pub(crate) fn standing(&self, id: &str) -> Result<Arc<Standing>, ErrorObject> {
        let known = self.lock();
        let entry = known.iter().find(|entry| entry.standing.id == id).ok_or_else(|| unknown(id, &known))?;
        Ok(entry.standing.clone())
    }

    /// Asks a job to stop; whether it still ran.
    pub(crate) fn cancel(&self, id: &str) -> Result<bool, ErrorObject> {
        let known = self.lock();
        let entry = known.iter().find(|entry| entry.standing.id == id).ok_or_else(|| unknown(id, &known))?;
        entry.standing.cancel.cancel();
        Ok(entry.outcome.is_none())
    }

    /// All jobs, the newest first, without results and pictures.
    pub(crate) fn list(&self) -> Vec<Job> {
        self.lock().iter().rev().map(|entry| entry.standing.job(false)).collect()
    }

    /// How many are known.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query that is known by a name until it is answered, or until nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Watched {
    jobs: Arc<Jobs>,
    pub(crate) standing: Arc<Standing>,
}

impl Watched {
    /// It was answered so.
    pub(crate) fn end(self, outcome: &Result<Box<RawValue>, ErrorObject>) {
        let error = outcome.as_ref().err().cloned();
        self.standing.end(state_of(error.as_ref()), error);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.jobs.lock().retain(|entry| !Arc::ptr_eq(&entry.standing, &self.standing));
        if self.standing.job(false).state == JobState::Running {
            self.standing.end(JobState::Cancelled, None);
        }
    }
}

fn state_of(error: Option<&ErrorObject>) -> JobState {
    match error {
        None => JobState::Done,
        Some(error) if error.kind() == Some(ErrorKind::Cancelled) => JobState::Cancelled,
        Some(_) => JobState::Failed,
    }
}

fn unknown(id: &str, known: &VecDeque<Entry>) -> ErrorObject {
    ErrorObject::new(ErrorKind::NotFound, format!("no job `{id}`"))
        .field("job")
        .value(id)
        .expected("a job that `job.list` lists; results are kept a day")
        .nearest(nearest(id, known.iter().map(|entry| entry.standing.id.as_str())))
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
        assert_eq!(jobs.get(&first.id, true).unwrap().state, JobState::Running);
        jobs.end(&first, Ok(raw("[1, 2, 3]")));
        assert_eq!(jobs.get(&first.id, true).unwrap().result, Some(serde_json::json!([1, 2, 3])));
        let second = jobs.begin("model.forward", CancelFlag::default());
        jobs.end(&second, Ok(raw("[4, 5, 6]")));
        assert_eq!(jobs.get(&first.id, true).unwrap_err().kind(), Some(ErrorKind::NotFound));
        assert_eq!(jobs.get(&second.id, true).unwrap().state, JobState::Done);
    }

    #[test]
    fn cancelling_sets_the_flag_and_says_whether_it_ran() {
        let (jobs, flag) = (Jobs::new(100), CancelFlag::default());
        let job = jobs.begin("model.forward", flag.clone());
        assert!(jobs.cancel(&job.id).unwrap() && flag.is_cancelled());
        jobs.end(&job, Err(ErrorObject::new(ErrorKind::Cancelled, "cancelled")));
        assert_eq!(jobs.get(&job.id, true).unwrap().state, JobState::Cancelled);
        assert!(!jobs.cancel(&job.id).unwrap());
    }

    #[test]
    fn a_watched_query_is_known_until_it_is_answered() {
        let jobs = Arc::new(Jobs::new(100));
        let watched = jobs.watch("mine", "attribution.rise", CancelFlag::default()).unwrap();
        watched.standing.progress(3, 9);
        assert_eq!(jobs.get("mine", true).unwrap().progress.unwrap().done, 3);
        let refused = jobs.watch("mine", "attribution.rise", CancelFlag::default()).unwrap_err();
        assert!(refused.message.contains("`watch` mine is what another query is known by"), "{}", refused.message);
        let standing = watched.standing.clone();
        watched.end(&Ok(raw("1")));
        assert_eq!(standing.job(true).state, JobState::Done);
        assert_eq!(jobs.get("mine", true).unwrap_err().kind(), Some(ErrorKind::NotFound));
        drop(jobs.watch("mine", "attribution.rise", CancelFlag::default()).unwrap());
        assert_eq!(jobs.len(), 0);
    }
}
