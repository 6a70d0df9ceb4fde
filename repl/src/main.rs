//! `introspect`: the query language at a prompt, in files and on the command line; a client of the daemon.
//!
//! `command_line` says what it is called with, `query_language` what a line means, `connection` how the daemon is
//! reached, `session` what a line does, `print` and `output` what becomes of a result.

use std::process::ExitCode;

use clap::Parser;

mod command_line;
mod connection;
mod doctor;
mod help;
mod method_table;
mod npy;
mod output;
mod print;
mod progress;
mod prompt;
mod query_language;
mod run;
mod session;
mod stdio_bridge;

fn main() -> ExitCode {
    run::run(command_line::CommandLine::parse())
}
