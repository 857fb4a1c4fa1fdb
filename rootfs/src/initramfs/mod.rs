//! Reproducible initramfs archives: a tree in memory, written as `newc` cpio (the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst), sorted, owned by root, of one fixed time.

mod cpio;
mod lz4;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How an archive is stored in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// LZ4 in the legacy frame that the kernel reads.
    Lz4,
}

/// One entry of the tree.
#[derive(Debug, Clone)]
enum Node {
    Directory { mode: u32 },
    Bytes { mode: u32, content: Vec<u8> },
    File { mode: u32, source: PathBuf },
    Symlink { target: String },
    CharacterDevice { mode: u32, major: u32, minor: u32 },
}

/// A tree to be written. Paths have no leading slash.
#[derive(Debug, Clone, Default)]
pub struct Initramfs {
    nodes: BTreeMap<String, Node>,
}

impl Initramfs {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory; its parents are made when they are missing.
    pub fn directory(&mut self, path: &str, mode: u32) -> &mut Self {
        self.insert(path, Node::Directory { mode })
    }

    /// A file with this content.
    pub fn bytes(&mut self, path: &str, mode: u32, content: Vec<u8>) -> &mut Self {
        self.insert(path, Node::Bytes { mode, content })
    }

    /// A file with the content of another, read when the archive is written.
    pub fn file(&mut self, path: &str, mode: u32, source: &Path) -> &mut Self {
        let source = source.to_path_buf();
        self.insert(path, Node::File { mode, source })
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        let target = target.to_owned();
        self.insert(path, Node::Symlink { target })
    }

    /// A character device.
    pub fn character_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) -> &mut Self {
        self.insert(path, Node::CharacterDevice { mode, major, minor })
    }

    /// A directory with all regular files and directories beneath it. Their modes are 0444 (0555 when the owner may
    /// execute) and 0755: what the machine's umask made of them must not be measured.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or holds anything else.
    pub fn tree(&mut self, path: &str, source: &Path) -> io::Result<&mut Self> {
        use std::os::unix::fs::PermissionsExt as _;
        self.directory(path, 0o755);
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let message = format!("{}: its name is not UTF-8", entry.path().display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            };
            let inside = format!("{path}/{name}");
            let metadata = fs::symlink_metadata(entry.path())?;
            if metadata.is_dir() {
                self.tree(&inside, &entry.path())?;
            } else if metadata.is_file() {
                let mode = if metadata.permissions().mode() & 0o100 == 0 {
                    0o444
                } else {
                    0o555
                };
                self.file(&inside, mode, &entry.path());
            } else {
                let message = format!("{} is neither file nor directory", entry.path().display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
        Ok(self)
    }

    /// Whether the tree has an entry of this path.
    pub fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    fn insert(&mut self, path: &str, node: Node) -> &mut Self {
        let mut parent = path;
        while let Some((above, _)) = parent.rsplit_once('/') {
            self.nodes
                .entry(above.to_owned())
                .or_insert(Node::Directory { mode: 0o755 });
            parent = above;
        }
        self.nodes.insert(path.to_owned(), node);
        self
    }

    /// Writes the archive to a file. It ends on a 4-byte boundary with zeros, so that another may follow.
    ///
    /// # Errors
    ///
    /// When a source cannot be read or the file cannot be written.
    pub fn write(&self, to: &Path, compression: Compression) -> io::Result<()> {
        let file = io::BufWriter::new(File::create(to)?);
        let mut file = match compression {
            Compression::None => {
                let mut archive = cpio::Writer::new(file);
                self.put(&mut archive)?;
                archive.finish()?
            }
            Compression::Lz4 => {
                let mut archive = cpio::Writer::new(lz4::Writer::new(file)?);
                self.put(&mut archive)?;
                archive.finish()?.finish()?
            }
        };
        file.flush()?;
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()
    }

    fn put(&self, archive: &mut cpio::Writer<impl Write>) -> io::Result<()> {
        for (path, node) in &self.nodes {
            match node {
                Node::Directory { mode } => {
                    archive.entry(path, cpio::DIRECTORY | mode, (0, 0), &[])?;
                }
                Node::Bytes { mode, content } => {
                    archive.entry(path, cpio::REGULAR | mode, (0, 0), content)?;
                }
                Node::File { mode, source } => {
                    let explain = |error: io::Error| {
                        io::Error::new(error.kind(), format!("{}: {error}", source.display()))
                    };
                    let file = File::open(source).map_err(explain)?;
                    archive.file(path, cpio::REGULAR | mode, file).map_err(explain)?;
                }
                Node::Symlink { target } => {
                    archive.entry(path, cpio::SYMLINK | 0o777, (0, 0), target.as_bytes())?;
                }
                Node::CharacterDevice { mode, major, minor } => {
                    archive.entry(path, cpio::CHARACTER | mode, (*major, *minor), &[])?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(order: &[usize]) -> Initramfs {
        let mut tree = Initramfs::new();
        for step in order {
            match step {
                0 => tree.bytes("init", 0o555, b"program".to_vec()),
                1 => tree.character_device("dev/console", 0o600, 5, 1),
                _ => tree.symlink("dev/fd", "/proc/self/fd"),
            };
        }
        tree
    }

    #[test]
    fn the_order_of_calls_does_not_show() {
        let scratch = tempfile::tempdir().expect("tempdir");
        let (one, other) = (scratch.path().join("one"), scratch.path().join("other"));
        for compression in [Compression::None, Compression::Lz4] {
            tree(&[0, 1, 2]).write(&one, compression).expect("written");
            tree(&[2, 1, 0]).write(&other, compression).expect("written");
            let bytes = fs::read(&one).expect("read");
            assert_eq!(bytes, fs::read(&other).expect("read"));
            assert_eq!(bytes.len() % 4, 0);
        }
    }

    #[test]
    fn another_cpio_reads_the_archive() {
        let scratch = tempfile::tempdir().expect("tempdir");
        let source = scratch.path().join("source");
        fs::write(&source, vec![7; 100_000]).expect("write");
        let archive = scratch.path().join("archive");
        let mut tree = tree(&[0, 1, 2]);
        tree.file("data/large", 0o444, &source);
        tree.write(&archive, Compression::None).expect("written");
        let mut input = File::open(&archive).expect("open");
        let mut seen = Vec::new();
        loop {
            let mut reader = ::cpio::newc::Reader::new(input).expect("an entry");
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = Vec::new();
            io::Read::read_to_end(&mut reader, &mut content).expect("content");
            let entry = reader.entry();
            assert_eq!((entry.uid(), entry.gid(), entry.mtime()), (0, 0, 0));
            seen.push((entry.name().to_owned(), entry.mode(), content.len()));
            input = reader.finish().expect("next");
        }
        let expected = [
            ("data", 0o040_755, 0),
            ("data/large", 0o100_444, 100_000),
            ("dev", 0o040_755, 0),
            ("dev/console", 0o020_600, 0),
            ("dev/fd", 0o120_777, 13),
            ("init", 0o100_555, 7),
        ];
        assert_eq!(
            seen,
            expected.map(|(name, mode, size)| (name.to_owned(), mode, size))
        );
    }
}
