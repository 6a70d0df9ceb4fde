//! `introspect` as it is typed, with the real daemon behind it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::{Value, json};
use tests::{binary, cached, folder};

/// A folder with a daemon of its own, ended when dropped.
struct Shell {
    folder: tempfile::TempDir,
}

impl Shell {
    fn new() -> Shell {
        Shell { folder: tempfile::tempdir().unwrap() }
    }

    fn introspect(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("introspect"));
        command.args(arguments).current_dir(self.folder.path()).env("XDG_RUNTIME_DIR", self.folder.path().join("run"));
        command
            .env("XDG_DATA_HOME", self.folder.path().join("data"))
            .env("XDG_STATE_HOME", self.folder.path().join("state"));
        std::fs::create_dir_all(self.folder.path().join("run")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(self.folder.path().join("run"), mode).unwrap();
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.introspect(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// What a query prints.
    #[track_caller]
    fn prints(&self, query: &str) -> String {
        let output = self.run(&["-c", query]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a query that must fail says.
    #[track_caller]
    fn complains(&self, query: &str) -> String {
        let output = self.run(&["-c", query]);
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.run(&["stop"]);
    }
}

fn golden(case: &str) -> String {
    let folder = folder("golden").join(case);
    format!("model {} name=small; input {}", folder.join("model.onnx").display(), folder.join("input.npy").display())
}

#[test]
fn a_daemon_is_started_and_said_so_and_used_again() {
    let shell = Shell::new();
    let first = shell.run(&["-c", &format!("{}; predict top=1", golden("vgg-a"))]);
    assert!(first.status.success());
    assert!(String::from_utf8_lossy(&first.stderr).contains("started"), "{}", String::from_utf8_lossy(&first.stderr));
    let second = shell.run(&["-c", "model.list"]);
    assert!(!String::from_utf8_lossy(&second.stderr).contains("started"));
    assert!(String::from_utf8_lossy(&second.stdout).contains("small"));
}

#[test]
fn answers_become_files() {
    let shell = Shell::new();
    shell.prints(&format!(
        "{}; saliency target=7 > map.png; saliency target=7 > map.npy; saliency target=7 > map.svg",
        golden("vgg-a")
    ));
    let path = |name: &str| shell.folder.path().join(name);
    assert!(image::open(path("map.png")).unwrap().width() >= 500);
    assert!(std::fs::read_to_string(path("map.svg")).unwrap().starts_with("<svg"));
    let (shape, found) = tests::read_npy(&path("map.npy"));
    let (_, expected) = tests::read_npy(&folder("golden/vgg-a/02-attribution-saliency.npy"));
    assert_eq!(shape.iter().product::<usize>(), expected.len());
    assert!(found.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() > 2e-4).count() < 4);
}

#[test]
fn mistakes_are_pointed_at() {
    let shell = Shell::new();
    let said = shell.complains(&format!("{}; grad_cam layer=/5/Conf", golden("vgg-a")));
    assert!(said.contains("no layer `/5/Conf`; did you mean `/5/Conv`") && said.contains("^^^^"), "{said}");
    assert!(shell.complains("grda_cam").contains("did you mean `grad_cam`"));
    assert!(shell.complains("model /no/such.onnx").contains("/no/such.onnx"));
}

#[test]
fn queries_come_from_files_and_standard_input_and_results_as_json() {
    let shell = Shell::new();
    let queries = format!("# a comment\n{}\npredict top=2\n", golden("residual-a").replace("; ", "\n"));
    std::fs::write(shell.folder.path().join("session.intro"), &queries).unwrap();
    let from_file = shell.run(&["--json", "session.intro"]);
    let mut piped = shell.introspect(&["--json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(queries.as_bytes()).unwrap();
    let from_pipe = piped.wait_with_output().unwrap();
    let last = |output: &Output| -> serde_json::Value {
        serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap()
    };
    assert_eq!(last(&from_file)["classes"].as_array().unwrap().len(), 2);
    assert_eq!(last(&from_file), last(&from_pipe));
}

/// An editor at the bridge's other end.
struct Editor {
    bridge: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Editor {
    fn at(shell: &Shell) -> Editor {
        let mut bridge = shell.introspect(&["stdio"]);
        bridge.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut bridge = bridge.spawn().unwrap();
        let (to, from) = (bridge.stdin.take().unwrap(), BufReader::new(bridge.stdout.take().unwrap()));
        Editor { bridge, to, from }
    }

    fn tell(&mut self, method: &str, params: &Value) {
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
        write!(self.to, "Content-Length: {}\r\n\r\n{message}", message.len()).unwrap();
    }

    /// Asks, and takes the next message for the answer.
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.tell(method, params);
        let answer = self.hear();
        assert_eq!(answer["id"], 7, "{answer}");
        answer
    }

    /// The next message.
    fn hear(&mut self) -> Value {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.from.read_line(&mut head).unwrap() > 0, "the bridge ended: {head}");
        }
        let length = head.to_lowercase().trim().strip_prefix("content-length: ").expect("a length").parse().unwrap();
        let mut body = vec![0; length];
        self.from.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

#[test]
fn an_editor_speaks_through_the_bridge() {
    let shell = Shell::new();
    let mut editor = Editor::at(&shell);
    assert_eq!(editor.ask("server.info", &json!({}))["result"]["devices"][0]["name"], "cpu");
    drop(editor.to);
    assert!(editor.bridge.wait().unwrap().success());
}

#[test]
fn an_editor_is_told_how_far_a_job_is() {
    let shell = Shell::new();
    shell.prints(&golden("vgg-a"));
    let mut editor = Editor::at(&shell);
    let unknown = editor.ask("job.subscribe", &json!({"job": "j99"}));
    assert!(unknown["error"]["message"].as_str().unwrap().contains("no job `j99`"), "{unknown}");

    let objective = json!({"kind": "logit", "class": 0});
    let params = json!({"model": "small", "objective": objective, "steps": 100_000, "background": true});
    let begun = editor.ask("visualization.maximize", &params);
    let job = begun["result"]["job"].as_str().unwrap_or_else(|| panic!("{begun}"));
    let subscription = editor.ask("job.subscribe", &json!({"job": job, "partial": false}))["result"].clone();
    let mut done = Vec::new();
    while done.len() < 3 {
        let told = editor.hear();
        assert_eq!((&told["method"], &told["params"]["subscription"]), (&json!("job.progress"), &subscription));
        done.push(told["params"]["result"]["progress"]["done"].as_u64().unwrap_or(0));
    }
    assert!(done.is_sorted() && done[2] > done[0], "{done:?}");

    editor.tell("job.cancel", &json!({"job": job}));
    // The answer comes among what is told.
    let (mut is_answered, mut has_ended) = (false, false);
    while !is_answered || !has_ended {
        let heard = editor.hear();
        is_answered |= heard["result"]["cancelled"] == true;
        has_ended |= heard["params"]["result"]["state"] == "cancelled";
    }
    assert_eq!(editor.ask("job.unsubscribe", &json!({"subscription": subscription}))["result"], false);
    drop(editor.to);
    assert!(editor.bridge.wait().unwrap().success());
}

#[test]
fn the_doctor_looks_around_and_the_version_is_told() {
    let shell = Shell::new();
    assert!(String::from_utf8(shell.run(&["doctor"]).stdout).unwrap().contains("does not run"));
    shell.prints("model.list");
    let doctor = String::from_utf8(shell.run(&["doctor"]).stdout).unwrap();
    assert!(doctor.contains("introspectd") && doctor.contains("socket") && doctor.contains("weights"), "{doctor}");
    assert!(String::from_utf8(shell.run(&["--version"]).stdout).unwrap().starts_with("introspect "));
    for name in ["bash", "zsh", "fish"] {
        assert!(shell.run(&["completions", name]).stdout.len() > 500);
    }
    shell.run(&["stop"]);
    assert!(!shell.run(&["--no-start", "-c", "stats"]).status.success());
}

#[test]
fn a_photo_from_the_command_line() {
    if cached("models/efficientnet-lite0.pth").is_none() {
        return;
    }
    let Some(photo) = cached("photos/coffee.png") else { return };
    let shell = Shell::new();
    let said = shell.prints(&format!(
        "model efficientnet-lite0; input {}; predict top=1; grad_cam target=cup > cup.png",
        photo.display()
    ));
    assert!(said.contains("espresso") && said.contains("95.1"), "{said}");
    assert!(Path::new(&shell.folder.path().join("cup.png")).exists());
}
