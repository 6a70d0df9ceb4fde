//! What may stand where the cursor is: methods, arguments, and the values that an argument takes.

use client_protocol::methods;

use super::facts::{Facts, files};
use crate::method_table::{BUILT_INS, PathKind, is_target, path_kind, shortest_name};
use crate::query_language::{Parameter, Text, method_of, parameters_with};

/// Completions of what is typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Completions {
    /// The byte of the line from which on a candidate replaces what is typed.
    pub(crate) start: usize,
    /// What may stand there.
    pub(crate) candidates: Vec<String>,
}

/// The completions of a line up to the cursor.
pub(crate) fn complete(line: &str, facts: &dyn Facts) -> Completions {
    let words = words_of_last_statement(line);
    let Some((&(start, typed), before)) = words.split_last() else {
        return Completions { start: line.len(), candidates: method_names("") };
    };
    let Some(((_, head), arguments)) = before.split_first() else {
        return Completions { start, candidates: method_names(typed) };
    };
    if before.last().is_some_and(|(_, word)| *word == ">") {
        return Completions { start, candidates: quoted(files(unquoted(typed), &facts.folder())) };
    }
    if let Some(file) = typed.strip_prefix('>') {
        return Completions { start: start + 1, candidates: quoted(files(unquoted(file), &facts.folder())) };
    }
    if *head == "help" {
        return Completions { start, candidates: method_names(typed) };
    }
    let Ok(method) = method_of(&Text { text: (*head).to_owned(), span: 0..0 }) else {
        return Completions { start, candidates: Vec::new() };
    };
    let known = parameters_with(method, attribution_of(arguments, method.main_parameter));
    if let Some((key, value)) = typed.split_once('=') {
        let key = key.rsplit('.').next().unwrap_or(key);
        let parameter = known.iter().chain(known.iter().flat_map(|parameter| &parameter.fields));
        let Some(parameter) = parameter.into_iter().find(|parameter| parameter.name == key) else {
            return Completions { start, candidates: Vec::new() };
        };
        // In a list only the item that is being typed is completed.
        let item = value.rfind(['[', ',']).map_or(0, |mark| mark + 1);
        let item = item + value[item..].len() - value[item..].trim_start().len();
        let start = start + typed.len() - value.len() + item;
        return Completions { start, candidates: values(parameter, &value[item..], facts) };
    }
    let has_bare = arguments.iter().any(|(_, word)| !word.contains('=') && !word.starts_with('>'));
    let main = known.iter().find(|parameter| method.main_parameter == Some(&parameter.name)).filter(|_| !has_bare);
    let mut candidates = main.map(|main| values(main, typed, facts)).unwrap_or_default();
    let is_given = |name: &str| arguments.iter().any(|(_, word)| word.split('=').next() == Some(name));
    let own = known.iter().filter(|parameter| !is_given(&parameter.name));
    candidates.extend(own.map(|parameter| format!("{}=", parameter.name)).filter(|key| key.starts_with(typed)));
    // Fields that may stand flat are offered where the typing has begun, since they would hide the parameters.
    let flat = known.iter().flat_map(|parameter| &parameter.fields).filter(|field| {
        let needed = known.iter().any(|owner| owner.required && owner.fields.contains(field));
        (needed || !typed.is_empty()) && !is_given(&field.name)
    });
    let flat: Vec<String> = flat.map(|field| format!("{}=", field.name)).filter(|key| key.starts_with(typed)).collect();
    for key in flat {
        if !candidates.contains(&key) {
            candidates.push(key);
        }
    }
    Completions { start, candidates }
}

/// The word that names an attribution within another request.
fn attribution_of<'a>(arguments: &[(usize, &'a str)], main: Option<&str>) -> Option<&'a str> {
    let mut words = arguments.iter().map(|(_, word)| *word);
    let named = words.clone().find_map(|word| word.strip_prefix("method="));
    let bare = || words.find(|word| !word.contains('=')).filter(|_| main == Some("method"));
    named.or_else(bare).map(unquoted)
}

/// The values that a parameter takes, as far as they start with what is typed.
fn values(parameter: &Parameter, typed: &str, facts: &dyn Facts) -> Vec<String> {
    let start = unquoted(typed);
    let mut names = parameter.words.clone();
    if parameter.takes_boolean {
        names.extend(["true".to_owned(), "false".to_owned()]);
    }
    match parameter.name.as_str() {
        "layer" | "layers" | "at" => names.extend(facts.layers()),
        "class" => names.extend(facts.classes()),
        "source" | "model" => names.extend(facts.models()),
        name if is_target(name) => {
            names.push("predicted".to_owned());
            names.extend(facts.classes());
        }
        _ => {}
    }
    let lower = start.to_lowercase();
    let mut candidates: Vec<String> =
        names.into_iter().filter(|name| name.to_lowercase().starts_with(&lower)).collect();
    if path_kind(&parameter.name) != PathKind::Never {
        candidates.extend(files(start, &facts.folder()));
    }
    candidates.dedup();
    quoted(candidates)
}

