//! A session: the daemon that is asked, the model and input that lines are about, and what is done with results.

use std::path::{Path, PathBuf};
use std::time::Instant;

use client_protocol::{ErrorKind, ErrorObject, find_method};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::connection::{Address, Client, ConnectionError, connect_or_start};
use crate::help;
use crate::method_table::answers_array;
use crate::output::{FileKind, Output, WriteError};
use crate::progress::{SignOfLife, Watcher};
use crate::query_language::{Binder, Call, QueryError, Statement, parse};

/// Why a line came to nothing.
#[derive(Debug, Error)]
pub(crate) enum LineError {
    /// The query is wrong, or the daemon says so.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The daemon could not be asked.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The result could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl LineError {
    /// The error as lines for a terminal.
    pub(crate) fn render(&self, text: &str) -> String {
        let hint = match self {
            LineError::Query(error) => return error.render(text),
            LineError::Connection(error) => error.hint(),
            LineError::Write(error) => error.hint(),
        };
        let hint = hint.map(|hint| format!("\nhint: {hint}"));
        format!("error: {self}{}", hint.unwrap_or_default())
    }

    /// Whether Ctrl-C was the reason.
    pub(crate) fn is_interrupt(&self) -> bool {
        matches!(self, LineError::Connection(ConnectionError::Interrupted))
    }
}

/// How a session reaches its daemon.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// Where the daemon is.
    pub(crate) address: Address,
    /// Whether one is started where none runs.
    pub(crate) may_start: bool,
    /// Whether nothing is said about that.
    pub(crate) quiet: bool,
}

impl Reach {
    /// A caller of the daemon.
    pub(crate) fn connect(&self) -> Result<Client, ConnectionError> {
        connect_or_start(&self.address, self.may_start, &|line| {
            if !self.quiet {
                eprintln!("introspect: {line}");
            }
        })
    }
}

/// Something loaded that later lines are about.
#[derive(Clone, Debug)]
struct Set {
    /// The id that the daemon gave.
    id: String,
    /// What it was loaded with, to load it again into a daemon that was started anew.
    loaded_with: Map<String, Value>,
}

/// What goes on after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another line.
    Continue,
    /// The end.
    Quit,
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    reach: Reach,
    client: Option<Client>,
    output: Output,
    folder: PathBuf,
    model: Option<Set>,
    input: Option<Set>,
    /// `model.describe` of the model that is set, once asked.
    described: Option<Value>,
}

impl Session {
    /// A session that starts in a folder.
    pub(crate) fn new(reach: Reach, output: Output, folder: &Path) -> Self {
        let folder = folder.to_owned();
        Session { reach, client: None, output, folder, model: None, input: None, described: None }
    }

    /// The folder that relative paths start at.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the connection where there is none yet.
    pub(crate) fn reach_daemon(&mut self) -> Result<(), LineError> {
        if self.client.is_none() {
            self.client = Some(self.reach.connect()?);
        }
        Ok(())
    }

    /// Runs all statements of a text, up to the first that fails; nothing runs where the text cannot be parsed.
    pub(crate) fn run(&mut self, text: &str) -> Result<Next, LineError> {
        for statement in parse(text)? {
            if self.run_statement(&statement)? == Next::Quit {
                return Ok(Next::Quit);
            }
        }
        Ok(Next::Continue)
    }

