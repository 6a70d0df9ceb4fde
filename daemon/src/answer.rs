//! From a method's name and parameters to its answer: checks, time limits, the right thread, jobs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use client_protocol::{ErrorKind, ErrorObject, check_params, find_method, nearest, open_rpc};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::compute_queue::{Urgency, guarded};
use crate::interrupt::{CancelFlag, Token};
use crate::requests::{Handler, Lane, find_handler};
use crate::state::State;

/// Answers one request; whoever does not want the answer any more sets `cancel`.
pub(crate) async fn answer(
    state: &Arc<State>,
    name: &str,
    params: Option<Value>,
    cancel: CancelFlag,
) -> Result<Box<RawValue>, ErrorObject> {
    let started = Instant::now();
    let result = checked(state, name, params, cancel).await;
    let counter = if result.is_ok() { &state.counters.answered } else { &state.counters.failed };
    counter.fetch_add(1, Ordering::Relaxed);
    let elapsed_ms = started.elapsed().as_secs_f64() * 1e3;
    match &result {
        Ok(_) => tracing::debug!(method = name, elapsed_ms, "answered"),
        Err(error) => tracing::info!(method = name, elapsed_ms, code = error.code, error = error.message, "refused"),
    }
    result
}

async fn checked(
    state: &Arc<State>,
    name: &str,
    params: Option<Value>,
    cancel: CancelFlag,
) -> Result<Box<RawValue>, ErrorObject> {
    let Some(method) = find_method(name) else {
        let near = nearest(name, client_protocol::methods().iter().map(|method| method.name));
        return Err(ErrorObject::new(ErrorKind::MethodNotFound, format!("no method `{name}`"))
            .value(name)
            .nearest(near));
    };
    let mut params = match params {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => {
            let message = "parameters are given by name: an object such as {\"model\": …}";
            return Err(ErrorObject::new(ErrorKind::InvalidParams, message).field("params").expected("an object"));
        }
    };
    if name == "rpc.discover" {
        return raw(&open_rpc(env!("CARGO_PKG_VERSION")));
    }
    let deadline = take_timeout(&mut params)?.map(|timeout| Instant::now() + timeout);
    let in_background = matches!(params.remove("background"), Some(Value::Bool(true)));
    check_params(method, &params)?;
    let watch = params.remove("watch").and_then(|name| name.as_str().map(str::to_owned));
    let handler = find_handler(name).ok_or_else(|| {
        ErrorObject::new(ErrorKind::InvalidRequest, format!("`{name}` needs a lasting connection, such as a WebSocket"))
    })?;
    if in_background && handler.lane == Lane::Compute {
        return begin_job(state, handler, params, deadline);
    }
    let watched = watch.map(|name| state.jobs.watch(&name, handler.name, cancel.clone())).transpose()?;
    let standing = watched.as_ref().map(|watched| watched.standing.clone());
    let token = Token { cancel, deadline, standing };
    let outcome = work(state.clone(), Urgency::Interactive, handler, params, token).await;
    watched.into_iter().for_each(|watched| watched.end(&outcome));
    outcome
}

/// Every method takes `timeout`, in seconds.
fn take_timeout(params: &mut Map<String, Value>) -> Result<Option<Duration>, ErrorObject> {
    let Some(timeout) = params.remove("timeout").filter(|timeout| !timeout.is_null()) else { return Ok(None) };
    let seconds = timeout.as_f64().filter(|seconds| seconds.is_finite() && (0.0..=1e6).contains(seconds));
    let seconds = seconds.ok_or_else(|| {
        ErrorObject::invalid("timeout", format!("`timeout` is in seconds, from 0 to a million, not {timeout}"))
            .value(timeout)
    })?;
    Ok(Some(Duration::from_secs_f64(seconds)))
}

async fn work(
    state: Arc<State>,
    urgency: Urgency,
    handler: &'static Handler,
    params: Map<String, Value>,
    token: Token,
) -> Result<Box<RawValue>, ErrorObject> {
    match handler.lane {
        Lane::Immediate => guarded(|| (handler.answer)(&state, params, &token)),
        Lane::Files => {
            let work = move || guarded(|| (handler.answer)(&state, params, &token));
            let ended = tokio::task::spawn_blocking(work).await;
            ended.unwrap_or_else(|error| Err(ErrorObject::new(ErrorKind::InternalError, error.to_string())))
        }
        Lane::Compute => {
            let worker = state.clone();
            let token_of_work = token.clone();
            let work = move || {
                let answer = (handler.answer)(&worker, params, &token_of_work);
                worker.changed_weights.keep_within_budget(worker.models().all());
                answer
            };
            state.compute.run(urgency, &token, work).await
        }
    }
}

/// Starts a job that outlives its connection, and answers with it.
fn begin_job(
    state: &Arc<State>,
    handler: &'static Handler,
    params: Map<String, Value>,
    deadline: Option<Instant>,
) -> Result<Box<RawValue>, ErrorObject> {
    let cancel = CancelFlag::default();
    let standing = state.jobs.begin(handler.name, cancel.clone());
    let id = standing.id.clone();
    let state = state.clone();
    tokio::spawn(async move {
        let token = Token { cancel, deadline, standing: Some(standing.clone()) };
        let outcome = work(state.clone(), Urgency::Background, handler, params, token).await;
        state.jobs.end(&standing, outcome);
    });
    raw(&json!({"job": id}))
}

fn raw(value: &Value) -> Result<Box<RawValue>, ErrorObject> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| ErrorObject::new(ErrorKind::InternalError, error.to_string()))
}
