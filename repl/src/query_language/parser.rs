//! From text to statements: `METHOD VALUE key=value … > FILE`, separated by `;` or by line, `#` up to the end of a line.

use super::error::QueryError;
use super::scanner::{Scanner, Within};
use super::syntax::{Node, NodeKind, Statement, Text};

/// How deep lists and objects may lie in one another.
const DEEPEST: usize = 64;

/// All statements of a text, or the first mistake.
pub(crate) fn parse(text: &str) -> Result<Vec<Statement>, QueryError> {
    let mut scanner = Scanner::new(text);
    let mut statements = Vec::new();
    loop {
        scanner.skip_space(true);
        scanner.skip_comment();
        match scanner.peek() {
            None => return Ok(statements),
            Some(';' | '\n') => {
                scanner.take(';');
            }
            Some(_) => statements.push(statement(&mut scanner)?),
        }
    }
}

fn statement(scanner: &mut Scanner) -> Result<Statement, QueryError> {
    let head = match scanner.quoted() {
        Some(quoted) => quoted?,
        None => scanner.word(Within::Statement),
    };
    if head.text.is_empty() {
        let start = scanner.position();
        return Err(
            QueryError::at(start..start + 1, "a method's name must stand first").hint("`help` lists the methods")
        );
    }
    if let Some((key, _)) = head.text.split_once('=') {
        let message = format!("`{key}=` stands first, where a method's name must stand");
        return Err(QueryError::at(head.span, message).hint("for instance `predict top=3`"));
    }
    let mut statement = Statement { head, bare: Vec::new(), arguments: Vec::new(), redirect: None };
    loop {
        scanner.skip_space(false);
        scanner.skip_comment();
        let start = scanner.position();
        match scanner.peek() {
            None | Some(';' | '\n') => return Ok(statement),
            Some('>') if statement.redirect.is_some() => {
                return Err(QueryError::at(start..start + 1, "a result is written to one file only"));
            }
            Some('>') => {
                scanner.take('>');
                statement.redirect = Some(file(scanner, start)?);
            }
            Some(_) if statement.redirect.is_some() => {
                let rest = scanner.word(Within::Statement);
                let end = rest.span.end.max(start + 1);
                return Err(QueryError::at(start..end, "nothing may follow the file of a `>`")
                    .hint("quote a file's name that has spaces; `;` starts another query"));
            }
            Some(_) => match scanner.key() {
                Some(key) => {
                    let value = value(scanner, Within::Statement, 0, &format!("`{}=`", key.text))?;
                    statement.arguments.push((key, value));
                }
                None => statement.bare.push(value(scanner, Within::Statement, 0, "a space")?),
            },
        }
    }
}

/// The file behind the `>` at `mark`.
fn file(scanner: &mut Scanner, mark: usize) -> Result<Text, QueryError> {
    scanner.skip_space(false);
    let name = match scanner.quoted() {
        Some(quoted) => quoted?,
        None => scanner.word(Within::Statement),
    };
    match name.text.is_empty() {
        true => Err(QueryError::at(mark..mark + 1, "`>` needs a file's name").hint("for instance `> cam.png`")),
        false => Ok(name),
    }
}

/// A value, which must stand next; `behind` says behind what.
fn value(scanner: &mut Scanner, within: Within, depth: usize, behind: &str) -> Result<Node, QueryError> {
    let start = scanner.position();
    if depth > DEEPEST {
        let message = format!("lists and objects lie in one another more than {DEEPEST} deep");
        return Err(QueryError::at(start..start + 1, message));
    }
    let kind = if let Some(quoted) = scanner.quoted() {
        NodeKind::Quoted(quoted?.text)
    } else if scanner.take('[') {
        NodeKind::List(list(scanner, start, depth)?)
    } else if scanner.take('{') {
        NodeKind::Object(object(scanner, start, depth)?)
    } else {
        let word = scanner.word(within);
        if word.text.is_empty() {
            return Err(QueryError::at(start..start + 1, format!("a value must stand behind {behind}")));
        }
        NodeKind::Word(word.text)
    };
    let end = scanner.position();
    let separate = match within {
        Within::Statement => |c: char| c.is_whitespace() || matches!(c, ';' | '>'),
        _ => |c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}'),
    };
    match scanner.peek() {
        Some(c) if !separate(c) => {
            Err(QueryError::at(end..end + c.len_utf8(), format!("`{c}` stands right behind a value"))
                .hint("a space separates arguments; quote a whole name"))
        }
        _ => Ok(Node { kind, span: start..end }),
    }
}

fn list(scanner: &mut Scanner, open: usize, depth: usize) -> Result<Vec<Node>, QueryError> {
    let mut items = Vec::new();
    loop {
        scanner.skip_space(true);
        if scanner.take(']') {
            return Ok(items);
        }
        unclosed(scanner, open, '[', ']')?;
        items.push(value(scanner, Within::Brackets, depth + 1, "`[` or `,`")?);
        separator(scanner, open, '[', ']')?;
    }
}

fn object(scanner: &mut Scanner, open: usize, depth: usize) -> Result<Vec<(Text, Node)>, QueryError> {
    let mut fields = Vec::new();
    loop {
        scanner.skip_space(true);
        if scanner.take('}') {
            return Ok(fields);
        }
        unclosed(scanner, open, '{', '}')?;
        let name = match scanner.quoted() {
            Some(quoted) => quoted?,
            None => scanner.word(Within::Field),
        };
        scanner.skip_space(true);
        let colon = scanner.position();
        if name.text.is_empty() || !scanner.take(':') {
            let message = "an object's field is written `name: value`";
            return Err(QueryError::at(colon..colon + 1, message));
        }
        scanner.skip_space(true);
        let value = value(scanner, Within::Brackets, depth + 1, &format!("`{}:`", name.text))?;
        fields.push((name, value));
        separator(scanner, open, '{', '}')?;
    }
}

/// Goes over a `,`, or stops before the closing bracket.
fn separator(scanner: &mut Scanner, open: usize, opening: char, closing: char) -> Result<(), QueryError> {
    scanner.skip_space(true);
    unclosed(scanner, open, opening, closing)?;
    if scanner.take(',') || scanner.peek() == Some(closing) {
        return Ok(());
    }
    let at = scanner.position();
    let width = scanner.peek().map_or(1, char::len_utf8);
    Err(QueryError::at(at..at + width, format!("`,` or `{closing}` must stand here")))
}

fn unclosed(scanner: &Scanner, open: usize, opening: char, closing: char) -> Result<(), QueryError> {
    match scanner.peek() {
        None => Err(QueryError::at(open..open + 1, format!("this `{opening}` has no closing `{closing}`"))),
        Some(_) => Ok(()),
    }
}
