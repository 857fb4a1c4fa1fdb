//! What the platform measures, and the security module.

use std::fs::File;

use rootfs::eif::inspect;
use serde_json::json;
use tests::{Up, guest, pod};

use crate::{lines_of, machine, probe, says, variable};

#[test]
fn the_platform_measures_what_the_builder_printed_and_the_module_keeps_its_protocol() {
    let product = probe();
    let eif = variable("CLOISTER_PROBE_EIF");
    let up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    let console = up.wait_console("probe: done");
    let image = inspect(File::open(&eif).expect("an image")).expect("a valid image");
    let measured = image.measurements;
    for (index, value) in [measured.pcr0, measured.pcr1, measured.pcr2].iter().enumerate() {
        says(&console, &format!("probe: PCR{index} locked {value}"));
    }
    for line in [
        "probe: 32 PCRs of SHA384",
        &format!("probe: PCR16 open {}", "0".repeat(96)),
        "probe: extend is true",
        "probe: extend after lock: ReadOnlyIndex",
        "probe: lock of PCR0: ReadOnlyIndex",
        "probe: PCR32: InvalidIndex",
        "probe: lock of 33 PCRs: InvalidIndex",
        "probe: 32 PCRs are locked",
        "probe: extend of the last: ReadOnlyIndex",
        "probe: random 256 bytes, fresh true",
        "probe: document holds what it was given: true",
        "probe: entropy nsm-hwrng",
    ] {
        says(&console, line);
    }
    // Said by the parent, when the enclave's heartbeat has come.
    up.wait_console("the guest has booted");
    // An image that was not started for debugging says nothing of debugging.
    assert!(!console.contains("DEBUG MODE"), "{console}");
}

#[test]
fn the_security_module_is_out_of_reach_of_a_container_that_may_make_device_nodes() {
    let product = machine();
    let mut app = guest("app", &["make-device", "nsm"]);
    app["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let spec = json!({"containers": [app], "volumes": [{"name": "data", "emptyDir": {}}]});
    let up = Up::start(&product, &[pod(spec)], &[]);
    let text = lines_of(&up, "app");
    for place in ["/device", "/dev/device", "/dev/shm/device", "/data/device"] {
        // K-417 leaves CAP_MKNOD: the node can be made, and no mount lets it be a device.
        says(&text, &format!("{place}: made true opened PermissionDenied"));
    }
}
