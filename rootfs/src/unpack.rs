//! One layer, from its archive to an overlayfs directory.
//!
//! Directories on the way to an entry are resolved within the layer as a process rooted there would (links included);
//! the last component is never followed. Hard links must name an entry of the same layer. Char device 0/0 would be a
//! whiteout and is refused; other devices are skipped, since `/dev` of a container never comes from its image.
//! Extended attributes: `security.capability` and `user.*` are kept, `trusted.*` and `user.overlay.*` refused (overlayfs
//! would obey them), others ignored.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tar::EntryType;

use crate::beneath::{open_dir, remove_tree};
use crate::layer::{Mark, Name, mark};

/// Bounds of one image.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all uncompressed layers, and again of all files; default 16 GiB.
    pub bytes: u64,
    /// Entries of one layer; default 1,000,000.
    pub entries: u64,
    /// Uncompressed bytes for one compressed byte, above 16 MiB; default 256.
    pub ratio: u64,
    /// Bytes of headers (names, attributes) of one entry, and of remembered directory names divided by 64; default 1 MiB.
    pub headers: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 16 << 30,
            entries: 1_000_000,
            ratio: 256,
            headers: 1 << 20,
        }
    }
}

/// How to treat the owners in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// As in the layer; opaque directories carry `trusted.overlay.opaque`.
    Keep,
    /// Everything is ours (a user namespace with one id); opaque directories carry `user.overlay.opaque`.
    Squash,
}

/// An entry that was refused or could not be applied: name and reason.
pub(crate) struct Refused(pub(crate) Vec<u8>, pub(crate) String);

/// Why an archive was not applied.
pub(crate) enum Failure {
    /// One entry.
    Entry(Refused),
    /// The archive.
    Archive(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Archive(error)
    }
}

type Applied = Result<(), String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(crate) struct Unpacker<'a> {
    pub(crate) root: BorrowedFd<'a>,
    /// The store, where replaced entries are moved to be removed.
    pub(crate) store: BorrowedFd<'a>,
    pub(crate) owners: Owners,
    pub(crate) limits: Limits,
    /// File bytes that may still be written.
    pub(crate) budget: u64,
    /// Directory times, set when nothing will be written any more.
    pub(crate) times: BTreeMap<Name, i64>,
    pub(crate) remembered: u64,
}

