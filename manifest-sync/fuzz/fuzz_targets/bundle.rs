//! Bundles and policies: any bytes are a plan or a list of mistakes that fits in a frame, and a plan can be carried out
//! without a surprise.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::fuzz_target;
use manifest_sync::data::{Content, Objects, Released};
use manifest_sync::frame::MAX_FRAME_BYTES;
use manifest_sync::plan::{Plan, SubPath, VolumeSource};
use manifest_sync::protocol::{FromEnclave, enclave};
use manifest_sync::reject::{Finding, Rejection};
use manifest_sync::trust::TrustPolicy;
use manifest_sync::{env, volume};

fuzz_target!(|bytes: &[u8]| {
    if let Err(rejection) = TrustPolicy::parse(bytes) {
        small(rejection);
    }
    match Plan::from_bundle_bytes(bytes) {
        Ok((plan, warnings)) => {
            findings(&warnings);
            let digest = plan.digest.to_string();
            assert!(enclave::encode(&FromEnclave::Applied { digest, warnings }).len() < MAX_FRAME_BYTES);
            carry_out(&plan);
        }
        Err(rejection) => {
            assert!(!rejection.errors.is_empty());
            small(rejection);
        }
    }
});

fn findings(all: &[Finding]) {
    assert!(all.len() <= Rejection::MAX_FINDINGS);
    for finding in all {
        assert!(
            !finding.object.is_empty() && !finding.message.is_empty(),
            "{finding:?}"
        );
    }
}

fn small(rejection: Rejection) {
    findings(&rejection.errors);
    assert!(enclave::encode(&FromEnclave::Rejected { rejection }).len() < MAX_FRAME_BYTES);
}

fn carry_out(plan: &Plan) {
    assert!(!plan.containers.is_empty());
    let mut released = Released::default();
    for class in plan.secret_classes.values() {
        let values: Vec<_> = class
            .objects
            .iter()
            .map(|one| Content::new(one.name.clone().into_bytes()))
            .collect();
        released.put(class, &values);
        let files = class.files(&values);
        assert_eq!(files.len(), class.objects.len());
        inside(files.keys());
        for secret in &class.secrets {
            assert!(!plan.secrets.contains_key(&secret.name));
            assert_eq!(released.0[&secret.name].data.len(), secret.data.len());
        }
    }
    let objects = Objects {
        plan,
        released: &released,
    };
    for volume in &plan.volumes {
        match &volume.source {
            VolumeSource::Files {
                sources,
                default_mode,
            } => {
                if let Ok(files) = volume::payload(&objects, &env::Runtime::default(), sources, *default_mode) {
                    inside(files.keys());
                }
            }
            VolumeSource::SecretProvider { class } => assert!(plan.secret_classes.contains_key(class)),
            VolumeSource::EmptyDir { .. } | VolumeSource::Attestation => {}
        }
    }
    let names: BTreeSet<_> = plan.all_containers().map(|container| &container.name).collect();
    assert_eq!(names.len(), plan.all_containers().count());
    for container in plan.all_containers() {
        for mount in &container.mounts {
            assert!(plan.volumes.iter().any(|volume| volume.name == mount.volume));
            assert!(mount.path.starts_with('/'));
            if let Some(SubPath::Literal(path)) = &mount.sub_path {
                inside([path].into_iter());
            }
        }
        let variables = env::resolve(&objects, container, &env::Runtime::default(), &no_file).unwrap_or_default();
        for (name, value) in &variables {
            assert!(!name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'));
        }
        let _ = env::process_argv(container, &["/entrypoint".to_owned()], &[], &BTreeMap::new());
    }
}

/// There are no files.
fn no_file(_volume: &str, _path: &str) -> Result<Vec<u8>, String> {
    Err("absent".to_owned())
}

/// Paths beneath a directory.
fn inside<'a>(paths: impl Iterator<Item = &'a String>) {
    for path in paths {
        assert!(
            !path.is_empty() && !path.starts_with('/') && !path.contains('\0'),
            "{path:?}"
        );
        assert!(path.split('/').all(|part| part != ".."), "{path:?}");
    }
}
