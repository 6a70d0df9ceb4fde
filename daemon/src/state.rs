//! What the daemon knows between two requests, all of it named by content.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use client_protocol::ErrorObject;
use models::speech::{Dictionary, LanguageModel};
use models::{Graph, zoo};

use crate::ascents::Ascents;
use crate::changed_weights::ChangedWeights;
use crate::compute_queue::ComputeQueue;
use crate::errors;
use crate::held_corpus::Corpora;
use crate::held_input::Inputs;
use crate::held_model::Models;
use crate::jobs::Jobs;
use crate::memory::Expected;
use crate::trace_cache::TraceCache;

/// Bytes of ascents that are kept: some dozens on photos.
const ASCENT_BYTES: usize = 256 << 20;

/// What was decided at start.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) build: String,
    pub(crate) started_by: Option<String>,
    pub(crate) socket: PathBuf,
    /// Where answers go that are asked for as files; emptied when the daemon starts and ends.
    pub(crate) arrays_dir: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) cache_dir: PathBuf,
    pub(crate) threads: usize,
    /// Of models whose request names none.
    pub(crate) device: String,
    pub(crate) limits: client_protocol::server::Limits,
    /// Bytes of inputs that are held.
    pub(crate) input_bytes: usize,
    /// Bytes of weights changed for rules of relevance that are kept.
    pub(crate) changed_weight_bytes: usize,
    /// Bytes of job results that are kept.
    pub(crate) job_bytes: usize,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) started: Instant,
    pub(crate) traces: TraceCache,
    pub(crate) changed_weights: ChangedWeights,
    pub(crate) compute: ComputeQueue,
    pub(crate) jobs: Arc<Jobs>,
    /// Where ascents of `visualization.maximize` stand, to go on from there.
    pub(crate) ascents: Ascents,
    pub(crate) counters: Counters,
    /// Told when `server.shutdown` asks for the end.
    pub(crate) shutdown: tokio::sync::watch::Sender<bool>,
    models: Mutex<Models>,
    inputs: Mutex<Inputs>,
    corpora: Mutex<Corpora>,
    /// The language model that was read last, with its file's hash.
    pub(crate) language_model: Mutex<Option<(String, Arc<LanguageModel>)>>,
    /// The dictionary that was read last, with its file's hash.
    pub(crate) dictionary: Mutex<Option<(String, Arc<Dictionary>)>>,
    /// What says words that a dictionary lacks; built at first use, nothing where no weights came with the program.
    phonemizer: OnceLock<Option<Graph>>,
    /// Held while a model loads, so that two requests for one do the work once.
    pub(crate) loading: Mutex<()>,
}

/// Figures for `server.stats`.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) forward_passes: AtomicU64,
    pub(crate) backward_walks: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl State {
    /// An empty state with its compute thread.
    pub(crate) fn new(config: Config) -> std::io::Result<State> {
        let expected = Expected::default();
        Ok(State {
            started: Instant::now(),
            traces: TraceCache::new(config.limits.trace_bytes, expected.clone()),
            changed_weights: ChangedWeights::new(config.changed_weight_bytes),
            compute: ComputeQueue::start("cpu", config.limits.waiting_queries, expected)?,
            jobs: Arc::new(Jobs::new(config.job_bytes)),
            ascents: Ascents::new(ASCENT_BYTES),
            counters: Counters::default(),
            shutdown: tokio::sync::watch::channel(false).0,
            models: Mutex::default(),
            inputs: Mutex::default(),
            corpora: Mutex::default(),
            language_model: Mutex::default(),
            dictionary: Mutex::default(),
            phonemizer: OnceLock::new(),
            loading: Mutex::default(),
            config,
        })
    }

    /// The network of the zoo that says words by their letters.
    pub(crate) fn phonemizer(&self) -> Result<Option<&Graph>, ErrorObject> {
        if let Some(built) = self.phonemizer.get() {
            return Ok(built.as_ref());
        }
        let weights = zoo::find("phonemizer").and_then(|entry| Some((entry, entry.embedded_weights()?)));
        let built = weights.map(|(entry, weights)| zoo::build(entry, weights?)).transpose();
        let built = built.map_err(|error| errors::of_load(error, "phonemizer"))?;
        Ok(self.phonemizer.get_or_init(|| built).as_ref())
    }

    /// The models held.
    pub(crate) fn models(&self) -> MutexGuard<'_, Models> {
        // A panic elsewhere leaves lists that are whole: entries are pushed and removed in one step.
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The inputs held.
    pub(crate) fn inputs(&self) -> MutexGuard<'_, Inputs> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The corpora held.
    pub(crate) fn corpora(&self) -> MutexGuard<'_, Corpora> {
        self.corpora.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
