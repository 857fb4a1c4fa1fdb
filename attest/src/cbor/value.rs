//! A tree of items, for small answers whose shape is looked at afterwards.

use super::{CborError, Item, Reader};

/// Deepest nesting that is read.
pub const MAX_DEPTH: usize = 16;
/// Most keys of one map. No answer of NSM has more than seven; looking for a duplicate takes a comparison with each.
pub const MAX_KEYS: usize = 64;

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// 0 and above.
    Unsigned(u64),
    /// -1 - n.
    Negative(u64),
    /// A byte string of definite length.
    Bytes(&'a [u8]),
    /// A text string of definite length.
    Text(&'a str),
    /// Items.
    Array(Vec<Value<'a>>),
    /// Keys and values, in the order of the input.
    Map(Vec<(Value<'a>, Value<'a>)>),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

impl<'a> Value<'a> {
    /// The value of a text key of a map.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        let Self::Map(entries) = self else { return None };
        let entry = entries.iter().find(|(key, _)| *key == Value::Text(name));
        entry.map(|(_, value)| value)
    }

    /// As an unsigned integer.
    pub fn as_unsigned(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(*value),
            _ => None,
        }
    }

    /// As a byte string.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// As text.
    pub fn as_text(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// As items.
    pub fn as_array(&self) -> Option<&[Value<'a>]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// An array of integers below 256, which some encoders write for bytes.
    pub fn as_integers(&self) -> Option<Vec<u8>> {
        let bytes = self
            .as_array()?
            .iter()
            .map(|item| u8::try_from(item.as_unsigned()?).ok());
        bytes.collect()
    }
}

/// Reads one item, which must be all of the input.
///
/// # Errors
///
/// [`CborError`] says what is wrong.
pub fn decode(bytes: &[u8]) -> Result<Value<'_>, CborError> {
    let mut reader = Reader::new(bytes);
    let value = read(&mut reader, MAX_DEPTH)?;
    reader.finish()?;
    Ok(value)
}

fn read<'a>(reader: &mut Reader<'a>, depth: usize) -> Result<Value<'a>, CborError> {
    let depth = depth.checked_sub(1).ok_or(CborError::TooDeep)?;
    Ok(match reader.item()? {
        Item::Unsigned(value) => Value::Unsigned(value),
        Item::Negative(value) => Value::Negative(value),
        Item::Bytes(bytes) => Value::Bytes(bytes),
        Item::Text(text) => Value::Text(text),
        Item::Bool(value) => Value::Bool(value),
        Item::Null => Value::Null,
        Item::Array(length) => {
            let mut items = Vec::new();
            reader.repeat(length, |reader| {
                items.push(read(reader, depth)?);
                Ok::<_, CborError>(())
            })?;
            Value::Array(items)
        }
        Item::Map(length) => {
            let mut entries: Vec<(Value<'a>, Value<'a>)> = Vec::new();
            reader.repeat(length, |reader| {
                let key = read(reader, depth)?;
                if entries.len() == MAX_KEYS {
                    return Err(CborError::TooManyKeys);
                }
                if entries.iter().any(|(known, _)| *known == key) {
                    return Err(CborError::DuplicateKey);
                }
                entries.push((key, read(reader, depth)?));
                Ok(())
            })?;
            Value::Map(entries)
        }
    })
}
