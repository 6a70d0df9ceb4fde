//! The requests of one connection: each is answered by `answer`, can be cancelled by its id, and is cancelled when the
//! connection goes. Subscriptions are answered by `subscriptions`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use client_protocol::job::CancelParams;
use client_protocol::{ErrorKind, ErrorObject, check_params, find_method};
use jsonrpsee::core::middleware::{Batch, BatchEntry, Notification, RpcServiceT};
use jsonrpsee::server::middleware::rpc::RpcService;
use jsonrpsee::server::{BatchResponseBuilder, MethodResponse, ResponsePayload};
use jsonrpsee::types::{ErrorObjectOwned, Id, Request};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::subscriptions::{Lasting, SUBSCRIBE, UNSUBSCRIBE};
use crate::answer::answer;
use crate::interrupt::{CancelFlag, CancelOnDrop};
use crate::state::State;

/// Requests that one batch may hold.
const BATCH_LIMIT: usize = 256;

/// What runs, by the request's id as JSON; a client may use one id twice, so that each has a serial number.
type Running = HashMap<String, Vec<(u64, CancelFlag)>>;

/// One connection's requests.
#[derive(Clone)]
pub(super) struct Calls {
    state: Arc<State>,
    running: Arc<Mutex<Running>>,
    /// jsonrpsee's own service answers subscriptions; a session that ends waits for those that hold it.
    session: Option<RpcService>,
}

impl Calls {
    pub(super) fn new(state: Arc<State>) -> Self {
        Calls { state, running: Arc::default(), session: None }
    }

    /// The same for one session.
    pub(super) fn of_session(&self, session: RpcService) -> Self {
        Calls { session: Some(session), ..self.clone() }
    }

    /// Stops a running request of this connection.
    fn cancel(&self, params: Option<Value>) -> Result<Box<RawValue>, ErrorObject> {
        let params: CancelParams = serde_json::from_value(params.unwrap_or_default()).map_err(|_| {
            ErrorObject::invalid("id", "`cancel` needs `id`: that of a running request of this connection")
        })?;
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = running.get(&params.id.to_string());
        flags.into_iter().flatten().for_each(|(_, flag)| flag.cancel());
        let cancelled = client_protocol::job::Cancelled { cancelled: flags.is_some() };
        to_raw_value(&cancelled).map_err(|error| ErrorObject::new(ErrorKind::InternalError, error.to_string()))
    }

    async fn answered(
        &self,
        id: Option<String>,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, ErrorObject> {
        let params = params.map(parsed).transpose()?;
        if method == "cancel" {
            return self.cancel(params);
        }
        let flag = CancelFlag::default();
        // Set as well when this future is dropped, which is how a closed connection shows.
        let _cancel = CancelOnDrop(flag.clone());
        let _registered = id.map(|id| Registered::new(&self.running, id, flag.clone()));
        answer(&self.state, method, params, flag).await
    }

    /// Has jsonrpsee begin or end a subscription of this connection.
    async fn subscribed(&self, request: Request<'_>) -> MethodResponse {
        match self.prepared(&request) {
            Ok((session, params)) => session.call(Request { params: Some(Cow::Owned(params)), ..request }).await,
            Err(error) => MethodResponse::error(request.id, owned(error)),
        }
    }

    /// The session, and the parameters once they are checked, as jsonrpsee wants them.
    fn prepared(&self, request: &Request<'_>) -> Result<(&RpcService, Box<RawValue>), ErrorObject> {
        let method = find_method(&request.method)
            .ok_or_else(|| ErrorObject::new(ErrorKind::MethodNotFound, format!("no method `{}`", request.method)))?;
        let is_lasting = request.extensions.get::<Lasting>().is_some();
        let session = self.session.as_ref().filter(|_| is_lasting).ok_or_else(|| {
            let message =
                format!("`{}` needs a WebSocket; `job.get` tells how far a job is over any connection", method.name);
            ErrorObject::new(ErrorKind::InvalidRequest, message)
        })?;
        let params = request.params.as_deref().map(parsed).transpose()?.unwrap_or_else(|| json!({}));
        let by_name = params.as_object().ok_or_else(|| {
            ErrorObject::new(ErrorKind::InvalidParams, "parameters are given by name")
                .field("params")
                .expected("an object")
        })?;
        check_params(method, by_name)?;
        let params = if method.name == UNSUBSCRIBE { json!([params["subscription"]]) } else { params };
        let params = to_raw_value(&params);
        Ok((session, params.map_err(|error| ErrorObject::new(ErrorKind::InternalError, error.to_string()))?))
    }
}

fn is_subscription(method: &str) -> bool {
    method == SUBSCRIBE || method == UNSUBSCRIBE
}

/// Takes a request out of the running ones however it ends.
struct Registered<'a> {
    running: &'a Mutex<Running>,
    id: String,
    serial: u64,
}

