//! How the daemon is reached: HTTP and WebSocket, Unix socket and TCP, token, limits, ends.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Daemon, binary, exchange};

fn tcp(daemon: &Daemon, headers: &str) -> u16 {
    let address = daemon.url.strip_prefix("http://").unwrap();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"server.info"}"#;
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST / HTTP/1.1\r\nContent-Type: application/json\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    answer.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn tcp_takes_the_token_and_no_foreign_page() {
    let daemon = Daemon::start(&[]);
    let host = format!("Host: {}\r\n", daemon.url.strip_prefix("http://").unwrap());
    let token = format!("Authorization: Bearer {}\r\n", daemon.token());
    assert_eq!(tcp(&daemon, &format!("{host}{token}")), 200);
    assert_eq!(tcp(&daemon, &host), 401);
    assert_eq!(tcp(&daemon, &format!("{host}Authorization: Bearer wrong\r\n")), 401);
    assert_eq!(tcp(&daemon, &format!("Host: evil.example\r\n{token}")), 403);
    assert_eq!(tcp(&daemon, &format!("{host}{token}Origin: https://evil.example\r\n")), 403);
}

#[test]
fn no_token_is_for_loopback_alone() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(binary("introspectd"))
        .arg("--socket")
        .arg(folder.path().join("run/d.sock"))
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .args(["--listen", "0.0.0.0:0", "--no-token"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("loopback alone"));
    let open = Daemon::start(&["--no-token"]);
    assert_eq!(tcp(&open, &format!("Host: {}\r\n", open.url.strip_prefix("http://").unwrap())), 200);
}

#[test]
fn a_second_daemon_on_the_same_socket_is_told_of_the_first() {
    let daemon = Daemon::start(&[]);
    let second = Command::new(binary("introspectd"))
        .arg("--socket")
        .arg(daemon.socket())
        .arg("--data-dir")
        .arg(daemon.folder().join("data2"))
        .output()
        .unwrap();
    assert!(!second.status.success());
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains(&format!("process {}", daemon.pid())), "{message}");
    assert!(daemon.call("server.info", json!({})).is_ok());
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named_at_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let output = Command::new(binary("introspectd"))
        .arg("--socket")
        .arg(folder.path().join("run/d.sock"))
        .arg("--data-dir")
        .arg(folder.path().join("file/data"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("data folder") && message.contains("--data-dir"), "{message}");
}

#[test]
fn batches_notifications_and_nonsense() {
    let daemon = Daemon::start(&[]);
    let batch = r#"[{"jsonrpc":"2.0","id":"a","method":"server.info"},{"jsonrpc":"2.0","id":2,"method":"nonsense"},{"jsonrpc":"2.0","method":"server.info"}]"#;
    let (status, body) = daemon.post(batch, "");
    let answers: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, answers.as_array().unwrap().len()), (200, 2));
    assert_eq!((&answers[0]["id"], &answers[1]["error"]["code"]), (&json!("a"), &json!(-32601)));
    let code = |body: &str| serde_json::from_str::<Value>(&daemon.post(body, "").1).unwrap()["error"]["code"].clone();
    assert_eq!(code("{not json"), -32700);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"model.predict","params":["by place"]}"#), -32602);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"cancel","params":{}}"#), -32602);
}

#[test]
fn a_request_beyond_the_limit_is_refused_and_the_daemon_lives_on() {
    let daemon = Daemon::start(&["--request-bytes", "10000"]);
    let (status, body) = daemon.post(
        &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"input.load","params":{{"data":"{}"}}}}"#, "A".repeat(20_000)),
        "",
    );
    assert_eq!(status, 413);
    assert!(body.contains("more than the 10000 that are read"), "{body}");
    assert!(daemon.call("server.info", json!({})).is_ok());
}

#[test]
fn the_document_lists_what_is_served() {
    let daemon = Daemon::start(&[]);
    let document = daemon.result("rpc.discover", json!({}));
    for method in document["methods"].as_array().unwrap() {
        let name = method["name"].as_str().unwrap();
        if let Err(error) = daemon.call(name, json!({"no_such_parameter": 1})) {
            assert_ne!(error["code"], -32601, "{name} is listed but not served");
        }
    }
    let error = daemon.call("model.lost", json!({})).unwrap_err();
    assert_eq!((&error["code"], &error["data"]["nearest"][0]), (&json!(-32601), &json!("model.list")));
}

/// A network that takes a while: VGG-16 with random weights takes a second to evaluate.
fn slow(daemon: &Daemon) -> String {
    daemon.result("model.load", json!({"source": "vgg16", "weights": "random", "seed": 1, "name": "slow"}));
    let input = daemon.folder().join("noise.npy");
    let numbers: Vec<f32> = (0..3 * 224 * 224).map(|index| ((index * 31) % 17) as f32 / 17.0).collect();
    tests::write_npy(&input, &[3, 224, 224], &numbers);
    daemon.result("input.load", json!({"path": input.display().to_string()}))["input"].as_str().unwrap().to_owned()
}

