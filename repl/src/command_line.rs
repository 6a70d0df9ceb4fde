//! What `introspect` is called with.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Asks a trained neural network why it answers as it does.
///
/// Without a query: a prompt on a terminal, else the queries on standard input. A daemon is started where none runs.
#[derive(Debug, Parser)]
#[command(name = "introspect", version, args_conflicts_with_subcommands = true)]
pub(crate) struct CommandLine {
    /// Queries to run, as `model efficientnet-lite0; input cat.png; predict`.
    #[arg(short = 'c', long = "command", value_name = "QUERIES", conflicts_with = "file")]
    pub(crate) command: Option<String>,
    /// A file of queries, one a line (`.intro`).
    pub(crate) file: Option<PathBuf>,
    /// How the daemon is reached and results are shown.
    #[command(flatten)]
    pub(crate) options: Options,
    /// Something else than queries.
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

/// How the daemon is reached and results are shown.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The daemon's Unix socket [default: in $XDG_RUNTIME_DIR/introspect, else in a folder of your own for temporary
    /// files].
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) socket: Option<PathBuf>,
    /// A daemon that listens on TCP, as http://127.0.0.1:7171.
    #[arg(long, value_name = "URL", global = true, conflicts_with = "socket")]
    pub(crate) connect: Option<String>,
    /// The token of a daemon that listens on TCP [default: INTROSPECT_TOKEN].
    #[arg(long, global = true)]
    pub(crate) token: Option<String>,
    /// Fail where no daemon runs, and start none.
    #[arg(long, global = true)]
    pub(crate) no_start: bool,
    /// Print each raw result as JSON on a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show no pictures in the terminal.
    #[arg(long, global = true)]
    pub(crate) no_pictures: bool,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Go on behind a query that failed.
    #[arg(long, global = true)]
    pub(crate) keep_going: bool,
}

/// Something else than queries.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Action {
    /// Speak JSON-RPC on standard input and output, framed as language servers do (Content-Length).
    Stdio,
    /// Say what is where and what is wrong.
    Doctor,
    /// Print a shell's completions of this command line.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// End the daemon.
    Stop,
}