fn method_names(typed: &str) -> Vec<String> {
    let words = BUILT_INS.iter().map(|(word, _)| *word);
    let short = methods().iter().map(shortest_name);
    // Full names are offered once a dot or a whole first part is typed, since each method would stand there twice.
    let is_full = typed.contains('.') || methods().iter().any(|method| method.name.split('.').next() == Some(typed));
    let full = methods().iter().map(|method| method.name).filter(|_| is_full);
    let mut names: Vec<String> =
        words.chain(short).chain(full).filter(|name| name.starts_with(typed)).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// Names as they are typed: in quotes where they would not be one word.
fn quoted(names: Vec<String>) -> Vec<String> {
    let needs_quotes = |name: &str| name.contains(|c: char| c.is_whitespace() || ";>\"'#,[]{}=".contains(c));
    let quote = |name: String| if needs_quotes(&name) { format!("{name:?}") } else { name };
    names.into_iter().map(quote).collect()
}

fn unquoted(typed: &str) -> &str {
    typed.strip_prefix(['"', '\'']).unwrap_or(typed)
}

/// The words of the last statement with where they start; the last is the one being typed, perhaps empty.
fn words_of_last_statement(line: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    // In brackets a space separates nothing.
    let mut depth = 0usize;
    for (index, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                start = start.or(Some(index));
            }
            None if c == ';' => {
                words.clear();
                (start, depth) = (None, 0);
            }
            None if matches!(c, '[' | '{') && start.is_some() => depth += 1,
            None if matches!(c, ']' | '}') => depth = depth.saturating_sub(1),
            None if depth > 0 => {}
            None if c.is_whitespace() => words.extend(start.take().map(|start| (start, &line[start..index]))),
            None => start = start.or(Some(index)),
        }
    }
    let start = start.unwrap_or(line.len());
    words.push((start, &line[start..]));
    words
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use expect_test::{Expect, expect};

    use super::*;

    struct Fixed(PathBuf);

    impl Facts for Fixed {
        fn layers(&self) -> Vec<String> {
            ["stem", "blocks.0", "blocks.1"].map(str::to_owned).to_vec()
        }

        fn classes(&self) -> Vec<String> {
            ["tabby", "tiger cat", "Egyptian cat"].map(str::to_owned).to_vec()
        }

        fn models(&self) -> Vec<String> {
            ["resnet18", "resnet50", "vgg16"].map(str::to_owned).to_vec()
        }

        fn folder(&self) -> PathBuf {
            self.0.clone()
        }
    }

    #[track_caller]
    fn check(line: &str, expected: Expect) {
        let folder = tempfile::tempdir().unwrap();
        for file in ["cat.png", "my dog.png", ".hidden"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("photos")).unwrap();
        std::fs::write(folder.path().join("photos/tree.jpg"), "").unwrap();
        let found = complete(line, &Fixed(folder.path().to_owned()));
        let shown: Vec<String> =
            found.candidates.iter().map(|candidate| format!("{}{candidate}", &line[..found.start])).collect();
        expected.assert_eq(&shown.join("\n"));
    }

    #[test]
    fn methods_and_words_of_the_language() {
        check("pre", expect!["predict"]);
        check(
            "guided",
            expect![[r#"
            guided_backprop
            guided_grad_cam"#]],
        );
        check(
            "model.l",
            expect![[r#"
            model.list
            model.load"#]],
        );
        check("model resnet18; hel", expect!["model resnet18; help"]);
    }

    #[test]
    fn values_of_the_main_parameter_and_argument_names() {
        check(
            "model r",
            expect![[r#"
            model resnet18
            model resnet50"#]],
        );
        check(
            "input ",
            expect![[r#"
            input cat.png
            input "my dog.png"
            input photos/
            input data=
            input format=
            input frontend=
            input model=
            input path=
            input tensor=
            input text="#]],
        );
        check(
            "grad_cam t",
            expect![[r#"
            grad_cam tabby
            grad_cam "tiger cat"
            grad_cam target=
            grad_cam timeout=
            grad_cam title=
            grad_cam time="#]],
        );
        check("grad_cam tabby re", expect!["grad_cam tabby relu="]);
        check(
            "visualization.gradient ",
            expect![[r#"
                visualization.gradient background=
                visualization.gradient encoding=
                visualization.gradient input=
                visualization.gradient model=
                visualization.gradient objective=
                visualization.gradient picture=
                visualization.gradient timeout=
                visualization.gradient watch=
                visualization.gradient channel=
                visualization.gradient kind=
                visualization.gradient layer=
                visualization.gradient position=
                visualization.gradient class=
                visualization.gradient cosine_power=
                visualization.gradient vector=
                visualization.gradient terms="#]],
        );
    }

    #[test]
    fn values_of_arguments() {
        check(
            "grad_cam layer=b",
            expect![[r#"
            grad_cam layer=blocks.0
            grad_cam layer=blocks.1"#]],
        );
        check("grad_cam target=ti", expect![[r#"grad_cam target="tiger cat""#]]);
        check("grad_cam target=\"tiger c", expect![[r#"grad_cam target="tiger cat""#]]);
        check("grad_cam target=[tabby, e", expect![[r#"grad_cam target=[tabby, "Egyptian cat""#]]);
        check(
            "grad_cam interpolation=",
            expect![[r#"
            grad_cam interpolation=bilinear
            grad_cam interpolation=nearest"#]],
        );
        check(
            "grad_cam relu=",
            expect![[r#"
            grad_cam relu=true
            grad_cam relu=false"#]],
        );
        check(
            "gradient kind=",
            expect![[r#"
                gradient kind=neuron
                gradient kind=channel
                gradient kind=layer
                gradient kind=logit
                gradient kind=probability
                gradient kind=direction
                gradient kind=diversity
                gradient kind=sum"#]],
        );
        check("gradient objective.layer=st", expect!["gradient objective.layer=stem"]);
        check("input photos/", expect!["input photos/tree.jpg"]);
    }

    #[test]
    fn files_behind_a_redirect() {
        check("grad_cam tabby > c", expect!["grad_cam tabby > cat.png"]);
        check("grad_cam tabby >m", expect![[r#"grad_cam tabby >"my dog.png""#]]);
    }

    #[test]
    fn nothing_where_nothing_is_known() {
        check("nonsense x", expect![[""]]);
        check("grad_cam nonsense=", expect![[""]]);
    }
}
