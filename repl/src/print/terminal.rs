//! How the terminal shows pictures: asked once, and not waited for longer than a moment.
//!
//! The kitty protocol answers its own query; sixel is attribute 4 of the device attributes (DA1), which every terminal
//! answers, so that their answer ends the waiting. iTerm2's protocol is told by the environment.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a terminal may take to answer.
const PATIENCE: Duration = Duration::from_millis(400);
/// A kitty query for a picture of one pixel, and a query of the device attributes.
const QUERIES: &[u8] = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c";

/// A way to show a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Pixels, by kitty's graphics protocol.
    Kitty,
    /// Pixels, by iTerm2's inline images.
    Iterm,
    /// Pixels, as DEC terminals took them.
    Sixel,
    /// Two coloured pixels a character.
    HalfBlocks,
}

impl Protocol {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Kitty => "kitty",
            Protocol::Iterm => "iTerm2",
            Protocol::Sixel => "sixel",
            Protocol::HalfBlocks => "half blocks",
        }
    }
}

/// How this terminal shows pictures.
pub(crate) fn protocol() -> Protocol {
    static PROTOCOL: OnceLock<Protocol> = OnceLock::new();
    *PROTOCOL.get_or_init(|| match viuer::is_iterm_supported() {
        true => Protocol::Iterm,
        false => meaning(&asked().unwrap_or_default()),
    })
}

/// What a terminal's answers mean.
fn meaning(answers: &str) -> Protocol {
    if answers.contains("\x1b_Gi=31;OK") {
        return Protocol::Kitty;
    }
    let attributes = answers.rsplit("\x1b[?").next().and_then(|rest| rest.split('c').next()).unwrap_or_default();
    // The first attribute is the terminal's class, and the others what it can do.
    match is_complete(answers) && attributes.split(';').skip(1).any(|attribute| attribute == "4") {
        true => Protocol::Sixel,
        false => Protocol::HalfBlocks,
    }
}

/// Whether the device attributes have come.
fn is_complete(answers: &str) -> bool {
    answers.rsplit_once("\x1b[?").is_some_and(|(_, rest)| rest.contains('c'))
}

/// What the terminal answers; nothing where there is none.
fn asked() -> std::io::Result<String> {
    let terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let _raw = Raw::set(&terminal)?;
    (&terminal).write_all(QUERIES)?;
    let asked = Instant::now();
    let mut answers = Vec::new();
    loop {
        let left = PATIENCE.saturating_sub(asked.elapsed()).as_millis() as libc::c_int;
        let mut waiting = libc::pollfd { fd: terminal.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd is given, and it outlives the call.
        let ready = unsafe { libc::poll(&raw mut waiting, 1, left) };
        if ready <= 0 {
            break;
        }
        let mut bytes = [0; 256];
        let count = (&terminal).read(&mut bytes)?;
        answers.extend_from_slice(&bytes[..count]);
        if count == 0 || is_complete(&String::from_utf8_lossy(&answers)) {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answers).into_owned())
}

/// A terminal that gives characters as they come, until this is dropped.
struct Raw<'a> {
    terminal: &'a File,
    before: libc::termios,
}

impl<'a> Raw<'a> {
    fn set(terminal: &'a File) -> std::io::Result<Self> {
        // SAFETY: a termios of zeros is a valid value, which tcgetattr overwrites.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open and the termios is ours.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut before) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        let mut raw = before;
        raw.c_lflag &= !(libc::ICANON | libc::ECHO);
        // SAFETY: as above; the settings are those read with two flags cleared.
        if unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, &raw const raw) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Raw { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // SAFETY: the descriptor is still open, and these settings were the terminal's own. Pending input is dropped,
        // since an answer that comes late would be taken for what the user types.
        unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSAFLUSH, &raw const self.before) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn means(answers: &str, expected: Protocol) {
        assert_eq!(meaning(answers), expected);
    }

    #[test]
    fn answers_of_terminals() {
        means("\x1b_Gi=31;OK\x1b\\\x1b[?62;c", Protocol::Kitty);
        means("\x1b_Gi=31;ENOTSUPPORTED\x1b\\\x1b[?62;c", Protocol::HalfBlocks);
        means("\x1b[?62;4;22c", Protocol::Sixel);
        means("\x1b[?4;6c", Protocol::HalfBlocks);
        means("\x1b[?64;1;2;6;9;15;18;21;22c", Protocol::HalfBlocks);
        means("\x1b[?62;4", Protocol::HalfBlocks);
        means("", Protocol::HalfBlocks);
    }
}
