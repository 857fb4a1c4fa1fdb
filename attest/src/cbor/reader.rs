//! One item after another, without allocation: for formats whose grammar says what comes next.

use super::CborError;
use super::form::{
    ARRAY, BREAK, BYTES, FALSE, INDEFINITE, MAP, NEGATIVE, NULL, SIMPLE, TEXT, TRUE, UNSIGNED,
};

/// An item, or the head of one that has items in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// 0 and above.
    Unsigned(u64),
    /// -1 - n.
    Negative(u64),
    /// A byte string of definite length.
    Bytes(&'a [u8]),
    /// A text string of definite length.
    Text(&'a str),
    /// So many items follow; `None`: until a break.
    Array(Option<u64>),
    /// So many keys with their values follow; `None`: until a break.
    Map(Option<u64>),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

/// What is left of the input.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    shortest: bool,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their beginning. Numbers may have leading zeros, as some encoders write them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            shortest: false,
        }
    }

    /// As [`Reader::new`], but every number and every length has to be in its shortest form.
    pub fn strict(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            shortest: true,
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// [`CborError::Trailing`] when something is left.
    pub fn finish(&self) -> Result<(), CborError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(CborError::Trailing)
        }
    }

    /// The next item. A tag, a float and a break where none is expected are [`CborError::Unsupported`].
    ///
    /// # Errors
    ///
    /// [`CborError`] says what is wrong; nothing can be read afterwards.
    pub fn item(&mut self) -> Result<Item<'a>, CborError> {
        let first = self.byte()?;
        match first {
            FALSE => return Ok(Item::Bool(false)),
            TRUE => return Ok(Item::Bool(true)),
            NULL => return Ok(Item::Null),
            _ if first >> 5 == SIMPLE => return Err(CborError::Unsupported),
            _ => {}
        }
        let argument = self.argument(first & 0x1f)?;
        match first >> 5 {
            UNSIGNED => argument.map(Item::Unsigned).ok_or(CborError::Unsupported),
            NEGATIVE => argument.map(Item::Negative).ok_or(CborError::Unsupported),
            BYTES => self.string(argument).map(Item::Bytes),
            TEXT => {
                let text = std::str::from_utf8(self.string(argument)?);
                text.map(Item::Text).map_err(|_| CborError::Unsupported)
            }
            ARRAY => Ok(Item::Array(argument)),
            MAP => Ok(Item::Map(argument)),
            _ => Err(CborError::Unsupported),
        }
    }

    /// Calls `each` as many times as the length says, or until the break of an indefinite one. Each call takes a byte at
    /// least, so a length that lies ends with the input.
    ///
    /// # Errors
    ///
    /// The first error of `each`; [`CborError::Truncated`] when the break is missing.
    pub fn repeat<E: From<CborError>>(
        &mut self,
        length: Option<u64>,
        mut each: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        match length {
            Some(length) => (0..length).try_for_each(|_| each(self)),
            None => {
                while self.rest.first() != Some(&BREAK) {
                    each(self)?;
                }
                Ok(self.byte().map(|_break| ())?)
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], CborError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CborError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, CborError> {
        let (first, rest) = self.rest.split_first().ok_or(CborError::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    /// The argument of a head; `None`: indefinite.
    fn argument(&mut self, low: u8) -> Result<Option<u64>, CborError> {
        let (count, least) = match low {
            0..24 => return Ok(Some(low.into())),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            INDEFINITE => return Ok(None),
            _ => return Err(CborError::Unsupported),
        };
        let bytes = self.take(count)?;
        let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        if self.shortest && value < least {
            return Err(CborError::NotShortest);
        }
        Ok(Some(value))
    }

    fn string(&mut self, length: Option<u64>) -> Result<&'a [u8], CborError> {
        let length = length.ok_or(CborError::Unsupported)?;
        self.take(usize::try_from(length).map_err(|_| CborError::Truncated)?)
    }
}
