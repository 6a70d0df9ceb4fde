//! Where ascents of `visualization.maximize` stand, so that one that was cancelled or has ended can go on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client_protocol::visualization::MaximizeParams;
use client_protocol::{ErrorKind, ErrorObject, nearest};
use introspection::visualization::Ascent;

/// The ascents that are kept, those that were last used at the end.
#[derive(Debug)]
pub(crate) struct Ascents {
    budget_bytes: usize,
    kept: Mutex<VecDeque<Arc<Kept>>>,
}

/// An ascent with what was asked.
#[derive(Debug)]
pub(crate) struct Kept {
    /// A hash of what was asked and how many steps were taken.
    pub(crate) id: String,
    /// The job or watched query that took the last steps.
    pub(crate) job: Option<String>,
    /// The hash of what was asked, whatever the steps.
    pub(crate) question: String,
    /// The model's id.
    pub(crate) model: String,
    pub(crate) params: MaximizeParams,
    pub(crate) ascent: Ascent,
}

impl Ascents {
    /// None yet; they may take so many bytes.
    pub(crate) fn new(budget_bytes: usize) -> Ascents {
        Ascents { budget_bytes, kept: Mutex::default() }
    }

    /// Keeps an ascent; those that were longest not used go where the budget is passed.
    pub(crate) fn keep(&self, kept: Kept) {
        let mut all = self.lock();
        // The same question and steps are the same ascent; a job's name means its last one.
        all.retain(|other| other.id != kept.id && (other.job.is_none() || other.job != kept.job));
        all.push_back(Arc::new(kept));
        let mut bytes: usize = all.iter().map(|kept| kept.ascent.bytes()).sum();
        while bytes > self.budget_bytes && all.len() > 1 {
            bytes -= all.pop_front().map_or(0, |kept| kept.ascent.bytes());
        }
    }

    /// The ascent of an id, or of a job.
    pub(crate) fn get(&self, asked: &str) -> Result<Arc<Kept>, ErrorObject> {
        let mut all = self.lock();
        let found = all.iter().position(|kept| kept.id == asked || kept.job.as_deref() == Some(asked));
        let found = found.and_then(|place| all.remove(place)).ok_or_else(|| {
            let known = all.iter().flat_map(|kept| kept.job.as_deref().into_iter().chain([kept.id.as_str()]));
            ErrorObject::new(ErrorKind::NotFound, format!("no ascent `{asked}` is remembered"))
                .field("continue_from")
                .value(asked)
                .expected("a job of `visualization.maximize` that took a step, or the `ascent` of an answer")
                .nearest(nearest(asked, known))
        })?;
        all.push_back(found.clone());
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
