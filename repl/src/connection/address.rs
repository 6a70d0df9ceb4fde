//! Where the daemon listens: a Unix socket in a folder of the user's own, or an address on the loopback interface.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::errors::ConnectionError;

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Address {
    /// A Unix socket.
    Socket(PathBuf),
    /// A host and a port, with the token that the daemon asks for there.
    Tcp { host: String, port: u16, token: Option<String> },
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket(path) => write!(formatter, "{}", path.display()),
            Address::Tcp { host, port, .. } => write!(formatter, "http://{host}:{port}"),
        }
    }
}

impl Address {
    /// An address as `--connect` takes it: `http://HOST:PORT`.
    pub(crate) fn parse(url: &str, token: Option<String>) -> Result<Self, ConnectionError> {
        let wrong = |why: &str| {
            ConnectionError::Address(format!("--connect takes http://HOST:PORT, as http://127.0.0.1:7171; {why}"))
        };
        let rest = url.strip_prefix("http://").ok_or_else(|| wrong(&format!("`{url}` does not start with http://")))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return Err(wrong(&format!("`{url}` names a path")));
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| wrong(&format!("`{url}` names no port")))?;
        let port = port.parse().map_err(|_| wrong(&format!("`{port}` is no port")))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        match host.is_empty() {
            true => Err(wrong(&format!("`{url}` names no host"))),
            false => Ok(Address::Tcp { host, port, token }),
        }
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Result<Stream, ConnectionError> {
        let connected = match self {
            Address::Socket(path) => UnixStream::connect(path).map(Stream::Unix),
            Address::Tcp { host, port, .. } => TcpStream::connect((host.as_str(), *port)).and_then(|stream| {
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }),
        };
        connected.map_err(|source| ConnectionError::Unreachable { address: self.to_string(), source })
    }
}

/// A connection to a daemon.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
}

impl Stream {
    /// Lets a read return after this time, so that Ctrl-C and the clock are looked at.
    pub(crate) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.set_read_timeout(Some(timeout)),
            Stream::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }

    /// Another handle to the same connection.
    pub(crate) fn try_clone(&self) -> io::Result<Stream> {
        match self {
            Stream::Unix(stream) => stream.try_clone().map(Stream::Unix),
            Stream::Tcp(stream) => stream.try_clone().map(Stream::Tcp),
        }
    }

    /// Ends the connection for every handle.
    pub(crate) fn shutdown(&self) {
        // That it has ended already is as good.
        let _ = match self {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(into),
            Stream::Tcp(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.write(from),
            Stream::Tcp(stream) => stream.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.flush(),
            Stream::Tcp(stream) => stream.flush(),
        }
    }
}

/// The socket where none is named: in `$XDG_RUNTIME_DIR/introspect`, else in a folder of the user's own in the
/// folder for temporary files.
pub(crate) fn default_socket() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folder = match runtime {
        Some(runtime) => runtime.join("introspect"),
        None => std::env::temp_dir().join(format!("introspect-{}", user())),
    };
    folder.join("introspectd.sock")
}

/// Makes a socket's folder where it is missing, and refuses one that another user could have put there.
pub(crate) fn own_folder(folder: &Path) -> Result<(), ConnectionError> {
    let unsafe_folder = |fault: String| ConnectionError::UnsafeFolder { folder: folder.to_owned(), fault };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| unsafe_folder(format!("cannot be made: {error}")))?;
    check_owner(folder)
}

/// Refuses a folder that another user owns or that others can write to.
pub(crate) fn check_owner(folder: &Path) -> Result<(), ConnectionError> {
    let unsafe_folder = |fault: String| ConnectionError::UnsafeFolder { folder: folder.to_owned(), fault };
    // A link is not followed, since who owns the link chooses where it leads.
    let metadata = folder.symlink_metadata().map_err(|error| unsafe_folder(format!("cannot be read: {error}")))?;
    if !metadata.is_dir() {
        return Err(unsafe_folder("is no folder".to_owned()));
    }
    if metadata.uid() != user() {
        return Err(unsafe_folder(format!("belongs to user {}, not to user {}", metadata.uid(), user())));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(unsafe_folder(format!("can be written to by others (mode {mode:o})")));
    }
    Ok(())
}

/// Our user's number.
pub(crate) fn user() -> u32 {
    // SAFETY: geteuid reads a number of our own process and cannot fail.
    unsafe { libc::geteuid() }
}
