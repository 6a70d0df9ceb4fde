//! Standard input and output as an editor's language client speaks them (`Content-Length` framing), with the daemon
//! behind: each message is forwarded as a POST of its own, so that answers come as they are ready.
//!
//! `cancel` and `$/cancelRequest` are answered here, since the daemon sees each request on another connection: closing
//! that connection is what cancels it. So are subscriptions to jobs (`subscriptions.rs`).

mod subscriptions;

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client_protocol::{ErrorKind, ErrorObject};
use serde_json::{Value, json};

use self::subscriptions::Subscriptions;
use crate::connection::{ConnectionError, HttpConnection, Stream};
use crate::session::Reach;

/// The longest message that is taken (bytes).
const LONGEST_MESSAGE: usize = 1 << 30;

/// Forwards until standard input ends and all is answered; an error says why it ended before.
pub(crate) fn bridge(reach: &Reach, input: &mut dyn BufRead, output: Box<dyn Write + Send>) -> Result<(), String> {
    // Whoever speaks to us waits for answers, so that a daemon that cannot be started is told at once.
    reach.connect().map_err(|error| error.to_string())?;
    let shared = Arc::new(Shared {
        reach: reach.clone(),
        output: Mutex::new(output),
        running: Mutex::new(HashMap::new()),
        idle: Mutex::new(Vec::new()),
        subscriptions: Subscriptions::default(),
    });
    let mut threads = Vec::new();
    while let Some(message) = read_message(input)? {
        threads.retain(|thread: &std::thread::JoinHandle<()>| !thread.is_finished());
        let parsed: Value = serde_json::from_slice(&message).unwrap_or_default();
        if let Some(cancelled) = cancelled_id(&parsed) {
            shared.cancel(&parsed, &cancelled);
            continue;
        }
        if parsed["method"] == "job.unsubscribe" {
            shared.unsubscribe(&parsed);
            continue;
        }
        if parsed["method"] == "job.subscribe" {
            let shared = Arc::clone(&shared);
            threads.push(spawned(move || shared.subscribe(&parsed))?);
            continue;
        }
        // Known before the thread runs, so that a cancel right behind the request finds it.
        let id = parsed.get("id").map(Value::to_string);
        if let Some(id) = &id {
            locked(&shared.running).insert(id.clone(), Running::default());
        }
        let shared = Arc::clone(&shared);
        threads.push(spawned(move || shared.forward(&message, &parsed, id.as_deref()))?);
    }
    for thread in threads {
        // A thread that panicked has said so on standard error.
        let _ = thread.join();
    }
    Ok(())
}

