//! `server.*`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use client_protocol::server::{Cache, Device, Info, Memory, Queue, ShuttingDown, Stats};
use client_protocol::{ErrorObject, NoParams};

use crate::interrupt::Token;
use crate::state::State;

pub(crate) fn info(state: &Arc<State>, _: NoParams, _: &Token) -> Result<Info, ErrorObject> {
    let config = &state.config;
    Ok(Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build: config.build.clone(),
        pid: std::process::id(),
        started_by: config.started_by.clone(),
        devices: devices(config.threads),
        limits: config.limits,
        data_dir: config.data_dir.display().to_string(),
        cache_dir: config.cache_dir.display().to_string(),
        socket: config.socket.display().to_string(),
        uptime_s: state.started.elapsed().as_secs_f64(),
    })
}

fn devices(threads: usize) -> Vec<Device> {
    let cpu = Device { name: "cpu".to_owned(), threads: Some(threads) };
    let cuda = (0..models::device::n_cuda()).map(|nth| Device { name: format!("cuda:{nth}"), threads: None });
    std::iter::once(cpu).chain(cuda).collect()
}

pub(crate) fn stats(state: &Arc<State>, _: NoParams, _: &Token) -> Result<Stats, ErrorObject> {
    let plain = |name: &str, entries, bytes, budget_bytes| Cache {
        name: name.to_owned(),
        entries,
        bytes,
        budget_bytes,
        hits: 0,
        misses: 0,
        evictions: 0,
    };
    let models = state.models();
    let changed_weights = state.changed_weights.stats(models.all());
    let model_bytes: usize = models.all().iter().map(|model| model.bytes()).sum();
    let models = plain("models", models.all().len(), model_bytes.saturating_sub(changed_weights.bytes), None);
    let held = state.inputs();
    let inputs = plain("inputs", held.all().len(), held.bytes(), Some(state.config.input_bytes));
    drop(held);
    let traces = state.traces.stats();
    let counters = &state.counters;
    Ok(Stats {
        forward_passes: counters.forward_passes.load(Ordering::Relaxed),
        backward_walks: counters.backward_walks.load(Ordering::Relaxed),
        queue: Queue { waiting: state.compute.waiting(), running: state.compute.running() },
        jobs: state.jobs.len(),
        memory: Memory {
            accounted_bytes: models.bytes + changed_weights.bytes + inputs.bytes + traces.bytes,
            resident_bytes: resident_bytes(),
        },
        caches: vec![models, inputs, traces, changed_weights],
        answered: counters.answered.load(Ordering::Relaxed),
        failed: counters.failed.load(Ordering::Relaxed),
        uptime_s: state.started.elapsed().as_secs_f64(),
    })
}

/// From Linux' own account; other systems say nothing here.
fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}

pub(crate) fn shutdown(state: &Arc<State>, _: NoParams, _: &Token) -> Result<ShuttingDown, ErrorObject> {
    tracing::info!("asked to shut down");
    state.shutdown.send_replace(true);
    Ok(ShuttingDown { pid: std::process::id() })
}
