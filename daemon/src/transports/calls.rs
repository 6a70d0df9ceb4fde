//! The requests of one connection: each is answered by `answer`, can be cancelled by its id, and is cancelled when the
//! connection goes.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use client_protocol::job::CancelParams;
use client_protocol::{ErrorKind, ErrorObject};
use jsonrpsee::core::middleware::{Batch, BatchEntry, Notification, RpcServiceT};
use jsonrpsee::server::{BatchResponseBuilder, MethodResponse, ResponsePayload};
use jsonrpsee::types::{ErrorObjectOwned, Request};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::answer::answer;
use crate::interrupt::{CancelFlag, CancelOnDrop};
use crate::state::State;

/// One connection's requests.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    state: Arc<State>,
    /// What runs, by the request's id as JSON.
    running: Arc<Mutex<HashMap<String, CancelFlag>>>,
}

impl Calls {
    pub(super) fn new(state: Arc<State>) -> Self {
        Calls { state, running: Arc::default() }
    }

    /// Stops a running request of this connection.
    fn cancel(&self, params: Option<Value>) -> Result<Box<RawValue>, ErrorObject> {
        let params: CancelParams = serde_json::from_value(params.unwrap_or_default()).map_err(|_| {
            ErrorObject::invalid("id", "`cancel` needs `id`: that of a running request of this connection")
        })?;
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let flag = running.get(&params.id.to_string());
        if let Some(flag) = flag {
            flag.cancel();
        }
        let cancelled = client_protocol::job::Cancelled { cancelled: flag.is_some() };
        to_raw_value(&cancelled).map_err(|error| ErrorObject::new(ErrorKind::InternalError, error.to_string()))
    }

    async fn answered(
        &self,
        id: Option<String>,
        method: &str,
        params: Option<Value>,
    ) -> Result<Box<RawValue>, ErrorObject> {
        if method == "cancel" {
            return self.cancel(params);
        }
        let flag = CancelFlag::default();
        // Set as well when this future is dropped, which is how a closed connection shows.
        let _cancel = CancelOnDrop(flag.clone());
        let _registered = id.map(|id| Registered::new(&self.running, id, flag.clone()));
        answer(&self.state, method, params, flag).await
    }
}

/// Takes a request out of the running ones however it ends.
struct Registered<'a> {
    running: &'a Mutex<HashMap<String, CancelFlag>>,
    id: String,
}

impl<'a> Registered<'a> {
    fn new(running: &'a Mutex<HashMap<String, CancelFlag>>, id: String, flag: CancelFlag) -> Self {
        running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), flag);
        Registered { running, id }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

fn parsed(params: Option<&RawValue>) -> Option<Value> {
    // jsonrpsee has seen that it is JSON.
    params.and_then(|params| serde_json::from_str(params.get()).ok())
}

/// An error as jsonrpsee carries it.
fn owned(error: ErrorObject) -> ErrorObjectOwned {
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
            let id = serde_json::to_string(&request.id).ok();
            let params = parsed(request.params.as_deref());
            let payload = match calls.answered(id, &request.method, params).await {
                Ok(result) => ResponsePayload::success(result),
                Err(error) => ResponsePayload::error(owned(error)),
            };
            MethodResponse::response(request.id, payload, u32::MAX as usize)
        }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let calls = self.clone();
        async move {
            let mut answers = BatchResponseBuilder::new_with_limit(u32::MAX as usize);
            let mut had_notification = false;
            for entry in batch {
                let answer = match entry {
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
            let params = notification.params.as_ref().and_then(|params| parsed(Some(params)));
            // Nobody reads the answer of a notification; what it does is done all the same.
            let _ = calls.answered(None, &notification.method, params).await;
            MethodResponse::notification()
        }
    }
}