fn spawned(work: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>, String> {
    std::thread::Builder::new().spawn(work).map_err(|error| format!("could not start a thread: {error}"))
}

/// What all threads use.
struct Shared {
    reach: Reach,
    output: Mutex<Box<dyn Write + Send>>,
    running: Mutex<HashMap<String, Running>>,
    idle: Mutex<Vec<HttpConnection>>,
    subscriptions: Subscriptions,
}

/// A request that is not answered yet.
#[derive(Default)]
struct Running {
    connection: Option<Stream>,
    is_cancelled: bool,
}

impl Shared {
    fn forward(&self, message: &[u8], parsed: &Value, id: Option<&str>) {
        let answer = self.ask(message, id);
        let was_cancelled =
            id.and_then(|id| locked(&self.running).remove(id)).is_some_and(|running| running.is_cancelled);
        // A notification gets no answer, whatever came of it.
        let is_notification = parsed.is_object() && id.is_none();
        match answer {
            _ if is_notification => {}
            Ok(body) if !was_cancelled && body.is_empty() => {}
            Ok(body) if !was_cancelled => self.write(&body),
            failed => {
                let error = match failed {
                    Err(error) if !was_cancelled => ErrorObject::new(ErrorKind::InternalError, error.to_string()),
                    _ => ErrorObject::new(ErrorKind::Cancelled, "the request was cancelled"),
                };
                self.write_value(&json!({"jsonrpc": "2.0", "id": parsed.get("id"), "error": error}));
            }
        }
    }

    fn ask(&self, message: &[u8], id: Option<&str>) -> Result<Vec<u8>, ConnectionError> {
        let kept = locked(&self.idle).pop();
        if let Some(mut kept) = kept {
            self.note(&kept, id);
            match kept.ask(message)? {
                Some(body) => {
                    self.keep(kept);
                    return Ok(body);
                }
                // Closed while it was idle, or by a cancel, which must not ask again.
                None if id.is_some_and(|id| self.is_cancelled(id)) => return Err(ConnectionError::Interrupted),
                None => {}
            }
        }
        let mut fresh = match HttpConnection::open(&self.reach.address) {
            Ok(fresh) => fresh,
            Err(_) => {
                self.reach.connect()?;
                HttpConnection::open(&self.reach.address)?
            }
        };
        self.note(&fresh, id);
        match fresh.ask(message)? {
            Some(body) => {
                self.keep(fresh);
                Ok(body)
            }
            None => Err(ConnectionError::Lost {
                address: self.reach.address.to_string(),
                reason: "no answer came".to_owned(),
            }),
        }
    }

    /// Lets a cancel find the connection of a request; one that came already ends it.
    fn note(&self, connection: &HttpConnection, id: Option<&str>) {
        let mut running = locked(&self.running);
        if let (Some(running), Ok(handle)) = (id.and_then(|id| running.get_mut(id)), connection.handle()) {
            if running.is_cancelled {
                handle.shutdown();
            }
            running.connection = Some(handle);
        }
    }

    fn keep(&self, connection: HttpConnection) {
        if connection.is_open() {
            locked(&self.idle).push(connection);
        }
    }

    fn is_cancelled(&self, id: &str) -> bool {
        locked(&self.running).get(id).is_some_and(|running| running.is_cancelled)
    }

    fn cancel(&self, message: &Value, id: &Value) {
        let found = match locked(&self.running).get_mut(&id.to_string()) {
            Some(running) => {
                running.is_cancelled = true;
                running.connection.iter().for_each(Stream::shutdown);
                true
            }
            None => false,
        };
        if let Some(own_id) = message.get("id") {
            self.write_value(&json!({"jsonrpc": "2.0", "id": own_id, "result": {"cancelled": found}}));
        }
    }

    fn write_value(&self, message: &Value) {
        self.write(message.to_string().as_bytes());
    }

    fn write(&self, body: &[u8]) {
        let mut output = locked(&self.output);
        let head = format!("Content-Length: {}\r\n\r\n", body.len());
        let written = output.write_all(head.as_bytes()).and_then(|()| output.write_all(body));
        if written.and_then(|()| output.flush()).is_err() {
            // Nobody listens any more.
            std::process::exit(0);
        }
    }
}

/// A lock is only held for single steps that leave what it guards whole, so that a panic elsewhere does no harm to it.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The request that a message wants cancelled, where it wants that.
fn cancelled_id(message: &Value) -> Option<Value> {
    let method = message["method"].as_str()?;
    matches!(method, "cancel" | "$/cancelRequest").then(|| message["params"]["id"].clone())
}

/// The next message, or nothing at the end of the input.
fn read_message(input: &mut dyn BufRead) -> Result<Option<Vec<u8>>, String> {
    let unreadable = |error: io::Error| format!("could not read standard input: {error}");
    let mut length = None;
    let mut is_first = true;
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).map_err(unreadable)? == 0 {
            return if is_first { Ok(None) } else { Err("standard input ended in the head of a message".to_owned()) };
        }
        let line = line.trim_end();
        if line.is_empty() && !is_first {
            break;
        }
        is_first = line.is_empty();
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            let value = value.trim();
            let parsed = value.parse::<usize>().ok().filter(|length| *length <= LONGEST_MESSAGE);
            length =
                Some(parsed.ok_or_else(|| format!("`Content-Length: {value}` is no length up to {LONGEST_MESSAGE}"))?);
        }
    }
    let length = length.ok_or("a message has no `Content-Length: N` line before it")?;
    let mut message = vec![0; length];
    input.read_exact(&mut message).map_err(unreadable)?;
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(mut input: &[u8]) -> Vec<Result<Option<String>, String>> {
        let mut read = Vec::new();
        loop {
            let message = read_message(&mut input).map(|message| message.map(|m| String::from_utf8(m).unwrap()));
            let is_last = !matches!(message, Ok(Some(_)));
            read.push(message);
            if is_last {
                return read;
            }
        }
    }

    #[test]
    fn messages_are_told_apart_by_their_length() {
        let input = b"Content-Length: 2\r\n\r\n{}Content-Type: x\r\ncontent-length: 3\r\n\r\n[1]";
        assert_eq!(messages(input), [Ok(Some("{}".to_owned())), Ok(Some("[1]".to_owned())), Ok(None)]);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let refused = |input: &[u8]| messages(input).pop().unwrap().unwrap_err();
        assert_eq!(refused(b"{}\r\n\r\n"), "a message has no `Content-Length: N` line before it");
        assert_eq!(refused(b"Content-Length: -1\r\n\r\n"), "`Content-Length: -1` is no length up to 1073741824");
        assert_eq!(refused(b"Content-Length: 9\r\n"), "standard input ended in the head of a message");
        assert!(refused(b"Content-Length: 9\r\n\r\n{}").starts_with("could not read standard input"));
    }
}
