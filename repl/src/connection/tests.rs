//! The client against a server that answers what each test says, byte by byte.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::address::{Address, check_owner, own_folder};
use super::client::Client;
use super::errors::ConnectionError;
use super::start::connect_or_start;

/// What a server does on one connection: an answer for each request, and then it closes.
type Connection = &'static [&'static str];

/// What calls of `a` come to when a server answers so.
fn calls(connections: &'static [Connection], count: usize) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    // It is not waited for, so that a client that gives up fails its test and does not hang it.
    std::thread::spawn(move || {
        for answers in connections {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in *answers {
                read_request(&mut stream);
                // In two parts, since no answer may rely on coming at once.
                let half = answer.len() / 2;
                stream.write_all(&answer.as_bytes()[..half]).unwrap();
                std::thread::sleep(Duration::from_millis(5));
                stream.write_all(&answer.as_bytes()[half..]).unwrap();
            }
        }
    });
    let address = Address::Socket(socket.clone());
    let mut client = Client::connect(&address).unwrap();
    let place = socket.display().to_string();
    (0..count)
        .map(|_| match client.call("a", &Map::new()) {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string().replace(&place, "SOCKET"),
        })
        .collect()
}

fn read_request(stream: &mut impl Read) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let head = String::from_utf8(request).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

#[track_caller]
fn answers(connections: &'static [Connection], expected: &[&str]) {
    assert_eq!(calls(connections, expected.len()), expected);
}

const FIRST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[1]}";
const SECOND: &str = "HTTP/1.1 200 OK\r\ncontent-length: 37\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":[2]}";

#[test]
fn a_connection_is_kept() {
    answers(
        &[&["HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[1]}", SECOND]],
        &["[1]", "[2]"],
    );
}

#[test]
fn a_connection_closed_while_idle_is_made_anew() {
    answers(
        &[&["HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[1]}"], &[SECOND]],
        &["[1]", "[2]"],
    );
}

#[test]
fn bodies_come_in_chunks_or_up_to_the_end() {
    answers(
        &[&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             1d;x=y\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"resu\r\nA\r\nlt\":[1, 2]\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n"]],
        &["[1,2]"],
    );
    answers(&[&["HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"id\":1,\"result\":null}"]], &["null"]);
    answers(&[&["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{\"id\":1,\"result\":3}"]], &["3"]);
}

#[test]
fn the_daemons_error_is_told() {
    answers(
        &[&["HTTP/1.1 200 OK\r\n\r\n{\"id\":1,\"error\":{\"code\":-32030,\"message\":\"no layer `x`\"}}"]],
        &["no layer `x`"],
    );
    answers(
        &[&["HTTP/1.1 401 Unauthorized\r\n\r\n{\"id\":null,\"error\":{\"code\":-32038,\"message\":\"no token\"}}"]],
        &["no token"],
    );
}

#[test]
fn what_goes_wrong_is_told() {
    let lost = "the daemon at SOCKET closed the connection before it had answered";
    answers(&[&[""]], &[&format!("{lost}: no answer came")]);
    answers(&[&["HTTP/1.1 200"]], &[&format!("{lost}: in the head of the answer")]);
    answers(
        &[&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"id"]],
        &[&format!("{lost}: 4 of 9 bytes of the answer had come")],
    );
    answers(
        &[&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"]],
        &[&format!("{lost}: in a chunk of the answer")],
    );
    answers(
        &[&["HTTP/1.1 503 Busy\r\n\r\ntoo many connections\n"]],
        &["the daemon at SOCKET refused the request: HTTP 503 Busy: too many connections"],
    );
    let other = "what answers at SOCKET is no Introspect daemon";
    answers(&[&["SSH-2.0-server\r\n\r\n"]], &[&format!("{other}: it answers \"SSH-2.0-server\", which is no HTTP")]);
    answers(
        &[&["HTTP/1.1 200 OK\r\n\r\n{\"id\":7,\"result\":1}"]],
        &[&format!("{other}: it answers request 7 where 1 was asked")],
    );
    answers(
        &[&["HTTP/1.1 200 OK\r\n\r\n{\"id\":1}"]],
        &[&format!("{other}: its answer has neither a result nor an error")],
    );
    answers(
        &[&["HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n"]],
        &[&format!("{other}: its answer's Content-Length is no length")],
    );
}

#[test]
fn a_request_is_a_post_to_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_request(&mut stream);
        stream.write_all(FIRST.as_bytes()).unwrap();
        request
    });
    let mut client = Client::connect(&Address::Socket(socket)).unwrap();
    let params = Map::from_iter([("top".to_owned(), Value::from(3))]);
    client.call("model.predict", &params).unwrap();
    let request = server.join().unwrap();
    assert_eq!(
        request,
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 68\r\n\r\n\
         {\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"model.predict\",\"params\":{\"top\":3}}"
    );
}

#[test]
fn waiting_can_be_given_up_which_closes_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&mut stream);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).map(|_| rest.len())
    });
    let mut client = Client::connect(&Address::Socket(socket)).unwrap();
    let mut looks = 0;
    let outcome = client.call_waiting("a", &Map::new(), &mut || {
        looks += 1;
        if looks == 3 { Err(ConnectionError::Interrupted) } else { Ok(()) }
    });
    assert!(matches!(outcome, Err(ConnectionError::Interrupted)), "{outcome:?}");
    assert_eq!(server.join().unwrap().unwrap(), 0);
}

#[test]
fn a_daemon_that_says_nothing_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let mut client = Client::connect(&Address::Socket(socket)).unwrap();
    let outcome = client.call_within(Duration::from_millis(100), "server.info", &Map::new());
    assert!(matches!(outcome, Err(ConnectionError::Silent { .. })), "{outcome:?}");
}

#[test]
fn addresses() {
    let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port, token: None };
    assert_eq!(Address::parse("http://127.0.0.1:7171", None).unwrap(), tcp("127.0.0.1", 7171));
    assert_eq!(Address::parse("http://[::1]:80/", None).unwrap(), tcp("::1", 80));
    let refused = |url: &str, why: &str| {
        let error = Address::parse(url, None).unwrap_err().to_string();
        assert_eq!(error, format!("--connect takes http://HOST:PORT, as http://127.0.0.1:7171; {why}"));
    };
    refused("localhost:80", "`localhost:80` does not start with http://");
    refused("http://localhost", "`http://localhost` names no port");
    refused("http://localhost:x", "`x` is no port");
    refused("http://localhost:80/rpc", "`http://localhost:80/rpc` names a path");
    refused("http://:80", "`http://:80` names no host");
}

fn mode(folder: &Path, mode: u32) {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_sockets_folder_must_be_ours_alone() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("introspect");
    own_folder(&own).unwrap();
    assert_eq!(own.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    mode(&own, 0o777);
    let error = check_owner(&own).unwrap_err();
    assert!(error.to_string().ends_with("can be written to by others (mode 777)"), "{error}");
    mode(&own, 0o755);
    check_owner(&own).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&own, &link).unwrap();
    assert!(check_owner(&link).unwrap_err().to_string().ends_with("is no folder"));
}

#[test]
fn no_daemon_is_started_where_none_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let address = Address::Socket(folder.path().join("socket"));
    let outcome = connect_or_start(&address, false, &|line| panic!("{line}"));
    assert!(matches!(outcome, Err(ConnectionError::Unreachable { .. })), "{outcome:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
