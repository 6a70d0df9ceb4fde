//! Starting a daemon where none runs, and replacing one that an earlier build of us started.
//!
//! Two callers at once start one: a lock file beside the socket is held while looking and starting.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client_protocol::server::Info;
use serde_json::Map;

use super::address::{Address, check_owner, own_folder};
use super::client::Client;
use super::errors::ConnectionError;
use super::interrupt::was_interrupted;

/// Who we are to the daemons that we start.
pub(crate) const STARTED_BY: &str = "introspect";
/// How long a daemon that we start may be idle (s).
const IDLE_EXIT: &str = "3600";
/// How long a daemon may take to answer its first request, and to go once asked.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long we sleep between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// A caller of the daemon at `address`, started where none runs and `may_start`; `say` gets a line where that was done.
pub(crate) fn connect_or_start(
    address: &Address,
    may_start: bool,
    say: &dyn Fn(&str),
) -> Result<Client, ConnectionError> {
    let Address::Socket(socket) = address else { return Client::connect(address) };
    if let Some(folder) = socket.parent().filter(|folder| folder.exists() && may_start) {
        check_owner(folder)?;
    }
    match Client::connect(address) {
        Ok(mut client) if may_start => match replacement(&mut client)? {
            None => Ok(client),
            Some(daemon) => start(&daemon, socket, address, say),
        },
        Ok(client) => Ok(client),
        Err(error) if !may_start => Err(error),
        Err(_) => {
            let daemon = beside_us_or_on_path().ok_or_else(|| {
                ConnectionError::Start("there is no `introspectd` beside this program or on PATH".to_owned())
            })?;
            start(&daemon, socket, address, say)
        }
    }
}

/// The daemon to run in place of the one that answers: ours, where we started that one from another build.
fn replacement(client: &mut Client) -> Result<Option<PathBuf>, ConnectionError> {
    let info = client.call_within(PATIENCE, "server.info", &Map::new())?;
    // What cannot be read as ours was not started by us, and its answers will tell more.
    let Ok(info) = serde_json::from_value::<Info>(info) else { return Ok(None) };
    let Address::Socket(socket) = client.address() else { return Ok(None) };
    if info.started_by.as_deref() != Some(STARTED_BY) {
        return Ok(None);
    }
    let daemon = beside_us_or_on_path();
    let ours = daemon.as_deref().zip(socket.parent()).and_then(|(daemon, folder)| kept_build_id(daemon, folder));
    Ok(daemon.filter(|_| ours.is_some_and(|ours| ours != info.build)))
}

fn start(daemon: &Path, socket: &Path, address: &Address, say: &dyn Fn(&str)) -> Result<Client, ConnectionError> {
    let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    own_folder(folder)?;
    let failed = |what: &str, error: std::io::Error| ConnectionError::Start(format!("{what}: {error}"));
    let lock_path = folder.join("start.lock");
    let lock = File::options().create(true).write(true).truncate(false).open(&lock_path);
    let lock = lock.map_err(|error| failed(&lock_path.display().to_string(), error))?;
    lock.lock().map_err(|error| failed(&lock_path.display().to_string(), error))?;
    // Another caller may have been here while we waited for the lock.
    let mut why = "none was running";
    if let Ok(mut client) = Client::connect(address) {
        if replacement(&mut client)?.is_none() {
            return Ok(client);
        }
        why = "the one running was another build";
        ask_to_go(&mut client, address)?;
    }
    let log_path = folder.join("introspectd.log");
    let log = File::options().create(true).append(true).open(&log_path);
    let mut log = log.map_err(|error| failed(&log_path.display().to_string(), error))?;
    let log_start = log.seek(SeekFrom::End(0)).unwrap_or_default();
    let child = spawn(daemon, socket, &log).map_err(|error| failed(&daemon.display().to_string(), error))?;
    say(&format!("started {} (process {}; {why}; log {})", daemon.display(), child.id(), log_path.display()));
    until_it_answers(child, address, &log_path, log_start)
    // The lock goes with its file, here.
}

fn spawn(daemon: &Path, socket: &Path, log: &File) -> std::io::Result<Child> {
    let mut command = Command::new(daemon);
    command.arg("--socket").arg(socket);
    command.args(["--idle-exit", IDLE_EXIT, "--started-by", STARTED_BY]);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    // SAFETY: setsid may be called between fork and exec; it makes Ctrl-C in our terminal spare the daemon.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    command.spawn()
}

fn until_it_answers(
    mut child: Child,
    address: &Address,
    log: &Path,
    log_start: u64,
) -> Result<Client, ConnectionError> {
    let started = Instant::now();
    loop {
        if let Ok(mut client) = Client::connect(address)
            && client.call_within(PATIENCE, "server.info", &Map::new()).is_ok()
        {
            return Ok(client);
        }
        if was_interrupted() {
            return Err(ConnectionError::Interrupted);
        }
        if let Ok(Some(status)) = child.try_wait() {
            let said = last_lines(log, log_start);
            let said = if said.is_empty() { format!("see {}", log.display()) } else { said };
            return Err(ConnectionError::Start(format!("it ended with {status}: {said}")));
        }
        if started.elapsed() > PATIENCE {
            let message = format!("it did not answer within {} s; see {}", PATIENCE.as_secs(), log.display());
            return Err(ConnectionError::Start(message));
        }
        std::thread::sleep(PAUSE);
    }
}

