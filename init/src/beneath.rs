//! Paths inside of a directory that somebody else writes to. Containers may place links in volumes, and exchange them while
//! we look: every path is resolved by one openat2(2) that cannot leave the directory.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, mkdirat};

/// openat2(2): how often a path is tried that is being renamed by others.
const TRIES: usize = 128;

/// A directory.
pub(crate) struct Beneath {
    directory: OwnedFd,
    crossing: ResolveFlag,
}

impl Beneath {
    /// A directory by its path, which is ours.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        Ok(Self {
            directory: open(path, flags, Mode::empty())?,
            crossing: ResolveFlag::empty(),
        })
    }

    /// All of it.
    pub(crate) fn whole(self) -> OwnedFd {
        self.directory
    }

    /// Without what is mounted inside: a file system of others could keep us waiting for ever.
    pub(crate) fn within_mount(self) -> Self {
        Self {
            crossing: ResolveFlag::RESOLVE_NO_XDEV,
            ..self
        }
    }

    /// What is at a path; links are followed as long as they stay inside. `O_PATH`.
    pub(crate) fn existing(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_with(path, OFlag::O_PATH)
    }

    fn open_with(&self, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS | self.crossing;
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
        for _ in 0..TRIES {
            match openat2(&self.directory, path, how) {
                Err(Errno::EAGAIN) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::EAGAIN.into())
    }

    /// What is at a path; what is missing of it is made, as directories with the mode of this one (K-399).
    pub(crate) fn existing_or_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.existing(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mode = File::from(self.existing(Path::new("."))?).metadata()?.mode() & 0o7777;
        let mut done = std::path::PathBuf::new();
        for part in path.components() {
            let Component::Normal(part) = part else { continue };
            let parent = self.existing(&done)?;
            done.push(part);
            match mkdirat(&parent, part, Mode::from_bits_truncate(mode)) {
                Ok(()) => {
                    // Whatever the umask.
                    let made = self.open_with(&done, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
                    File::from(made).set_permissions(std::fs::Permissions::from_mode(mode))?;
                }
                Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.existing(path)
    }

    /// A regular file of at most `most` bytes.
    pub(crate) fn read(&self, path: &Path, most: usize) -> io::Result<Vec<u8>> {
        // A pipe without a writer must not keep us waiting.
        let file = File::from(self.open_with(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut bytes)?;
        if bytes.len() > most {
            let message = format!("larger than {most} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_may_lead_about_but_not_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("volume");
        fs::create_dir_all(root.join("a")).expect("a directory");
        fs::write(root.join("a/file"), "inside").expect("a file");
        fs::write(directory.path().join("outside"), "outside").expect("a file");
        for (target, link) in [
            ("a/file", "good"),
            ("../outside", "up"),
            ("/etc/passwd", "absolute"),
            ("loop", "loop"),
            ("/proc/self/root", "magic"),
        ] {
            symlink(target, root.join(link)).expect("a link");
        }
        let beneath = Beneath::open(&root).expect("open");
        let read = |path: &str| beneath.read(Path::new(path), 100).map_err(|error| error.kind());
        assert_eq!(read("good").as_deref(), Ok(&b"inside"[..]));
        assert_eq!(read("a/../good").as_deref(), Ok(&b"inside"[..]));
        for path in ["up", "../outside", "absolute", "magic/etc/passwd"] {
            assert_eq!(read(path), Err(io::ErrorKind::CrossesDevices), "{path}");
            assert!(beneath.existing_or_directory(Path::new(path)).is_err(), "{path}");
        }
        assert!(read("loop").is_err());
        assert_eq!(read("a"), Err(io::ErrorKind::InvalidInput));
        assert_eq!(
            beneath.read(Path::new("good"), 5).map_err(|error| error.kind()),
            Err(io::ErrorKind::FileTooLarge)
        );
        nix::unistd::mkfifo(&root.join("pipe"), Mode::from_bits_truncate(0o600)).expect("a pipe");
        assert_eq!(read("pipe"), Err(io::ErrorKind::InvalidInput));
    }

    #[test]
    fn directories_are_made_with_the_mode_of_the_first() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o2777)).expect("changed");
        symlink("elsewhere", directory.path().join("link")).expect("a link");
        let beneath = Beneath::open(directory.path()).expect("open");
        for path in ["x/y/z", "x/y/z", "x/other"] {
            beneath.existing_or_directory(Path::new(path)).expect("made");
        }
        for path in ["x", "x/y", "x/y/z", "x/other"] {
            let mode = fs::metadata(directory.path().join(path)).expect("there").mode() & 0o7777;
            assert_eq!(mode, 0o2777, "{path}");
        }
        // A link to nothing is no directory, and nothing is made behind it.
        assert!(beneath.existing_or_directory(Path::new("link")).is_err());
        assert!(!directory.path().join("elsewhere").exists());
    }
}
