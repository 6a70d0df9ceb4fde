//! From a statement to the call that goes over the wire: the method, its parameters as JSON, checked against the
//! protocol's table, with the model and input of the lines before filled in.

use std::ops::Range;
use std::path::{Path, PathBuf};

use client_protocol::{MethodSpec, check_params, find_method, methods, nearest, resolve_method};
use serde_json::{Map, Value};

use super::error::QueryError;
use super::paths;
use super::schema::{Parameter, parameters_with};
use super::syntax::{Node, NodeKind, Statement, Text};
use super::target::target;
use crate::method_table::{BUILT_INS, PathKind, is_target, method_of_built_in, path_kind};

/// A request that is ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The method.
    pub(crate) method: &'static MethodSpec,
    /// Its parameters.
    pub(crate) params: Map<String, Value>,
    /// Where each parameter was written; those filled in from before are absent.
    pub(crate) spans: Vec<(String, Range<usize>)>,
    /// Where the method was written.
    pub(crate) head: Range<usize>,
    /// The file that the result is written to, absolute.
    pub(crate) redirect: Option<PathBuf>,
}

impl Call {
    /// Where a parameter was written, else where the method was.
    pub(crate) fn span_of(&self, parameter: &str) -> Range<usize> {
        let written = self.spans.iter().find(|(name, _)| name == parameter);
        written.map_or_else(|| self.head.clone(), |(_, span)| span.clone())
    }
}

/// What stands for things that a statement leaves out.
#[derive(Clone, Debug)]
pub(crate) struct Binder<'a> {
    /// The id of the model that is set.
    pub(crate) model: Option<&'a str>,
    /// The id of the input that is set.
    pub(crate) input: Option<&'a str>,
    /// The folder that relative paths start at.
    pub(crate) folder: &'a Path,
}

