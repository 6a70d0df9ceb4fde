//! The zipped kind: an archive whose members are stored as they are, `NAME/data.pkl` beside `NAME/data/KEY`.

use std::collections::HashMap;

use super::unpickle::unpickle;
use super::{File, corrupt};
use crate::loaders::LoadError;

pub(super) fn read(bytes: &[u8]) -> Result<File<'_>, LoadError> {
    let members = members(bytes)?;
    let pickle = members.iter().find(|(name, _)| name.ends_with("/data.pkl") || *name == "data.pkl");
    let (name, pickle) = pickle.ok_or_else(|| corrupt("its archive has no `data.pkl`"))?;
    let folder = name.trim_end_matches("data.pkl");
    if members.iter().any(|(name, order)| name.strip_prefix(folder) == Some("byteorder") && *order != b"little") {
        return Err(LoadError::UnsupportedFormat("the file's numbers are big-endian".to_owned()));
    }
    let (pickle, _) = unpickle(pickle)?;
    let data = format!("{folder}data/");
    let storages: HashMap<String, &[u8]> =
        members.iter().filter_map(|(name, bytes)| Some((name.strip_prefix(&data)?.to_owned(), *bytes))).collect();
    Ok(File { pickle, storages })
}

/// Every member's name and bytes, from the central directory; sizes there are checked against the file.
fn members(bytes: &[u8]) -> Result<Vec<(&str, &[u8])>, LoadError> {
    let cut_off = || corrupt("its archive is cut off");
    let u16_at = |at: usize| bytes.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]])).ok_or_else(cut_off);
    let u32_at = |at: usize| {
        bytes.get(at..at + 4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]])).ok_or_else(cut_off)
    };
    let end = bytes
        .len()
        .checked_sub(22)
        .and_then(|last| (0..=last).rev().take(1 << 16).find(|&at| bytes[at..].starts_with(b"PK\x05\x06")));
    let end = end.ok_or_else(cut_off)?;
    let n_members = u16_at(end + 10)?;
    let mut at = u32_at(end + 16)? as usize;
    let mut members = Vec::new();
    for _ in 0..n_members {
        if bytes.get(at..at + 4) != Some(b"PK\x01\x02") {
            return Err(cut_off());
        }
        let (method, stored) = (u16_at(at + 10)?, u32_at(at + 20)? as usize);
        let (name_length, extra, comment) =
            (u16_at(at + 28)? as usize, u16_at(at + 30)? as usize, u16_at(at + 32)? as usize);
        let local = u32_at(at + 42)? as usize;
        let name = bytes.get(at + 46..at + 46 + name_length).ok_or_else(cut_off)?;
        let name = std::str::from_utf8(name).map_err(|_| corrupt("a member's name is not UTF-8"))?;
        if method != 0 {
            return Err(LoadError::UnsupportedFormat(format!("`{name}` is compressed, which `torch.save` never does")));
        }
        if stored == u32::MAX as usize || local == u32::MAX as usize {
            return Err(LoadError::UnsupportedFormat(format!("`{name}` lies beyond 4 GiB")));
        }
        // The local header has lengths of its own, padded so that storages are aligned.
        let start = local.saturating_add(30)
            + u16_at(local.saturating_add(26))? as usize
            + u16_at(local.saturating_add(28))? as usize;
        members.push((name, bytes.get(start..start.saturating_add(stored)).ok_or_else(cut_off)?));
        at += 46 + name_length + extra + comment;
    }
    Ok(members)
}