impl Unpacker<'_> {
    /// Applies all entries of `reader`; what follows the end mark must be zeros.
    pub(crate) fn apply(&mut self, reader: &mut impl Read, headers: &Rc<Cell<u64>>) -> Result<(), Failure> {
        let mut archive = tar::Archive::new(reader);
        headers.set(self.limits.headers);
        let mut count = 0_u64;
        for entry in archive.entries()? {
            let mut entry = entry?;
            headers.set(u64::MAX);
            count += 1;
            if count > self.limits.entries {
                return Err(io::Error::other("more entries than allowed").into());
            }
            let name = entry.path_bytes().into_owned();
            self.entry(&name, &mut entry)
                .map_err(|reason| Failure::Entry(Refused(name, reason)))?;
            // What is left of the entry is drained here, so that only headers count against their bound.
            io::copy(&mut entry, &mut io::sink())?;
            headers.set(self.limits.headers);
        }
        headers.set(u64::MAX);
        let reader = archive.into_inner();
        let mut block = [0; 8192];
        loop {
            let read = reader.read(&mut block)?;
            if read == 0 {
                break;
            }
            if block.iter().take(read).any(|byte| *byte != 0) {
                return Err(io::Error::other("data after the end of the archive").into());
            }
        }
        for (name, seconds) in &self.times {
            // A directory that a later entry replaced is no directory any more.
            if let Ok(dir) = open_dir(self.root, &name.parts().join(&b'/'), true) {
                rustix::fs::futimens(&dir, &times(*seconds)).map_err(io::Error::from)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, raw: &[u8], entry: &mut tar::Entry<'_, impl Read>) -> Applied {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let xattrs = extensions(entry)?;
        let name = Name::parse(raw)?;
        let meta = Meta::of(entry.header())?;
        let Some((parents, last)) = name.split() else {
            if kind != EntryType::Directory {
                return Err("the root is not a directory".into());
            }
            let root = open_dir(self.root, b"", false).map_err(text)?;
            self.remember(&name, meta.seconds)?;
            return self.finish(&root, &meta, &xattrs);
        };
        let mark = mark(last)?;
        if mark != Mark::None {
            if !kind.is_file() {
                return Err("a whiteout is not a regular file".into());
            }
            return self.mark(parents, &mark);
        }
        let parent = self.parent(parents, true)?;
        match kind {
            EntryType::Directory => {
                let dir = self.directory(&parent, last)?;
                self.remember(&name, meta.seconds)?;
                self.finish(&dir, &meta, &xattrs)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse if !raw.ends_with(b"/") => {
                self.file(&parent, last, entry, &meta, &xattrs)
            }
            EntryType::Link => self.hard_link(&parent, last, entry),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or("link without a target")?;
                if target.is_empty() || target.len() > crate::layer::MAX_PATH || target.contains(&0) {
                    return Err("bad link target".into());
                }
                self.clear(&parent, last)?;
                rustix::fs::symlinkat(target.as_ref(), &parent, last).map_err(text)?;
                self.finish_at(&parent, last, &meta, false)
            }
            EntryType::Fifo => {
                self.clear(&parent, last)?;
                rustix::fs::mknodat(&parent, last, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                    .map_err(text)?;
                self.finish_at(&parent, last, &meta, true)
            }
            EntryType::Char | EntryType::Block => {
                let header = entry.header();
                match (header.device_major(), header.device_minor()) {
                    (Ok(Some(0) | None), Ok(Some(0) | None)) => Err("device 0/0 would be a whiteout".into()),
                    (Ok(_), Ok(_)) => Ok(()),
                    _ => Err("bad device number".into()),
                }
            }
            _ => Err("unknown entry type".into()),
        }
    }

    fn remember(&mut self, name: &Name, seconds: i64) -> Applied {
        self.remembered += name
            .parts()
            .iter()
            .map(|part| part.len() as u64 + 32)
            .sum::<u64>();
        if self.remembered > self.limits.headers.saturating_mul(64) {
            return Err("too many directory names".into());
        }
        self.times.insert(name.clone(), seconds);
        Ok(())
    }

    /// Opens the directory of an entry; directories that no entry has made are made, 0755.
    fn parent(&self, parts: &[Vec<u8>], links: bool) -> Result<OwnedFd, String> {
        match open_dir(self.root, &parts.join(&b'/'), links) {
            Ok(dir) => return Ok(dir),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(format!("its directory: {error}")),
        }
        let mut dir = open_dir(self.root, b"", false).map_err(text)?;
        for (depth, part) in parts.iter().enumerate() {
            let path = parts.get(..=depth).unwrap_or_default().join(&b'/');
            dir = match open_dir(self.root, &path, links) {
                Ok(next) => next,
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    let stat = rustix::fs::statat(&dir, part.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
                    if stat.is_ok_and(|stat| !is_whiteout(&stat)) {
                        return Err("its directory is a file or a dangling link".into());
                    }
                    self.directory(&dir, part)?
                }
                Err(error) => return Err(format!("its directory: {error}")),
            };
        }
        Ok(dir)
    }

    /// The directory `name`, as it is or new. Over a whiteout it becomes opaque: what is below stays hidden.
    fn directory(&self, parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, String> {
        let was_hidden = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return open_dir(parent, name, false).map_err(text);
            }
            Ok(stat) => is_whiteout(&stat),
            Err(_) => false,
        };
        self.clear(parent, name)?;
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(text)?;
        let dir = open_dir(parent, name, false).map_err(text)?;
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755)).map_err(text)?;
        if was_hidden {
            self.opaque(&dir)?;
        }
        Ok(dir)
    }

    fn opaque(&self, dir: &OwnedFd) -> Applied {
        let name = match self.owners {
            Owners::Keep => "trusted.overlay.opaque",
            Owners::Squash => "user.overlay.opaque",
        };
        rustix::fs::fsetxattr(dir, name, b"y", XattrFlags::empty())
            .map_err(|error| format!("{name}: {error}"))
    }

    fn mark(&self, parents: &[Vec<u8>], mark: &Mark<'_>) -> Applied {
        match mark {
            Mark::None | Mark::Ignored => Ok(()),
            Mark::Opaque if parents.is_empty() => Err("whiteout of the root".into()),
            Mark::Opaque => self.opaque(&self.parent(parents, false)?),
            Mark::Whiteout(hidden) => {
                let parent = self.parent(parents, false)?;
                match rustix::fs::statat(&parent, *hidden, AtFlags::SYMLINK_NOFOLLOW) {
                    // A whiteout hides layers below, never an entry of its own layer.
                    Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                        self.opaque(&open_dir(&parent, hidden, false).map_err(text)?)
                    }
                    Ok(_) => Ok(()),
                    Err(_) => {
                        let device = rustix::fs::makedev(0, 0);
                        rustix::fs::mknodat(
                            &parent,
                            *hidden,
                            FileType::CharacterDevice,
                            Mode::empty(),
                            device,
                        )
                        .map_err(text)
                    }
                }
            }
        }
    }

    /// Removes what is in the way. The last entry of a name wins.
    fn clear(&self, parent: &OwnedFd, name: &[u8]) -> Applied {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(text(error)),
        }
        let trash = format!(".replaced-{}", std::process::id()).into_bytes();
        rustix::fs::renameat(parent, name, self.store, trash.as_slice()).map_err(text)?;
        remove_tree(self.store, &trash).map_err(text)
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        entry: &mut tar::Entry<'_, impl Read>,
        meta: &Meta,
        xattrs: &Xattrs,
    ) -> Applied {
        let size = entry.size();
        self.budget = self
            .budget
            .checked_sub(size)
            .ok_or("more file bytes than allowed")?;
        self.clear(parent, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).map_err(text)?;
        let mut file = std::fs::File::from(fd);
        let copied = io::copy(entry, &mut file).map_err(text)?;
        if copied != size {
            return Err("the archive ends within the file".into());
        }
        file.flush().map_err(text)?;
        self.finish(&file, meta, xattrs)?;
        rustix::fs::futimens(&file, &times(meta.seconds)).map_err(text)
    }

    fn hard_link(&self, parent: &OwnedFd, name: &[u8], entry: &tar::Entry<'_, impl Read>) -> Applied {
        let target = entry.link_name_bytes().ok_or("link without a target")?;
        let target = Name::parse(&target).map_err(|reason| format!("link target: {reason}"))?;
        let (parts, last) = target.split().ok_or("link to the root")?;
        let dir =
            open_dir(self.root, &parts.join(&b'/'), true).map_err(|error| format!("link target: {error}"))?;
        let stat = rustix::fs::statat(&dir, last, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| format!("link target: {error}"))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if matches!(kind, FileType::Directory | FileType::CharacterDevice) {
            return Err("link to a directory or to a whiteout".into());
        }
        if let Ok(old) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            && (old.st_dev, old.st_ino) == (stat.st_dev, stat.st_ino)
        {
            return Ok(());
        }
        self.clear(parent, name)?;
        rustix::fs::linkat(&dir, last, parent, name, AtFlags::empty()).map_err(text)
    }

    /// Owner first (chown clears set-id bits), then mode, then attributes (chown clears capabilities too).
    fn finish(&self, fd: impl AsFd, meta: &Meta, xattrs: &Xattrs) -> Applied {
        if self.owners == Owners::Keep {
            rustix::fs::fchown(&fd, Some(meta.uid), Some(meta.gid)).map_err(text)?;
        }
        rustix::fs::fchmod(&fd, meta.mode).map_err(text)?;
        for (name, value) in xattrs {
            match rustix::fs::fsetxattr(&fd, name.as_str(), value, XattrFlags::empty()) {
                // Not every file system has user attributes (tmpfs before Linux 6.6).
                Err(Errno::OPNOTSUPP) if name.starts_with("user.") => {}
                done => done.map_err(|error| format!("attribute {}: {error}", name.escape_default()))?,
            }
        }
        Ok(())
    }

    fn finish_at(&self, parent: &OwnedFd, name: &[u8], meta: &Meta, mode: bool) -> Applied {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        if self.owners == Owners::Keep {
            rustix::fs::chownat(parent, name, Some(meta.uid), Some(meta.gid), nofollow).map_err(text)?;
        }
        if mode {
            // Just made by us in a directory that nobody else writes to, and no link: following changes nothing.
            rustix::fs::chmodat(parent, name, meta.mode, AtFlags::empty()).map_err(text)?;
        }
        rustix::fs::utimensat(parent, name, &times(meta.seconds), nofollow).map_err(text)
    }
}

