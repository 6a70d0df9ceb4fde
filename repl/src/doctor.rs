//! `introspect doctor`: what is where, and what is wrong. It changes nothing and starts no daemon.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use client_protocol::model::Models;
use client_protocol::server::Info;
use serde::de::DeserializeOwned;
use serde_json::Map;

use crate::connection::{Address, Client, ConnectionError, beside_us_or_on_path, build_id_of, check_owner};
use crate::output::to_stdout;
use crate::print::{self, Column, table};

/// How long the daemon may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    rows: Vec<Vec<String>>,
    all_well: bool,
}

impl Findings {
    fn well(&mut self, what: &str, found: impl Into<String>) {
        self.rows.push(vec!["ok".to_owned(), what.to_owned(), found.into()]);
    }

    fn wrong(&mut self, what: &str, found: impl Into<String>) {
        self.rows.push(vec!["WRONG".to_owned(), what.to_owned(), found.into()]);
        self.all_well = false;
    }

    fn note(&mut self, what: &str, found: impl Into<String>) {
        self.rows.push(vec!["-".to_owned(), what.to_owned(), found.into()]);
    }
}

/// Prints what is found; false where something is wrong.
pub(crate) fn examine(address: &Address) -> bool {
    let mut findings = Findings { rows: Vec::new(), all_well: true };
    let us = std::env::current_exe().map_or_else(|error| format!("({error})"), |path| path.display().to_string());
    findings.well("introspect", format!("{us}, version {}", env!("CARGO_PKG_VERSION")));
    let build = daemon_binary(&mut findings);
    socket(address, &mut findings);
    daemon(address, build.as_deref(), &mut findings);
    match std::io::stdout().is_terminal() {
        true => findings.well("pictures", format!("shown here as {}", print::protocol().name())),
        false => findings.note("pictures", "standard output is no terminal, so that none are shown"),
    }
    to_stdout(&table(&[Column::words(""), Column::words(""), Column::words("")], &findings.rows));
    findings.all_well
}

/// Looks at the daemon's binary and answers with its build.
fn daemon_binary(findings: &mut Findings) -> Option<String> {
    let Some(daemon) = beside_us_or_on_path() else {
        findings.wrong("introspectd", "is neither beside this program nor on PATH, so that no daemon can be started");
        return None;
    };
    let build = build_id_of(&daemon);
    match &build {
        Some(build) => findings.well("introspectd", format!("{}, build {build}", daemon.display())),
        None => findings.wrong("introspectd", format!("{} does not answer `--build-id`", daemon.display())),
    }
    build
}

fn socket(address: &Address, findings: &mut Findings) {
    let Address::Socket(socket) = address else {
        return findings.note("address", address.to_string());
    };
    let folder = socket.parent().unwrap_or(Path::new("/"));
    match check_owner(folder) {
        Ok(()) => findings.well("socket", socket.display().to_string()),
        Err(_) if !folder.exists() => findings.note("socket", format!("{} (no folder yet)", socket.display())),
        Err(error) => findings.wrong("socket", error.to_string()),
    }
    let log = folder.join("introspectd.log");
    if let Ok(metadata) = log.metadata() {
        findings.note("log", format!("{} ({})", log.display(), print::bytes(metadata.len())));
    }
}

fn daemon(address: &Address, build: Option<&str>, findings: &mut Findings) {
    let mut client = match Client::connect(address) {
        Ok(client) => client,
        Err(ConnectionError::Unreachable { .. }) if matches!(address, Address::Socket(_)) => {
            return findings.note("daemon", "does not run; the next query starts it");
        }
        Err(error) => return findings.wrong("daemon", error.to_string()),
    };
    let info: Info = match ask(&mut client, "server.info") {
        Ok(info) => info,
        Err(why) => return findings.wrong("daemon", why),
    };
    let started_by = info.started_by.as_deref().unwrap_or("hand");
    let words = format!(
        "process {}, version {}, build {}, up for {:.0} s, started by {started_by}",
        info.pid, info.version, info.build, info.uptime_s
    );
    match build {
        Some(build) if build != info.build => {
            findings.note("daemon", format!("{words}; the binary here is another build ({build})"));
        }
        _ => findings.well("daemon", words),
    }
    for (what, folder) in [("data", &info.data_dir), ("cache", &info.cache_dir)] {
        match Path::new(folder).is_dir() {
            true => findings.well(what, folder),
            false => findings.note(what, format!("{folder} (not made yet)")),
        }
    }
    match ask::<Models>(&mut client, "model.list") {
        Ok(models) => {
            for model in models.zoo {
                match (model.has_weights, model.fetch) {
                    (true, _) => findings.well("weights", model.name),
                    (false, Some(fetch)) => findings.note("weights", format!("{}: fetch with `{fetch}`", model.name)),
                    (false, None) => findings.note("weights", format!("{}: none trained are known", model.name)),
                }
            }
        }
        Err(why) => findings.wrong("weights", why),
    }
}

fn ask<T: DeserializeOwned>(client: &mut Client, method: &str) -> Result<T, String> {
    let answer = client.call_within(PATIENCE, method, &Map::new()).map_err(|error| error.to_string())?;
    serde_json::from_value(answer).map_err(|error| format!("`{method}` answers what we do not know: {error}"))
}
