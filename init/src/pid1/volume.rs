//! Volumes of the Pod: created once, before the first container, shared by all (K-380, K-390). Those that are made of
//! objects and facts can be made to follow them ([`refresh`]).

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cloister_init::{inodes, resources};
use manifest_sync::data::Objects;
use manifest_sync::env::Runtime;
use manifest_sync::plan::{Medium, Plan, VolumePlan, VolumeSource};
use manifest_sync::volume::{self, Files};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{Gid, chown};

use super::atomic_writer::{self, Written};
use super::layout;
use super::secrets::Secrets;

/// What volumes are made of.
#[derive(Clone, Copy)]
pub(super) struct Ingredients<'a> {
    pub(super) objects: Objects<'a>,
    pub(super) runtime: &'a Runtime,
    pub(super) secrets: &'a Secrets,
}

/// Makes every volume that is not there yet. The error is `FailedMount`'s message, in the kubelet's words.
pub(super) fn set_up(ingredients: &Ingredients<'_>) -> Result<(), String> {
    for volume in &ingredients.objects.plan.volumes {
        let path = layout::volume(&volume.name);
        if path.exists() {
            continue;
        }
        make(ingredients, volume, &path).map_err(|reason| {
            // A half-made volume would look complete at the next try.
            let _ = umount2(&path, MntFlags::MNT_DETACH);
            let _ = fs::remove_dir_all(&path);
            format!(
                "MountVolume.SetUp failed for volume \"{}\" : {reason}",
                volume.name
            )
        })?;
    }
    Ok(())
}

/// Lets the volumes that are there hold what their objects hold now (K-391, K-392); containers see it at once, except
/// through a subPath. The names of the volumes that hold something else than before, and what could not be done: the old
/// files stay then.
pub(super) fn refresh(ingredients: &Ingredients<'_>) -> Refreshed {
    let mut refreshed = Refreshed::default();
    for volume in &ingredients.objects.plan.volumes {
        let path = layout::volume(&volume.name);
        if !path.exists() {
            continue;
        }
        let group = ingredients.objects.plan.fs_group.map(Gid::from_raw);
        let Some(files) = files(ingredients, &volume.source) else {
            continue;
        };
        let written = files
            .and_then(|files| atomic_writer::write(&path, &files, group).map_err(|error| error.to_string()));
        match written {
            Ok(Written::Changed) => refreshed.changed.push(volume.name.clone()),
            Ok(Written::Unchanged) => {}
            Err(reason) => refreshed.failed.push((volume.name.clone(), reason)),
        }
    }
    refreshed
}

/// What [`refresh`] did.
#[derive(Debug, Default)]
pub(super) struct Refreshed {
    /// Names of volumes.
    pub(super) changed: Vec<String>,
    /// Names of volumes and why.
    pub(super) failed: Vec<(String, String)>,
}

/// The files of a volume; `None` for one that is not made of files.
fn files(ingredients: &Ingredients<'_>, source: &VolumeSource) -> Option<Result<Files, String>> {
    match source {
        VolumeSource::Files {
            sources,
            default_mode,
        } => Some(volume::payload(
            &ingredients.objects,
            ingredients.runtime,
            sources,
            *default_mode,
        )),
        VolumeSource::SecretProvider { class } => {
            let files = ingredients.secrets.files(class);
            Some(files.ok_or_else(|| format!("no secret of class {class} has been released")))
        }
        VolumeSource::EmptyDir { .. } | VolumeSource::Attestation => None,
    }
}

fn make(ingredients: &Ingredients<'_>, volume: &VolumePlan, path: &Path) -> Result<(), String> {
    let plan = ingredients.objects.plan;
    let group = plan.fs_group.map(Gid::from_raw);
    let made = match (&volume.source, files(ingredients, &volume.source)) {
        (_, Some(files)) => atomic_writer::write(path, &files?, group).map(|_| ()),
        (VolumeSource::EmptyDir { medium, size_limit }, None) => {
            let memory = ingredients.runtime.capacity.memory;
            let limit = size_limit.map(|limit| limit.bytes);
            let size = match medium {
                // K-383: a limit of this medium is watched, and is not a size.
                Medium::Default => None,
                Medium::Memory => {
                    let sizes = [limit, memory_limit(plan), Some(memory)];
                    sizes.into_iter().flatten().min()
                }
            };
            let inodes = inodes::of(size.or(limit), memory);
            empty_dir(path, *medium, size, inodes, group)
        }
        // Each container has a directory of its own.
        (_, None) => Ok(()),
    };
    made.map_err(|error| error.to_string())
}

/// K-446.
fn memory_limit(plan: &Plan) -> Option<u64> {
    resources::pod_memory_limit(plan)
}

/// K-381, K-382, K-402. Each is a file system of its own, whatever the medium: all is memory here, and its use is told by
/// statfs(2) without looking at files. Without a size the kernel gives it half of the machine's memory (tmpfs(5)).
fn empty_dir(
    path: &Path,
    medium: Medium,
    size: Option<u64>,
    inodes: u64,
    group: Option<Gid>,
) -> io::Result<()> {
    fs::create_dir(path)?;
    let mode = match medium {
        Medium::Default => 0o777,
        // The kernel's default for the root of a tmpfs.
        Medium::Memory => 0o1777,
    };
    let size = size.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
    let options = format!("mode={mode:o},nr_inodes={inodes}{size}");
    // As on a node, a program that is setuid is one here; allowPrivilegeEscalation says whether that counts (K-414).
    let flags = MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options.as_str()))?;
    let Some(group) = group else { return Ok(()) };
    chown(path, None, Some(group))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o2770))
}
