//! Volumes of the Pod: created once, before the first container that mounts them, shared by all (K-380).

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;
use std::{fs, io};

use manifest_sync::data::{Content, Objects};
use manifest_sync::plan::{VolumePlan, VolumeSource};
use manifest_sync::volume;
use nix::mount::{MsFlags, mount};
use nix::unistd::{Gid, chown};

use super::layout;

/// Why a volume cannot be set up, in the kubelet's words.
#[derive(Debug)]
pub(crate) struct SetUpError(pub(crate) String);

/// Makes every volume that is not there yet.
pub(crate) fn set_up(objects: &Objects<'_>) -> Result<(), SetUpError> {
    for volume in &objects.plan.volumes {
        let path = layout::volume(&volume.name);
        if path.exists() {
            continue;
        }
        make(objects, volume, &path).map_err(|reason| {
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

fn make(objects: &Objects<'_>, volume: &VolumePlan, path: &Path) -> Result<(), String> {
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
            Err(format!("no secret of class {class} has been released"))
        }
        VolumeSource::Attestation => Err("this enclave gives no attestation documents".to_owned()),
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

/// K-388: files in a time-stamped directory, `..data` pointing at it, every top-level name a link through `..data`.
fn object(path: &Path, files: &BTreeMap<String, (Content, u32)>, fs_group: Option<u32>) -> io::Result<()> {
    let group = fs_group.map(Gid::from_raw);
    let stamp = "..0000_00_00_00_00_00.0";
    let data = path.join(stamp);
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&data)?;
    for (name, (bytes, mode)) in files {
        let file = data.join(name);
        if let Some(parent) = file.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        fs::write(&file, bytes)?;
        // K-394: with an fsGroup, owner and group can at least read.
        let mode = if group.is_some() { mode | 0o440 } else { *mode };
        chown(&file, None, group)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
        let top = Path::new(name).iter().next().unwrap_or_default();
        let link = path.join(top);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(top), link)?;
        }
    }
    symlink(stamp, path.join("..data"))?;
    chown(path, None, group)?;
    fs::set_permissions(
        path,
        fs::Permissions::from_mode(if group.is_some() { 0o2775 } else { 0o755 }),
    )
}
