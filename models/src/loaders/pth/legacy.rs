//! The unzipped kind: four pickles (magic number, protocol, system, object), the storages' keys as a fifth, and then each
//! storage as its length and its bytes.

use std::collections::HashMap;

use super::objects::{Object, Pickle, StorageType};
use super::unpickle::unpickle;
use super::{File, corrupt};
use crate::loaders::LoadError;

/// 0x1950a86a20f9469cfc6c, little endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

pub(super) fn read(bytes: &[u8]) -> Result<File<'_>, LoadError> {
    let mut at = 0;
    let mut next = |what: &str| -> Result<Pickle, LoadError> {
        let (pickle, length) = unpickle(&bytes[at..])?;
        at += length;
        tracing::trace!(what, length, "read a pickle");
        Ok(pickle)
    };
    match next("magic number") {
        Ok(magic) if matches!(magic.root(), Object::Wide(bytes) if *bytes == MAGIC) => {}
        Err(error @ LoadError::UnsupportedFormat(_)) if bytes.starts_with(b"\x80") => return Err(error),
        _ => return Err(corrupt("it does not begin with PyTorch's magic number")),
    }
    if !matches!(next("protocol")?.root(), Object::Whole(1001)) {
        return Err(LoadError::UnsupportedFormat("the file has another protocol than PyTorch's 1001".to_owned()));
    }
    next("system")?;
    let object = next("object")?;
    let keys = next("keys")?;
    let Object::List(ids) = keys.root() else { return Err(corrupt("the list of its storages is missing")) };
    // The length of a storage is in numbers, so where the next one begins depends on what kind of numbers they are.
    let elements: HashMap<&str, StorageType> =
        object.storages().map(|storage| (&*storage.key, storage.element)).collect();
    let mut storages = HashMap::new();
    for &id in ids {
        let Object::Text(key) = keys.get(id) else { return Err(corrupt("a storage's key is no text")) };
        let Some(element) = elements.get(&**key) else {
            return Err(corrupt(format!("storage `{key}` is listed but no tensor has it")));
        };
        let width = element.width();
        let cut_off = || corrupt(format!("it ends at byte {} before storage `{key}` does", bytes.len()));
        let length =
            bytes.get(at..at + 8).map(|eight| i64::from_le_bytes(eight.try_into().expect("eight bytes were cut")));
        let n_bytes = usize::try_from(length.ok_or_else(cut_off)?).ok().and_then(|length| length.checked_mul(width));
        let end = n_bytes.and_then(|n_bytes| (at + 8).checked_add(n_bytes)).ok_or_else(cut_off)?;
        storages.insert(key.to_string(), bytes.get(at + 8..end).ok_or_else(cut_off)?);
        at = end;
    }
    Ok(File { pickle: object, storages })
}
