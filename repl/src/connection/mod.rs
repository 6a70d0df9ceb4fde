//! Talking to the daemon: JSON-RPC 2.0 in HTTP POSTs over its Unix socket or TCP, starting one where none runs.

mod address;
mod client;
mod errors;
mod http;
mod interrupt;
mod start;

pub(crate) use address::{Address, Stream, check_owner, default_socket};
pub(crate) use client::Client;
pub(crate) use errors::ConnectionError;
pub(crate) use http::HttpConnection;
pub(crate) use interrupt::{catch_interrupts, forget_interrupt};
pub(crate) use start::{ask_to_go, beside_us_or_on_path, build_id_of, connect_or_start};

#[cfg(test)]
mod tests;
