//! A pickle machine that builds dictionaries of tensors and nothing else (pickle protocols 0 to 4, as far as
//! `torch.save` uses them). What would call anything but tensors, storages and OrderedDict is refused by name.

use super::corrupt;
use crate::loaders::LoadError;

/// What a pickle may build.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    None,
    Bool(bool),
    Whole(i64),
    /// A whole number wider than 64 bits, little endian; PyTorch's magic number is one.
    Wide(Vec<u8>),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Object>),
    Tuple(Vec<Object>),
    Dict(Vec<(Object, Object)>),
    Tensor(TensorRef),
    Storage(StorageRef),
    Global(Global),
    /// What `mark` leaves on the stack.
    Mark,
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
    pub(super) key: String,
}

fn global(module: &str, name: &str) -> Result<Global, LoadError> {
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

/// Reads one pickle; answers what it builds and how many bytes it took.
pub(super) fn unpickle(bytes: &[u8]) -> Result<(Object, usize), LoadError> {
    let mut machine = Machine { bytes, at: 0, stack: Vec::new(), memo: Vec::new() };
    loop {
        if let Some(object) = machine.step()? {
            return Ok((object, machine.at));
        }
    }
}

/// The most objects on the stack or in the memo, so that a small file cannot ask for much.
const MOST_OBJECTS: usize = 1 << 22;

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Object>,
    memo: Vec<Option<Object>>,
}

impl<'a> Machine<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], LoadError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end =
            end.ok_or_else(|| corrupt(format!("it ends at byte {} in the middle of its pickle", self.bytes.len())))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self, width: usize) -> Result<usize, LoadError> {
        let bytes = self.take(width)?;
        let number = bytes
            .iter()
            .rev()
            .try_fold(0usize, |number, &byte| number.checked_mul(256)?.checked_add(usize::from(byte)));
        number.ok_or_else(|| corrupt("a length does not fit into memory"))
    }

    fn line(&mut self) -> Result<String, LoadError> {
        let rest = &self.bytes[self.at..];
        let length =
            rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| corrupt("a line of its pickle has no end"))?;
        let line = self.take(length + 1)?;
        text(&line[..length])
    }

    fn pop(&mut self) -> Result<Object, LoadError> {
        self.stack.pop().ok_or_else(|| corrupt("its pickle takes more than it has put down"))
    }

    fn push(&mut self, object: Object) -> Result<(), LoadError> {
        if self.stack.len() >= MOST_OBJECTS {
            return Err(corrupt(format!("its pickle holds more than {MOST_OBJECTS} objects")));
        }
        self.stack.push(object);
        Ok(())
    }

    /// Everything since the last mark.
    fn since_mark(&mut self) -> Result<Vec<Object>, LoadError> {
        let mark = self
            .stack
            .iter()
            .rposition(|object| *object == Object::Mark)
            .ok_or_else(|| corrupt("a mark is missing"))?;
        let objects = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(objects)
    }

    fn remember(&mut self, place: usize) -> Result<(), LoadError> {
        if place >= MOST_OBJECTS {
            return Err(corrupt("its memo is too large"));
        }
        if self.memo.len() <= place {
            self.memo.resize(place + 1, None);
        }
        self.memo[place] = self.stack.last().cloned();
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<(), LoadError> {
        let object =
            self.memo.get(place).cloned().flatten().ok_or_else(|| corrupt("it recalls what it never remembered"))?;
        self.push(object)
    }

    /// Runs one instruction; the object where that was the last.
    fn step(&mut self) -> Result<Option<Object>, LoadError> {
        let instruction = self.take(1)?[0];
        match instruction {
            b'.' => return self.pop().map(Some),
            b'\x80' => {
                self.take(1)?;
            }
            b'\x95' => {
                self.take(8)?;
            }
            b'(' => self.push(Object::Mark)?,
            b'0' => {
                self.pop()?;
            }
            b'N' => self.push(Object::None)?,
            b'\x88' => self.push(Object::Bool(true))?,
            b'\x89' => self.push(Object::Bool(false))?,
            b'J' => {
                let bytes = self.take(4)?;
                let number = i32::from_le_bytes(bytes.try_into().expect("four bytes were taken"));
                self.push(Object::Whole(i64::from(number)))?;
            }
            b'K' => self.push_number(1)?,
            b'M' => self.push_number(2)?,
            b'\x8a' => {
                let length = self.number(1)?;
                let bytes = self.take(length)?.to_vec();
                self.push(signed(bytes))?;
            }
            b'G' => {
                let bytes = self.take(8)?;
                self.push(Object::Float(f64::from_be_bytes(bytes.try_into().expect("eight bytes were taken"))))?;
            }
            b'X' => self.push_text(4)?,
            b'\x8c' => self.push_text(1)?,
            b'U' => self.push_text(1)?,
            b'T' => self.push_text(4)?,
            b'C' | b'B' => {
                let length = self.number(if instruction == b'C' { 1 } else { 4 })?;
                let bytes = self.take(length)?.to_vec();
                self.push(Object::Bytes(bytes))?;
            }
            b']' => self.push(Object::List(vec![]))?,
            b')' => self.push(Object::Tuple(vec![]))?,
            b'}' => self.push(Object::Dict(vec![]))?,
            b'l' => {
                let objects = self.since_mark()?;
                self.push(Object::List(objects))?;
            }
            b't' => {
                let objects = self.since_mark()?;
                self.push(Object::Tuple(objects))?;
            }
            b'\x85'..=b'\x87' => {
                let length = usize::from(instruction - b'\x84');
                let start = self.stack.len().checked_sub(length).ok_or_else(|| corrupt("a tuple lacks its parts"))?;
                let objects = self.stack.split_off(start);
                self.push(Object::Tuple(objects))?;
            }
            b'a' => {
                let object = self.pop()?;
                self.extend_list(vec![object])?;
            }
            b'e' => {
                let objects = self.since_mark()?;
                self.extend_list(objects)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(vec![key, value])?;
            }
            b'u' => {
                let objects = self.since_mark()?;
                self.extend_dict(objects)?;
            }
            b'q' => {
                let place = self.number(1)?;
                self.remember(place)?;
            }
            b'r' => {
                let place = self.number(4)?;
                self.remember(place)?;
            }
            b'\x94' => {
                let place = self.memo.len();
                self.remember(place)?;
            }
            b'h' => {
                let place = self.number(1)?;
                self.recall(place)?;
            }
            b'j' => {
                let place = self.number(4)?;
                self.recall(place)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Object::Global(global(&module, &name)?))?;
            }
            b'\x93' => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Object::Text(module), Object::Text(name)) = (module, name) else {
                    return Err(corrupt("a global without a name"));
                };
                self.push(Object::Global(global(&module, &name)?))?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Object::Storage(storage(&id)?))?;
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.push(call(&callable, arguments)?)?;
            }
            // The state of an OrderedDict is bookkeeping (`_metadata`), which no one reads here.
            b'b' => {
                self.pop()?;
            }
            other => {
                return Err(LoadError::UnsupportedFormat(format!(
                    "its pickle has the instruction 0x{other:02x}, which files of weights do not use"
                )));
            }
        }
        Ok(None)
    }

    fn push_number(&mut self, width: usize) -> Result<(), LoadError> {
        let number = self.number(width)?;
        self.push(Object::Whole(number as i64))
    }

    fn push_text(&mut self, width: usize) -> Result<(), LoadError> {
        let length = self.number(width)?;
        let bytes = self.take(length)?;
        self.push(Object::Text(text(bytes)?))
    }

    fn extend_list(&mut self, objects: Vec<Object>) -> Result<(), LoadError> {
        match self.stack.last_mut() {
            Some(Object::List(list)) => list.extend(objects),
            _ => return Err(corrupt("it appends to what is no list")),
        }
        Ok(())
    }

    fn extend_dict(&mut self, objects: Vec<Object>) -> Result<(), LoadError> {
        let Some(Object::Dict(entries)) = self.stack.last_mut() else {
            return Err(corrupt("it sets an item of what is no dictionary"));
        };
        let mut objects = objects.into_iter();
        while let (Some(key), Some(value)) = (objects.next(), objects.next()) {
            entries.push((key, value));
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<String, LoadError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| corrupt("a text is not UTF-8"))
}

