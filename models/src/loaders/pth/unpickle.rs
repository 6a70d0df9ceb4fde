//! A pickle machine that builds dictionaries of tensors and nothing else (pickle protocols 2 to 4, as far as
//! `torch.save` uses them). What would call anything but tensors, storages and OrderedDict is refused by name.

use std::collections::HashMap;

use super::corrupt;
use super::objects::{Global, Object, ObjectId, Pickle, StorageRef, TensorRef, global};
use crate::loaders::LoadError;

/// Reads one pickle; answers what it builds and how many bytes it took.
pub(super) fn unpickle(bytes: &[u8]) -> Result<(Pickle, usize), LoadError> {
    let mut machine =
        Machine { bytes, at: 0, n_made: 0, objects: vec![], stack: vec![], marks: vec![], memo: HashMap::new() };
    loop {
        if let Some(root) = machine.step()? {
            return Ok((Pickle { objects: machine.objects, root }, machine.at));
        }
    }
}

/// The most objects of one pickle, so that a file of instructions alone cannot ask for much; weights take some fifteen
/// each.
const MOST_OBJECTS: usize = 1 << 22;

/// The most axes of a tensor, as many as PyTorch allows.
const MOST_AXES: usize = 64;

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    n_made: usize,
    objects: Vec<Object>,
    stack: Vec<ObjectId>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<usize, ObjectId>,
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

    /// Notes that so many objects or items were made.
    fn count(&mut self, n: usize) -> Result<(), LoadError> {
        self.n_made += n;
        if self.n_made > MOST_OBJECTS {
            return Err(corrupt(format!("its pickle holds more than {MOST_OBJECTS} objects")));
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<ObjectId, LoadError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let above = self.stack.len() > floor;
        above.then(|| self.stack.pop()).flatten().ok_or_else(|| corrupt("its pickle takes more than it has put down"))
    }

    fn push(&mut self, object: Object) -> Result<(), LoadError> {
        self.count(1)?;
        self.stack.push(ObjectId(self.objects.len()));
        self.objects.push(object);
        Ok(())
    }

    /// Everything since the last mark.
    fn since_mark(&mut self) -> Result<Vec<ObjectId>, LoadError> {
        let mark = self.marks.pop().ok_or_else(|| corrupt("a mark is missing"))?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, place: usize) -> Result<(), LoadError> {
        let top = *self.stack.last().ok_or_else(|| corrupt("it remembers what it never put down"))?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<(), LoadError> {
        let object = self.memo.get(&place).ok_or_else(|| corrupt("it recalls what it never remembered"))?;
        self.stack.push(*object);
        Ok(())
    }

    /// Runs one instruction; the object where that was the last.
    fn step(&mut self) -> Result<Option<ObjectId>, LoadError> {
        let instruction = self.take(1)?[0];
        match instruction {
            b'.' => return self.pop().map(Some),
            b'\x80' => {
                self.take(1)?;
            }
            b'\x95' => {
                self.take(8)?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'N' => self.push(Object::None)?,
            b'\x88' | b'\x89' => self.push(Object::Other)?,
            b'J' => {
                let bytes = self.take(4)?;
                let number = i32::from_le_bytes(bytes.try_into().expect("four bytes were taken"));
                self.push(Object::Whole(i64::from(number)))?;
            }
            b'K' => self.push_number(1)?,
            b'M' => self.push_number(2)?,
            b'\x8a' => {
                let length = self.number(1)?;
                let bytes = self.take(length)?;
                self.push(signed(bytes))?;
            }
            b'G' => {
                self.take(8)?;
                self.push(Object::Other)?;
            }
            b'X' => self.push_text(4)?,
            b'\x8c' => self.push_text(1)?,
            b'U' => self.push_text(1)?,
            b'T' => self.push_text(4)?,
            b'C' | b'B' => {
                let length = self.number(if instruction == b'C' { 1 } else { 4 })?;
                self.take(length)?;
                self.push(Object::Other)?;
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
                let mut objects = (0..length).map(|_| self.pop()).collect::<Result<Vec<ObjectId>, LoadError>>()?;
                objects.reverse();
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
                let (Object::Text(module), Object::Text(name)) = (self.get(module), self.get(name)) else {
                    return Err(corrupt("a global without a name"));
                };
                let known = global(module, name)?;
                self.push(Object::Global(known))?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Object::Storage(storage))?;
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let made = self.call(callable, arguments)?;
                self.push(made)?;
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
        self.push(Object::Text(text(bytes)?.into()))
    }

    fn extend_list(&mut self, objects: Vec<ObjectId>) -> Result<(), LoadError> {
        match self.top() {
            Some(Object::List(list)) => list.extend(objects),
            _ => return Err(corrupt("it appends to what is no list")),
        }
        Ok(())
    }

    fn extend_dict(&mut self, objects: Vec<ObjectId>) -> Result<(), LoadError> {
        let Some(Object::Dict(entries)) = self.top() else {
            return Err(corrupt("it sets an item of what is no dictionary"));
        };
        let pairs = objects.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(corrupt("a dictionary's key lacks its value"));
        }
        entries.extend(pairs.map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn get(&self, id: ObjectId) -> &Object {
        &self.objects[id.0]
    }

    fn top(&mut self) -> Option<&mut Object> {
        let top = *self.stack.last()?;
        Some(&mut self.objects[top.0])
    }

    /// The storage that a persistent id names: `("storage", type, key, location, length)`, and before PyTorch 1.6 what
    /// part it is of another storage, which `torch.save` has long written as `None` only.
    fn storage(&self, id: ObjectId) -> Result<StorageRef, LoadError> {
        let Object::Tuple(parts) = self.get(id) else { return Err(corrupt("a storage has no name")) };
        let parts: Vec<&Object> = parts.iter().take(6).map(|&part| self.get(part)).collect();
        match parts[..] {
            [Object::Text(kind), Object::Global(Global::Storage(element)), Object::Text(key), ref rest @ ..]
                if **kind == *"storage" =>
            {
                if matches!(rest, [_, _, part] if !matches!(part, Object::None)) {
                    let reason = format!("storage `{key}` is a part of another one, which is not read");
                    return Err(LoadError::UnsupportedFormat(reason));
                }
                Ok(StorageRef { element: *element, key: key.clone() })
            }
            _ => Err(corrupt("a storage is not named as PyTorch names them")),
        }
    }

    fn call(&mut self, callable: ObjectId, arguments: ObjectId) -> Result<Object, LoadError> {
        let (Object::Global(global), Object::Tuple(arguments)) = (self.get(callable), self.get(arguments)) else {
            return Err(corrupt("it calls what cannot be called"));
        };
        let global = *global;
        let arguments: Vec<&Object> = arguments.iter().take(8).map(|&argument| self.get(argument)).collect();
        match (global, &arguments[..]) {
            (Global::OrderedDict, []) => Ok(Object::Dict(vec![])),
            (Global::OrderedDict, [Object::List(pairs)]) => {
                let pair = |pair: &ObjectId| match self.get(*pair) {
                    Object::Tuple(pair) | Object::List(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
                    _ => Err(corrupt("an OrderedDict is made of what are no pairs")),
                };
                let pairs = pairs.iter().map(pair).collect::<Result<Vec<_>, LoadError>>()?;
                // The list can be recalled and copied again and again.
                self.count(pairs.len())?;
                Ok(Object::Dict(pairs))
            }
            (Global::RebuildParameter, [Object::Tensor(tensor), ..]) => Ok(Object::Tensor(tensor.clone())),
            (
                Global::RebuildTensor,
                [Object::Storage(storage), Object::Whole(offset), Object::Tuple(shape), Object::Tuple(strides), ..],
            ) => {
                if shape.len() > MOST_AXES || strides.len() != shape.len() {
                    let (axes, strides) = (shape.len(), strides.len());
                    return Err(corrupt(format!(
                        "a tensor has {axes} axes and {strides} strides; as many of both, up to {MOST_AXES}, are right"
                    )));
                }
                let lengths = |ids: &[ObjectId]| -> Option<Vec<usize>> {
                    ids.iter()
                        .map(|id| if let Object::Whole(n) = self.get(*id) { (*n).try_into().ok() } else { None })
                        .collect()
                };
                match (usize::try_from(*offset), lengths(shape), lengths(strides)) {
                    (Ok(offset), Some(shape), Some(strides)) => {
                        Ok(Object::Tensor(Box::new(TensorRef { storage: storage.clone(), offset, shape, strides })))
                    }
                    _ => Err(corrupt("a tensor has a negative length")),
                }
            }
            _ => Err(corrupt(format!("it calls {global:?} with arguments that do not fit"))),
        }
    }
}

fn text(bytes: &[u8]) -> Result<String, LoadError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| corrupt("a text is not UTF-8"))
}

/// A whole number of any width, two's complement, little endian.
fn signed(bytes: &[u8]) -> Object {
    if bytes.len() > 8 {
        return Object::Wide(bytes.to_vec());
    }
    let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [fill; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Object::Whole(i64::from_le_bytes(wide))
}
