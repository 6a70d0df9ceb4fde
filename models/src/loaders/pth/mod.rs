//! PyTorch's `.pth` files: weights as a pickle, zipped (since 1.6) or not (before).
//!
//! A pickle is a program. `unpickle` runs it on a machine that knows tensors, storages and OrderedDict and refuses all
//! else by name; `legacy` and `zipped` say where the storages' bytes are; this file puts numbers into shape.

mod legacy;
mod objects;
mod unpickle;
mod zipped;

use std::collections::HashMap;

use half::{bf16, f16};

use self::objects::{Object, Pickle, StorageType, TensorRef};
use super::file_bytes::singles;
use super::{Checkpoint, FileBytes, LoadError};

/// Reads all weights as f32; dictionaries that wrap the weights (`state_dict`, `model`) are opened.
pub fn load(bytes: &impl FileBytes) -> Result<Checkpoint, LoadError> {
    let file = if bytes.starts_with(b"PK\x03\x04") { zipped::read(bytes)? } else { legacy::read(bytes)? };
    let entries = weights_of(&file.pickle, file.pickle.root(), MOST_WRAPPERS).ok_or_else(|| {
        LoadError::UnsupportedFormat("the file holds no dictionary of weights; save `model.state_dict()`".to_owned())
    })?;
    let mut checkpoint = Checkpoint::new();
    let mut n_left = bytes.len();
    for (name, tensor) in entries {
        let numbers = numbers_of(tensor, bytes, &file.storages, name, &mut n_left)?;
        checkpoint.insert(name, &tensor.shape, numbers)?;
    }
    Ok(checkpoint)
}

/// What a file holds: its object, and the storages' bytes by key.
struct File<'a> {
    pickle: Pickle,
    storages: HashMap<String, &'a [u8]>,
}

fn corrupt(reason: impl Into<String>) -> LoadError {
    LoadError::Corrupt { what: "not a PyTorch file of weights, or a damaged one".to_owned(), reason: reason.into() }
}

/// How deep weights may lie in dictionaries that wrap them; a dictionary can hold itself.
const MOST_WRAPPERS: usize = 4;

/// The dictionary that maps names to tensors. One that is wrapped comes first: beside it a file may keep a tensor or two
/// of its own, such as the best loss.
fn weights_of<'a>(
    pickle: &'a Pickle,
    object: &'a Object,
    most_wrappers: usize,
) -> Option<Vec<(&'a str, &'a TensorRef)>> {
    let Object::Dict(entries) = object else { return None };
    let entries = entries.iter().map(|&(key, value)| (pickle.get(key), pickle.get(value)));
    let inside = |wanted: &&str| {
        let wrapped = entries.clone().find(|(key, _)| matches!(key, Object::Text(name) if **name == **wanted));
        weights_of(pickle, wrapped?.1, most_wrappers.checked_sub(1)?)
    };
    if let Some(found) = ["state_dict", "model_state_dict", "model"].iter().find_map(inside) {
        return Some(found);
    }
    let named = entries.filter_map(|(key, value)| match (key, value) {
        (Object::Text(name), Object::Tensor(tensor)) => Some((&**name, &**tensor)),
        _ => None,
    });
    let named: Vec<_> = named.collect();
    (!named.is_empty()).then_some(named)
}

/// A tensor's numbers in row-major order, whatever its strides.
///
/// `n_left` is how many more numbers the file may give. Tensors can share a storage and repeat its numbers, and so could
/// a small file ask for all memory there is; as many numbers as the file has bytes are enough for weights that share.
fn numbers_of(
    tensor: &TensorRef,
    bytes: &impl FileBytes,
    storages: &HashMap<String, &[u8]>,
    name: &str,
    n_left: &mut usize,
) -> Result<Vec<f32>, LoadError> {
    let refused = |reason: String| LoadError::Corrupt { what: format!("weights `{name}`"), reason };
    let storage = storages.get(&*tensor.storage.key).ok_or_else(|| refused("its storage is missing".to_owned()))?;
    let width = tensor.storage.element.width();
    let held = storage.len() / width;
    // An axis of no length counts as one here, so that no product of some axes can overflow either.
    let most = tensor.shape.iter().try_fold(1usize, |length, &axis| length.checked_mul(axis.max(1)));
    let length = most.map(|_| tensor.shape.iter().product::<usize>());
    let reach = tensor.shape.iter().zip(&tensor.strides).try_fold(tensor.offset, |reach, (&length, &stride)| {
        reach.checked_add(length.saturating_sub(1).checked_mul(stride)?)
    });
    let (Some(length), Some(reach)) = (length, reach) else {
        return Err(refused(format!("its shape {:?} does not fit into memory", tensor.shape)));
    };
    if length == 0 {
        return Ok(vec![]);
    }
    if reach >= held {
        let reason = format!(
            "shape {:?} with strides {:?} needs more than the {held} numbers of its storage",
            tensor.shape, tensor.strides
        );
        return Err(refused(reason));
    }
    *n_left = n_left.checked_sub(length).ok_or_else(|| {
        refused("with it the tensors have more numbers than the file has bytes; they repeat too much".to_owned())
    })?;
    let number_at = |index: usize| tensor.storage.element.read(&storage[index * width..(index + 1) * width]);
    let row_major = tensor.shape.iter().zip(&tensor.strides).rev().try_fold(1usize, |expected, (&length, &stride)| {
        (length == 1 || stride == expected).then_some(expected * length)
    });
    if row_major.is_some() && tensor.storage.element == StorageType::Float {
        let start = storage.as_ptr().addr() - bytes.as_ptr().addr() + tensor.offset * width;
        return Ok(singles(bytes, start..start + length * width));
    }
    if row_major.is_some() {
        return Ok((tensor.offset..tensor.offset + length).map(number_at).collect());
    }
    let index_of = |nth: usize| {
        let position = crate::value::unravel(nth, &tensor.shape);
        tensor.offset + position.iter().zip(&tensor.strides).map(|(at, stride)| at * stride).sum::<usize>()
    };
    Ok((0..length).map(|nth| number_at(index_of(nth))).collect())
}

impl StorageType {
    fn width(self) -> usize {
        match self {
            StorageType::Byte | StorageType::Char | StorageType::Bool => 1,
            StorageType::Half | StorageType::BFloat16 | StorageType::Short => 2,
            StorageType::Float | StorageType::Int => 4,
            StorageType::Double | StorageType::Long => 8,
        }
    }

    fn read(self, bytes: &[u8]) -> f32 {
        macro_rules! number {
            ($type:ty) => {
                <$type>::from_le_bytes(bytes.try_into().expect("callers cut slices of the type's width"))
            };
        }
        match self {
            StorageType::Float => number!(f32),
            StorageType::Double => number!(f64) as f32,
            StorageType::Half => number!(f16).to_f32(),
            StorageType::BFloat16 => number!(bf16).to_f32(),
            StorageType::Long => number!(i64) as f32,
            StorageType::Int => number!(i32) as f32,
            StorageType::Short => f32::from(number!(i16)),
            StorageType::Char => f32::from(number!(i8)),
            StorageType::Byte | StorageType::Bool => f32::from(number!(u8)),
        }
    }
}

#[cfg(test)]
mod tests;
