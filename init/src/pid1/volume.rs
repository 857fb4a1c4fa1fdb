//! Volumes of the Pod: created once, before the first container that mounts them, shared by all (K-380).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::{fs, io};

use manifest_sync::data::{Content, Objects};
use manifest_sync::plan::{VolumePlan, VolumeSource};
use manifest_sync::volume;
use nix::mount::{MsFlags, mount};
use nix::unistd::{Gid, chown};

use super::layout;
use super::secrets::Secrets;

/// Why a volume cannot be set up, in the kubelet's words.
#[derive(Debug)]
pub(crate) struct SetUpError(pub(crate) String);

/// Makes every volume that is not there yet.
pub(super) fn set_up(objects: &Objects<'_>, secrets: &Secrets) -> Result<(), SetUpError> {
    for volume in &objects.plan.volumes {
        let path = layout::volume(&volume.name);
        if path.exists() {
            continue;
        }
        make(objects, secrets, volume, &path).map_err(|reason| {
            // A half-made volume would look complete at the next try.
            let _ = fs::remove_dir_all(&path);
            SetUpError(format!(
                "MountVolume.SetUp failed for volume \"{}\" : {reason}",
                volume.name
            ))
        })?;
    }
    Ok(())
}

fn make(objects: &Objects<'_>, secrets: &Secrets, volume: &VolumePlan, path: &Path) -> Result<(), String> {
    let fs_group = objects.plan.fs_group;
    match &volume.source {
        VolumeSource::EmptyDir { size_limit } => {
            empty_dir(path, *size_limit, fs_group).map_err(|error| error.to_string())
        }
        VolumeSource::Object {
            source,
            items,
            default_mode,
            optional,
        } => {
            let files = volume::payload(objects, source, items, *default_mode, *optional)?;
            object(path, &files, fs_group).map_err(|error| error.to_string())
        }
        VolumeSource::SecretProvider { class } => {
            let files = secrets.files(class);
            let files = files.ok_or_else(|| format!("no secret of class {class} has been released"))?;
            object(path, &files, fs_group).map_err(|error| error.to_string())
        }
        // Each container has a directory of its own.
        VolumeSource::Attestation => Ok(()),
    }
}

/// K-381, K-382, K-402: everything is memory here, so `sizeLimit` is the size of a tmpfs whatever the medium.
fn empty_dir(path: &Path, size_limit: Option<u64>, fs_group: Option<u32>) -> io::Result<()> {
    fs::create_dir(path)?;
    if let Some(bytes) = size_limit.filter(|bytes| *bytes > 0) {
        let options = format!("size={bytes},mode=0777");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options.as_str()))?;
    }
    let mode = match fs_group {
        Some(group) => {
            chown(path, None, Some(Gid::from_raw(group)))?;
            0o2777
        }
        None => 0o777,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

type Files = BTreeMap<String, (Content, u32)>;

/// Name of the link to the files that count (K-388).
const DATA: &str = "..data";
/// Where its successor is made.
const DATA_NEXT: &str = "..data_tmp";

/// K-388: files in a directory of their own, `..data` pointing at it, every top-level name a link through `..data`.
fn object(path: &Path, files: &Files, fs_group: Option<u32>) -> io::Result<()> {
    let group = fs_group.map(Gid::from_raw);
    let stamp = generation(0);
    payload(&path.join(&stamp), files, group)?;
    for name in files.keys() {
        let top = Path::new(name).iter().next().unwrap_or_default();
        let link = path.join(top);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(top), link)?;
        }
    }
    symlink(stamp, path.join(DATA))?;
    chown(path, None, group)?;
    fs::set_permissions(
        path,
        fs::Permissions::from_mode(if group.is_some() { 0o2775 } else { 0o755 }),
    )
}

/// K-388: a reader sees all files as they were or all as they are, because one rename(2) replaces `..data`.
pub(super) fn update(name: &str, files: &Files, fs_group: Option<u32>) -> io::Result<()> {
    replace(&layout::volume(name), files, fs_group)
}

fn replace(path: &Path, files: &Files, fs_group: Option<u32>) -> io::Result<()> {
    let current = match fs::read_link(path.join(DATA)) {
        Ok(current) => current,
        // It has not been set up yet, and will be with these files.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let number = current
        .extension()
        .and_then(|number| number.to_str()?.parse::<u64>().ok());
    let stamp = generation(number.unwrap_or_default() + 1);
    payload(&path.join(&stamp), files, fs_group.map(Gid::from_raw))?;
    let next = path.join(DATA_NEXT);
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(stamp, &next)?;
    fs::rename(next, path.join(DATA))?;
    fs::remove_dir_all(path.join(current))
}

/// Name of the directory of the n-th content of a volume. The kubelet puts the time into it.
fn generation(number: u64) -> String {
    format!("..0000_00_00_00_00_00.{number}")
}

fn payload(directory: &Path, files: &Files, group: Option<Gid>) -> io::Result<()> {
    let create = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    create(directory)?;
    for (name, (bytes, mode)) in files {
        let file = directory.join(name);
        if let Some(parent) = file.parent() {
            create(parent)?;
        }
        // Nobody else may read it before it has its own mode.
        let mut open = fs::File::options();
        open.create_new(true)
            .write(true)
            .mode(0o600)
            .open(&file)?
            .write_all(bytes)?;
        // K-394: with an fsGroup, owner and group can at least read.
        let mode = if group.is_some() { mode | 0o440 } else { *mode };
        chown(&file, None, group)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(value: &str) -> Files {
        let content = Content::new(value.as_bytes().to_vec());
        BTreeMap::from([
            ("deep/key".to_owned(), (content.clone(), 0o400)),
            ("key".to_owned(), (content, 0o644)),
        ])
    }

    #[test]
    fn files_are_reached_through_data_and_replaced_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let read = |name: &str| fs::read_to_string(path.join(name)).expect("read");
        object(path, &files("old"), None).expect("made");
        assert_eq!(
            (read("key"), read("deep/key")),
            ("old".to_owned(), "old".to_owned())
        );
        assert_eq!(
            fs::read_link(path.join("key")).expect("a link"),
            Path::new("..data/key")
        );
        let mode = |name: &str| fs::metadata(path.join(name)).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode("key"), mode("deep/key")), (0o644, 0o400));

        // An earlier update that was interrupted leaves this behind.
        symlink("nowhere", path.join(DATA_NEXT)).expect("a link");
        replace(path, &files("new"), None).expect("updated");
        assert_eq!(
            (read("key"), read("deep/key")),
            ("new".to_owned(), "new".to_owned())
        );
        replace(path, &files("newer"), None).expect("updated");
        assert_eq!(read("key"), "newer");
        let contents = fs::read_dir(path).expect("listed").count();
        assert_eq!(contents, 4, "..data, its directory, key, deep");
    }
}
