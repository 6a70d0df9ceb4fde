//! What each method does: convert in, ask, convert out. One file a noun; the table below, with that of the attributions
//! in `explainer.rs`, is all that is served.

mod activation;
mod annotation;
pub(crate) mod asked;
mod attribution;
mod corpus;
mod explainer;
mod filter;
mod input;
mod job;
mod map_answer;
mod maximize;
mod metric;
mod model;
mod randomized;
mod relevance;
mod sanity;
mod server;
mod subject;
pub(crate) mod transcript;
mod variation;
mod visualization;

use std::sync::Arc;

use client_protocol::method_table as methods;
use client_protocol::{ErrorKind, ErrorObject, Method};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::interrupt::Token;
use crate::state::State;

/// Where a method is worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// At once: it only looks things up.
    Immediate,
    /// On a thread that may wait for files.
    Files,
    /// On the device's queue.
    Compute,
}

type Answer = fn(&Arc<State>, Map<String, Value>, &Token) -> Result<Box<RawValue>, ErrorObject>;

/// A method that is served.
#[derive(Clone, Copy)]
pub(crate) struct Handler {
    pub(crate) name: &'static str,
    pub(crate) lane: Lane,
    pub(crate) answer: Answer,
}

macro_rules! handlers {
    ($($method:ident in $lane:ident by $handler:path;)+) => {
        &[$(Handler {
            name: methods::$method::NAME,
            lane: Lane::$lane,
            answer: |state, params, token| {
                let params = parse::<<methods::$method as Method>::Params>(params)?;
                let result: <methods::$method as Method>::Result = $handler(state, params, token)?;
                written(&result)
            },
        }),+]
    };
}

/// Everything served but `attribution.*`, which is listed in `explainer.rs`, and `cancel`, subscriptions and
/// `rpc.discover`, which the connection answers.
const HANDLERS: &[Handler] = handlers! {
    ServerInfo in Immediate by server::info;
    ServerStats in Immediate by server::stats;
    ServerShutdown in Immediate by server::shutdown;
    ModelLoad in Files by model::load;
    ModelList in Files by model::list;
    ModelDescribe in Immediate by model::describe;
    ModelUnload in Immediate by model::unload;
    ModelForward in Compute by model::forward;
    ModelPredict in Compute by model::predict;
    InputLoad in Files by input::load;
    InputList in Immediate by input::list;
    InputDrop in Immediate by input::drop_input;
    ActivationGet in Compute by activation::get;
    SanityRandomize in Compute by sanity::randomize;
    SanityDataRandomization in Compute by sanity::data_randomization;
    MetricPixelFlipping in Compute by metric::pixel_flipping;
    MetricMaxSensitivity in Compute by metric::max_sensitivity;
    MetricMprt in Compute by metric::mprt;
    MetricRandomLogit in Compute by metric::random_logit;
    MetricCompleteness in Compute by metric::completeness;
    MetricSparseness in Compute by metric::sparseness;
    VisualizationGradient in Compute by visualization::gradient;
    VisualizationMaximize in Compute by maximize::maximize;
    FilterPatterns in Compute by filter::patterns;
    TranscriptAlign in Compute by transcript::align;
    CorpusLoad in Files by corpus::load;
    CorpusList in Immediate by corpus::list;
    CorpusDescribe in Immediate by corpus::describe;
    CorpusAnnotate in Compute by annotation::annotate;
    JobList in Immediate by job::list;
    JobGet in Immediate by job::get;
    JobCancel in Immediate by job::cancel;
};

/// Everything served by a handler.
fn handlers() -> impl Iterator<Item = &'static Handler> {
    HANDLERS.iter().chain(explainer::ATTRIBUTIONS.iter().map(|method| &method.handler))
}

/// The handler of a method.
pub(crate) fn find_handler(name: &str) -> Option<&'static Handler> {
    handlers().find(|handler| handler.name == name)
}

fn parse<T: serde::de::DeserializeOwned>(params: Map<String, Value>) -> Result<T, ErrorObject> {
    serde_json::from_value(Value::Object(params))
        .map_err(|error| ErrorObject::new(ErrorKind::InvalidParams, error.to_string()))
}

fn written<T: serde::Serialize>(result: &T) -> Result<Box<RawValue>, ErrorObject> {
    serde_json::value::to_raw_value(result)
        .map_err(|error| ErrorObject::new(ErrorKind::InternalError, format!("the answer cannot be written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_what_the_protocol_lists() {
        let by_connection = ["cancel", "job.subscribe", "job.unsubscribe", "rpc.discover"];
        let mut served: Vec<&str> = handlers().map(|handler| handler.name).chain(by_connection).collect();
        let mut listed: Vec<&str> = client_protocol::methods().iter().map(|method| method.name).collect();
        served.sort_unstable();
        listed.sort_unstable();
        assert_eq!(served, listed);
    }
}
