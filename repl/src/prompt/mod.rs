//! The prompt: lines are edited, completed, hinted at and remembered; each runs in one session.

mod completion;
mod facts;
mod helper;
mod history;

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;

use rustyline::error::ReadlineError;
use rustyline::{CompletionType, Config, Editor};

use crate::connection::{catch_interrupts, forget_interrupt};
use crate::session::{Next, Session};
use helper::QueryHelper;

/// Reads and runs lines until Ctrl-D or `quit`.
pub(crate) fn prompt(session: Session) -> ExitCode {
    let config = Config::builder().completion_type(CompletionType::List).auto_add_history(true).build();
    let mut editor: Editor<QueryHelper, _> = match Editor::with_config(config) {
        Ok(editor) => editor,
        Err(error) => {
            eprintln!("error: the terminal cannot be used for editing lines: {error}");
            return ExitCode::FAILURE;
        }
    };
    let session = Rc::new(RefCell::new(session));
    editor.set_helper(Some(QueryHelper::new(Rc::clone(&session))));
    let history = history::file();
    if let Some(history) = &history {
        // There is none before the first time.
        let _ = editor.load_history(history);
    }
    catch_interrupts();
    // The daemon is started before the first query, so that its names can be completed.
    forget_interrupt();
    if let Err(error) = session.borrow_mut().reach_daemon() {
        eprintln!("{}", error.render(""));
    }
    eprintln!("`help` lists the methods, Tab completes, Ctrl-C cancels, Ctrl-D leaves.");
    loop {
        let name = session.borrow().model_name().unwrap_or_else(|| "introspect".to_owned());
        match editor.readline(&format!("{name}> ")) {
            Ok(line) => {
                forget_interrupt();
                let answer = session.borrow_mut().run(&line);
                match answer {
                    Ok(Next::Continue) => {}
                    Ok(Next::Quit) => break,
                    Err(error) => eprintln!("{}", error.render(&line)),
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => {
                eprintln!("error: the terminal cannot be read: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    if let Some(history) = &history
        && let Err(error) = editor.save_history(history)
    {
        eprintln!("introspect: the history could not be kept in {}: {error}", history.display());
    }
    ExitCode::SUCCESS
}
