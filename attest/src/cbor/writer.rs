//! Writing items one after another.

use super::form::{ARRAY, BREAK, BYTES, INDEFINITE, MAP, NULL, TEXT, UNSIGNED};

/// Writes numbers and lengths in their shortest form.
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

    /// The head of a map of indefinite length; its keys and values follow, then [`Writer::end`].
    pub fn open_map(&mut self) -> &mut Self {
        self.0.push(MAP << 5 | INDEFINITE);
        self
    }

    /// Ends a map of indefinite length.
    pub fn end(&mut self) -> &mut Self {
        self.0.push(BREAK);
        self
    }

    /// An item that was encoded before, as it is.
    pub fn encoded(&mut self, item: &[u8]) -> &mut Self {
        self.0.extend(item);
        self
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