type Xattrs = Vec<(String, Vec<u8>)>;

struct Meta {
    mode: Mode,
    uid: Uid,
    gid: Gid,
    seconds: i64,
}

impl Meta {
    fn of(header: &tar::Header) -> Result<Self, String> {
        let id = |value: u64| {
            u32::try_from(value)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or("bad owner")
        };
        Ok(Self {
            mode: Mode::from_raw_mode(header.mode().map_err(text)? & 0o7777),
            uid: Uid::from_raw(id(header.uid().map_err(text)?)?),
            gid: Gid::from_raw(id(header.gid().map_err(text)?)?),
            seconds: i64::try_from(header.mtime().map_err(text)?).map_err(text)?,
        })
    }
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
}

/// Extended attributes of an entry. A PAX size that is not the header's is refused: parsers disagree on which of the
/// two counts, and entries hide in the difference (CVE-2025-62518).
fn extensions(entry: &mut tar::Entry<'_, impl Read>) -> Result<Xattrs, String> {
    let header_size = entry.header().entry_size().map_err(text)?;
    let mut xattrs = Vec::new();
    let Some(extensions) = entry.pax_extensions().map_err(text)? else {
        return Ok(xattrs);
    };
    for extension in extensions {
        let extension = extension.map_err(text)?;
        let key = extension.key_bytes();
        if key == b"size"
            && std::str::from_utf8(extension.value_bytes())
                .ok()
                .and_then(|v| v.parse().ok())
                != Some(header_size)
        {
            return Err("PAX size and header size differ".into());
        }
        let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else {
            continue;
        };
        if name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") {
            return Err("attribute that overlayfs would obey".into());
        }
        if name == b"security.capability" || name.starts_with(b"user.") {
            let name = String::from_utf8(name.to_vec()).map_err(text)?;
            xattrs.push((name, extension.value_bytes().to_vec()));
        }
    }
    Ok(xattrs)
}
