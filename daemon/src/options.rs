//! The command line of `introspectd`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// Keeps networks and what it has computed of them in memory, and answers questions about them.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Options {
    /// The Unix socket (default: introspectd.sock in $XDG_RUNTIME_DIR/introspect, else in a folder of one's own)
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Listen on TCP too; port 0 takes a free one, and the first line on standard output says which
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Take TCP requests without a token; on loopback alone
    #[arg(long)]
    pub(crate) no_token: bool,
    /// Where lasting state is kept (default: $XDG_DATA_HOME/introspect)
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Longest request
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    pub(crate) request_bytes: usize,
    /// Longest file that is read
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 30)]
    pub(crate) file_bytes: u64,
    /// Activations that are kept
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub(crate) trace_bytes: usize,
    /// Inputs that are kept
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub(crate) input_bytes: usize,
    /// Weights changed for rules of relevance that are kept
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub(crate) changed_weight_bytes: usize,
    /// Memory that one query may need
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30)]
    pub(crate) query_bytes: usize,
    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(crate) connections: usize,
    /// Threads of the kernels (default: all cores)
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Where models compute that are loaded without `device`: `cpu`, or `cuda` in a program built with that feature
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub(crate) device: String,
    /// End after so many seconds without a connection
    #[arg(long, value_name = "SECONDS")]
    pub(crate) idle_exit: Option<u64>,
    /// Who starts this daemon, for `server.info`
    #[arg(long, value_name = "NAME")]
    pub(crate) started_by: Option<String>,
    /// Print the id of this build and end
    #[arg(long)]
    pub(crate) build_id: bool,
    /// How logs are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// An object a line.
    Json,
}
