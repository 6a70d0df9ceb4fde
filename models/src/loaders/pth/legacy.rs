//! The unzipped kind: four pickles (magic number, protocol, system, object), the storages' keys as a fifth, and then each
//! storage as its length and its bytes.

use std::collections::HashMap;

use super::unpickle::{Object, StorageType, unpickle};
use super::{File, corrupt};
use crate::loaders::LoadError;

/// 0x1950a86a20f9469cfc6c, little endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

pub(super) fn read(bytes: &[u8]) -> Result<File<'_>, LoadError> {
    let mut at = 0;
    let mut next = |what: &str| -> Result<Object, LoadError> {
        let (object, length) = unpickle(&bytes[at..])?;
        at += length;
        tracing::trace!(what, length, "read a pickle");
        Ok(object)
    };
    match next("magic number") {
        Ok(Object::Wide(magic)) if magic == MAGIC => {}
        Err(error @ LoadError::UnsupportedFormat(_)) if bytes.starts_with(b"\x80") => return Err(error),
        _ => return Err(corrupt("it does not begin with PyTorch's magic number")),
    }
    if next("protocol")? != Object::Whole(1001) {
        return Err(LoadError::UnsupportedFormat("the file has another protocol than PyTorch's 1001".to_owned()));
    }
    next("system")?;
    let object = next("object")?;
    let Object::List(keys) = next("keys")? else { return Err(corrupt("the list of its storages is missing")) };
    let widths = widths(&object);
    let mut storages = HashMap::new();
    for key in keys {
        let Object::Text(key) = key else { return Err(corrupt("a storage's key is no text")) };
        let width = widths.get(&key).copied().unwrap_or(StorageType::Float).width();
        let cut_off = || corrupt(format!("it ends at byte {} before storage `{key}` does", bytes.len()));
        let length =
            bytes.get(at..at + 8).map(|eight| i64::from_le_bytes(eight.try_into().expect("eight bytes were cut")));
        let n_bytes = usize::try_from(length.ok_or_else(cut_off)?).ok().and_then(|length| length.checked_mul(width));
        let end = n_bytes.and_then(|n_bytes| (at + 8).checked_add(n_bytes)).ok_or_else(cut_off)?;
        storages.insert(key.clone(), bytes.get(at + 8..end).ok_or_else(cut_off)?);
        at = end;
    }
    Ok(File { object, storages })
}

/// The element type of each storage, from the tensors that view it.
fn widths(object: &Object) -> HashMap<String, StorageType> {
    let mut found = HashMap::new();
    let mut left = vec![object];
    while let Some(object) = left.pop() {
        match object {
            Object::Tensor(tensor) => {
                found.insert(tensor.storage.key.clone(), tensor.storage.element);
            }
            Object::Dict(entries) => left.extend(entries.iter().map(|(_, value)| value)),
            Object::List(objects) | Object::Tuple(objects) => left.extend(objects),
            _ => {}
        }
    }
    found
}
