//! What rustyline asks of us: completions, hints and how they look.

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::{Context, Helper, Validator};
use serde_json::Value;

use super::completion::complete;
use super::facts::Facts;
use crate::query_language::{Text, method_of, parameters};
use crate::session::Session;

/// The helper of the prompt's editor.
#[derive(Helper, Validator)]
pub(crate) struct QueryHelper {
    session: SessionFacts,
}

impl QueryHelper {
    /// A helper that looks names up in a session.
    pub(crate) fn new(session: Rc<RefCell<Session>>) -> Self {
        QueryHelper { session: SessionFacts { session, models: RefCell::new(None) } }
    }
}

impl Completer for QueryHelper {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let completions = complete(&line[..position], &self.session);
        Ok((completions.start, completions.candidates))
    }
}

impl Hinter for QueryHelper {
    type Hint = String;

    fn hint(&self, line: &str, position: usize, _: &Context<'_>) -> Option<String> {
        if position < line.len() { None } else { hint(line) }
    }
}

impl Highlighter for QueryHelper {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[2m{hint}\x1b[0m"))
    }
}

/// What nearly every method takes or has filled in, so that a hint need not say it.
const COMMON: [&str; 7] = ["model", "input", "background", "encoding", "picture", "timeout", "watch"];

/// What a method takes, once its name and a space are typed.
fn hint(line: &str) -> Option<String> {
    let head = line.rsplit(';').next()?.trim_start().strip_suffix(' ')?;
    if head.contains(char::is_whitespace) || head.is_empty() {
        return None;
    }
    let method = method_of(&Text { text: head.to_owned(), span: 0..0 }).ok()?;
    let main = method.main_parameter.map(str::to_uppercase);
    let others = parameters(method)
        .into_iter()
        .filter(|parameter| Some(parameter.name.as_str()) != method.main_parameter)
        .filter(|parameter| !COMMON.contains(&parameter.name.as_str()))
        .map(|parameter| format!("{}=", parameter.name));
    let words: Vec<String> = main.into_iter().chain(others).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// What the session's daemon told.
struct SessionFacts {
    session: Rc<RefCell<Session>>,
    models: RefCell<Option<Vec<String>>>,
}

impl SessionFacts {
    fn of_description<T>(&self, read: impl FnOnce(&Value) -> Vec<T>) -> Vec<T> {
        self.session.borrow_mut().described().map(read).unwrap_or_default()
    }
}

impl Facts for SessionFacts {
    fn layers(&self) -> Vec<String> {
        self.of_description(|model| {
            let layers = model["layers"].as_array().into_iter().flatten();
            layers.filter_map(|layer| layer["name"].as_str().map(str::to_owned)).collect()
        })
    }

    fn classes(&self) -> Vec<String> {
        self.of_description(|model| {
            let labels = model["labels"].as_array().into_iter().flatten().filter_map(Value::as_str);
            labels.flat_map(|label| label.split(", ")).map(str::to_owned).collect()
        })
    }

    fn models(&self) -> Vec<String> {
        let mut models = self.models.borrow_mut();
        models.get_or_insert_with(|| self.session.borrow_mut().model_names()).clone()
    }

    fn folder(&self) -> PathBuf {
        self.session.borrow().folder().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_hints_at_what_it_takes() {
        assert_eq!(hint("model.unload ").as_deref(), Some("MODEL"));
        assert_eq!(hint("predict; job.cancel ").as_deref(), Some("JOB"));
        assert_eq!(
            hint("predict ").as_deref(),
            Some("INPUT beam_width= language_model= language_weight= search= top= word_bonus=")
        );
        assert_eq!(hint("model.unload"), None);
        assert_eq!(hint("model.unload x "), None);
        assert_eq!(hint("server.info "), None);
        assert_eq!(hint(""), None);
    }
}
