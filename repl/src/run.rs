//! From a command line to an exit status: 0 where all went well, 1 where a query failed, 130 after Ctrl-C.

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;

use crate::command_line::{Action, CommandLine, Options};
use crate::connection::{self, Address, Client, ConnectionError, default_socket};
use crate::doctor;
use crate::output::{self, Output};
use crate::prompt;
use crate::query_language::{absolute, parse};
use crate::session::{LineError, Next, Reach, Session};
use crate::stdio_bridge::bridge;

/// Does what a command line says.
pub(crate) fn run(command_line: CommandLine) -> ExitCode {
    let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let reach = match reach(&command_line.options, &folder) {
        Ok(reach) => reach,
        Err(error) => return fail(&LineError::Connection(error), ""),
    };
    match command_line.action {
        Some(Action::Completions { shell }) => {
            clap_complete::generate(shell, &mut CommandLine::command(), "introspect", &mut io::stdout());
            ExitCode::SUCCESS
        }
        Some(Action::Stop) => stop(&reach),
        Some(Action::Doctor) => match doctor::examine(&reach.address) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
        Some(Action::Stdio) => match bridge(&reach, &mut io::stdin().lock(), Box::new(io::stdout())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("error: {why}");
                ExitCode::FAILURE
            }
        },
        None => queries(command_line, reach, &folder),
    }
}

fn queries(command_line: CommandLine, reach: Reach, folder: &Path) -> ExitCode {
    let options = command_line.options;
    let output = Output { json: options.json, pictures: !options.no_pictures, quiet: options.quiet };
    let mut session = Session::new(reach, output, folder);
    if let Some(text) = command_line.command {
        return script(&mut session, &text, options.keep_going);
    }
    if let Some(file) = command_line.file {
        return match std::fs::read_to_string(&file) {
            Ok(text) => script(&mut session, &text, options.keep_going),
            Err(error) => {
                eprintln!("error: could not read {}: {error}", file.display());
                ExitCode::FAILURE
            }
        };
    }
    if io::stdin().is_terminal() {
        return prompt::prompt(session);
    }
    let mut text = String::new();
    match io::stdin().read_to_string(&mut text) {
        Ok(_) => script(&mut session, &text, options.keep_going),
        Err(error) => {
            eprintln!("error: could not read standard input: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all queries of a text. A mistake that can be seen without asking is told before any query runs.
fn script(session: &mut Session, text: &str, keep_going: bool) -> ExitCode {
    let statements = match parse(text) {
        Ok(statements) => statements,
        Err(error) => return fail(&LineError::Query(error), text),
    };
    connection::catch_interrupts();
    let mut status = ExitCode::SUCCESS;
    for statement in &statements {
        match session.run_statement(statement) {
            Ok(Next::Continue) => {}
            Ok(Next::Quit) => break,
            Err(error) => {
                status = fail(&error, text);
                if !keep_going || error.is_interrupt() {
                    break;
                }
            }
        }
    }
    status
}

fn fail(error: &LineError, text: &str) -> ExitCode {
    eprintln!("{}", error.render(text));
    if error.is_interrupt() { ExitCode::from(130) } else { ExitCode::FAILURE }
}

fn reach(options: &Options, folder: &Path) -> Result<Reach, ConnectionError> {
    let address = match (&options.connect, &options.socket) {
        (Some(url), _) => {
            let token = options.token.clone().or_else(|| std::env::var("INTROSPECT_TOKEN").ok());
            Address::parse(url, token)?
        }
        (None, Some(socket)) => Address::Socket(absolute(&socket.to_string_lossy(), folder)),
        (None, None) => Address::Socket(default_socket()),
    };
    Ok(Reach { address, may_start: !options.no_start, quiet: options.quiet })
}

fn stop(reach: &Reach) -> ExitCode {
    let stopped = match Client::connect(&reach.address) {
        Ok(mut client) => connection::ask_to_go(&mut client, &reach.address).map(|()| "has ended"),
        Err(ConnectionError::Unreachable { .. }) => Ok("does not run"),
        Err(error) => Err(error),
    };
    match stopped {
        Ok(what) => {
            if !reach.quiet {
                output::to_stdout(&format!("the daemon at {} {what}", reach.address));
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(&LineError::Connection(error), ""),
    }
}
