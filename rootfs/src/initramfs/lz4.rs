//! LZ4's legacy frame, the only one that the kernel's initramfs reads (`lib/decompress_unlz4.c`): a magic number, then
//! blocks of at most 8 MiB, each with its compressed size in front.

use std::io::{self, Write};

const MAGIC: [u8; 4] = 0x184C_2102_u32.to_le_bytes();
/// Bytes before compression; the kernel allocates as much (`LZ4_DEFAULT_UNCOMPRESSED_CHUNK_SIZE`).
const BLOCK: usize = 8 << 20;

/// Compresses what is written to it.
pub(super) struct Writer<W> {
    out: W,
    block: Vec<u8>,
    written: usize,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        Ok(Self {
            out,
            block: Vec::with_capacity(BLOCK),
            written: MAGIC.len(),
        })
    }

    /// The last block, and zeros: a block of size 0 ends the stream, and the kernel skips zeros before another archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.end_block()?;
        let padding = 4 + (4 - self.written % 4) % 4;
        self.out.write_all(&[0; 8][..padding])?;
        Ok(self.out)
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let compressed = lz4_flex::block::compress(&self.block);
        let size = u32::try_from(compressed.len()).map_err(io::Error::other)?;
        self.out.write_all(&size.to_le_bytes())?;
        self.out.write_all(&compressed)?;
        self.written += 4 + compressed.len();
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            self.end_block()?;
        }
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
