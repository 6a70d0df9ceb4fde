//! introspectd: holds networks, inputs and traces; decides what runs when; serves the protocol.
//!
//! A request goes from `transports` to `answer`, which finds its handler in `requests` and the thread that it belongs
//! on; handlers ask the library and `to_protocol` converts what comes back. `state` is what outlives a request.

mod answer;
mod ascents;
mod build_id;
mod changed_weights;
mod compute_queue;
mod draw;
mod draw_curves;
mod errors;
mod files;
mod folder;
mod folders;
mod held_corpus;
mod held_input;
mod held_model;
mod interrupt;
mod jobs;
mod kernel_threads;
mod memory;
mod npy;
mod options;
mod requests;
mod sound_input;
mod standing;
mod state;
mod storage;
mod to_protocol;
mod trace_cache;
mod transports;
mod wakefulness;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use client_protocol::server::Limits;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::options::{LogFormat, Options};
use crate::state::{Config, State};
use crate::transports::{Acceptor, Guard, default_socket, take_socket};

/// Queries that may wait for a device.
const WAITING_QUERIES: usize = 4096;

/// Pixels of an image before it is resized: a photo of 100 megapixels is read, a bomb is not.
const IMAGE_PIXELS: u64 = 100_000_000;

/// How long running answers may take once the end was asked.
const GRACE: Duration = Duration::from_secs(5);

/// Results of jobs that are kept.
const JOB_BYTES: usize = 256 << 20;

#[global_allocator]
static ALLOCATOR: models::memory::CacheLines = models::memory::CacheLines;

fn main() -> anyhow::Result<()> {
    models::memory::keep_what_is_freed();
    let options = Options::parse();
    if options.build_id {
        println!("{}", build_id::build_id()?);
        return Ok(());
    }
    init_logs(options.log_format);
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    kernel_threads::start(threads).context("cannot start the kernels' threads")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(run(options, threads));
    // A kernel that still runs is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn run(options: Options, threads: usize) -> anyhow::Result<()> {
    // Before anyone can know that we are here.
    let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let socket = std::path::absolute(options.socket.clone().unwrap_or_else(default_socket))?;
    let data_dir = std::path::absolute(options.data_dir.clone().unwrap_or_else(folders::default_data_dir))?;
    folders::make_data_dir(&data_dir)?;
    let (unix_listener, owned_socket) = take_socket(&socket)?;
    let config = config(&options, threads, &socket, &data_dir)?;
    let arrays_dir = config.arrays_dir.clone();
    remove_arrays(&arrays_dir);
    let state = Arc::new(State::new(config).context("cannot start the compute thread")?);
    let (acceptor, sessions) = Acceptor::new(state.clone())?;
    if let Some(address) = options.listen {
        let listener = transports::listen(address, !options.no_token).await?;
        let address = listener.local_addr()?;
        let token = if options.no_token { None } else { Some(folders::token(&data_dir)?.into()) };
        println!("listening on http://{address}");
        std::io::stdout().flush()?;
        tokio::spawn(acceptor.clone().serve_tcp(listener, Guard::Tcp { local: address, token }));
    }
    let activity = acceptor.activity();
    tokio::spawn(acceptor.serve_unix(unix_listener));
    tracing::info!(socket = %socket.display(), pid = std::process::id(), threads, "ready");
    let idle = async {
        match options.idle_exit {
            Some(seconds) => {
                let is_busy = || state.compute.running() + state.compute.waiting() > 0;
                activity.idle_for(Duration::from_secs(seconds), is_busy).await;
            }
            None => std::future::pending().await,
        }
    };
    asked_to_end(&state, signals, idle).await;
    // New clients find no socket from here on.
    drop(owned_socket);
    // A session that has ended already minds nothing.
    let _ = sessions.stop();
    let until = std::time::Instant::now() + GRACE;
    while activity.open() > 0 && std::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    remove_arrays(&arrays_dir);
    Ok(())
}

/// Answers as files are for whoever asked just now, and nobody else has a use for them.
fn remove_arrays(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove old answers");
        }
        _ => {}
    }
}

/// Returns once the end was asked, by signal, request or idleness, and connections were told.
async fn asked_to_end(state: &State, [mut terminate, mut interrupt]: [Signal; 2], idle: impl Future<Output = ()>) {
    let mut shutdown = state.shutdown.subscribe();
    let reason = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        _ = shutdown.wait_for(|is_asked| *is_asked) => "server.shutdown",
        () = idle => "idleness",
    };
    tracing::info!(reason, "ending");
    state.shutdown.send_replace(true);
}

fn config(options: &Options, threads: usize, socket: &Path, data_dir: &Path) -> anyhow::Result<Config> {
    // Rather now than at the first model.
    models::device::device_named(&options.device)?;
    Ok(Config {
        build: build_id::build_id()?,
        started_by: options.started_by.clone(),
        socket: socket.to_path_buf(),
        arrays_dir: socket.with_extension("arrays"),
        data_dir: data_dir.to_path_buf(),
        cache_dir: folders::cache_dir(),
        threads,
        device: options.device.clone(),
        limits: Limits {
            request_bytes: options.request_bytes,
            file_bytes: options.file_bytes,
            connections: options.connections,
            waiting_queries: WAITING_QUERIES,
            trace_bytes: options.trace_bytes,
            query_bytes: options.query_bytes,
            image_pixels: IMAGE_PIXELS,
        },
        input_bytes: options.input_bytes,
        changed_weight_bytes: options.changed_weight_bytes,
        job_bytes: JOB_BYTES,
    })
}

fn init_logs(format: LogFormat) {
    // The decoders tell of every stream that they begin.
    let usual = || "info,symphonia=warn".into();
    let filter = tracing_subscriber::EnvFilter::try_from_env("INTROSPECT_LOG").unwrap_or_else(|_| usual());
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}