impl Binder<'_> {
    /// The call that a statement means.
    pub(crate) fn bind(&self, statement: &Statement) -> Result<Call, QueryError> {
        let method = method_of(&statement.head)?;
        let known = parameters_with(method, attribution_of(statement, method));
        let mut call = Call {
            method,
            params: Map::new(),
            spans: Vec::new(),
            head: statement.head.span.clone(),
            redirect: statement.redirect.as_ref().map(|file| paths::absolute(&file.text, self.folder)),
        };
        self.bare_values(statement, method, &known, &mut call)?;
        for (key, node) in &statement.arguments {
            self.argument(key, node, &known, &mut call)?;
        }
        self.fill_in(&known, &mut call)?;
        match check_params(method, &call.params) {
            Ok(()) => Ok(call),
            Err(error) => {
                let field = error.data.as_ref().and_then(|data| data.field.clone()).unwrap_or_default();
                let span = call.span_of(&field);
                Err(QueryError { span: Some(span), ..QueryError::from(error) })
            }
        }
    }

    fn bare_values(
        &self,
        statement: &Statement,
        method: &MethodSpec,
        known: &[Parameter],
        call: &mut Call,
    ) -> Result<(), QueryError> {
        let Some(first) = statement.bare.first() else { return Ok(()) };
        let Some(main) = method.main_parameter else {
            let takes: Vec<&str> = known.iter().map(|parameter| parameter.name.as_str()).collect();
            let message = format!("`{}` takes no value without a key", method.name);
            let error = QueryError::at(first.span.clone(), message);
            return Err(match takes.is_empty() {
                true => error.hint("it takes no parameters"),
                false => error.hint(format!("it takes {}", takes.join("=…, ") + "=…")),
            });
        };
        if let Some(second) = statement.bare.get(1) {
            let message = format!("`{}` takes one value without a key, its `{main}`", method.name);
            let both = matches!((&first.kind, &second.kind), (NodeKind::Word(_), NodeKind::Word(_)));
            let error = QueryError::at(second.span.clone(), message);
            return Err(match (&first.kind, &second.kind) {
                (NodeKind::Word(a), NodeKind::Word(b)) if both => {
                    error.hint(format!("quote a name that has spaces: \"{a} {b}\""))
                }
                _ => error.hint("write the others as key=value"),
            });
        }
        let key = Text { text: main.to_owned(), span: first.span.clone() };
        self.argument(&key, first, known, call)
    }

    /// Puts one argument where it belongs: to the parameter of its name, or to the field of an object parameter.
    fn argument(&self, key: &Text, node: &Node, known: &[Parameter], call: &mut Call) -> Result<(), QueryError> {
        let own = known.iter().find(|parameter| parameter.name == key.text);
        let (parameter, field) = match own {
            Some(parameter) => (parameter, None),
            None => {
                let (parameter, field) = flat_field(key, known, call.method)?;
                (parameter, Some(field))
            }
        };
        let span = key.span.start..node.span.end;
        let twice = |name: &str| QueryError::at(span.clone(), format!("`{name}` is given twice"));
        let Some(field) = field else {
            let value = self.value(node, parameter)?;
            if call.params.insert(key.text.clone(), value).is_some() {
                return Err(twice(&key.text));
            }
            call.spans.push((key.text.clone(), span));
            return Ok(());
        };
        let value = self.value(node, field)?;
        let object = call.params.entry(parameter.name.clone()).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(object) = object else {
            let message =
                format!("`{}` is given already, so that its field `{}` cannot be", parameter.name, field.name);
            return Err(QueryError::at(span, message));
        };
        if object.insert(field.name.clone(), value).is_some() {
            return Err(twice(&key.text));
        }
        match call.spans.iter_mut().find(|(name, _)| *name == parameter.name) {
            Some((_, known)) => known.end = known.end.max(span.end),
            None => call.spans.push((parameter.name.clone(), span)),
        }
        Ok(())
    }

    fn value(&self, node: &Node, parameter: &Parameter) -> Result<Value, QueryError> {
        let value = self.unwrapped(node, parameter)?;
        // One of something may stand for a list of one, where nothing but a list would do.
        let takes_one = parameter.takes_text
            || parameter.takes_number
            || parameter.takes_boolean
            || !parameter.fields.is_empty()
            || !parameter.takes_list;
        let is_one = matches!(value, Value::Number(_) | Value::String(_));
        Ok(if is_one && !takes_one { Value::Array(vec![value]) } else { value })
    }

    fn unwrapped(&self, node: &Node, parameter: &Parameter) -> Result<Value, QueryError> {
        Ok(match &node.kind {
            NodeKind::Quoted(text) => Value::from(self.text(text, parameter)),
            NodeKind::Word(word) if is_target(&parameter.name) && word != "null" => {
                target(word).map_err(|message| QueryError::at(node.span.clone(), message))?
            }
            NodeKind::Word(word) => self.word(word, parameter),
            NodeKind::List(items) => {
                Value::Array(items.iter().map(|item| self.unwrapped(item, parameter)).collect::<Result<_, _>>()?)
            }
            NodeKind::Object(fields) => {
                let mut object = Map::new();
                for (name, node) in fields {
                    let known = parameter.fields.iter().find(|field| field.name == name.text);
                    // Each of several inputs may be a path as one alone may.
                    let holds_paths = path_kind(&parameter.name) != PathKind::Never;
                    let as_what = if holds_paths { &parameter.name } else { &name.text };
                    let any = Parameter {
                        name: as_what.clone(),
                        takes_number: true,
                        takes_text: holds_paths,
                        ..Parameter::default()
                    };
                    if object.insert(name.text.clone(), self.unwrapped(node, known.unwrap_or(&any))?).is_some() {
                        return Err(QueryError::at(name.span.clone(), format!("`{}` is given twice", name.text)));
                    }
                }
                Value::Object(object)
            }
        })
    }

    /// What a bare word means: a number, `true`, `false`, `null`, else a text; a text only where nothing else would do.
    fn word(&self, word: &str, parameter: &Parameter) -> Value {
        let takes_other = parameter.takes_number || parameter.takes_boolean;
        let is_path = path_kind(&parameter.name) != PathKind::Never;
        let is_text = parameter.takes_text && (is_path || !takes_other);
        match serde_json::from_str::<Value>(word) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) if !is_text => value,
            Ok(Value::Null) => Value::Null,
            _ => Value::from(self.text(word, parameter)),
        }
    }

    fn text(&self, text: &str, parameter: &Parameter) -> String {
        paths::sent(text, path_kind(&parameter.name), self.folder)
    }

    /// Fills in the model and the input that are set.
    fn fill_in(&self, known: &[Parameter], call: &mut Call) -> Result<(), QueryError> {
        let set = [
            ("model", self.model, "`model NAME` sets one for all later lines"),
            ("input", self.input, "`input FILE` sets one for all later lines"),
        ];
        for (name, id, hint) in set {
            let needed = known.iter().any(|parameter| parameter.name == name && parameter.required);
            if !needed || call.params.contains_key(name) {
                continue;
            }
            let Some(id) = id else {
                let message = format!("`{}` needs {}, and none is set", call.method.name, article(name));
                return Err(QueryError::at(call.head.clone(), message).hint(hint));
            };
            call.params.insert(name.to_owned(), Value::from(id));
        }
        Ok(())
    }
}

