//! What the platform measures, and the security module.

use std::fs::File;

use manifest_sync::digest::{BundleDigest, hex};
use manifest_sync::measurement;
use manifest_sync::trust::TrustPolicy;
use rootfs::eif::inspect;
use serde_json::{Value, json};
use tests::{Up, guest, pod};

use crate::{REJECTED, lines_of, machine, measured, product_in, says, variable, with};

#[test]
fn the_platform_measures_what_the_builder_printed_and_the_module_keeps_its_protocol() {
    let eif = variable("CLOISTER_PROTOCOL_EIF");
    let product = product_in(eif.clone());
    let mut up = Up::start(
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
        &format!("probe: PCR20 open {}", "0".repeat(96)),
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
    // The probe has left no register to measure a bundle into, so none runs.
    assert_eq!(up.exit_code(), REJECTED, "{}", up.stderr());
    assert!(up.stderr().contains("cannot be measured"), "{}", up.stderr());
    let console = up.wait_console("the bundle cannot be measured: PCR16");
    assert!(!console.contains("app: executing"), "{console}");
}

#[test]
fn a_bundle_is_measured_and_every_register_locked_before_it_runs() {
    let product = measured();
    let up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    let console = up.wait_console("probe: pod pids.max");
    let digest = console
        .lines()
        .find_map(|line| line.split_once(" INFO bundle ")?.1.split_once(": Pod"));
    let digest: BundleDigest = digest.expect("a digest").0.parse().expect("a digest");
    let authority = measurement::authority(&TrustPolicy::development());
    for measured in [authority, measurement::bundle(digest)] {
        let index = measured.index;
        says(
            &console,
            &format!("probe: PCR{index} locked {}", hex(&measured.value())),
        );
    }
    for index in [16, 17, 18, 31] {
        says(&console, &format!("probe: extend of PCR{index}: ReadOnlyIndex"));
    }
    says(&console, &format!("probe: PCR18 locked {}", "0".repeat(96)));
    says(&console, "probe: 32 PCRs are locked");
    says(&console, "probe: device node is there: false");
    up.wait_running("app");
}

/// The emulated module makes documents, though nobody has signed them: what is in them is what can be looked at.
#[test]
fn a_container_gets_a_document_of_the_module_that_says_who_asked() {
    let product = machine();
    let target = format!(
        "/v1/attestation?nonce={}&data={}",
        hex(&[0x5a; 32]),
        hex(b"report")
    );
    let mut app = guest("app", &["attest", "/attest/attest.sock", &target]);
    app["volumeMounts"] = json!([{"name": "attestation", "mountPath": "/attest", "readOnly": true}]);
    let volume =
        json!({"name": "attestation", "csi": {"driver": "attestation.cloister.dev", "readOnly": true}});
    let up = Up::start(
        &product,
        &[pod(json!({"containers": [app], "volumes": [volume]}))],
        &[],
    );
    up.wait_log("| ready");
    let text = up.stdout();
    assert!(text.contains("status HTTP/1.1 200 OK"), "{text}");
    for part in [
        // Label, then bundle and generation; the names and the data have their length in front.
        &b"cloister.dev/application/v2\0\0\0\0\0"[..],
        b"\x04test\x03app\x06report",
        &[0x5a; 32],
    ] {
        assert!(text.contains(&hex(part)), "{} is not in {text}", hex(part));
    }
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
        // K-417 leaves CAP_MKNOD. This one cannot be made; and where containers may write, none would be a device.
        says(&text, &format!("{place}: made false opened NotFound"));
    }
}

#[test]
fn neither_vsock_nor_the_module_is_in_reach_of_any_container() {
    let product = machine();
    let security = |context: Value| with(guest("app", &["vsock"]), "securityContext", context);
    for (context, can_mount) in [
        (json!({}), false),
        (json!({"seccompProfile": {"type": "Unconfined"}}), false),
        (
            json!({"capabilities": {"add": ["ALL"]}, "seccompProfile": {"type": "Unconfined"}}),
            true,
        ),
        (json!({"privileged": true}), true),
    ] {
        let up = Up::start(
            &product,
            &[pod(json!({"containers": [security(context.clone())]}))],
            &[],
        );
        let text = lines_of(&up, "app");
        println!("{context}\n{text}");
        // EAFNOSUPPORT, and ENOSYS for what makes sockets without a call of its own.
        says(&text, "call socket of vsock: errno 97");
        says(&text, "call pair of vsock: errno 97");
        says(&text, "call io_uring_setup: errno 38");
        says(&text, &format!("devtmpfs: {can_mount}"));
        for name in ["nsm", "vsock", "mem"] {
            says(&text, &format!("node {name}: false"));
        }
        for name in ["nsm", "vsock"] {
            for place in ["/made", "/devices/made"] {
                says(&text, &format!("{name} at {place}: made false"));
            }
        }
        if can_mount {
            // Even with a node of the kernel's making there is nothing that it can be asked.
            says(&text, "bind: ok");
            says(&text, "call of the security module: errno 1");
        } else {
            says(&text, "module: NotFound");
        }
    }
}