/// A whole number of any width, two's complement, little endian.
fn signed(bytes: Vec<u8>) -> Object {
    if bytes.len() > 8 {
        return Object::Wide(bytes);
    }
    let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [fill; 8];
    wide[..bytes.len()].copy_from_slice(&bytes);
    Object::Whole(i64::from_le_bytes(wide))
}

/// The storage that a persistent id names: `("storage", type, key, location, length, …)`.
fn storage(id: &Object) -> Result<StorageRef, LoadError> {
    match id {
        Object::Tuple(parts) => match &parts[..] {
            [Object::Text(kind), Object::Global(Global::Storage(element)), Object::Text(key), ..]
                if kind == "storage" =>
            {
                Ok(StorageRef { element: *element, key: key.clone() })
            }
            _ => Err(corrupt("a storage is not named as PyTorch names them")),
        },
        _ => Err(corrupt("a storage has no name")),
    }
}

fn call(callable: &Object, arguments: Object) -> Result<Object, LoadError> {
    let (Object::Global(global), Object::Tuple(arguments)) = (callable, arguments) else {
        return Err(corrupt("it calls what cannot be called"));
    };
    match (global, &arguments[..]) {
        (Global::OrderedDict, []) => Ok(Object::Dict(vec![])),
        (Global::OrderedDict, [Object::List(pairs)]) => {
            let pair = |pair: &Object| match pair {
                Object::Tuple(pair) | Object::List(pair) if pair.len() == 2 => Ok((pair[0].clone(), pair[1].clone())),
                _ => Err(corrupt("an OrderedDict is made of what are no pairs")),
            };
            Ok(Object::Dict(pairs.iter().map(pair).collect::<Result<_, _>>()?))
        }
        (Global::RebuildParameter, [Object::Tensor(tensor), ..]) => Ok(Object::Tensor(tensor.clone())),
        (
            Global::RebuildTensor,
            [Object::Storage(storage), Object::Whole(offset), Object::Tuple(shape), Object::Tuple(strides), ..],
        ) => {
            let lengths = |objects: &[Object]| -> Option<Vec<usize>> {
                objects
                    .iter()
                    .map(|object| if let Object::Whole(number) = object { usize::try_from(*number).ok() } else { None })
                    .collect()
            };
            match (usize::try_from(*offset), lengths(shape), lengths(strides)) {
                (Ok(offset), Some(shape), Some(strides)) => {
                    Ok(Object::Tensor(TensorRef { storage: storage.clone(), offset, shape, strides }))
                }
                _ => Err(corrupt("a tensor has a negative length")),
            }
        }
        _ => Err(corrupt(format!("it calls {global:?} with arguments that do not fit"))),
    }
}
