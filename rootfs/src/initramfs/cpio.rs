//! The `newc` format: entries one after another, each header of 110 hexadecimal digits, everything padded to 4 bytes.

use std::fs::File;
use std::io::{self, Write};

/// File types of inode(7).
pub(super) const REGULAR: u32 = 0o100_000;
pub(super) const DIRECTORY: u32 = 0o040_000;
pub(super) const SYMLINK: u32 = 0o120_000;
pub(super) const CHARACTER: u32 = 0o020_000;

const TRAILER: &str = "TRAILER!!!";
/// The whole archive ends on such a boundary, as GNU cpio's do.
const BLOCK: u64 = 512;

/// Writes an archive.
pub(super) struct Writer<W> {
    out: W,
    written: u64,
    inode: u32,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            inode: 0,
        }
    }

    /// One entry with its content.
    pub(super) fn entry(
        &mut self,
        path: &str,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        self.header(path, mode, device, content.len() as u64)?;
        self.put(content)?;
        self.pad(4)
    }

    /// One entry with the content of a file.
    pub(super) fn file(&mut self, path: &str, mode: u32, mut file: File) -> io::Result<()> {
        let size = file.metadata()?.len();
        self.header(path, mode, (0, 0), size)?;
        let copied = io::copy(&mut file, &mut self.out)?;
        self.written += copied;
        if copied != size {
            return Err(io::Error::other("it changed while it was read"));
        }
        self.pad(4)
    }

    /// The end of the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.write_header(TRAILER, 0, (0, 0), 0, 0)?;
        self.pad(BLOCK)?;
        Ok(self.out)
    }

    fn header(&mut self, path: &str, mode: u32, device: (u32, u32), size: u64) -> io::Result<()> {
        let size = u32::try_from(size).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "an initramfs holds files below 4 GiB only",
            )
        })?;
        self.inode += 1;
        self.write_header(path, mode, device, size, self.inode)
    }

    fn write_header(
        &mut self,
        path: &str,
        mode: u32,
        (major, minor): (u32, u32),
        size: u32,
        inode: u32,
    ) -> io::Result<()> {
        // magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let name_size = path.len() + 1;
        let header = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{major:08x}{minor:08x}\
             {name_size:08x}{0:08x}",
            0, 1
        );
        self.put(header.as_bytes())?;
        self.put(path.as_bytes())?;
        self.put(&[0])?;
        self.pad(4)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn pad(&mut self, boundary: u64) -> io::Result<()> {
        while !self.written.is_multiple_of(boundary) {
            self.put(&[0])?;
        }
        Ok(())
    }
}
