//! `job.*` and `cancel`: queries that outlive their connection, how far those are that run, and stopping them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::ErrorObject;
use crate::picture::Picture;

/// Which job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobParams {
    /// A job's id.
    pub job: String,
}

/// `job.get`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GetParams {
    /// A job's id, or what a running query was told to be known by (`watch`).
    pub job: String,
    /// Whether the progress holds the picture so far.
    #[serde(default = "yes")]
    pub partial: bool,
}

fn yes() -> bool {
    true
}

/// `job.subscribe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubscribeParams {
    /// A job's id, or what a running query was told to be known by (`watch`).
    pub job: String,
    /// Whether notifications hold the picture so far.
    #[serde(default = "yes")]
    pub partial: bool,
}

/// `job.unsubscribe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnsubscribeParams {
    /// What `job.subscribe` answered.
    pub subscription: String,
}

/// How far a query is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Steps done.
    pub done: usize,
    /// All steps.
    pub total: usize,
    /// Steps a second; 0 until one is done.
    pub rate: f64,
    /// Seconds that the others will take at this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_s: Option<f64>,
    /// What there is of the result, where the query asked for a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<Partial>,
}

/// A picture on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Partial {
    /// After how many steps.
    pub step: usize,
    /// The objective then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The picture.
    pub picture: Picture,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits or runs.
    Running,
    /// Its result can be had.
    Done,
    /// It ended with an error.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its id.
    pub job: String,
    /// The method that it runs.
    pub method: String,
    /// Where it stands.
    pub state: JobState,
    /// Seconds since it was asked.
    pub age_s: f64,
    /// How far it is, where its method goes by steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The method's result, once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorObject>,
}

/// All jobs known, without their results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Jobs {
    /// The jobs, the newest first.
    pub jobs: Vec<Job>,
}

/// Which running request of this connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CancelParams {
    /// The request's own `id`.
    pub id: Value,
}

/// Whether something was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cancelled {
    /// False where it had ended already.
    pub cancelled: bool,
}
