//! Sessions against a server that holds one model and one input: what is asked, and what becomes of the answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Next, Reach, Session};
use crate::connection::Address;
use crate::output::Output;

/// A session in a folder of its own, and the requests that its server got.
struct Fixture {
    folder: TempDir,
    session: Session,
    requests: Receiver<String>,
}

/// `per_connection` is after how many answers the server closes a connection, as one that is started anew would.
fn fixture(per_connection: usize) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let (sender, requests) = channel();
    std::thread::spawn(move || serve(&listener, per_connection, &sender));
    let reach = Reach { address: Address::Socket(socket), may_start: false, quiet: true };
    let output = Output { json: true, pictures: false, quiet: true };
    let session = Session::new(reach, output, folder.path());
    Fixture { folder, session, requests }
}

fn serve(listener: &UnixListener, per_connection: usize, requests: &Sender<String>) {
    let mut asked = 0;
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream.unwrap());
        for _ in 0..per_connection {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.strip_prefix("Content-Length: ") {
                    length = value.trim().parse().unwrap();
                }
            }
            if length == 0 {
                break;
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let request: Value = serde_json::from_slice(&body).unwrap();
            let method = request["method"].as_str().unwrap();
            requests.send(format!("{method} {}", request["params"])).unwrap();
            asked += 1;
            let mut reply = answer(method, &request["params"], asked);
            reply["id"] = request["id"].clone();
            let reply = reply.to_string();
            write!(stream.get_mut(), "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{reply}", reply.len()).unwrap();
        }
    }
}

fn answer(method: &str, params: &Value, asked: usize) -> Value {
    let result = match method {
        // As if the model had been let go by someone else after it was loaded.
        "model.forward" if asked == 3 => {
            return json!({"error": {"code": -32030, "message": "no model `m1`", "data": {"field": "model"}}});
        }
        "model.load" if params["source"] == "unknown" => {
            return json!({"error": {"code": -32030, "message": "no model `unknown`"}});
        }
        "model.load" | "model.unload" => json!({"model": "m1"}),
        "input.load" => json!({"input": "i1"}),
        "model.describe" if params["model"] == "unknown" => {
            return json!({"error": {"code": -32030, "message": "nor is it held"}});
        }
        "attribution.grad_cam" => match params["picture"]["format"].as_str() {
            // The bytes of "pixels" as base64.
            Some("png") => json!({"picture": {"format": "png", "data": "cGl4ZWxz"}}),
            Some("svg") => json!({"picture": {"format": "svg", "data": "<svg/>"}}),
            _ => json!({"tensor": {"shape": [1], "data": "AACAPw=="}, "settings": {}}),
        },
        _ => json!({"done": method}),
    };
    json!({"jsonrpc": "2.0", "result": result})
}

impl Fixture {
    /// Runs a text, which must go well, and compares the requests that it leads to.
    #[track_caller]
    fn asks(&mut self, text: &str, expected: &[&str]) {
        assert_eq!(self.session.run(text).map_err(|error| error.render(text)).unwrap(), Next::Continue);
        let folder = self.folder.path().display().to_string();
        let requests: Vec<String> =
            self.requests.try_iter().map(|request| request.replace(&folder, "FOLDER")).collect();
        assert_eq!(requests, expected);
    }

    /// Runs a text, which must fail so.
    #[track_caller]
    fn fails(&mut self, text: &str, expected: &str) {
        assert_eq!(self.session.run(text).unwrap_err().render(text), expected);
    }

    fn file(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join(name)).unwrap()).into_owned()
    }
}

