//! The files of a volume, replaced all at once (K-388): they are in a directory of their own, `..data` points at it, and
//! every name that users see is a link through `..data`. One rename(2) of `..data` is the update, so a reader sees all files
//! as they were or all as they are. Nothing here knows where files come from.
//!
//! ```text
//! volume/key                -> ..data/key
//! volume/..data             -> ..0000_00_00_00_00_00.7
//! volume/..0000_00_00_00_00_00.7/key
//! ```

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::{fs, io};

use manifest_sync::volume::Files;
use nix::unistd::{Gid, chown};

/// Name of the link to the files that count.
const DATA: &str = "..data";
/// Where its successor is made.
const DATA_NEXT: &str = "..data_tmp";

/// Whether there was something to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// The volume holds other files than before.
    Changed,
    /// It has held these all along.
    Unchanged,
}

/// Makes `volume` hold `files` and nothing else, and the directory itself if it is not there. With a `group` (fsGroup), all
/// belongs to it and it may read all (K-394).
pub(super) fn write(volume: &Path, files: &Files, group: Option<Gid>) -> io::Result<Written> {
    let current = match fs::read_link(volume.join(DATA)) {
        Ok(current) => Some(current),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(current) = &current
        && holds(&volume.join(current), files, group)?
    {
        return Ok(Written::Unchanged);
    }
    directory(volume, group, 0o777)?;
    let next = successor(current.as_deref());
    // What an interrupted update has left behind.
    remove(&volume.join(&next))?;
    remove(&volume.join(DATA_NEXT))?;
    payload(&volume.join(&next), files, group)?;
    symlink(&next, volume.join(DATA_NEXT))?;
    fs::rename(volume.join(DATA_NEXT), volume.join(DATA))?;
    // Only now: a new name must not lead nowhere, and a removed one must not be missing while its file still counts.
    link(volume, files)?;
    if let Some(current) = current {
        remove(&volume.join(current))?;
    }
    Ok(Written::Changed)
}

/// The name of the directory after this one. The kubelet's has the time where this has zeros.
fn successor(current: Option<&Path>) -> PathBuf {
    let number = current.and_then(|current| current.extension()?.to_str()?.parse::<u64>().ok());
    let number = number.map_or(0, |number| number.wrapping_add(1));
    PathBuf::from(format!("..0000_00_00_00_00_00.{number}"))
}

/// Links for the first parts of all paths; those of earlier files go.
fn link(volume: &Path, files: &Files) -> io::Result<()> {
    let names = files.keys().filter_map(|path| Path::new(path).iter().next());
    let names: BTreeSet<_> = names.collect();
    for name in &names {
        let link = volume.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    for entry in fs::read_dir(volume)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.as_encoded_bytes().starts_with(b"..");
        // A directory is where a subPath that does not exist was mounted.
        if !is_ours && !names.contains(name.as_os_str()) && entry.file_type()?.is_symlink() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether a directory holds exactly these files.
fn holds(directory: &Path, files: &Files, group: Option<Gid>) -> io::Result<bool> {
    let mut present = BTreeSet::new();
    collect(directory, Path::new(""), &mut present)?;
    if present.len() != files.len() || !files.keys().all(|path| present.contains(Path::new(path))) {
        return Ok(false);
    }
    for (path, (content, mode)) in files {
        let path = directory.join(path);
        let is_mode = fs::metadata(&path)?.permissions().mode() & 0o7777 == file_mode(*mode, group);
        if !is_mode || fs::read(&path)? != **content {
            return Ok(false);
        }
    }
    Ok(true)
}

fn collect(root: &Path, beneath: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(beneath))? {
        let entry = entry?;
        let path = beneath.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

/// Takes away whatever is there.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn payload(directory: &Path, files: &Files, group: Option<Gid>) -> io::Result<()> {
    self::directory(directory, group, 0o755)?;
    for (name, (bytes, mode)) in files {
        let mut parent = directory.to_path_buf();
        for part in Path::new(name).parent().into_iter().flat_map(Path::iter) {
            parent.push(part);
            self::directory(&parent, group, 0o755)?;
        }
        let file = directory.join(name);
        // Nobody else may read it before it has its own mode.
        let mut open = fs::File::options();
        open.create_new(true)
            .write(true)
            .mode(0o600)
            .open(&file)?
            .write_all(bytes)?;
        chown(&file, None, group)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(file_mode(*mode, group)))?;
    }
    Ok(())
}

/// K-394: with an fsGroup, owner and group can at least read.
fn file_mode(mode: u32, group: Option<Gid>) -> u32 {
    if group.is_some() { mode | 0o440 } else { mode }
}

/// Makes a directory if it is not there, with this mode whatever the umask.
fn directory(path: &Path, group: Option<Gid>, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(error) => return Err(error),
    }
    chown(path, None, group)?;
    // K-394: new files belong to the group too, and it may pass.
    let mode = if group.is_some() { mode | 0o2550 } else { mode };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use manifest_sync::data::Content;

    use super::*;

    fn files(entries: &[(&str, u32, &str)]) -> Files {
        let entry = |(path, mode, text): &(&str, u32, &str)| {
            (
                (*path).to_owned(),
                (Content::new(text.as_bytes().to_vec()), *mode),
            )
        };
        entries.iter().map(entry).collect()
    }

    /// Everything that users see: paths through the links, modes, texts.
    fn seen(volume: &Path) -> Vec<(String, u32, String)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(volume).expect("listed").flatten() {
            let name = entry.file_name().into_string().expect("UTF-8");
            if name.starts_with("..") {
                continue;
            }
            assert_eq!(
                fs::read_link(entry.path()).expect("a link"),
                Path::new(DATA).join(&name)
            );
            let mut paths = BTreeSet::new();
            if entry.path().is_dir() {
                collect(volume, Path::new(&name), &mut paths).expect("listed");
            } else {
                paths.insert(PathBuf::from(name));
            }
            for path in paths {
                let whole = volume.join(&path);
                let mode = fs::metadata(&whole).expect("there").permissions().mode() & 0o7777;
                let text = fs::read_to_string(&whole).expect("readable");
                found.push((path.into_os_string().into_string().expect("UTF-8"), mode, text));
            }
        }
        found.sort();
        found
    }

    fn check(volume: &Path, entries: &[(&str, u32, &str)]) {
        let wanted = entries
            .iter()
            .map(|(path, mode, text)| ((*path).to_owned(), *mode, (*text).to_owned()));
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort();
        assert_eq!(seen(volume), wanted);
        let hidden = fs::read_dir(volume).expect("listed").flatten();
        let hidden = hidden.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".."));
        assert_eq!(hidden.count(), 2, "..data and its directory");
    }

    #[test]
    fn lc_301_files_are_as_they_are_wanted_whatever_was_there() {
        type Entries<'a> = &'a [(&'a str, u32, &'a str)];
        let deep = "1/2/3/4/5/6/7/8/9/10/.hidden";
        let contents: [Entries<'_>; 9] = [
            &[("a", 0o644, "a"), ("b", 0o400, "b")],
            // Nothing has changed.
            &[("a", 0o644, "a"), ("b", 0o400, "b")],
            &[("a", 0o644, "other"), ("b", 0o777, "b")],
            &[("a", 0o644, "other")],
            &[("a/x", 0o644, "now a directory"), (".hidden", 0o407, "")],
            &[("a/x", 0o644, "x"), ("a/y/z", 0o640, "z"), (deep, 0o600, "deep")],
            &[("a/y/z", 0o640, "z"), ("b/y", 0o640, "y")],
            &[],
            &[("c", 0o444, "c")],
        ];
        let directory = tempfile::tempdir().expect("a directory");
        let volume = directory.path().join("volume");
        let mut before = None;
        for entries in contents {
            let outcome = write(&volume, &files(entries), None).expect("written");
            let wanted = if before == Some(entries) {
                Written::Unchanged
            } else {
                Written::Changed
            };
            assert_eq!(outcome, wanted, "{entries:?}");
            check(&volume, entries);
            before = Some(entries);
        }
    }

    #[test]
    fn lc_301_an_interrupted_update_does_not_matter() {
        let directory = tempfile::tempdir().expect("a directory");
        let volume = directory.path();
        write(volume, &files(&[("key", 0o644, "old")]), None).expect("written");
        symlink("nowhere", volume.join(DATA_NEXT)).expect("a link");
        fs::create_dir(volume.join("..0000_00_00_00_00_00.1")).expect("a directory");
        fs::write(volume.join("..0000_00_00_00_00_00.1/stale"), "x").expect("a file");
        let new = [("key", 0o644, "new")];
        assert_eq!(
            write(volume, &files(&new), None).expect("written"),
            Written::Changed
        );
        check(volume, &new);
    }

    #[test]
    fn lc_301_readers_see_all_of_one_version() {
        let directory = tempfile::tempdir().expect("a directory");
        let volume = directory.path().to_owned();
        let of = |text: &str| files(&[("a", 0o644, text), ("b", 0o644, text)]);
        write(&volume, &of("0"), None).expect("written");
        let path = volume.clone();
        let reader = std::thread::spawn(move || {
            for _ in 0..500 {
                // As programs do that want a consistent set: one look at the link, then the files behind it.
                let current = fs::read_link(path.join(DATA)).expect("always there");
                let read = |name: &str| fs::read_to_string(path.join(&current).join(name));
                if let (Ok(a), Ok(b)) = (read("a"), read("b")) {
                    assert_eq!(a, b);
                }
            }
        });
        for number in 1..200 {
            write(&volume, &of(&number.to_string()), None).expect("written");
        }
        reader.join().expect("no torn read");
    }
}
