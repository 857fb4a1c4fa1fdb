//! CBOR (RFC 8949), as much as NSM, attestation documents and COSE need: integers, byte and text strings, arrays, maps,
//! null and booleans; definite and indefinite lengths when reading, the shortest form when writing (QEMU's NSM refuses any
//! other). Reading allocates no more than a fixed multiple of the input, and never recurses deeper than [`MAX_DEPTH`].

use std::fmt;

/// Deepest nesting that is read.
pub const MAX_DEPTH: usize = 16;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;
const BREAK: u8 = 0xff;
const INDEFINITE: u8 = 31;

/// Bytes that are not the CBOR that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CborError {
    /// The input ends inside an item.
    Truncated,
    /// Something follows the item.
    Trailing,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// A reserved form, a tag, a float, or text that is not UTF-8.
    Unsupported,
    /// A map has the same key twice.
    DuplicateKey,
}

impl fmt::Display for CborError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "it ends inside an item",
            Self::Trailing => "bytes follow the item",
            Self::TooDeep => "it is nested too deeply",
            Self::Unsupported => "it holds something that does not belong here",
            Self::DuplicateKey => "a map has the same key twice",
        })
    }
}

impl std::error::Error for CborError {}

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
    let mut reader = Reader(bytes);
    let value = reader.item(MAX_DEPTH)?;
    if reader.0.is_empty() {
        Ok(value)
    } else {
        Err(CborError::Trailing)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], CborError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(CborError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, CborError> {
        Ok(self.take(1)?[0])
    }

    /// The argument of a head; `None`: indefinite.
    fn argument(&mut self, low: u8) -> Result<Option<u64>, CborError> {
        let count = match low {
            0..24 => return Ok(Some(low.into())),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            INDEFINITE => return Ok(None),
            _ => return Err(CborError::Unsupported),
        };
        let bytes = self.take(count)?;
        Ok(Some(
            bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        ))
    }

    fn string(&mut self, length: Option<u64>) -> Result<&'a [u8], CborError> {
        let length = length.ok_or(CborError::Unsupported)?;
        self.take(usize::try_from(length).map_err(|_| CborError::Truncated)?)
    }

    fn item(&mut self, depth: usize) -> Result<Value<'a>, CborError> {
        let depth = depth.checked_sub(1).ok_or(CborError::TooDeep)?;
        let first = self.byte()?;
        match first {
            FALSE => return Ok(Value::Bool(false)),
            TRUE => return Ok(Value::Bool(true)),
            NULL => return Ok(Value::Null),
            _ if first >> 5 == SIMPLE => return Err(CborError::Unsupported),
            _ => {}
        }
        let argument = self.argument(first & 0x1f)?;
        match first >> 5 {
            UNSIGNED => argument.map(Value::Unsigned).ok_or(CborError::Unsupported),
            NEGATIVE => argument.map(Value::Negative).ok_or(CborError::Unsupported),
            BYTES => self.string(argument).map(Value::Bytes),
            TEXT => {
                let text = std::str::from_utf8(self.string(argument)?);
                text.map(Value::Text).map_err(|_| CborError::Unsupported)
            }
            ARRAY => {
                let mut items = Vec::new();
                self.repeat(argument, |reader| {
                    items.push(reader.item(depth)?);
                    Ok(())
                })?;
                Ok(Value::Array(items))
            }
            MAP => {
                let mut entries: Vec<(Value<'a>, Value<'a>)> = Vec::new();
                self.repeat(argument, |reader| {
                    let key = reader.item(depth)?;
                    if entries.iter().any(|(known, _)| *known == key) {
                        return Err(CborError::DuplicateKey);
                    }
                    entries.push((key, reader.item(depth)?));
                    Ok(())
                })?;
                Ok(Value::Map(entries))
            }
            _ => Err(CborError::Unsupported),
        }
    }

    /// As many times as the length says, or until the break of an indefinite one. Each time takes a byte at least, so a
    /// length that lies ends with the input.
    fn repeat(
        &mut self,
        length: Option<u64>,
        mut each: impl FnMut(&mut Self) -> Result<(), CborError>,
    ) -> Result<(), CborError> {
        match length {
            Some(length) => (0..length).try_for_each(|_| each(self)),
            None => {
                while self.0.first() != Some(&BREAK) {
                    each(self)?;
                }
                self.byte().map(|_| ())
            }
        }
    }
}

