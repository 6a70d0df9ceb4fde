//! `job.subscribe` and `job.unsubscribe`: notifications over a WebSocket.
//!
//! jsonrpsee knows the connection that a notification goes to, so that these two are its own methods; `calls` checks
//! their parameters and hands them on.

use std::sync::Arc;
use std::time::Duration;

use client_protocol::job::{JobState, SubscribeParams};
use client_protocol::{ErrorKind, ErrorObject};
use jsonrpsee::server::{Methods, PendingSubscriptionSink, RpcModule, SubscriptionMessage};
use jsonrpsee::types::Params;

use super::calls::owned;
use crate::standing::Standing;
use crate::state::State;

pub(super) const SUBSCRIBE: &str = "job.subscribe";
pub(super) const UNSUBSCRIBE: &str = "job.unsubscribe";
const NOTIFICATION: &str = "job.progress";

/// Between two notifications of one subscription: what happens meanwhile is told by the next.
const BETWEEN: Duration = Duration::from_millis(50);

/// Marks requests of a WebSocket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lasting;

/// The two methods.
pub(super) fn subscriptions(state: Arc<State>) -> anyhow::Result<Methods> {
    let mut module = RpcModule::from_arc(state);
    module.register_subscription(SUBSCRIBE, NOTIFICATION, UNSUBSCRIBE, |params, pending, state, _| async move {
        match asked(&state, &params) {
            Ok((standing, with_partial)) => tell(pending, &standing, with_partial).await,
            Err(error) => pending.reject(owned(error)).await,
        }
    })?;
    Ok(module.into())
}

fn asked(state: &State, params: &Params<'_>) -> Result<(Arc<Standing>, bool), ErrorObject> {
    let params: SubscribeParams =
        params.parse().map_err(|error| ErrorObject::new(ErrorKind::InvalidParams, error.message()))?;
    Ok((state.jobs.standing(&params.job)?, params.partial))
}

/// Tells where a job stands, now, at each change and at its end.
async fn tell(pending: PendingSubscriptionSink, standing: &Standing, with_partial: bool) {
    let mut changes = standing.subscribe();
    let Ok(sink) = pending.accept().await else { return };
    let mut told = None;
    loop {
        changes.mark_unchanged();
        let mut job = standing.job(with_partial);
        let is_running = job.state == JobState::Running;
        if let Some(progress) = &mut job.progress {
            // A picture is told once.
            let step = progress.partial.as_ref().map(|partial| partial.step);
            progress.partial = progress.partial.take().filter(|_| step != told);
            told = step.or(told);
        }
        let message = SubscriptionMessage::new(NOTIFICATION, sink.subscription_id(), &job);
        let Ok(message) = message else { return };
        if sink.send(message).await.is_err() || !is_running {
            return;
        }
        tokio::select! {
            () = sink.closed() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
        tokio::time::sleep(BETWEEN).await;
    }
}
