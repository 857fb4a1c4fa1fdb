//! The secrets: one file for each in a directory, read again at every request, so that putting a new file there is all that
//! rotation takes. Nothing outside of the directory is read (openat2(2)); links inside are followed, since Kubernetes mounts
//! Secrets as links through `..data`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::release::SecretName;
use crate::seal::MAX_PLAINTEXT;
use crate::secret::Secret;

/// Retries of EAGAIN, which openat2(2) gives when a rename elsewhere made the walk ambiguous.
const RETRIES: usize = 64;

/// Why a secret cannot be read. It says nothing of its value.
#[derive(Debug)]
pub enum StoreError {
    /// There is no such file.
    Missing(SecretName),
    /// A link that leads out of the directory.
    Outside(SecretName),
    /// Not a regular file.
    NotAFile(SecretName),
    /// Larger than a set may be.
    TooLong(SecretName),
    /// It was written while it was read. Write a new file and rename it.
    Changing(SecretName),
    /// The directory or the file: which, and why.
    Io(PathBuf, io::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "there is no secret {}", name.as_str()),
            Self::Outside(name) => {
                write!(
                    f,
                    "secret {}: a link that leads out of the directory",
                    name.as_str()
                )
            }
            Self::NotAFile(name) => write!(f, "secret {}: not a regular file", name.as_str()),
            Self::TooLong(name) => {
                write!(f, "secret {}: more than {MAX_PLAINTEXT} bytes", name.as_str())
            }
            Self::Changing(name) => write!(
                f,
                "secret {}: it changed while it was read; write another file and rename it",
                name.as_str()
            ),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for StoreError {}

/// The directory.
#[derive(Debug, Clone)]
pub struct SecretStore(PathBuf);

impl SecretStore {
    /// Secrets in this directory. It is opened for every request, so it may be replaced as a whole.
    pub fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Whether the directory can be opened.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn check(&self) -> Result<(), StoreError> {
        self.directory().map(|_| ())
    }

    /// Reads these secrets, in this order, from one and the same directory.
    ///
    /// # Errors
    ///
    /// [`StoreError`] names the first one that cannot be read.
    pub fn read(&self, names: &[SecretName]) -> Result<Vec<(SecretName, Secret)>, StoreError> {
        let directory = self.directory()?;
        let read = |name: &SecretName| {
            let value = self.value(&directory, name)?;
            Ok((name.clone(), value))
        };
        names.iter().map(read).collect()
    }

    fn directory(&self) -> Result<File, StoreError> {
        let opened = File::open(&self.0).and_then(|file| match file.metadata()?.is_dir() {
            true => Ok(file),
            false => Err(io::ErrorKind::NotADirectory.into()),
        });
        opened.map_err(|error| StoreError::Io(self.0.clone(), error))
    }

    fn value(&self, directory: &File, name: &SecretName) -> Result<Secret, StoreError> {
        let wrong = |error| StoreError::Io(self.0.join(name.as_str()), error);
        let mut file = match open_beneath(directory, name.as_str()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Err(StoreError::Missing(name.clone())),
            Err(Errno::XDEV | Errno::LOOP) => return Err(StoreError::Outside(name.clone())),
            // A socket.
            Err(Errno::NXIO) => return Err(StoreError::NotAFile(name.clone())),
            Err(error) => return Err(wrong(error.into())),
        };
        let metadata = file.metadata().map_err(wrong)?;
        if !metadata.is_file() {
            return Err(StoreError::NotAFile(name.clone()));
        }
        let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        if length > MAX_PLAINTEXT {
            return Err(StoreError::TooLong(name.clone()));
        }
        // Exactly as large as it gets: a buffer that grows leaves a copy behind.
        let mut secret = Secret::new(vec![0; length]);
        let mut more = [0];
        match file.read_exact(secret.bytes_mut()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(StoreError::Changing(name.clone()));
            }
            Err(error) => return Err(wrong(error)),
        }
        match file.read(&mut more).map_err(wrong)? {
            0 => Ok(secret),
            _ => Err(StoreError::Changing(name.clone())),
        }
    }
}

fn open_beneath(directory: &File, name: &str) -> Result<File, Errno> {
    // A FIFO must not stop us.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut result = Err(Errno::AGAIN);
    for _ in 0..RETRIES {
        result = openat2(directory, name, flags, Mode::empty(), resolve);
        if !matches!(result, Err(Errno::AGAIN)) {
            break;
        }
    }
    result.map(File::from)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::try_from(text.to_owned()).expect("a name")
    }

    fn read(directory: &Path, text: &str) -> Result<Vec<u8>, String> {
        let read = SecretStore::new(directory).read(&[name(text)]);
        read.map(|secrets| secrets[0].1.expose().to_vec())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_read_as_they_are_now() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("password"), "old\n").expect("written");
        assert_eq!(read(directory.path(), "password"), Ok(b"old\n".to_vec()));
        fs::write(at("new"), "new").expect("written");
        fs::rename(at("new"), at("password")).expect("renamed");
        assert_eq!(read(directory.path(), "password"), Ok(b"new".to_vec()));
        fs::write(at("empty"), "").expect("written");
        assert_eq!(read(directory.path(), "empty"), Ok(Vec::new()));
        let missing = read(directory.path(), "other").expect_err("none");
        assert_eq!(missing, "there is no secret other");
        assert!(SecretStore::new(directory.path()).check().is_ok());
        assert!(SecretStore::new(&at("password")).check().is_err());
        assert!(read(&at("nowhere"), "password").is_err());
    }

    #[test]
    fn kubernetes_links_work_and_links_out_do_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("..2026_01")).expect("made");
        fs::write(at("..2026_01/password"), "in Kubernetes").expect("written");
        symlink("..2026_01", at("..data")).expect("linked");
        symlink("..data/password", at("password")).expect("linked");
        assert_eq!(read(directory.path(), "password"), Ok(b"in Kubernetes".to_vec()));
        let outside = tempfile::tempdir().expect("a directory");
        fs::write(outside.path().join("password"), "outside").expect("written");
        symlink(outside.path().join("password"), at("absolute")).expect("linked");
        symlink("../../etc/hostname", at("relative")).expect("linked");
        symlink(outside.path(), at("out")).expect("linked");
        symlink("out/password", at("through")).expect("linked");
        symlink("/proc/self/fd/0", at("magic")).expect("linked");
        symlink("loop", at("loop")).expect("linked");
        for link in ["absolute", "relative", "through", "magic", "loop"] {
            let refused = read(directory.path(), link).expect_err(link);
            assert!(refused.contains("out of the directory"), "{link}: {refused}");
        }
        symlink("nowhere", at("dangling")).expect("linked");
        assert!(read(directory.path(), "dangling").is_err());
    }

    #[test]
    fn what_is_no_file_or_too_long_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("directory")).expect("made");
        let _listener = UnixListener::bind(at("socket")).expect("bound");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .expect("made");
        for name in ["directory", "socket", "fifo"] {
            let refused = read(directory.path(), name).expect_err(name);
            assert!(refused.contains("not a regular file"), "{name}: {refused}");
        }
        let long = File::create(at("long")).expect("made");
        long.set_len(MAX_PLAINTEXT as u64 + 1).expect("long");
        assert!(
            read(directory.path(), "long")
                .expect_err("long")
                .contains("more than")
        );
    }
}
