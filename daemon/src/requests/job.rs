//! `job.*`, but for subscriptions, which a connection answers (`transports/subscriptions.rs`).

use std::sync::Arc;

use client_protocol::job::{Cancelled, GetParams, Job, JobParams, Jobs};
use client_protocol::{ErrorObject, NoParams};

use crate::interrupt::Token;
use crate::state::State;

pub(crate) fn list(state: &Arc<State>, _: NoParams, _: &Token) -> Result<Jobs, ErrorObject> {
    Ok(Jobs { jobs: state.jobs.list() })
}

pub(crate) fn get(state: &Arc<State>, params: GetParams, _: &Token) -> Result<Job, ErrorObject> {
    state.jobs.get(&params.job, params.partial)
}

pub(crate) fn cancel(state: &Arc<State>, params: JobParams, _: &Token) -> Result<Cancelled, ErrorObject> {
    Ok(Cancelled { cancelled: state.jobs.cancel(&params.job)? })
}
