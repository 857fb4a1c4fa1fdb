//! Directory operations that cannot leave the directory they start from (openat2(2)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};

/// Retries of EAGAIN, which openat2 gives when a rename elsewhere made the walk ambiguous.
const RETRIES: usize = 16;

/// Opens the directory `path` beneath `root`. Links are followed as a process with this root would see them; with
/// `links` false, a link anywhere is an error.
pub(crate) fn open_dir(root: impl AsFd, path: &[u8], links: bool) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    if !links {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for _ in 0..RETRIES {
        match rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::AGAIN) => {}
            done => return done,
        }
    }
    Err(rustix::io::Errno::AGAIN)
}

/// Removes `name` in `dir` with all it holds. Deep trees are flattened first, so descriptors and stack stay bounded.
/// `dir` must be ours alone: subdirectories are moved into it under `.trash-N`.
pub(crate) fn remove_tree(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    let dir = dir.as_fd();
    let mut pending = vec![name.to_vec()];
    let mut next = 0_u64;
    while let Some(name) = pending.pop() {
        match rustix::fs::unlinkat(dir, name.as_slice(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => continue,
            Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let inner = open_dir(dir, &name, false)?;
        for entry in Dir::read_from(&inner)? {
            let entry = entry?;
            let child = entry.file_name().to_bytes();
            if matches!(child, b"." | b"..") {
                continue;
            }
            let stat = rustix::fs::statat(&inner, child, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let moved = format!(".trash-{}-{}-{next}", std::process::id(), stat.st_ino).into_bytes();
                next += 1;
                rustix::fs::renameat(&inner, child, dir, moved.as_slice())?;
                pending.push(moved);
            } else {
                rustix::fs::unlinkat(&inner, child, AtFlags::empty())?;
            }
        }
        rustix::fs::unlinkat(dir, name.as_slice(), AtFlags::REMOVEDIR)?;
    }
    Ok(())
}