/// Writes definite lengths in their shortest form.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let major = major << 5;
        let bytes = value.to_be_bytes();
        match value {
            0..24 => self.0.push(major | bytes[7]),
            24..0x100 => self.0.extend([major | 24, bytes[7]]),
            0x100..0x1_0000 => {
                self.0.push(major | 25);
                self.0.extend(&bytes[6..]);
            }
            0x1_0000..0x1_0000_0000 => {
                self.0.push(major | 26);
                self.0.extend(&bytes[4..]);
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend(bytes);
            }
        }
        self
    }

    /// 0 and above.
    pub fn unsigned(&mut self, value: u64) -> &mut Self {
        self.head(UNSIGNED, value)
    }

    /// A byte string.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.head(BYTES, bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    /// A text string.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.head(TEXT, text.len() as u64);
        self.0.extend(text.as_bytes());
        self
    }

    /// The head of an array; its items follow.
    pub fn array(&mut self, length: usize) -> &mut Self {
        self.head(ARRAY, length as u64)
    }

    /// The head of a map; its keys and values follow.
    pub fn map(&mut self, length: usize) -> &mut Self {
        self.head(MAP, length as u64)
    }

    /// `null`.
    pub fn null(&mut self) -> &mut Self {
        self.0.push(NULL);
        self
    }

    /// Bytes as an array of integers, which some decoders want.
    pub fn integers(&mut self, bytes: &[u8]) -> &mut Self {
        self.array(bytes.len());
        for byte in bytes {
            self.unsigned(u64::from(*byte));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new();
        writer
            .map(3)
            .text("a")
            .unsigned(70_000)
            .text("b")
            .bytes(&[1, 2])
            .text("c");
        writer.array(2).null().integers(&[0, 255]);
        let bytes = writer.finish();
        let value = decode(&bytes).expect("valid");
        assert_eq!(value.get("a").and_then(Value::as_unsigned), Some(70_000));
        assert_eq!(value.get("b").and_then(Value::as_bytes), Some(&[1, 2][..]));
        let list = value.get("c").and_then(Value::as_array).expect("a list");
        assert_eq!(list[0], Value::Null);
        assert_eq!(list[1].as_integers(), Some(vec![0, 255]));
    }

    #[test]
    fn integers_are_written_in_their_shortest_form() {
        for (value, length) in [
            (0, 1),
            (23, 1),
            (24, 2),
            (255, 2),
            (256, 3),
            (65_536, 5),
            (1 << 32, 9),
        ] {
            let mut writer = Writer::new();
            writer.unsigned(value);
            let bytes = writer.finish();
            assert_eq!(bytes.len(), length, "{value}");
            assert_eq!(decode(&bytes), Ok(Value::Unsigned(value)));
        }
    }

    #[test]
    fn indefinite_maps_and_arrays_are_read() {
        // {_ "a": [_ 1, 2]}
        let value = decode(&[0xbf, 0x61, b'a', 0x9f, 1, 2, 0xff, 0xff]).expect("valid");
        assert_eq!(
            value.get("a"),
            Some(&Value::Array(vec![Value::Unsigned(1), Value::Unsigned(2)]))
        );
    }

    #[test]
    fn hostile_input_is_refused_without_harm() {
        use CborError::{DuplicateKey, TooDeep, Trailing, Truncated, Unsupported};
        for (bytes, error) in [
            (&[][..], Truncated),
            (&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Truncated),
            (&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Truncated),
            (
                &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
                Truncated,
            ),
            (&[0x9f, 1], Truncated),
            (&[0x81; 100], TooDeep),
            (&[0, 0], Trailing),
            (&[0xa2, 1, 1, 1, 2], DuplicateKey),
            (&[0xff], Unsupported),
            (&[0x1c], Unsupported),
            (&[0xc1, 0], Unsupported),
            (&[0xfb, 0, 0, 0, 0, 0, 0, 0, 0], Unsupported),
            (&[0x61, 0xff], Unsupported),
            (&[0x5f, 0xff], Unsupported),
        ] {
            assert_eq!(decode(bytes), Err(error), "{bytes:02x?}");
        }
    }
}