/// The word that names an attribution within another request.
fn attribution_of<'a>(statement: &'a Statement, method: &MethodSpec) -> Option<&'a str> {
    let named = statement.arguments.iter().find(|(key, _)| key.text == "method").map(|(_, node)| node);
    let bare = statement.bare.first().filter(|_| method.main_parameter == Some("method"));
    match &named.or(bare)?.kind {
        NodeKind::Word(word) | NodeKind::Quoted(word) => Some(word),
        _ => None,
    }
}

fn article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// The method that a word means.
pub(crate) fn method_of(head: &Text) -> Result<&'static MethodSpec, QueryError> {
    if let Some(method) = method_of_built_in(&head.text).and_then(find_method) {
        return Ok(method);
    }
    resolve_method(&head.text).map_err(|candidates| match candidates[..] {
        [] => {
            let names = methods().iter().flat_map(|method| [method.short_name(), method.name]);
            let words = BUILT_INS.iter().map(|(word, _)| *word);
            let error = QueryError::at(head.span.clone(), format!("there is no method `{}`", head.text));
            match &nearest(&head.text, names.chain(words))[..] {
                [] => error.hint("`help` lists the methods"),
                near => error.nearest(near),
            }
        }
        _ => {
            let message = format!("`{}` is the last part of several methods' names", head.text);
            QueryError::at(head.span.clone(), message).hint(format!("write {}", candidates.join(" or ")))
        }
    })
}

/// The object parameter and its field that a key means: `objective.kind`, or `kind` where one parameter has it.
fn flat_field<'a>(
    key: &Text,
    known: &'a [Parameter],
    method: &MethodSpec,
) -> Result<(&'a Parameter, &'a Parameter), QueryError> {
    let (owner, name) = match key.text.split_once('.') {
        Some((owner, name)) => (Some(owner), name),
        None => (None, key.text.as_str()),
    };
    let candidates: Vec<(&Parameter, &Parameter)> = known
        .iter()
        .filter(|parameter| owner.is_none_or(|owner| parameter.name == owner))
        .filter_map(|parameter| Some((parameter, parameter.fields.iter().find(|field| field.name == name)?)))
        .collect();
    match candidates[..] {
        [one] => Ok(one),
        [] => {
            let fields = known.iter().flat_map(|parameter| parameter.fields.iter());
            let names: Vec<&str> = known.iter().chain(fields).map(|parameter| parameter.name.as_str()).collect();
            let takes: Vec<&str> = known.iter().map(|parameter| parameter.name.as_str()).collect();
            let takes = if takes.is_empty() { "no parameters".to_owned() } else { takes.join(", ") };
            let message = format!("`{}` has no parameter `{}`; it takes {takes}", method.name, key.text);
            Err(QueryError::at(key.span.clone(), message).nearest(&nearest(&key.text, names)))
        }
        _ => {
            let full: Vec<String> = candidates.iter().map(|(owner, _)| format!("{}.{name}=", owner.name)).collect();
            let message = format!("`{name}` is a field of several parameters");
            Err(QueryError::at(key.span.clone(), message).hint(format!("write {}", full.join(" or "))))
        }
    }
}
