//! Keeps traces by (model, input) under a budget of bytes, the least recently used out first.
//!
//! A dropped trace changes the time of an answer, never the answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use models::Trace;

use crate::memory::Expected;

/// What a trace is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TraceKey {
    pub(crate) model: String,
    /// The input's id, or those of all inputs with `+` between.
    pub(crate) input: String,
}

impl TraceKey {
    /// Whether an input is one of those that the trace is of.
    pub(crate) fn is_of_input(&self, id: &str) -> bool {
        self.input.split('+').any(|of| of == id)
    }
}

/// The traces kept.
#[derive(Debug)]
pub(crate) struct TraceCache {
    budget_bytes: usize,
    expected: Expected,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    traces: HashMap<TraceKey, Entry>,
    bytes: usize,
    clock: u64,
    hits: u64,
    misses: u64,
    evictions: u64,
}

#[derive(Debug)]
struct Entry {
    trace: Arc<Trace>,
    bytes: usize,
    used: u64,
}

impl TraceCache {
    /// An empty cache that may hold so many bytes.
    pub(crate) fn new(budget_bytes: usize, expected: Expected) -> Self {
        TraceCache { budget_bytes, expected, held: Mutex::default() }
    }

    /// The trace, recorded now unless it is there.
    pub(crate) fn get_or_record<E>(
        &self,
        key: &TraceKey,
        record: impl FnOnce() -> Result<Trace, E>,
    ) -> Result<Arc<Trace>, E> {
        if let Some(trace) = self.get(key) {
            return Ok(trace);
        }
        let trace = Arc::new(record()?);
        self.keep(key.clone(), trace.clone());
        Ok(trace)
    }

    fn get(&self, key: &TraceKey) -> Option<Arc<Trace>> {
        let mut held = self.lock();
        held.clock += 1;
        let now = held.clock;
        let found = held.traces.get_mut(key).map(|entry| {
            entry.used = now;
            entry.trace.clone()
        });
        match found {
            Some(_) => held.hits += 1,
            None => held.misses += 1,
        }
        found
    }

    fn keep(&self, key: TraceKey, trace: Arc<Trace>) {
        let bytes = trace.bytes();
        if bytes > self.budget_bytes {
            return;
        }
        let mut held = self.lock();
        if held.bytes + bytes <= self.budget_bytes {
            self.expected.kept(bytes);
        }
        while held.bytes + bytes > self.budget_bytes {
            let oldest = held.traces.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            let Some(entry) = oldest.and_then(|oldest| held.traces.remove(&oldest)) else { break };
            held.bytes -= entry.bytes;
            held.evictions += 1;
        }
        let used = held.clock;
        if let Some(replaced) = held.traces.insert(key, Entry { trace, bytes, used }) {
            held.bytes -= replaced.bytes;
        }
        held.bytes += bytes;
    }

    /// Lets all traces go of which `is_unwanted` says so; returns their bytes.
    pub(crate) fn drop_where(&self, is_unwanted: impl Fn(&TraceKey) -> bool) -> usize {
        let mut held = self.lock();
        let before = held.bytes;
        held.traces.retain(|key, _| !is_unwanted(key));
        held.bytes = held.traces.values().map(|entry| entry.bytes).sum();
        before - held.bytes
    }

    /// Figures for `server.stats`.
    pub(crate) fn stats(&self) -> client_protocol::server::Cache {
        let held = self.lock();
        client_protocol::server::Cache {
            name: "traces".to_owned(),
            entries: held.traces.len(),
            bytes: held.bytes,
            budget_bytes: Some(self.budget_bytes),
            hits: held.hits,
            misses: held.misses,
            evictions: held.evictions,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        // Every change leaves the sums right, so that a panic elsewhere does no harm here.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::{Dim, GraphBuilder, Layout, Uninterrupted, Value};

    fn record(length: usize) -> Result<Trace, models::ModelError> {
        let mut builder = GraphBuilder::new();
        let input = builder.input("input", &[Dim::Any(1)])?;
        let graph = builder.finish(&[("output", input)])?;
        Trace::record(&graph, &[Value::from_vec(vec![0.0f32; length], &[1, length], Layout::Logical)?], &Uninterrupted)
    }

    fn key(input: &str) -> TraceKey {
        TraceKey { model: "m".to_owned(), input: input.to_owned() }
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = TraceCache::new(80, Expected::default());
        for input in ["a", "b", "a", "c", "a", "b"] {
            cache.get_or_record(&key(input), || record(10)).unwrap();
        }
        let stats = cache.stats();
        assert_eq!((stats.entries, stats.bytes, stats.hits, stats.misses, stats.evictions), (2, 80, 2, 4, 2));
    }

    #[test]
    fn what_is_larger_than_the_budget_is_answered_but_not_kept() {
        let cache = TraceCache::new(30, Expected::default());
        assert_eq!(cache.get_or_record(&key("a"), || record(10)).unwrap().bytes(), 40);
        assert_eq!(cache.stats().entries, 0);
    }

    #[test]
    fn a_model_that_goes_takes_its_traces_along() {
        let cache = TraceCache::new(1000, Expected::default());
        cache.get_or_record(&key("a"), || record(10)).unwrap();
        assert_eq!(cache.drop_where(|key| key.model == "m"), 40);
        assert_eq!(cache.stats().bytes, 0);
    }
}