fn running(daemon: &Daemon) -> u64 {
    let queue = daemon.result("server.stats", json!({}))["queue"].clone();
    queue["running"].as_u64().unwrap() + queue["waiting"].as_u64().unwrap()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn closing_a_request_cancels_it_and_a_deadline_ends_one() {
    let daemon = Daemon::start(&[]);
    let input = slow(&daemon);
    let targets: Vec<usize> = (0..40).collect();
    let params = json!({"model": "slow", "input": input, "target": targets});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "attribution.saliency", "params": params}).to_string();
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    wait_until("the query runs", || running(&daemon) > 0);
    drop(stream);
    wait_until("the query was cancelled", || running(&daemon) == 0);
    let stats = daemon.result("server.stats", json!({}));
    assert_eq!(stats["backward_walks"], 0, "the walk ran to its end");
    let mut hasty = params.clone();
    hasty["timeout"] = json!(0.05);
    let error = daemon.call("attribution.saliency", hasty).unwrap_err();
    assert_eq!(error["data"]["kind"], "deadline_exceeded");
}

#[test]
fn a_job_outlives_its_connection_and_can_be_cancelled() {
    let daemon = Daemon::start(&[]);
    let input = slow(&daemon);
    let start = |target: Value| {
        let params = json!({"model": "slow", "input": input, "target": target, "background": true});
        daemon.result("attribution.saliency", params)["job"].as_str().unwrap().to_owned()
    };
    let (first, second) = (start(json!(3)), start(json!((0..40).collect::<Vec<usize>>())));
    assert_eq!(daemon.result("job.cancel", json!({"job": second}))["cancelled"], true);
    let state = |job: &str| daemon.result("job.get", json!({"job": job}))["state"].clone();
    wait_until("the first is done", || state(&first) == "done");
    wait_until("the second was cancelled", || state(&second) == "cancelled");
    assert_eq!(daemon.result("job.get", json!({"job": first}))["result"]["tensor"]["shape"], json!([3, 224, 224]));
    assert!(daemon.refusal("job.get", json!({"job": "j99"})).starts_with("no job `j99`"));
}

#[test]
fn shutdown_ends_the_daemon_and_frees_the_socket() {
    let mut daemon = Daemon::start(&[]);
    assert_eq!(daemon.result("server.shutdown", json!({}))["pid"], daemon.pid());
    assert_eq!(daemon.wait(Duration::from_secs(10)), Some(true));
    assert!(!daemon.socket().exists());
}

#[test]
fn answers_under_way_are_given_before_the_end() {
    let mut daemon = Daemon::start(&[]);
    let input = slow(&daemon);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "activation.get", "params": {"model": "slow", "input": input, "layer": "features.0"}}).to_string();
    let socket = daemon.socket();
    let asking = std::thread::spawn(move || exchange(UnixStream::connect(socket).unwrap(), &body, ""));
    wait_until("the query runs", || running(&daemon) > 0);
    assert!(Command::new("kill").arg(daemon.pid().to_string()).status().unwrap().success());
    let (status, answer) = asking.join().unwrap();
    assert_eq!((status, daemon.wait(Duration::from_secs(10))), (200, Some(true)));
    let answer: Value = serde_json::from_str(&answer).expect("the answer is whole");
    assert_eq!(answer["result"]["tensor"]["shape"], json!([64, 224, 224]));
}

#[test]
fn a_job_keeps_an_idle_daemon_alive() {
    let mut daemon = Daemon::start(&["--idle-exit", "1"]);
    let input = slow(&daemon);
    let params =
        json!({"model": "slow", "input": input, "target": (0..12).collect::<Vec<usize>>(), "background": true});
    let job = daemon.result("attribution.saliency", params)["job"].clone();
    std::thread::sleep(Duration::from_millis(1500));
    assert_ne!(daemon.result("job.get", json!({"job": job}))["state"], "failed");
    assert_eq!(daemon.wait(Duration::from_secs(30)), Some(true));
}

#[test]
fn a_chunked_body_beyond_the_limit_is_refused_too() {
    let daemon = Daemon::start(&["--request-bytes", "10000"]);
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for _ in 0..12 {
        // The daemon may have refused and closed by now.
        let _ = stream.write_all(format!("400\r\n{}\r\n", " ".repeat(1024)).as_bytes());
    }
    let mut answer = String::new();
    let _ = std::io::Read::read_to_string(&mut stream, &mut answer);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("more than the 10000"), "{answer}");
}

#[test]
fn limits_and_unreadable_numbers_are_named() {
    let daemon = Daemon::start(&[]);
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"server.info"}"#;
    let batch = format!("[{}]", vec![request; 257].join(","));
    let answer: Value = serde_json::from_str(&daemon.post(&batch, "").1).unwrap();
    assert_eq!(answer["error"]["code"], -32032);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"model.load","params":{"source":1e999}}"#;
    let answer: Value = serde_json::from_str(&daemon.post(body, "").1).unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("cannot be read"), "{answer}");
}

#[test]
fn an_idle_daemon_ends_by_itself() {
    let mut daemon = Daemon::start(&["--idle-exit", "1"]);
    assert_eq!(daemon.wait(Duration::from_secs(10)), Some(true));
}

#[test]
fn a_path_that_is_not_ours_is_named() {
    let daemon = Daemon::start(&[]);
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.contains("404") && answer.contains("requests go to `/`"), "{answer}");
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    assert_eq!(exchange(stream, r#"{"jsonrpc":"2.0","id":1,"method":"server.info"}"#, "").0, 200);
}
