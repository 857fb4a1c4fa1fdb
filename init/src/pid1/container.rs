//! From plan and image to the resolved description that `child` receives. Pure, but for the files it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cloister_init::inodes;
use cloister_init::supervisor::event::SpawnError;
use manifest_sync::data::{Objects, Released};
use manifest_sync::plan::{self, ContainerPlan, MountPlan, Plan, SeccompProfile, SubPath, VolumeSource};
use manifest_sync::{env, env_file};

use super::process::FIRST_KEPT_FD;
use super::{layout, non_root};
use crate::beneath::Beneath;
use crate::child::capability;
use crate::child::spec::{Access, BindSpec, ChildSpec, Join, Propagation, RootSpec, UserSpec};
use crate::seccomp::Profile;
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

/// The description of one instance, or why there is none.
pub(crate) fn describe(
    plan: &Plan,
    container: &ContainerPlan,
    image: &Image,
    around: &Surroundings<'_>,
) -> Result<ChildSpec, (SpawnError, String)> {
    let config = |message| (SpawnError::Config, message);
    let released = around.released;
    let variables =
        env::resolve(&Objects { plan, released }, container, around.runtime, &read_file).map_err(config)?;
    // K-341.
    let argv = env::process_argv(container, &image.entrypoint, &image.cmd, &variables)
        .map_err(|message| (SpawnError::Create, message))?;
    let security = &container.security;
    non_root::verify(plan, container, &image.user).map_err(config)?;
    let all = ["ALL".to_owned()];
    let (add, drop) = if security.privileged {
        (&all[..], &[][..])
    } else {
        (&security.add[..], &security.drop[..])
    };
    let shared = plan.share_process_namespace;
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
            scratch_inodes: inodes::of(None, around.runtime.capacity.memory),
            read_only: security.read_only_root,
            user_xattr: around.owners == Owners::Squash,
            shm: layout::SHM.to_owned(),
            proc: shared.then(|| layout::POD_PROC.to_owned()),
            privileged: security.privileged,
        }),
        join: shared.then_some(Join::Pod {
            process: FIRST_KEPT_FD,
            number: FIRST_KEPT_FD + 1,
        }),
        mounts: mounts(plan, container, &instance.to_string_lossy(), &variables).map_err(config)?,
        argv,
        env: environment(plan.name_inside(), &image.env, variables),
        cwd: container
            .working_dir
            .clone()
            .unwrap_or_else(|| image.working_dir.clone()),
        user: UserSpec {
            run_as_user: security.run_as_user,
            run_as_group: security.run_as_group,
            image_user: image.user.clone(),
            supplemental_groups: security.supplemental_groups.clone(),
            strict_groups: security.strict_groups,
        },
        capabilities: capability::effective(add, drop).map_err(config)?,
        no_new_privileges: security.no_new_privileges,
        seccomp: Some(match security.seccomp {
            SeccompProfile::RuntimeDefault => Profile::RuntimeDefault,
            SeccompProfile::Unconfined => Profile::Floor,
        }),
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

/// Of a volume, which containers write to: nothing of what they do there may lead us elsewhere.
fn read_file(volume: &str, path: &str) -> Result<Vec<u8>, String> {
    let volume = Beneath::open(&layout::volume(volume)).map(Beneath::within_mount);
    volume
        .and_then(|volume| volume.read(Path::new(path), env_file::MAX_BYTES))
        .map_err(|error| error.to_string())
}

fn mounts(
    plan: &Plan,
    container: &ContainerPlan,
    instance: &str,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<BindSpec>, String> {
    let own = |name: &str, target: &str| BindSpec {
        source: format!("{instance}/{name}"),
        sub_path: None,
        target: target.to_owned(),
        access: Access::ReadWrite,
        propagation: Propagation::Private,
    };
    let mounted = |path: &str| container.mounts.iter().any(|mount| mount.path == path);
    let mut all: Vec<BindSpec> = MANAGED_FILES
        .iter()
        // K-401: a mount of the user's at the same path replaces the managed file.
        .filter(|(_, target)| !mounted(target))
        .map(|(name, target)| own(name, target))
        .collect();
    for mount in &container.mounts {
        all.push(volume_mount(plan, &container.name, mount, variables)?);
    }
    all.push(own(TERMINATION_LOG, &container.termination_message_path));
    // K-396: parents before what is inside them.
    all.sort_by_key(|mount| mount.target.split('/').filter(|part| !part.is_empty()).count());
    Ok(all)
}

fn volume_mount(
    plan: &Plan,
    container: &str,
    mount: &MountPlan,
    variables: &BTreeMap<String, String>,
) -> Result<BindSpec, String> {
    let volume = plan.volumes.iter().find(|volume| volume.name == mount.volume);
    let source = volume.map(|volume| &volume.source);
    let path = match source {
        Some(VolumeSource::Attestation) => layout::attestation(container),
        _ => layout::volume(&mount.volume),
    };
    let writable = matches!(source, Some(VolumeSource::EmptyDir { .. }));
    let sub_path = match &mount.sub_path {
        None => None,
        Some(SubPath::Literal(path)) => Some(path.clone()),
        Some(SubPath::Expression(expression)) => {
            Some(env::sub_path(expression, variables)?).filter(|path| !path.is_empty())
        }
    };
    if let Some(sub_path) = &sub_path {
        let volume = Beneath::open(&path).map(Beneath::within_mount);
        let prepared = volume.and_then(|volume| volume.existing_or_directory(Path::new(sub_path)));
        if let Err(error) = prepared {
            log::warn!("subPath {sub_path} of volume {}: {error}", mount.volume);
            return Err(format!(
                "failed to prepare subPath for volumeMount \"{}\" of container \"{container}\"",
                mount.volume
            ));
        }
    }
    Ok(BindSpec {
        source: path.to_string_lossy().into_owned(),
        sub_path,
        target: mount.path.clone(),
        access: match mount.access {
            plan::Access::RecursiveReadOnly => Access::RecursiveReadOnly,
            // K-386: whatever the mount says.
            plan::Access::ReadWrite if writable => Access::ReadWrite,
            plan::Access::ReadWrite | plan::Access::ReadOnly => Access::ReadOnly,
        },
        propagation: match mount.propagation {
            plan::Propagation::None => Propagation::Private,
            plan::Propagation::HostToContainer => Propagation::Slave,
            plan::Propagation::Bidirectional => Propagation::Shared,
        },
    })
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