    /// Runs one statement.
    pub(crate) fn run_statement(&mut self, statement: &Statement) -> Result<Next, LineError> {
        let words_behind = statement.bare.len() + statement.arguments.len();
        match statement.head.text.as_str() {
            "quit" | "exit" => return Ok(Next::Quit),
            "help" | "?" => {
                self.output.say(&help::help(statement)?);
                return Ok(Next::Continue);
            }
            "reset" => {
                (self.model, self.input, self.described) = (None, None, None);
                return Ok(Next::Continue);
            }
            "model" if words_behind == 0 => {
                let model = self.model.as_ref().map(|set| format!("model {}", set.id));
                self.output.say(&model.unwrap_or_else(|| "no model is set; `model NAME` sets one".to_owned()));
                return Ok(Next::Continue);
            }
            "input" if words_behind == 0 => {
                let input = self.input.as_ref().map(|set| format!("input {}", set.id));
                self.output.say(&input.unwrap_or_else(|| "no input is set; `input FILE` sets one".to_owned()));
                return Ok(Next::Continue);
            }
            _ => {}
        }
        let binder = Binder {
            model: self.model.as_ref().map(|set| set.id.as_str()),
            input: self.input.as_ref().map(|set| set.id.as_str()),
            folder: &self.folder,
        };
        let mut call = binder.bind(statement)?;
        let file = call.redirect.clone().map(|path| FileKind::of(&path).map(|kind| (path, kind))).transpose();
        let span = statement.redirect.as_ref().map(|file| file.span.clone());
        let file = file.map_err(|error| QueryError { span: span.clone(), ..error })?;
        self.ask_for_picture(&mut call, file.as_ref().map(|(_, kind)| *kind), span)?;
        let result = self.ask(&call)?;
        self.remember(&call, &result);
        match file {
            Some((path, kind)) => self.output.write(&result, &path, kind)?,
            None => self.output.print(call.method.name, &result),
        }
        Ok(Next::Continue)
    }

    /// Adds the wish for a picture where the result goes to a picture's file, or to a terminal that can show one.
    fn ask_for_picture(
        &self,
        call: &mut Call,
        file: Option<FileKind>,
        span: Option<std::ops::Range<usize>>,
    ) -> Result<(), QueryError> {
        let has_picture = help::has_parameter(call.method, "picture");
        let format = match file {
            Some(FileKind::Png) => Some("png"),
            Some(FileKind::Svg) => Some("svg"),
            Some(_) => None,
            None => self.output.shows_pictures().then_some("png").filter(|_| answers_array(call.method)),
        };
        let Some(format) = format else { return Ok(()) };
        if !has_picture {
            let message = format!("`{}` has no picture to write", call.method.name);
            let error = QueryError { span, ..QueryError::new(message) };
            return Err(error.hint("write the result itself with `> FILE.json`"));
        }
        let picture = call.params.entry("picture").or_insert_with(|| json!({}));
        if let Value::Object(picture) = picture {
            picture.insert("format".to_owned(), Value::from(format));
        }
        Ok(())
    }

    fn ask(&mut self, call: &Call) -> Result<Value, LineError> {
        let result = match self.ask_daemon(call.method.name, &call.params) {
            // `model NAME` may also name a model that is held under another name than its source's.
            Err(ConnectionError::Answered(error)) if call.method.name == "model.load" && is_not_found(&error) => {
                let held = call.params.get("source").filter(|_| call.params.len() == 1);
                let held = held.map(|source| Map::from_iter([("model".to_owned(), source.clone())]));
                let described = held.and_then(|params| self.ask_daemon("model.describe", &params).ok());
                described.ok_or(ConnectionError::Answered(error))
            }
            other => other,
        };
        result.map_err(|error| match error {
            ConnectionError::Answered(error) => {
                let field = error.data.as_ref().and_then(|data| data.field.clone()).unwrap_or_default();
                let written = call.spans.iter().find(|(name, _)| *name == field).map(|(_, span)| span.clone());
                LineError::Query(QueryError { span: written, ..QueryError::from(*error) })
            }
            other => LineError::Connection(other),
        })
    }

    /// Calls a method, on a connection that is made where there is none.
    ///
    /// A daemon that ended or was started anew between two lines is nothing that a line need fail for: it is reached
    /// again and gets what was set, once.
    fn ask_daemon(&mut self, method: &str, params: &Map<String, Value>) -> Result<Value, ConnectionError> {
        let had_client = self.client.is_some();
        match self.ask_once(method, params) {
            Err(ConnectionError::Unreachable { .. }) if had_client => self.ask_once(method, params),
            Err(ConnectionError::Answered(error)) if had_client && self.is_about_what_is_set(&error, params) => {
                self.client = None;
                self.ask_once(method, params)
            }
            other => other,
        }
    }

