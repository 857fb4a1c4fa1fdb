//! From the bytes of a blob to the bytes of a tar, counted and hashed on both sides.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use manifest_sync::digest::{Digest, hex};
use ring::digest::{Context, SHA256, SHA512};

use crate::image::Compression;

/// Output below this is never judged by its ratio, bytes.
const RATIO_FLOOR: u64 = 16 << 20;
/// Largest zstd window, bytes (RFC 8878 recommends 8 MiB; `--long=27` makes 128 MiB).
const MAX_WINDOW: u64 = 128 << 20;

/// Hashes and counts what is read; ends in an error above `limit`.
pub(crate) struct Metered<R> {
    inner: R,
    hash: Context,
    algorithm: &'static str,
    count: Rc<Cell<u64>>,
    limit: Limit,
}

/// What a [`Metered`] allows.
pub(crate) enum Limit {
    /// So many bytes.
    Bytes(u64),
    /// So many bytes, and so many for each byte that the other side has counted.
    Ratio {
        bytes: u64,
        ratio: u64,
        input: Rc<Cell<u64>>,
        /// Bytes that may be read before it is set again: bounds what the archive reader holds in memory.
        headers: Rc<Cell<u64>>,
    },
}

impl<R: Read> Metered<R> {
    pub(crate) fn new(inner: R, like: &Digest, limit: Limit) -> Self {
        let (hash, algorithm) = match like.algorithm() {
            "sha512" => (Context::new(&SHA512), "sha512"),
            _ => (Context::new(&SHA256), "sha256"),
        };
        Self {
            inner,
            hash,
            algorithm,
            count: Rc::default(),
            limit,
        }
    }

    pub(crate) fn counter(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.count)
    }

    /// Whether all that was read is the content of `digest`.
    pub(crate) fn is(&self, digest: &Digest) -> bool {
        format!("{}:{}", self.algorithm, hex(self.hash.clone().finish().as_ref())) == digest.as_str()
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let count = self.count.get().saturating_add(read as u64);
        self.count.set(count);
        self.hash.update(buffer.get(..read).unwrap_or_default());
        let refused = match &self.limit {
            Limit::Bytes(bytes) => (count > *bytes).then_some("more bytes than announced"),
            Limit::Ratio {
                bytes,
                ratio,
                input,
                headers,
            } => {
                let left = headers.get().checked_sub(read as u64);
                headers.set(left.unwrap_or(0));
                if count > *bytes {
                    Some("more bytes than allowed")
                } else if count > RATIO_FLOOR && count / ratio > input.get() {
                    Some("compression ratio is higher than allowed")
                } else {
                    left.is_none().then_some("the headers of an entry are too large")
                }
            }
        };
        refused.map_or(Ok(read), |what| Err(io::Error::other(what)))
    }
}

/// Decompresses; several members or frames in a row are one stream, anything else after the end is an error.
pub(crate) fn decompress<'a>(reader: impl Read + 'a, how: Compression) -> Box<dyn Read + 'a> {
    match how {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(Zstd::Between(BufReader::new(reader))),
    }
}

type Frame<R> = ruzstd::decoding::StreamingDecoder<BufReader<R>, ruzstd::decoding::FrameDecoder>;

enum Zstd<R: Read> {
    Between(BufReader<R>),
    Frame(Box<Frame<R>>),
    Failed,
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(self, Self::Failed) {
                Self::Between(mut reader) => {
                    if reader.fill_buf()?.is_empty() {
                        *self = Self::Between(reader);
                        return Ok(0);
                    }
                    let frame =
                        Frame::new_with_max_window_size(reader, MAX_WINDOW).map_err(io::Error::other)?;
                    *self = Self::Frame(Box::new(frame));
                }
                Self::Frame(mut frame) => {
                    let read = frame.read(buffer)?;
                    if read > 0 || buffer.is_empty() {
                        *self = Self::Frame(frame);
                        return Ok(read);
                    }
                    *self = Self::Between(frame.into_inner());
                }
                Self::Failed => return Err(io::Error::other("zstd stream has failed")),
            }
        }
    }
}
