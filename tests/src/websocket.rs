//! A WebSocket of a few lines (RFC 6455): text frames both ways, without extensions.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// A connection over a Unix socket.
#[derive(Debug)]
pub struct WebSocket(UnixStream);

impl WebSocket {
    /// Connects and is upgraded.
    pub fn connect(socket: &Path) -> WebSocket {
        let mut stream = UnixStream::connect(socket).expect("the daemon listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket has timeouts");
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let request = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("the daemon reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the daemon answers");
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        WebSocket(stream)
    }

    /// Sends a request.
    pub fn ask(&mut self, id: u64, method: &str, params: Value) {
        let text = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        let length = u16::try_from(text.len()).expect("requests of tests are short");
        // Final text frame, masked by zeros, its length in two bytes.
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.0.write_all(&frame).expect("the daemon reads");
    }

    /// The next message, answer or notification.
    pub fn receive(&mut self) -> Value {
        let mut text = Vec::new();
        loop {
            let [first, second] = self.bytes();
            let length = match second & 0x7f {
                126 => u64::from(u16::from_be_bytes(self.bytes())),
                127 => u64::from_be_bytes(self.bytes()),
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).expect("a message fits")];
            self.0.read_exact(&mut payload).expect("frames are whole");
            let is_control = first & 0x08 != 0;
            if is_control {
                continue;
            }
            text.extend(payload);
            if first & 0x80 != 0 {
                return serde_json::from_slice(&text).expect("messages are JSON");
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).expect("frames are whole");
        bytes
    }
}
