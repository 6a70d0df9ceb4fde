//! `server.*`: what the daemon is and how it fares.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the daemon is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Info {
    /// Release.
    pub version: String,
    /// Id of the very build; two builds of one version differ.
    pub build: String,
    /// Process id.
    pub pid: u32,
    /// Who started it, as `--started-by` said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    /// What it computes on.
    pub devices: Vec<Device>,
    /// What it refuses beyond.
    pub limits: Limits,
    /// Where lasting state is.
    pub data_dir: String,
    /// Where fetched weights are looked for.
    pub cache_dir: String,
    /// Its Unix socket.
    pub socket: String,
    /// Seconds since it started.
    pub uptime_s: f64,
}

/// Something that computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// `cpu` or `cuda:N`.
    pub name: String,
    /// How many threads the kernels of a processor have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
}

/// What the daemon refuses beyond.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Longest request (bytes).
    pub request_bytes: usize,
    /// Longest file that is read (bytes).
    pub file_bytes: u64,
    /// Connections at once.
    pub connections: usize,
    /// Queries that may wait for a device.
    pub waiting_queries: usize,
    /// Bytes of traces that are kept.
    pub trace_bytes: usize,
    /// Bytes that one query may need beside.
    pub query_bytes: usize,
    /// Pixels of an image before it is resized.
    pub image_pixels: u64,
}

/// How the daemon fares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// What is kept.
    pub caches: Vec<Cache>,
    /// Forward passes run since the start; a cached trace adds none.
    pub forward_passes: u64,
    /// Backward walks run since the start.
    pub backward_walks: u64,
    /// Queries that wait or run.
    pub queue: Queue,
    /// Jobs known.
    pub jobs: usize,
    /// Memory.
    pub memory: Memory,
    /// Requests answered with a result.
    pub answered: u64,
    /// Requests answered with an error.
    pub failed: u64,
    /// Seconds since the start.
    pub uptime_s: f64,
}

/// One kind of thing kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cache {
    /// `models`, `inputs` or `traces`.
    pub name: String,
    /// How many are held.
    pub entries: usize,
    /// Bytes that they hold.
    pub bytes: usize,
    /// Bytes that they may hold; absent where nothing but memory bounds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_bytes: Option<usize>,
    /// How often one was there when asked for.
    pub hits: u64,
    /// How often one was not.
    pub misses: u64,
    /// How many were put out for others.
    pub evictions: u64,
}

/// What waits for the compute thread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Queue {
    /// Queries that wait.
    pub waiting: usize,
    /// Queries that run.
    pub running: usize,
}

/// Memory of the process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Bytes of models, inputs and traces.
    pub accounted_bytes: usize,
    /// Bytes resident, where the system says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<usize>,
}

/// The daemon is about to go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShuttingDown {
    /// The process that goes.
    pub pid: u32,
}