impl<'a> Registered<'a> {
    fn new(running: &'a Mutex<Running>, id: String, flag: CancelFlag) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        running.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default().push((serial, flag));
        Registered { running, id, serial }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flags) = running.get_mut(&self.id) {
            flags.retain(|(serial, _)| *serial != self.serial);
            if flags.is_empty() {
                running.remove(&self.id);
            }
        }
    }
}

/// jsonrpsee has seen that it is JSON, but not that its numbers and texts can be held.
fn parsed(params: &RawValue) -> Result<Value, ErrorObject> {
    serde_json::from_str(params.get())
        .map_err(|error| ErrorObject::invalid("params", format!("the parameters cannot be read: {error}")))
}

/// An error as jsonrpsee carries it.
pub(super) fn owned(error: ErrorObject) -> ErrorObjectOwned {
    let data = error.data.map(|data| to_raw_value(&data).unwrap_or_else(|_| RawValue::NULL.to_owned()));
    ErrorObjectOwned::owned(error.code, error.message, data)
}

impl RpcServiceT for Calls {
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let calls = self.clone();
        async move {
            if is_subscription(&request.method) {
                return calls.subscribed(request).await;
            }
            let id = serde_json::to_string(&request.id).ok();
            let payload = match calls.answered(id, &request.method, request.params.as_deref()).await {
                Ok(result) => ResponsePayload::success(result),
                Err(error) => ResponsePayload::error(owned(error)),
            };
            MethodResponse::response(request.id, payload, u32::MAX as usize)
        }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let calls = self.clone();
        async move {
            let n_requests = batch.len();
            if n_requests > BATCH_LIMIT {
                let message =
                    format!("the batch has {n_requests} requests, more than the {BATCH_LIMIT} that one may hold");
                return MethodResponse::error(Id::Null, owned(ErrorObject::new(ErrorKind::LimitExceeded, message)));
            }
            let mut answers = BatchResponseBuilder::new_with_limit(u32::MAX as usize);
            let mut had_notification = false;
            for entry in batch {
                let answer = match entry {
                    Ok(BatchEntry::Call(request)) if is_subscription(&request.method) => {
                        let message = format!("`{}` is asked by itself, not in a batch", request.method);
                        MethodResponse::error(request.id, owned(ErrorObject::new(ErrorKind::InvalidRequest, message)))
                    }
                    Ok(BatchEntry::Call(request)) => calls.call(request).await,
                    Ok(BatchEntry::Notification(notification)) => {
                        had_notification = true;
                        calls.notification(notification).await;
                        continue;
                    }
                    Err(error) => {
                        let (error, id) = error.into_parts();
                        MethodResponse::error(id, error)
                    }
                };
                if let Err(too_large) = answers.append(answer) {
                    return too_large;
                }
            }
            if answers.is_empty() && had_notification {
                return MethodResponse::notification();
            }
            MethodResponse::from_batch(answers.finish())
        }
    }

    fn notification<'a>(&self, notification: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let calls = self.clone();
        async move {
            // Nobody reads the answer of a notification; what it does is done all the same.
            let _ = calls.answered(None, &notification.method, notification.params.as_deref()).await;
            MethodResponse::notification()
        }
    }
}
