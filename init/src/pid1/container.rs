//! From plan and image to the resolved description that `child` receives. Pure, but for the files it names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use manifest_sync::data::{Objects, Released};
use manifest_sync::env;
use manifest_sync::plan::{ContainerPlan, MountPlan, Plan, VolumeSource};

use super::layout;
use crate::child::capability;
use crate::child::spec::{BindSpec, ChildSpec, RootSpec, UserSpec};
use crate::unpack::message::{Image, Owners};

/// PATH of a container whose image sets none (K-351).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Soft and hard limit of open files: systemd's, which containers on most nodes have. A kernel alone would give 4096.
const OPEN_FILES: (u64, u64) = (1024, 512 * 1024);

/// What the description depends on besides plan and image.
pub(crate) struct Surroundings<'a> {
    /// Facts for the downward API.
    pub(crate) runtime: &'a env::Runtime,
    /// Secrets beside those of the plan.
    pub(crate) released: &'a Released,
    /// Whether this is a user namespace.
    pub(crate) owners: Owners,
    /// Number of starts before this one.
    pub(crate) attempt: u32,
    /// What the kernel is told about the instance as a whole.
    pub(crate) placement: Placement,
}

/// Where an instance counts; nothing on a machine whose cgroups are not ours.
#[derive(Debug, Default)]
pub(crate) struct Placement {
    /// Its cgroup.
    pub(crate) cgroup: Option<PathBuf>,
    /// K-450.
    pub(crate) oom_score_adj: Option<i32>,
}

/// The description of one instance, or why there is none (`CreateContainerConfigError`).
pub(crate) fn describe(
    plan: &Plan,
    container: &ContainerPlan,
    image: &Image,
    around: &Surroundings<'_>,
) -> Result<ChildSpec, String> {
    let released = around.released;
    let variables = env::resolve(&Objects { plan, released }, container, around.runtime)?;
    let argv = env::process_argv(container, &image.entrypoint, &image.cmd, &variables)?;
    let security = &container.security;
    let instance = layout::instance(&container.name, around.attempt);
    let text = |name: &str| instance.join(name).to_string_lossy().into_owned();
    Ok(ChildSpec {
        root: Some(RootSpec {
            lower: image
                .layers
                .iter()
                .map(|layer| format!("{}/{layer}", layout::STORE))
                .collect(),
            scratch: text("scratch"),
            read_only: security.read_only_root,
            user_xattr: around.owners == Owners::Squash,
            shm: layout::SHM.to_owned(),
        }),
        join: None,
        mounts: mounts(plan, container, &instance.to_string_lossy()),
        argv,
        env: environment(&plan.hostname, &image.env, variables),
        cwd: container
            .working_dir
            .clone()
            .unwrap_or_else(|| image.working_dir.clone()),
        user: UserSpec {
            run_as_user: security.run_as_user,
            run_as_group: security.run_as_group,
            image_user: image.user.clone(),
            run_as_non_root: security.run_as_non_root,
            supplemental_groups: security.supplemental_groups.clone(),
        },
        capabilities: capability::effective(&security.add, &security.drop)?,
        no_new_privileges: security.no_new_privileges,
        umask: 0o022,
        rlimits: vec![
            ("RLIMIT_CORE".to_owned(), 0, 0),
            ("RLIMIT_NOFILE".to_owned(), OPEN_FILES.0, OPEN_FILES.1),
        ],
        cgroup: around.placement.cgroup.clone(),
        oom_score_adj: around.placement.oom_score_adj,
        keep_fds: Vec::new(),
    })
}

/// Names of the managed files of an instance and where they go.
pub(crate) const MANAGED_FILES: [(&str, &str); 3] = [
    ("hosts", "/etc/hosts"),
    ("hostname", "/etc/hostname"),
    ("resolv.conf", "/etc/resolv.conf"),
];

/// Name of an instance's termination log.
pub(crate) const TERMINATION_LOG: &str = "termination-log";

fn mounts(plan: &Plan, container: &ContainerPlan, instance: &str) -> Vec<BindSpec> {
    let own = |name: &str, target: &str| BindSpec {
        source: format!("{instance}/{name}"),
        sub_path: None,
        target: target.to_owned(),
        read_only: false,
    };
    let mounted = |path: &str| container.mounts.iter().any(|mount| mount.path == path);
    let mut all: Vec<BindSpec> = MANAGED_FILES
        .iter()
        // K-401: a mount of the user's at the same path replaces the managed file.
        .filter(|(_, target)| !mounted(target))
        .map(|(name, target)| own(name, target))
        .collect();
    all.extend(
        container
            .mounts
            .iter()
            .map(|mount| volume_mount(plan, &container.name, mount)),
    );
    all.push(own(TERMINATION_LOG, &container.termination_message_path));
    // K-396: parents before what is inside them.
    all.sort_by_key(|mount| mount.target.split('/').filter(|part| !part.is_empty()).count());
    all
}

fn volume_mount(plan: &Plan, container: &str, mount: &MountPlan) -> BindSpec {
    let volume = plan.volumes.iter().find(|volume| volume.name == mount.volume);
    let source = volume.map(|volume| &volume.source);
    let path = match source {
        Some(VolumeSource::Attestation) => layout::attestation(container),
        _ => layout::volume(&mount.volume),
    };
    let writable = matches!(source, Some(VolumeSource::EmptyDir { .. }));
    BindSpec {
        source: path.to_string_lossy().into_owned(),
        sub_path: mount.sub_path.clone(),
        target: mount.path.clone(),
        read_only: mount.read_only || !writable,
    }
}

/// K-351: default PATH, the image's variables, HOSTNAME, then the Pod's.
fn environment(hostname: &str, image: &[String], pod: BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut all = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
    all.extend(image.iter().filter_map(|entry| {
        let (name, value) = entry.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    }));
    all.insert("HOSTNAME".to_owned(), hostname.to_owned());
    all.extend(pod);
    all.into_iter().collect()
}