    fn ask_once(&mut self, method: &str, params: &Map<String, Value>) -> Result<Value, ConnectionError> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => {
                let mut client = self.reach.connect()?;
                self.load_again(&mut client)?;
                client
            }
        };
        let answer = match self.output.shows_progress() && SignOfLife::can_be_shown() {
            true => call_shown(&mut client, method, params),
            false => client.call(method, params),
        };
        if !matches!(
            answer,
            Err(ConnectionError::Lost { .. } | ConnectionError::Unreachable { .. } | ConnectionError::NotOurs { .. })
        ) {
            self.client = Some(client);
        }
        answer
    }

    /// Whether the daemon does not know the very model or input that is set.
    fn is_about_what_is_set(&self, error: &ErrorObject, params: &Map<String, Value>) -> bool {
        let field = error.data.as_ref().and_then(|data| data.field.as_deref()).unwrap_or_default();
        let set = match field {
            "model" => &self.model,
            "input" => &self.input,
            _ => return false,
        };
        let asked = params.get(field).and_then(Value::as_str);
        is_not_found(error) && set.as_ref().is_some_and(|set| Some(set.id.as_str()) == asked)
    }

    /// Loads what is set into a daemon that may never have seen it.
    fn load_again(&self, client: &mut Client) -> Result<(), ConnectionError> {
        for (method, set) in [("model.load", &self.model), ("input.load", &self.input)] {
            if let Some(set) = set {
                client.call(method, &set.loaded_with)?;
            }
        }
        Ok(())
    }

    /// Sets what was loaded, and forgets what was let go.
    fn remember(&mut self, call: &Call, result: &Value) {
        let id = |field: &str| result[field].as_str().map(str::to_owned);
        let set = |id: String| Set { id, loaded_with: call.params.clone() };
        match call.method.name {
            "model.load" => {
                if let Some(id) = id("model") {
                    self.model = Some(set(id));
                    self.described = None;
                }
            }
            "input.load" => {
                if let Some(id) = id("input") {
                    self.input = Some(set(id));
                }
            }
            "model.unload" => {
                let gone = id("model");
                if self.model.as_ref().is_some_and(|model| gone.as_deref() == Some(&model.id)) {
                    (self.model, self.described) = (None, None);
                }
            }
            "input.drop" => {
                let gone = id("input");
                self.input = self.input.take().filter(|input| gone.as_deref() != Some(&input.id));
            }
            _ => {}
        }
    }

    /// `model.describe` of the model that is set, asked once; nothing where that fails, since only completion wants it.
    pub(crate) fn described(&mut self) -> Option<&Value> {
        if self.described.is_none() {
            let id = self.model.as_ref()?.id.clone();
            let params = Map::from_iter([("model".to_owned(), Value::from(id))]);
            self.described = self.ask_daemon("model.describe", &params).ok();
        }
        self.described.as_ref()
    }

    /// What the prompt says is set.
    pub(crate) fn model_name(&self) -> Option<String> {
        let set = self.model.as_ref()?;
        let source = set.loaded_with.get("name").or_else(|| set.loaded_with.get("source"))?.as_str()?;
        Path::new(source).file_name().map(|name| name.to_string_lossy().into_owned())
    }

    /// The names of the models that can be loaded, for completion.
    pub(crate) fn model_names(&mut self) -> Vec<String> {
        let models = self.ask_daemon("model.list", &Map::new()).unwrap_or_default();
        let zoo = models["zoo"].as_array().into_iter().flatten();
        let names: Vec<String> = zoo.filter_map(|entry| entry["name"].as_str().map(str::to_owned)).collect();
        names
    }
}

/// Calls a method and shows that it runs, and how far it is.
fn call_shown(client: &mut Client, method: &str, params: &Map<String, Value>) -> Result<Value, ConnectionError> {
    let mut params = params.clone();
    let can_be_watched = find_method(method).is_some_and(|method| help::has_parameter(method, "watch"));
    let watcher = (can_be_watched && !params.contains_key("watch") && params.get("background") != Some(&json!(true)))
        .then(|| {
            let name = format!("introspect-{}", std::process::id());
            let watcher = Watcher::new(&name, client.address());
            params.insert("watch".to_owned(), Value::from(name));
            watcher
        });
    let mut sign = SignOfLife::new(Instant::now(), watcher);
    let answer = client.call_waiting(method, &params, &mut || {
        sign.show(method);
        Ok(())
    });
    sign.clear();
    answer
}

fn is_not_found(error: &ErrorObject) -> bool {
    matches!(error.kind(), Some(ErrorKind::NotFound))
}

#[cfg(test)]
mod tests;
