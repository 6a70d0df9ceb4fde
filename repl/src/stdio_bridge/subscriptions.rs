//! `job.subscribe` and `job.unsubscribe` for whoever speaks through standard input and output.
//!
//! The daemon tells a WebSocket by itself how far a job is; behind the bridge there are connections of one request each,
//! so that the bridge asks, and tells what has changed.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Shared, locked};

/// Between two looks at a job.
const BETWEEN: Duration = Duration::from_millis(100);

/// What is subscribed to, by the ids that the bridge gave.
#[derive(Default)]
pub(super) struct Subscriptions {
    next: AtomicU64,
    open: Mutex<HashSet<String>>,
}

impl Subscriptions {
    fn begin(&self) -> String {
        let id = format!("stdio-{}", self.next.fetch_add(1, Ordering::Relaxed) + 1);
        locked(&self.open).insert(id.clone());
        id
    }

    fn is_open(&self, id: &str) -> bool {
        locked(&self.open).contains(id)
    }

    /// Whether there was one to end.
    fn end(&self, id: &str) -> bool {
        locked(&self.open).remove(id)
    }
}

impl Shared {
    /// Answers with a subscription, then tells where the job stands, now, at each change and at its end.
    pub(super) fn subscribe(&self, request: &Value) {
        let params = &request["params"];
        let mut job = match self.job(params) {
            Ok(job) => job,
            Err(error) => return self.answer(request, &json!({"error": error})),
        };
        let id = self.subscriptions.begin();
        self.answer(request, &json!({"result": id}));
        let mut told = Value::Null;
        while self.subscriptions.is_open(&id) {
            let is_running = job["state"] == "running";
            if !is_running {
                // Before its end is told, so that whoever heard of it finds it ended.
                self.subscriptions.end(&id);
            }
            let stands = json!([job["state"], job["progress"]["done"], job["progress"]["partial"]["step"]]);
            if stands != told {
                // A picture is told once.
                if stands[2] == told[2]
                    && let Some(progress) = job["progress"].as_object_mut()
                {
                    progress.remove("partial");
                }
                told = stands;
                self.write_value(&json!({
                    "jsonrpc": "2.0", "method": "job.progress", "params": {"subscription": id, "result": job},
                }));
            }
            if !is_running {
                break;
            }
            std::thread::sleep(BETWEEN);
            job = match self.job(params) {
                Ok(job) => job,
                // What was watched under a name is known only until it is answered, or the daemon has ended.
                Err(_) => break,
            };
        }
        self.subscriptions.end(&id);
    }

    pub(super) fn unsubscribe(&self, request: &Value) {
        let was_open = request["params"]["subscription"].as_str().is_some_and(|id| self.subscriptions.end(id));
        self.answer(request, &json!({"result": was_open}));
    }

    /// Where a job stands, without its result; or the daemon's error.
    fn job(&self, params: &Value) -> Result<Value, Value> {
        let request = json!({"jsonrpc": "2.0", "id": 0, "method": "job.get", "params": params});
        let failed = |message: String| json!({"code": -32603, "message": message});
        let answer = self.ask(request.to_string().as_bytes(), None).map_err(|error| failed(error.to_string()))?;
        let mut answer: Value = serde_json::from_slice(&answer).map_err(|error| failed(error.to_string()))?;
        match answer.get_mut("result").map(Value::take) {
            Some(mut job) => {
                job.as_object_mut().map(|job| job.remove("result"));
                Ok(job)
            }
            None => Err(answer["error"].take()),
        }
    }

    fn answer(&self, request: &Value, outcome: &Value) {
        // A notification gets no answer.
        let (Some(id), Some(outcome)) = (request.get("id"), outcome.as_object()) else { return };
        let mut answer = json!({"jsonrpc": "2.0", "id": id});
        outcome.iter().for_each(|(name, value)| answer[name] = value.clone());
        self.write_value(&answer);
    }
}
