//! Reading the files that a user names, bounded; `-` is standard input. Writing one whole.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::exit::{Exit, Failure};

/// At most `most` bytes.
///
/// # Errors
/// `NoInput`: it cannot be read, or is larger.
pub fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let failed = |what: &dyn std::fmt::Display| {
        Failure::new(Exit::NoInput, format!("cannot read {}: {what}", path.display()))
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    }
    .map_err(|error| failed(&error))?;
    if bytes.len() > most {
        return Err(failed(&format_args!("larger than {} KiB", most >> 10)));
    }
    Ok(bytes)
}

/// The same, as text.
///
/// # Errors
/// As [`read`], and for text that is not UTF-8.
pub fn read_text(path: &Path, most: usize) -> Result<String, Failure> {
    String::from_utf8(read(path, most)?).map_err(|_| {
        let message = format!("cannot read {}: it is not UTF-8 text", path.display());
        Failure::new(Exit::NoInput, message)
    })
}

/// Puts `bytes` where `path` says: the old file or the new one, never half of it (rename(2)).
///
/// # Errors
/// `Host`: it cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&new);
        Failure::new(Exit::Host, format!("cannot write {}: {error}", path.display()))
    })
}
