//! What tells this build from another of the same version: the id that the linker put into the program, else a hash of
//! its file, which takes longer than all else that a start needs.

use anyhow::Context;

use crate::files;

/// Of this very program.
pub(crate) fn build_id() -> anyhow::Result<String> {
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let bytes = files::map_limited(&program.to_string_lossy(), "program", u64::MAX)
        .map_err(|error| anyhow::anyhow!("cannot read this program's file: {error}"))?;
    let id = linkers_id(&bytes).filter(|id| id.len() >= 16).unwrap_or_else(|| files::hash_of(&bytes));
    Ok(id[..16].to_owned())
}

/// The linker's id of an ELF program of 64 bits, little-endian, in hexadecimal: a hash of what it wrote.
fn linkers_id(program: &[u8]) -> Option<String> {
    const IS_NOTES: u64 = 4;
    if program.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] {
        return None;
    }
    let (table, of_entry, n_entries) =
        (number(program, 0x20, 8)?, number(program, 0x36, 2)?, number(program, 0x38, 2)?);
    (0..n_entries).find_map(|nth| {
        let entry = usize::try_from(table.checked_add(nth.checked_mul(of_entry)?)?).ok()?;
        let entry = program.get(entry..)?;
        if number(entry, 0, 4)? != IS_NOTES {
            return None;
        }
        let (start, length) = (number(entry, 0x08, 8)?, number(entry, 0x20, 8)?);
        let notes = program.get(usize::try_from(start).ok()?..)?;
        id_among(notes.get(..usize::try_from(length).ok()?)?)
    })
}

/// The id among notes: length of name, length of content, kind, name and content, each of a multiple of four bytes.
fn id_among(mut notes: &[u8]) -> Option<String> {
    const IS_BUILD_ID: u64 = 3;
    loop {
        let (of_name, of_content) = (number(notes, 0, 4)? as usize, number(notes, 4, 4)? as usize);
        let content = 12 + of_name.next_multiple_of(4);
        if number(notes, 8, 4)? == IS_BUILD_ID && notes.get(12..12 + of_name)? == b"GNU\0" {
            let id = notes.get(content..content + of_content)?;
            return Some(id.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = notes.get(content + of_content.next_multiple_of(4)..)?;
    }
}

/// A little-endian number of so many bytes.
fn number(bytes: &[u8], at: usize, n_bytes: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + n_bytes)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: u32, name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let numbers = [4, content.len() as u32, kind].map(u32::to_le_bytes).concat();
        let padding = vec![0; content.len().next_multiple_of(4) - content.len()];
        [&numbers, &name[..], content, &padding].concat()
    }

    #[test]
    fn the_id_is_found_behind_other_notes() {
        let notes =
            [note(1, b"GNU\0", &[9; 6]), note(3, b"XYZ\0", &[8; 4]), note(3, b"GNU\0", &[0xab, 1, 0xff])].concat();
        assert_eq!(id_among(&notes).as_deref(), Some("ab01ff"));
        assert_eq!(id_among(&notes[..40]), None);
    }

    #[test]
    fn what_is_no_program_has_none() {
        assert_eq!(linkers_id(b"#!/bin/sh\n"), None);
        let mut cut = vec![0x7f, b'E', b'L', b'F', 2, 1];
        cut.resize(0x40, 0xff);
        assert_eq!(linkers_id(&cut), None);
    }

    #[test]
    fn this_program_has_an_id() {
        let id = build_id().unwrap();
        assert!(id.len() == 16 && id.chars().all(|digit| digit.is_ascii_hexdigit()), "{id}");
    }
}
