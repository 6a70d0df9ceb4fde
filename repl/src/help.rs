//! Help, made from the protocol's table: the list of methods, and what one of them takes.

use client_protocol::{MethodSpec, methods};

use crate::method_table::{BUILT_INS, shortest_name};
use crate::print::{Column, table};
use crate::query_language::{NodeKind, Parameter, QueryError, Statement, Text, method_of, parameters};

/// Whether a method takes a parameter.
pub(crate) fn has_parameter(method: &MethodSpec, name: &str) -> bool {
    parameters(method).iter().any(|parameter| parameter.name == name)
}

/// What `help` or `help METHOD` says.
pub(crate) fn help(statement: &Statement) -> Result<String, QueryError> {
    let Some(asked) = statement.bare.first() else { return Ok(all_methods()) };
    let (NodeKind::Word(word) | NodeKind::Quoted(word)) = &asked.kind else {
        return Err(QueryError::at(asked.span.clone(), "`help` takes a method's name"));
    };
    if let Some((_, about)) =
        BUILT_INS.iter().find(|(built_in, _)| built_in == word && *word != "model" && *word != "input")
    {
        return Ok((*about).to_owned());
    }
    let method = method_of(&Text { text: word.clone(), span: asked.span.clone() })?;
    Ok(one_method(method))
}

fn all_methods() -> String {
    let row = |name: &str, about: &str| vec![name.to_owned(), about.to_owned()];
    let methods: Vec<Vec<String>> =
        methods().iter().map(|method| row(shortest_name(method), method.summary().trim_end_matches('.'))).collect();
    let words: Vec<Vec<String>> = BUILT_INS.iter().map(|(word, about)| row(word, about)).collect();
    let columns = [Column::words(""), Column::words("")];
    format!(
        "A line is a method and its arguments: predict top=3\n\n{}\n\n{}\n\n{}",
        table(&columns, &words),
        table(&columns, &methods),
        "`;` separates queries, `#` starts a comment, `> FILE.png`, `.svg`, `.npy` or `.json` writes the result.\n\
         In a target a bare word is a class's name and a number its index; e@1.24 is a letter at 1.24 s, e@62f at an \
         output frame."
    )
}

fn one_method(method: &MethodSpec) -> String {
    let lines: Vec<&str> = method.documentation.trim().lines().map(str::trim).collect();
    let mut text = format!("{}\n{}", method.name, lines.join("\n"));
    let rows: Vec<Vec<String>> = parameters(method)
        .iter()
        .flat_map(|parameter| std::iter::once(row(method, parameter, "")).chain(fields(method, parameter)))
        .collect();
    if rows.is_empty() {
        text += "\n\nIt takes no parameters.";
    } else {
        let columns = [Column::words("parameter"), Column::words("default"), Column::words("")];
        text += &format!("\n\n{}", table(&columns, &rows));
    }
    text
}

fn fields<'a>(method: &'a MethodSpec, parameter: &'a Parameter) -> impl Iterator<Item = Vec<String>> + 'a {
    parameter.fields.iter().map(move |field| row(method, field, "  "))
}

fn row(method: &MethodSpec, parameter: &Parameter, indent: &str) -> Vec<String> {
    let is_main = indent.is_empty() && method.main_parameter == Some(parameter.name.as_str());
    let name = if is_main { format!("{}  (or bare)", parameter.name) } else { parameter.name.clone() };
    let default = match (&parameter.default, parameter.required && indent.is_empty()) {
        (_, true) => "needed".to_owned(),
        (Some(default), false) => default.as_str().map_or_else(|| default.to_string(), str::to_owned),
        (None, false) => String::new(),
    };
    let words = match parameter.words.is_empty() {
        true => String::new(),
        false => format!(" [{}]", parameter.words.join(", ")),
    };
    vec![format!("{indent}{name}"), default, format!("{}{words}", parameter.description)]
}
