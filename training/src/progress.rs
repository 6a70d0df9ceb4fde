//! How far a run is: lines for whoever watches, with rate and time left, and a log of JSON lines that plots are drawn of.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Result, TrainingError};

/// Says now and then how far a run is.
#[derive(Debug)]
pub struct Progress {
    /// What is counted (`photos`, `s of speech`).
    unit: &'static str,
    n_steps: usize,
    started: Instant,
    first_step: usize,
    said: Instant,
    amount: f64,
    losses: (f64, usize),
}

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// Of a run of so many steps that begins, or goes on, with this one.
    pub fn new(unit: &'static str, first_step: usize, n_steps: usize) -> Progress {
        let now = Instant::now();
        Progress { unit, n_steps, started: now, first_step, said: now, amount: 0.0, losses: (0.0, 0) }
    }

    /// Another length of the run, where that is found out as it goes.
    pub fn set_n_steps(&mut self, n_steps: usize) {
        self.n_steps = n_steps;
    }

    /// Counts a step; answers a line when one is due.
    pub fn count(&mut self, step: usize, loss: f64, amount: f64) -> Option<String> {
        self.amount += amount;
        self.losses = (self.losses.0 + loss, self.losses.1 + 1);
        let is_due = self.said.elapsed() >= EVERY || step + 1 == self.n_steps;
        is_due.then(|| {
            self.said = Instant::now();
            let (sum, n) = std::mem::take(&mut self.losses);
            self.line(step + 1, sum / n.max(1) as f64, self.started.elapsed())
        })
    }

    /// What was worked through in a second so far.
    pub fn rate(&self) -> f64 {
        self.amount / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    fn line(&self, done: usize, loss: f64, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        let per_step = seconds / (done - self.first_step).max(1) as f64;
        let left = per_step * (self.n_steps - done) as f64;
        let (n_steps, unit, rate) = (self.n_steps, self.unit, self.amount / seconds.max(1e-9));
        format!("step {done}/{n_steps}, loss {loss:.4}, {rate:.1} {unit}/s, {} left", spelled(left))
    }
}

/// Seconds in words.
fn spelled(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.0} s"),
        ..5400.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// A log of JSON lines, one a step or validation, each with its step.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Goes on with a log from a step on: lines of later steps, which a run that was killed left behind, are dropped.
    pub fn open(path: &Path, from_step: usize) -> Result<Log> {
        let belongs = |line: &&str| {
            let line: Option<Value> = serde_json::from_str(line).ok();
            line.and_then(|line| line["step"].as_u64()).is_some_and(|step| (step as usize) < from_step)
        };
        let kept = match std::fs::read_to_string(path) {
            Ok(log) => log.lines().filter(belongs).map(|line| format!("{line}\n")).collect::<String>(),
            Err(_) => String::new(),
        };
        crate::weights_file::write_whole(path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(TrainingError::file(path))?;
        Ok(Log { path: path.to_owned(), file })
    }

    /// One more line about a step.
    pub fn write(&mut self, step: usize, what: Value) -> Result<()> {
        let mut line = json!({"step": step});
        if let (Some(line), Value::Object(what)) = (line.as_object_mut(), what) {
            line.extend(what);
        }
        writeln!(self.file, "{line}").map_err(TrainingError::file(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_are_those_of_the_steps_made_now() {
        let mut progress = Progress::new("photos", 100, 300);
        progress.amount = 1000.0;
        let line = progress.line(150, 0.5, Duration::from_secs(100));
        assert_eq!(line, "step 150/300, loss 0.5000, 10.0 photos/s, 5 min left");
    }

    #[test]
    fn a_log_goes_on_where_the_checkpoint_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = Log::open(&path, 0).unwrap();
        (0..4).for_each(|step| log.write(step, json!({"loss": step as f64})).unwrap());
        Log::open(&path, 2).unwrap().write(2, json!({"loss": 7.0})).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [r#"{"loss":0.0,"step":0}"#, r#"{"loss":1.0,"step":1}"#, r#"{"loss":7.0,"step":2}"#]
        );
    }
}
