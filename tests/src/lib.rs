//! A real daemon on a temporary socket, and a client of a few lines that shares no code with ours.
//!
//! The binaries must have been built (`cargo build --workspace`); `scripts/test` does so.

mod websocket;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use websocket::WebSocket;

/// A binary of this workspace.
pub fn binary(name: &str) -> PathBuf {
    // Test programs lie in `target/PROFILE/deps`.
    let test = std::env::current_exe().expect("a test knows its own file");
    let path = test.parent().and_then(Path::parent).expect("tests lie two folders deep").join(name);
    assert!(path.exists(), "{} is missing; run `cargo build --workspace` first", path.display());
    path
}

/// A folder of this package.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A fetched file, where it is there; a test that needs one passes over it offline unless
/// `INTROSPECT_REQUIRE_MODELS` is set.
pub fn cached(name: &str) -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let path = base.join("introspect").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("INTROSPECT_REQUIRE_MODELS").is_none(),
        "{} is missing; run scripts/fetch-models",
        path.display()
    );
    eprintln!("passed over: {} was not fetched", path.display());
    None
}

/// A running daemon; ended gracefully when dropped, which fails the test where that goes wrong.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
    /// `http://127.0.0.1:PORT`
    pub url: String,
}

/// What a daemon answers.
pub type Answer = Result<Value, Value>;

impl Daemon {
    /// Starts one with these options beside those that every test needs.
    pub fn start(options: &[&str]) -> Daemon {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut child = Command::new(binary("introspectd"))
            .arg("--socket")
            .arg(folder.path().join("run/introspectd.sock"))
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--listen", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the daemon starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("standard output was asked for");
        BufReader::new(stdout).read_line(&mut line).expect("the daemon says where it listens");
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("the first line was {line:?}"))
            .to_owned();
        Daemon { child, folder, url }
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run/introspectd.sock")
    }

    /// A folder for a test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The token for TCP.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("data/token")).expect("the token was made").trim().to_owned()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks over the Unix socket.
    pub fn call(&self, method: &str, params: Value) -> Answer {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let (_, body) = self.post(&request, "");
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{method} answered {body:?}"));
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].clone()),
        }
    }

    /// The result of a call that must succeed.
    #[track_caller]
    pub fn result(&self, method: &str, params: Value) -> Value {
        self.call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The message of a call that must fail.
    #[track_caller]
    pub fn refusal(&self, method: &str, params: Value) -> String {
        match self.call(method, params) {
            Ok(result) => panic!("{method} answered {}", result.to_string().chars().take(300).collect::<String>()),
            Err(error) => {
                assert!(error["data"]["kind"].is_string(), "{error}");
                error["message"].as_str().unwrap_or_default().to_owned()
            }
        }
    }

    /// Posts a body over the Unix socket; answers status and body.
    pub fn post(&self, body: &str, headers: &str) -> (u16, String) {
        let stream = UnixStream::connect(self.socket()).expect("the daemon listens");
        exchange(stream, body, headers)
    }

    /// Waits for its end and answers whether that was in order.
    pub fn wait(&mut self, within: Duration) -> Option<bool> {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return Some(status.success());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
            let ended = self.wait(Duration::from_secs(10));
            if ended.is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            if !std::thread::panicking() {
                assert_eq!(ended, Some(true), "the daemon did not end well on SIGTERM");
            }
        }
    }
}

/// One HTTP request; the connection is closed behind it.
pub fn exchange(mut stream: impl Read + Write, body: &str, headers: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    // A daemon that refuses early may close before it has read everything; what it says is read all the same.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}

/// A NumPy file's shape and numbers.
pub fn read_npy(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = npyz::NpyFile::new(&bytes[..]).expect("reference answers are NumPy files");
    let shape = file.shape().iter().map(|&length| length as usize).collect();
    (shape, file.into_vec::<f32>().expect("reference answers are f32"))
}

/// Writes f32 as NumPy does.
pub fn write_npy(path: &Path, shape: &[u64], numbers: &[f32]) {
    use npyz::WriterBuilder;
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .shape(shape)
        .writer(&mut bytes)
        .begin_nd()
        .expect("memory can be written");
    writer.extend(numbers.iter().copied()).expect("memory can be written");
    writer.finish().expect("memory can be written");
    std::fs::write(path, bytes).expect("a temporary folder can be written");
}

/// The numbers of a tensor on the wire.
pub fn numbers(tensor: &Value) -> (Vec<usize>, Vec<f32>) {
    use base64::Engine;
    let shape = tensor["shape"]
        .as_array()
        .expect("a tensor has a shape")
        .iter()
        .map(|n| n.as_u64().unwrap_or(0) as usize)
        .collect();
    let data = tensor["data"].as_str().expect("base64 is the default");
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("data are base64");
    (shape, bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
}

/// Asks a daemon of its own for every answer of a case and compares as `golden/check.py` does; a case is a folder with
/// `case.json`, as `golden/README.md` describes it.
pub fn check_case(folder: &Path) {
    let daemon = Daemon::start(&[]);
    let case = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let description: Value = serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
    let file = |name: &Value| folder.join(name.as_str().unwrap()).display().to_string();
    let model = daemon.result("model.load", json!({"source": file(&description["model"])}))["model"].clone();
    let input = match &description["input"] {
        Value::Object(inputs) => inputs.iter().map(|(name, path)| (name.clone(), json!(file(path)))).collect(),
        path => daemon.result("input.load", json!({"path": file(path), "model": model}))["input"].clone(),
    };
    let mut n_checked = 0;
    for call in description["calls"].as_array().unwrap() {
        let method = call["method"].as_str().unwrap();
        let mut params = json!({"model": model, "input": input});
        params.as_object_mut().unwrap().extend(call["params"].as_object().unwrap().clone());
        let (shape, found) = numbers(&daemon.result(method, params)["tensor"]);
        let (expected_shape, expected) = read_npy(&folder.join(call["expected"].as_str().unwrap()));
        let name = format!("{case} {method} {}", call["params"]);
        assert_eq!(without_ones(&shape), without_ones(&expected_shape), "{name}");
        let (rtol, atol) = (call["rtol"].as_f64().unwrap() as f32, call["atol"].as_f64().unwrap() as f32);
        let is_far = |(found, expected): (&f32, &f32)| (found - expected).abs() > atol + rtol * expected.abs();
        let n_far = found.iter().zip(&expected).filter(|pair| is_far(*pair)).count();
        // A handful may sit on the other side of a rectifier's kink.
        assert!(n_far as f64 <= 0.002 * expected.len() as f64, "{name}: {n_far} of {} differ", expected.len());
        n_checked += 1;
    }
    assert!(n_checked >= 3, "{case}: only {n_checked} calls were checked");
}

/// A shape without the axes of length one that stand in front.
pub fn without_ones(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().skip_while(|length| *length == 1).collect()
}