/// What a daemon wrote to its log at last, on one line.
fn last_lines(log: &Path, start: u64) -> String {
    let mut text = String::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(start))?;
        file.read_to_string(&mut text)
    });
    // A log that cannot be read adds nothing to the error it would explain.
    if read.is_err() {
        return String::new();
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

/// Asks a daemon to end, and waits until nothing listens any more.
pub(crate) fn ask_to_go(client: &mut Client, address: &Address) -> Result<(), ConnectionError> {
    client.call_within(PATIENCE, "server.shutdown", &Map::new())?;
    let asked = Instant::now();
    while address.connect().is_ok() {
        if was_interrupted() {
            return Err(ConnectionError::Interrupted);
        }
        if asked.elapsed() > PATIENCE {
            let message = format!("the daemon at {address} was asked to end and still listens {PATIENCE:?} later");
            return Err(ConnectionError::Start(message));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// The daemon's binary: beside our own, else the first on PATH.
pub(crate) fn beside_us_or_on_path() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|us| Some(us.parent()?.join("introspectd")));
    first_there(beside, std::env::var_os("PATH"))
}

fn first_there(beside: Option<PathBuf>, path: Option<OsString>) -> Option<PathBuf> {
    let on_path = path.iter().flat_map(std::env::split_paths).map(|folder| folder.join("introspectd"));
    beside.into_iter().chain(on_path).find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}

/// The id of a daemon's build, as the binary itself says.
pub(crate) fn build_id_of(daemon: &Path) -> Option<String> {
    let output = Command::new(daemon).arg("--build-id").stdin(Stdio::null()).output().ok()?;
    let id = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !id.is_empty()).then_some(id)
}

/// The id of a daemon's build, kept in the runtime folder for as long as the binary is the same file.
fn kept_build_id(daemon: &Path, folder: &Path) -> Option<String> {
    let metadata = daemon.metadata().ok()?;
    let (inode, length) = (metadata.ino(), metadata.len());
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    let identity = format!("{} {inode} {length} {seconds}.{nanoseconds}", daemon.display());
    let kept = folder.join("build-id");
    if let Ok(text) = std::fs::read_to_string(&kept)
        && let Some((known, id)) = text.trim_end().split_once('\n')
        && known == identity
    {
        return Some(id.to_owned());
    }
    let id = build_id_of(daemon)?;
    // Where it cannot be kept, the binary is asked again next time.
    let _ = std::fs::write(&kept, format!("{identity}\n{id}\n"));
    Some(id)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A daemon that is a shell script.
    fn program(path: &Path, script: &str) {
        std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_daemon_that_ends_at_once_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = folder.path().join("introspectd");
        program(&daemon, "echo \"asked with $*\" >&2; echo 'the disk is full' >&2; exit 3");
        let socket = folder.path().join("run/socket");
        let address = Address::Socket(socket.clone());
        let error = start(&daemon, &socket, &address, &|_| {}).unwrap_err().to_string();
        let expected = format!(
            "could not start the daemon: it ended with exit status: 3: asked with --socket {} --idle-exit 3600 \
             --started-by introspect | the disk is full",
            socket.display()
        );
        assert_eq!(error, expected);
    }

    #[test]
    fn a_program_that_cannot_be_run_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = folder.path().join("introspectd");
        let socket = folder.path().join("socket");
        let error = start(&daemon, &socket, &Address::Socket(socket.clone()), &|_| {}).unwrap_err().to_string();
        assert!(error.contains(&daemon.display().to_string()) && error.contains("No such file"), "{error}");
    }

    #[test]
    fn a_builds_id_is_asked_once_while_the_file_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = folder.path().join("introspectd");
        let calls = folder.path().join("calls");
        let script = |id: &str| format!("echo x >> {}; [ \"$1\" = --build-id ] && echo {id}", calls.display());
        program(&daemon, &script("aaaa"));
        assert_eq!(kept_build_id(&daemon, folder.path()).as_deref(), Some("aaaa"));
        assert_eq!(kept_build_id(&daemon, folder.path()).as_deref(), Some("aaaa"));
        program(&daemon, &script("another"));
        assert_eq!(kept_build_id(&daemon, folder.path()).as_deref(), Some("another"));
        assert_eq!(std::fs::read_to_string(&calls).unwrap(), "x\nx\n");
    }

    #[test]
    fn the_binary_beside_us_goes_before_those_on_path() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name).join("introspectd");
        for name in ["a", "b", "c"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        program(&place("b"), "");
        program(&place("c"), "");
        std::fs::write(place("a"), "no program").unwrap();
        let path = std::env::join_paths(["a", "b", "c"].map(|name| folder.path().join(name))).unwrap();
        assert_eq!(first_there(Some(place("c")), Some(path.clone())), Some(place("c")));
        assert_eq!(first_there(Some(place("a")), Some(path)), Some(place("b")));
        assert_eq!(first_there(None, None), None);
    }
}
