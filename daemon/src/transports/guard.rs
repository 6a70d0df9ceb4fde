//! Who may ask over TCP: whoever has the token, from a page or program of this machine. A foreign `Host` or `Origin`
//! means that a web page elsewhere tries to reach us through the user's browser, and is refused.

use std::net::SocketAddr;
use std::sync::Arc;

use client_protocol::{ErrorKind, ErrorObject};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN};
use hyper::{HeaderMap, Request, Response, StatusCode};
use jsonrpsee::server::HttpBody;
use serde_json::json;

/// What a transport asks of each request.
#[derive(Clone, Debug)]
pub(crate) enum Guard {
    /// Nothing: a Unix socket, whose peers are known.
    Open,
    /// TCP.
    Tcp { local: SocketAddr, token: Option<Arc<str>> },
}

impl Guard {
    /// Why a request is not answered, if so.
    pub(super) fn refusal<B>(&self, request: &Request<B>, most_bytes: usize) -> Option<Response<HttpBody>> {
        let headers = request.headers();
        if let Guard::Tcp { local, token } = self {
            if let Some(foreign) = foreign_origin(headers, *local) {
                return Some(plain(StatusCode::FORBIDDEN, &foreign));
            }
            if let Some(token) = token
                && !has_token(headers, token)
            {
                let error = ErrorObject::new(
                    ErrorKind::Unauthorized,
                    "the request needs the header `Authorization: Bearer TOKEN`",
                )
                .hint("the token is in the file `token` of the daemon's data directory");
                return Some(as_json(StatusCode::UNAUTHORIZED, &error));
            }
        }
        let path = request.uri().path();
        if path != "/" {
            return Some(plain(StatusCode::NOT_FOUND, &format!("there is nothing at `{path}`; requests go to `/`")));
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let length = length.filter(|length| *length > most_bytes)?;
        Some(too_large(&format!("{length} bytes"), most_bytes))
    }
}

/// A body beyond the limit.
pub(super) fn too_large(found: &str, most_bytes: usize) -> Response<HttpBody> {
    let message =
        format!("the request has {found}, more than the {most_bytes} that are read; send large arrays as files");
    as_json(StatusCode::PAYLOAD_TOO_LARGE, &ErrorObject::new(ErrorKind::LimitExceeded, message))
}

fn text<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("(not text)"))
}

/// What is foreign about a request, if anything.
fn foreign_origin(headers: &HeaderMap, local: SocketAddr) -> Option<String> {
    let port = local.port();
    // An address cannot be made to point elsewhere, as a name can.
    let own_address = match local {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    };
    let is_local = |authority: &str| {
        let (host, asked) = match authority.rsplit_once(':') {
            Some((host, asked)) if !asked.contains(']') => (host, asked.parse().ok()),
            _ => (authority, Some(80)),
        };
        let host = host.to_ascii_lowercase();
        (["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str()) || host == own_address) && asked == Some(port)
    };
    match text(headers, &HOST) {
        Some(host) if is_local(host) => {}
        other => {
            return Some(format!(
                "the Host `{}` is not this daemon; ask 127.0.0.1:{port} or localhost:{port}",
                other.unwrap_or_default()
            ));
        }
    }
    let origin = text(headers, &ORIGIN)?;
    let is_own = origin.strip_prefix("http://").is_some_and(is_local);
    (!is_own).then(|| format!("pages of the Origin `{origin}` may not ask this daemon"))
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let given = text(headers, &AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    given.is_some_and(|given| equal_in_constant_time(given.trim().as_bytes(), token.as_bytes()))
}

/// Compares without telling by its time how much was right.
fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

/// A refusal that a person reads.
pub(super) fn plain(status: StatusCode, message: &str) -> Response<HttpBody> {
    respond(status, "text/plain; charset=utf-8", format!("{message}\n"))
}

/// A refusal that a JSON-RPC client reads.
fn as_json(status: StatusCode, error: &ErrorObject) -> Response<HttpBody> {
    respond(status, "application/json", json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<HttpBody> {
    let mut response = Response::new(HttpBody::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(guard: &Guard, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        guard.refusal(&request.body(()).unwrap(), 1000).map(|refusal| refusal.status().as_u16())
    }

    fn tcp() -> Guard {
        Guard::Tcp { local: "192.0.2.2:4000".parse().unwrap(), token: Some("secret".into()) }
    }

    #[test]
    fn the_token_opens() {
        assert_eq!(status(&tcp(), &[("host", "127.0.0.1:4000"), ("authorization", "Bearer secret")]), None);
        assert_eq!(status(&tcp(), &[("host", "127.0.0.1:4000"), ("authorization", "Bearer Secret")]), Some(401));
        assert_eq!(status(&tcp(), &[("host", "127.0.0.1:4000")]), Some(401));
    }

    #[test]
    fn foreign_hosts_and_origins_are_refused_whatever_they_know() {
        let token = ("authorization", "Bearer secret");
        assert_eq!(status(&tcp(), &[("host", "evil.example:4000"), token]), Some(403));
        assert_eq!(status(&tcp(), &[("host", "127.0.0.1:4001"), token]), Some(403));
        assert_eq!(status(&tcp(), &[("host", "localhost:4000"), ("origin", "https://evil.example"), token]), Some(403));
        assert_eq!(status(&tcp(), &[("host", "localhost:4000"), ("origin", "null"), token]), Some(403));
        assert_eq!(status(&tcp(), &[("host", "[::1]:4000"), ("origin", "http://localhost:4000"), token]), None);
        assert_eq!(status(&tcp(), &[("host", "LocalHost:4000"), token]), None);
        assert_eq!(status(&tcp(), &[("host", "192.0.2.2:4000"), token]), None);
        assert_eq!(status(&tcp(), &[("host", "192.0.2.3:4000"), token]), Some(403));
        assert_eq!(status(&tcp(), &[token]), Some(403));
    }

    #[test]
    fn a_body_beyond_the_limit_is_refused_by_its_header() {
        assert_eq!(status(&Guard::Open, &[("content-length", "1001")]), Some(413));
        assert_eq!(status(&Guard::Open, &[("content-length", "1000")]), None);
    }
}
