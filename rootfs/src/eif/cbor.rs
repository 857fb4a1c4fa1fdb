//! The little CBOR (RFC 8949) of the signature section: heads, arrays, maps with text keys. Byte strings are arrays of
//! integers there, because that is how the reference implementation writes a `Vec<u8>`.

use super::EifError;

/// Major types.
const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

/// Writes definite lengths in their shortest form.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    fn head(&mut self, major: u8, value: usize) {
        let major = major << 5;
        match value {
            0..24 => self.0.push(major | value.to_be_bytes()[7]),
            24..0x100 => self.0.extend([major | 24, value.to_be_bytes()[7]]),
            0x100..0x1_0000 => {
                self.0.push(major | 25);
                self.0.extend(&value.to_be_bytes()[6..]);
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend(value.to_be_bytes());
            }
        }
    }

    pub(super) fn unsigned(&mut self, value: usize) {
        self.head(UNSIGNED, value);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.head(BYTES, bytes.len());
        self.0.extend(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.head(TEXT, text.len());
        self.0.extend(text.as_bytes());
    }

    pub(super) fn array(&mut self, length: usize) {
        self.head(ARRAY, length);
    }

    pub(super) fn map(&mut self, length: usize) {
        self.head(MAP, length);
    }

    /// A `Vec<u8>` as the reference implementation writes it.
    pub(super) fn integers(&mut self, bytes: &[u8]) {
        self.array(bytes.len());
        for byte in bytes {
            self.unsigned(usize::from(*byte));
        }
    }
}

/// Reads what [`Writer`] writes, and longer forms of the heads.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], EifError> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| EifError::Malformed("signature: it ends too early".to_owned()))?;
        self.0 = rest;
        Ok(taken)
    }

    fn head(&mut self, major: u8, what: &str) -> Result<usize, EifError> {
        let wrong = || EifError::Malformed(format!("signature: {what} is expected"));
        let first = self.take(1)?[0];
        if first >> 5 != major {
            return Err(wrong());
        }
        let more = match first & 0x1f {
            small @ 0..24 => return Ok(usize::from(small)),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(wrong()),
        };
        let value = self
            .take(more)?
            .iter()
            .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).map_err(|_| wrong())
    }

    pub(super) fn array(&mut self) -> Result<usize, EifError> {
        self.head(ARRAY, "an array")
    }

    pub(super) fn map(&mut self) -> Result<usize, EifError> {
        self.head(MAP, "a map")
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], EifError> {
        let length = self.head(BYTES, "a byte string")?;
        self.take(length)
    }

    pub(super) fn unsigned(&mut self) -> Result<usize, EifError> {
        self.head(UNSIGNED, "an unsigned integer")
    }

    pub(super) fn key(&mut self, name: &str) -> Result<(), EifError> {
        let length = self.head(TEXT, "a text string")?;
        if self.take(length)? == name.as_bytes() {
            return Ok(());
        }
        Err(EifError::Malformed(format!(
            "signature: the key `{name}` is expected"
        )))
    }

    pub(super) fn integers(&mut self) -> Result<Vec<u8>, EifError> {
        let length = self.array()?;
        if length > self.0.len() {
            return Err(EifError::Malformed("signature: it ends too early".to_owned()));
        }
        (0..length)
            .map(|_| {
                u8::try_from(self.unsigned()?)
                    .map_err(|_| EifError::Malformed("signature: an integer is above 255".to_owned()))
            })
            .collect()
    }
}