#[test]
fn what_is_set_is_filled_in() {
    let mut fixture = fixture(usize::MAX);
    fixture.asks("model tiny", &[r#"model.load {"source":"tiny"}"#]);
    assert_eq!(fixture.session.model_name().as_deref(), Some("tiny"));
    fixture.asks(
        "input cat.png; predict",
        &[r#"input.load {"path":"FOLDER/cat.png"}"#, r#"model.predict {"input":"i1","model":"m1"}"#],
    );
    fixture.asks("model.unload", &[r#"model.unload {"model":"m1"}"#]);
    fixture.fails(
        "predict",
        "error: `model.predict` needs a model, and none is set\n  predict\n  ^^^^^^^\n\
         hint: `model NAME` sets one for all later lines",
    );
}

#[test]
fn a_daemon_started_anew_gets_what_was_set() {
    let mut fixture = fixture(2);
    fixture.asks(
        "model tiny seed=1; input cat.png",
        &[r#"model.load {"seed":1,"source":"tiny"}"#, r#"input.load {"path":"FOLDER/cat.png"}"#],
    );
    // The connection is gone, so that the request goes on another.
    fixture.asks("predict", &[r#"model.predict {"input":"i1","model":"m1"}"#]);
    fixture.session.client = None;
    fixture.asks(
        "server.stats",
        &[r#"model.load {"seed":1,"source":"tiny"}"#, r#"input.load {"path":"FOLDER/cat.png"}"#, "server.stats {}"],
    );
}

#[test]
fn a_model_that_was_let_go_is_loaded_again() {
    let mut fixture = fixture(usize::MAX);
    fixture.asks(
        "model tiny; input cat.png; forward",
        &[
            r#"model.load {"source":"tiny"}"#,
            r#"input.load {"path":"FOLDER/cat.png"}"#,
            r#"model.forward {"input":"i1","model":"m1"}"#,
            r#"model.load {"source":"tiny"}"#,
            r#"input.load {"path":"FOLDER/cat.png"}"#,
            r#"model.forward {"input":"i1","model":"m1"}"#,
        ],
    );
}

#[test]
fn nothing_runs_where_a_later_query_cannot_be_read() {
    let mut fixture = fixture(usize::MAX);
    fixture.fails(
        "model tiny; input \"cat.png",
        "error: this text has no closing \"\n  model tiny; input \"cat.png\n                    ^",
    );
    assert_eq!(fixture.requests.try_iter().count(), 0);
}

#[test]
fn a_model_that_is_nowhere_is_looked_for_among_those_held() {
    let mut fixture = fixture(usize::MAX);
    fixture.fails("model unknown", "error: no model `unknown`");
    let requests: Vec<String> = fixture.requests.try_iter().collect();
    assert_eq!(requests, [r#"model.load {"source":"unknown"}"#, r#"model.describe {"model":"unknown"}"#]);
}

#[test]
fn results_are_written_by_the_files_ending() {
    let mut fixture = fixture(usize::MAX);
    fixture.session.run("model tiny; input cat.png").unwrap();
    let _ = fixture.requests.try_iter().count();
    let png = r#"attribution.grad_cam {"input":"i1","model":"m1","picture":{"format":"png"}}"#;
    fixture.asks("grad_cam > a.png", &[png]);
    assert_eq!(fixture.file("a.png"), "pixels");
    let svg = r#"attribution.grad_cam {"input":"i1","model":"m1","picture":{"format":"svg","width":300}}"#;
    fixture.asks("grad_cam width=300 > a.svg", &[svg]);
    assert_eq!(fixture.file("a.svg"), "<svg/>");
    fixture.asks("grad_cam > a.npy", &[r#"attribution.grad_cam {"input":"i1","model":"m1"}"#]);
    assert!(fixture.file("a.npy").contains("'shape': (1,)"));
    fixture.asks("server.stats > a.json", &["server.stats {}"]);
    assert_eq!(fixture.file("a.json"), "{\n  \"done\": \"server.stats\"\n}");
}

#[test]
fn what_cannot_be_written_is_told_before_it_is_asked() {
    let mut fixture = fixture(usize::MAX);
    fixture.fails(
        "server.stats > a.tiff",
        "error: `a.tiff` does not say by its ending what to write\n  server.stats > a.tiff\n                 ^^^^^^\n\
         hint: `> FILE` takes .png, .svg, .npy, .wav and .json",
    );
    fixture.fails(
        "server.stats > a.png",
        "error: `server.stats` has no picture to write\n  server.stats > a.png\n                 ^^^^^\n\
         hint: write the result itself with `> FILE.json`",
    );
    assert_eq!(fixture.requests.try_iter().count(), 0);
    let error = fixture.session.run("server.stats > a.npy").unwrap_err().to_string();
    assert!(error.starts_with("the result has no array to write to "), "{error}");
}

#[test]
fn words_of_the_language_ask_nothing() {
    let mut fixture = fixture(usize::MAX);
    fixture.asks("reset; model; input # nothing is set", &[]);
    assert_eq!(fixture.session.run("quit; model tiny").unwrap(), Next::Quit);
    assert_eq!(fixture.requests.try_iter().count(), 0);
}
