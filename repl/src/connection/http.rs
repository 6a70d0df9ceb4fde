//! Just enough HTTP/1.1 for a client of one server: POSTs on a connection that is kept, bodies by length, in chunks or
//! up to the end. While an answer is awaited, a caller may look at Ctrl-C and show that time passes.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::address::{Address, Stream};
use super::errors::ConnectionError;

/// How often a waiting read lets its caller look around.
const LOOK: Duration = Duration::from_millis(50);
/// The longest head of an answer (bytes).
const LONGEST_HEAD: usize = 64 * 1024;
/// The longest answer (bytes).
const LONGEST_BODY: usize = 2 << 30;

/// What is done while an answer is awaited; an error gives the request up.
pub(crate) type Waiting<'a> = &'a mut dyn FnMut() -> Result<(), ConnectionError>;

/// An answer.
#[derive(Debug, PartialEq)]
pub(crate) struct HttpAnswer {
    /// Its status, 200 where all is well.
    pub(crate) status: u16,
    /// The words behind the status.
    pub(crate) reason: String,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

/// A connection that can be asked again and again.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    stream: Stream,
    address: Address,
    /// What was read and not yet used.
    buffer: Vec<u8>,
    /// Whether the server closes after this answer.
    closing: bool,
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection had been closed before any of the answer came: asking again on a new one is safe only where the
    /// connection had been idle.
    Closed,
    /// All else.
    Other(ConnectionError),
}

impl HttpConnection {
    /// A new connection.
    pub(crate) fn open(address: &Address) -> Result<Self, ConnectionError> {
        let stream = address.connect()?;
        let unusable = |source| ConnectionError::Unreachable { address: address.to_string(), source };
        stream.set_read_timeout(LOOK).map_err(unusable)?;
        Ok(HttpConnection { stream, address: address.clone(), buffer: Vec::new(), closing: false })
    }

    /// A handle with which another thread can end the connection.
    pub(crate) fn handle(&self) -> io::Result<Stream> {
        self.stream.try_clone()
    }

    /// Whether another request can follow.
    pub(crate) fn is_open(&self) -> bool {
        !self.closing
    }

    /// Sends a body and waits for the answer.
    pub(crate) fn post(&mut self, body: &[u8], waiting: Waiting) -> Result<HttpAnswer, Failure> {
        let mut head = match &self.address {
            Address::Socket(_) => "POST / HTTP/1.1\r\nHost: localhost\r\n".to_owned(),
            Address::Tcp { host, port, token } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let token = token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
                format!("POST / HTTP/1.1\r\nHost: {host}:{port}\r\n{}", token.unwrap_or_default())
            }
        };
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        if self.stream.write_all(&request).and_then(|()| self.stream.flush()).is_err() {
            // A server that refuses a request early answers before it closes, so that the answer is still looked for.
            self.closing = true;
        }
        self.answer(waiting)
    }

    /// Sends a body and waits for the answer's, whatever its status; nothing where the connection had been closed.
    pub(crate) fn ask(&mut self, body: &[u8]) -> Result<Option<Vec<u8>>, ConnectionError> {
        match self.post(body, &mut || Ok(())) {
            Ok(answer) if answer.status < 400 || answer.body.starts_with(b"{") => Ok(Some(answer.body)),
            Ok(HttpAnswer { status, reason, .. }) => {
                Err(ConnectionError::Refused { address: self.address.to_string(), status, reason })
            }
            Err(Failure::Closed) => Ok(None),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    fn answer(&mut self, waiting: Waiting) -> Result<HttpAnswer, Failure> {
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                break String::from_utf8_lossy(&head).into_owned();
            }
            if self.buffer.len() > LONGEST_HEAD {
                return Err(self.not_ours("its answer's head has no end"));
            }
            if self.read_more(waiting)? == 0 {
                return Err(match self.buffer.is_empty() {
                    true => Failure::Closed,
                    false => self.lost("in the head of the answer"),
                });
            }
        };
        let mut lines = head.lines();
        let status_line = lines.next().unwrap_or_default().to_owned();
        let mut words = status_line.splitn(3, ' ');
        let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
        let status = words.next().and_then(|status| status.parse::<u16>().ok());
        let (true, Some(status)) = (is_http, status) else {
            return Err(self.not_ours(&format!("it answers {status_line:?}, which is no HTTP")));
        };
        if (100..200).contains(&status) {
            return self.answer(waiting);
        }
        let reason = words.next().unwrap_or_default().trim().to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
            .collect();
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        self.closing |= header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let in_chunks = header("transfer-encoding").is_some_and(|value| value.to_lowercase().ends_with("chunked"));
        let body = if status == 204 || status == 304 {
            Vec::new()
        } else if in_chunks {
            self.chunks(waiting)?
        } else if let Some(length) = header("content-length") {
            let length = length.parse::<usize>().ok().filter(|length| *length <= LONGEST_BODY);
            let length = length.ok_or_else(|| self.not_ours("its answer's Content-Length is no length"))?;
            self.exactly(length, waiting)?
        } else {
            self.closing = true;
            while self.read_more(waiting)? > 0 {}
            std::mem::take(&mut self.buffer)
        };
        Ok(HttpAnswer { status, reason, body })
    }

    fn chunks(&mut self, waiting: Waiting) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let line = self.line(waiting)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).ok().filter(|size| body.len() + size <= LONGEST_BODY);
            let size = size.ok_or_else(|| self.not_ours("a chunk of its answer has no length"))?;
            if size == 0 {
                // Trailers, which say nothing to us, end with an empty line.
                while !self.line(waiting)?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size, waiting)?);
            self.line(waiting)?;
        }
    }

    fn line(&mut self, waiting: Waiting) -> Result<String, Failure> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.buffer.len() > LONGEST_HEAD {
                return Err(self.not_ours("a line of its answer has no end"));
            }
            if self.read_more(waiting)? == 0 {
                return Err(self.lost("in a chunk of the answer"));
            }
        }
    }

    fn exactly(&mut self, length: usize, waiting: Waiting) -> Result<Vec<u8>, Failure> {
        while self.buffer.len() < length {
            if self.read_more(waiting)? == 0 {
                let reason = format!("{} of {length} bytes of the answer had come", self.buffer.len());
                return Err(self.lost(&reason));
            }
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Reads what there is; 0 at the end.
    fn read_more(&mut self, waiting: Waiting) -> Result<usize, Failure> {
        let mut bytes = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(count) => {
                    self.buffer.extend_from_slice(&bytes[..count]);
                    self.closing |= count == 0;
                    return Ok(count);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {
                        if let Err(error) = waiting() {
                            // Closing tells the daemon that nobody waits for this answer any more.
                            self.stream.shutdown();
                            self.closing = true;
                            return Err(Failure::Other(error));
                        }
                    }
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe if self.buffer.is_empty() => {
                        self.closing = true;
                        return Ok(0);
                    }
                    _ => return Err(self.lost(&error.to_string())),
                },
            }
        }
    }

    fn lost(&mut self, reason: &str) -> Failure {
        self.closing = true;
        Failure::Other(ConnectionError::Lost { address: self.address.to_string(), reason: reason.to_owned() })
    }

    fn not_ours(&mut self, reason: &str) -> Failure {
        self.closing = true;
        Failure::Other(ConnectionError::NotOurs { address: self.address.to_string(), reason: reason.to_owned() })
    }
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    within.windows(what.len()).position(|window| window == what)
}
