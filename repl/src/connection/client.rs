//! JSON-RPC 2.0 on a kept connection: a method's name and parameters go, a result or the daemon's error comes.

use std::time::{Duration, Instant};

use client_protocol::ErrorObject;
use serde_json::{Map, Value, json};

use super::address::Address;
use super::errors::ConnectionError;
use super::http::{Failure, HttpAnswer, HttpConnection, Waiting};
use super::interrupt::was_interrupted;

/// A caller of one daemon.
#[derive(Debug)]
pub(crate) struct Client {
    address: Address,
    connection: Option<HttpConnection>,
    last_id: u64,
}

impl Client {
    /// A caller of the daemon at an address, which must answer.
    pub(crate) fn connect(address: &Address) -> Result<Self, ConnectionError> {
        let connection = HttpConnection::open(address)?;
        Ok(Client { address: address.clone(), connection: Some(connection), last_id: 0 })
    }

    /// Where the daemon is.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Calls a method and waits for as long as it takes; Ctrl-C cancels it.
    pub(crate) fn call(&mut self, method: &str, params: &Map<String, Value>) -> Result<Value, ConnectionError> {
        self.call_waiting(method, params, &mut || Ok(()))
    }

    /// Calls a method that a daemon in good health answers at once; one that does not is given up.
    pub(crate) fn call_within(
        &mut self,
        patience: Duration,
        method: &str,
        params: &Map<String, Value>,
    ) -> Result<Value, ConnectionError> {
        let asked = Instant::now();
        let (address, method_name) = (self.address.to_string(), method.to_owned());
        self.call_waiting(method, params, &mut || match asked.elapsed() > patience {
            true => Err(ConnectionError::Silent {
                address: address.clone(),
                method: method_name.clone(),
                seconds: patience.as_secs(),
            }),
            false => Ok(()),
        })
    }

    /// Calls a method; `waiting` is called some times a second while it runs, and Ctrl-C cancels it.
    pub(crate) fn call_waiting(
        &mut self,
        method: &str,
        params: &Map<String, Value>,
        waiting: Waiting,
    ) -> Result<Value, ConnectionError> {
        self.last_id += 1;
        let id = self.last_id;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        let answer = self.post(request.as_bytes(), &mut || {
            if was_interrupted() {
                return Err(ConnectionError::Interrupted);
            }
            waiting()
        })?;
        self.read(&answer, id)
    }

    fn post(&mut self, body: &[u8], waiting: Waiting) -> Result<HttpAnswer, ConnectionError> {
        let lost = |address: &Address| ConnectionError::Lost {
            address: address.to_string(),
            reason: "no answer came".to_owned(),
        };
        if let Some(mut kept) = self.connection.take() {
            let is_first = self.last_id == 1;
            match kept.post(body, waiting) {
                Ok(answer) => {
                    self.keep(kept);
                    return Ok(answer);
                }
                Err(Failure::Other(error)) => return Err(error),
                // Nobody was answered on the first request, so that the daemon itself must have gone.
                Err(Failure::Closed) if is_first => return Err(lost(&self.address)),
                // A daemon closes a connection that was long idle: the request never ran.
                Err(Failure::Closed) => {}
            }
        }
        let mut fresh = HttpConnection::open(&self.address)?;
        match fresh.post(body, waiting) {
            Ok(answer) => {
                self.keep(fresh);
                Ok(answer)
            }
            Err(Failure::Other(error)) => Err(error),
            Err(Failure::Closed) => Err(lost(&self.address)),
        }
    }

    fn keep(&mut self, connection: HttpConnection) {
        self.connection = Some(connection).filter(HttpConnection::is_open);
    }

    fn read(&self, answer: &HttpAnswer, id: u64) -> Result<Value, ConnectionError> {
        let not_ours = |reason: String| ConnectionError::NotOurs { address: self.address.to_string(), reason };
        let mut parsed: Value = match serde_json::from_slice(&answer.body) {
            Ok(parsed) => parsed,
            Err(_) if answer.status != 200 => {
                let text = String::from_utf8_lossy(&answer.body);
                let text = text.trim().lines().next().unwrap_or_default();
                let reason = if text.is_empty() { answer.reason.clone() } else { format!("{}: {text}", answer.reason) };
                let address = self.address.to_string();
                return Err(ConnectionError::Refused { address, status: answer.status, reason });
            }
            Err(error) => return Err(not_ours(format!("its answer is no JSON: {error}"))),
        };
        if let Some(error) = parsed.get_mut("error").map(Value::take).filter(|error| !error.is_null()) {
            let error: ErrorObject =
                serde_json::from_value(error).map_err(|error| not_ours(format!("its error is none: {error}")))?;
            return Err(ConnectionError::Answered(Box::new(error)));
        }
        if parsed["id"] != id {
            return Err(not_ours(format!("it answers request {} where {id} was asked", parsed["id"])));
        }
        match parsed.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(not_ours("its answer has neither a result nor an error".to_owned())),
        }
    }
}
