//! What a pickle of weights may hold.
//!
//! Objects lie in one list and hold each other by their places in it. So an object that is remembered and recalled is
//! the same one, as Python has it, and no file, however it nests or repeats, makes more than its length allows.

use std::sync::Arc;

use crate::loaders::LoadError;

/// The place of an object in its pickle's list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ObjectId(pub(super) usize);

/// All that a pickle built.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) objects: Vec<Object>,
    pub(super) root: ObjectId,
}

impl Pickle {
    /// The object that the pickle is about.
    pub(super) fn root(&self) -> &Object {
        self.get(self.root)
    }

    /// An object that another holds.
    pub(super) fn get(&self, id: ObjectId) -> &Object {
        &self.objects[id.0]
    }

    /// Every storage that is named, used or not.
    pub(super) fn storages(&self) -> impl Iterator<Item = &StorageRef> {
        self.objects
            .iter()
            .filter_map(|object| if let Object::Storage(storage) = object { Some(storage) } else { None })
    }
}

/// What a pickle may build.
#[derive(Debug)]
pub(super) enum Object {
    None,
    Whole(i64),
    /// A whole number wider than 64 bits, little endian; PyTorch's magic number is one.
    Wide(Vec<u8>),
    Text(Arc<str>),
    List(Vec<ObjectId>),
    Tuple(Vec<ObjectId>),
    Dict(Vec<(ObjectId, ObjectId)>),
    Tensor(Box<TensorRef>),
    Storage(StorageRef),
    Global(Global),
    /// A truth value, a number with a fraction or bytes: no weights are made of these.
    Other,
}

/// The callables that are known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    RebuildTensor,
    RebuildParameter,
    OrderedDict,
    Storage(StorageType),
}

/// Element types of storages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum StorageType {
    Float,
    Double,
    Half,
    BFloat16,
    Long,
    Int,
    Short,
    Char,
    Byte,
    Bool,
}

/// A tensor as a view of a storage; lengths in elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorRef {
    pub(super) storage: StorageRef,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A storage by its key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StorageRef {
    pub(super) element: StorageType,
    pub(super) key: Arc<str>,
}

/// The callable of a name; the error names what it is that will not be called.
pub(super) fn global(module: &str, name: &str) -> Result<Global, LoadError> {
    let storage = |element| Ok(Global::Storage(element));
    match (module, name) {
        ("torch._utils", "_rebuild_tensor_v2") => Ok(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Ok(Global::RebuildParameter),
        ("collections", "OrderedDict") => Ok(Global::OrderedDict),
        ("torch", "FloatStorage") => storage(StorageType::Float),
        ("torch", "DoubleStorage") => storage(StorageType::Double),
        ("torch", "HalfStorage") => storage(StorageType::Half),
        ("torch", "BFloat16Storage") => storage(StorageType::BFloat16),
        ("torch", "LongStorage") => storage(StorageType::Long),
        ("torch", "IntStorage") => storage(StorageType::Int),
        ("torch", "ShortStorage") => storage(StorageType::Short),
        ("torch", "CharStorage") => storage(StorageType::Char),
        ("torch", "ByteStorage") => storage(StorageType::Byte),
        ("torch", "BoolStorage") => storage(StorageType::Bool),
        _ => Err(LoadError::UnsupportedFormat(format!(
            "the file would call `{module}.{name}`; in a file of weights only tensors, storages and OrderedDict are understood, \
             and nothing else is ever run"
        ))),
    }
}
