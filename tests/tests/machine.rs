//! What only a machine of its own can show: its measurements, its security module, its limits and its end. Runs in an
//! emulated enclave, by `cargo xtask test --vm`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use manifest_sync::config::EnclaveConfig;
use manifest_sync::status::{ContainerState, ContainerStatus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rootfs::eif::{EifBuilder, Metadata, inspect};
use rootfs::enclave_image::EnclaveImage;
use rootfs::initramfs::{Compression, Initramfs};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Backend, Product, Up, guest, pod, product, stat, wait_for};

/// Exit code of `host-proxy up` when the enclave is gone without a word.
const DIED: i32 = 70;
const COMMAND_LINE: &str = "console=ttyS0 reboot=k panic=-1 quiet";

fn variable(name: &str) -> PathBuf {
    std::env::var_os(name)
        .unwrap_or_else(|| panic!("{name} is not set: run `cargo xtask test --vm`"))
        .into()
}

/// The product in another enclave image.
fn product_in(eif: PathBuf) -> Product {
    let product = product().expect("the built product");
    assert_ne!(
        product.backend,
        Backend::Local,
        "these tests need an emulated machine"
    );
    Product {
        backend: Backend::Qemu { eif },
        ..product
    }
}

/// The enclave image of the product.
fn machine() -> Product {
    product_in(variable("CLOISTER_EIF"))
}

/// The enclave image with the base service `nsm-probe`.
fn probe() -> Product {
    product_in(variable("CLOISTER_PROBE_EIF"))
}

#[track_caller]
fn says(text: &str, line: &str) {
    assert!(
        text.lines().any(|have| have.trim_end().ends_with(line)),
        "no line ends with {line:?} in:\n{text}"
    );
}

/// Runs a container with these settings to its `end`; returns its lines.
fn lines_of(up: &Up, name: &str) -> String {
    wait_for(&format!("the end of what {name} says"), || {
        let text = up.stdout();
        let of_it = |line| {
            let (who, rest) = str::split_once(line, "| ")?;
            (who.split_whitespace().last() == Some(name)).then_some(rest)
        };
        let lines: Vec<&str> = text.lines().filter_map(of_it).collect();
        lines.contains(&"end").then(|| lines.join("\n"))
    })
}

fn with(mut container: Value, key: &str, value: Value) -> Value {
    container[key] = value;
    container
}

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
fn cgroups_hold_what_a_kubelet_would_write() {
    let product = probe();
    let resources = |requests: Value, limits: Value| json!({"requests": requests, "limits": limits});
    let app = with(
        guest("app", &["cgroup"]),
        "resources",
        resources(
            json!({"cpu": "250m", "memory": "64Mi"}),
            json!({"cpu": "1500m", "memory": "96Mi"}),
        ),
    );
    let side = with(
        guest("side", &["cgroup"]),
        "resources",
        resources(json!({}), json!({"cpu": "500m", "memory": "64Mi"})),
    );
    let free = guest("free", &["sleep"]);
    let up = Up::start(&product, &[pod(json!({"containers": [app, side]}))], &[]);
    let text = lines_of(&up, "app");
    for line in [
        "cpu.max 150000 100000",
        // K-441 for 250m: 256 shares.
        "cpu.weight 35",
        "memory.max 100663296",
        "memory.oom.group 1",
        "cgroup 0::/",
        "write ReadOnlyFilesystem",
    ] {
        says(&text, line);
    }
    // 0, or a kernel without swap.
    assert!(!text.contains("memory.swap.max max"), "{text}");
    let score = text.lines().find_map(|line| line.strip_prefix("oom_score_adj "));
    let score: i32 = score.expect("a score").parse().expect("a number");
    assert!((3..1000).contains(&score), "burstable: {score}");
    let text = lines_of(&up, "side");
    // A limit is the request, too, when there is none.
    for line in ["cpu.max 50000 100000", "cpu.weight 59", "memory.max 67108864"] {
        says(&text, line);
    }
    let console = up.wait_console("pod: pids.max");
    // The sums over both containers: 2 CPUs, 160 MiB, and 750m of requests.
    for line in [
        "pod: cpu.max 200000 100000",
        "pod: cpu.weight 30",
        "pod: memory.max 167772160",
    ] {
        says(&console, line);
    }
    drop(up);
    // One container without a limit: the Pod has none.
    let side = with(
        guest("side", &["sleep"]),
        "resources",
        json!({"limits": {"memory": "64Mi"}}),
    );
    let up = Up::start(&product, &[pod(json!({"containers": [free, side]}))], &[]);
    let console = up.wait_console("pod: pids.max");
    for line in ["pod: cpu.max max 100000", "pod: memory.max max"] {
        says(&console, line);
    }
}

fn killed_for_memory(status: &ContainerStatus) -> bool {
    matches!(&status.last_state, Some(ContainerState::Terminated { reason, exit_code, .. })
        if reason == "OOMKilled" && *exit_code == 137)
        && status.restart_count >= 1
}

#[test]
fn a_container_over_its_memory_limit_is_oom_killed_and_restarted_and_its_neighbour_is_not() {
    let product = machine();
    let limit = json!({"limits": {"memory": "32Mi"}});
    let containers = [
        with(guest("alone", &["eat"]), "resources", limit.clone()),
        // The kernel kills the child; the container is killed whole (memory.oom.group, K-443).
        with(guest("parent", &["eat-in-a-child"]), "resources", limit),
        guest("neighbour", &["sleep"]),
    ];
    let up = Up::start(&product, &[pod(json!({"containers": containers}))], &[]);
    for name in ["alone", "parent"] {
        up.wait_container(name, "killed for memory and started again", killed_for_memory);
    }
    let neighbour = up.wait_running("neighbour");
    assert_eq!(neighbour.restart_count, 0);
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

/// The QEMU or the vsock device of an enclave, on this machine.
fn part_of(up: &Up, program: &str) -> i32 {
    wait_for(program, || {
        let machine = up.enclave_pid()?;
        let (_, launcher) = stat(machine)?;
        Up::children_of(launcher).into_iter().find(|pid| {
            let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            executable.ends_with(program)
        })
    })
}

fn gone(pid: i32) -> Option<()> {
    (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
}

#[test]
fn a_machine_without_its_vsock_device_is_ended() {
    let product = machine();
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    up.wait_running("app");
    let machine = up.enclave_pid().expect("it runs");
    let device = part_of(&up, "vhost-device-vsock");
    kill(Pid::from_raw(device), Signal::SIGKILL).expect("our device");
    assert_eq!(up.exit_code(), DIED, "{}", up.stderr());
    assert!(up.stderr().contains("the vsock device ended"), "{}", up.stderr());
    wait_for("the machine's end", || gone(machine));
}

#[test]
fn a_launcher_that_is_killed_leaves_nothing_behind() {
    let product = machine();
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    up.wait_running("app");
    let machine = up.enclave_pid().expect("it runs");
    let device = part_of(&up, "vhost-device-vsock");
    let (_, launcher) = stat(machine).expect("it runs");
    kill(Pid::from_raw(launcher), Signal::SIGKILL).expect("our launcher");
    wait_for("the machine's end", || gone(machine));
    wait_for("the device's end", || gone(device));
    assert_eq!(up.exit_code(), DIED, "{}", up.stderr());
}

#[test]
fn host_proxy_that_comes_back_finds_its_machine() {
    let product = machine();
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    up.wait_running("app");
    let machine = up.enclave_pid();
    up.signal(Signal::SIGKILL);
    up.wait();
    up.start_again(&[]);
    up.wait_running("app");
    assert_eq!(up.enclave_pid(), machine, "it is another machine");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

/// `exit 0` when QEMU ended because the guest did and nobody killed it.
fn how_it_ended(up: &Up) -> String {
    let how = wait_for("the machine's end", || {
        fs::read_to_string(up.state().join("exit")).ok()
    });
    how.trim().to_owned()
}

#[test]
fn the_machine_ends_by_itself_when_its_pod_has_ended() {
    let product = machine();
    let spec = json!({"restartPolicy": "Never", "containers": [guest("app", &["exit", "3"])]});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    assert_eq!(up.exit_code(), 3, "{}", up.stderr());
    assert_eq!(how_it_ended(&up), "exit 0", "{}", up.console());
    says(&up.console(), "reboot: Restarting system");
}

/// Writes an enclave image of these ramdisks.
fn image_of(directory: &Path, ramdisks: Vec<PathBuf>) -> PathBuf {
    let eif = directory.join("test.eif");
    let builder = EifBuilder {
        kernel: variable("CLOISTER_KERNEL"),
        command_line: COMMAND_LINE.to_owned(),
        ramdisks,
        metadata: Metadata {
            name: "test".to_owned(),
            version: "0".to_owned(),
            build_time: "1970-01-01T00:00:00Z".to_owned(),
            kernel_version: "test".to_owned(),
        },
        signer: None,
    };
    builder.write(&eif).expect("an image");
    eif
}

fn ramdisks(init: &Path, directory: &Path, images: Option<&Path>, compression: Compression) -> Vec<PathBuf> {
    let parts = EnclaveImage {
        init,
        modules: &[],
        config: &EnclaveConfig::machine(),
        files: &[],
        images,
        compression,
    };
    parts.write_ramdisks(directory).expect("ramdisks")
}

fn scratch() -> TempDir {
    tempfile::Builder::new()
        .prefix("clm")
        .tempdir()
        .expect("a scratch directory")
}

#[test]
fn a_configuration_that_cannot_be_read_ends_the_machine_and_says_why() {
    let scratch = scratch();
    let ramdisks = ramdisks(&machine().init, scratch.path(), None, Compression::None);
    let broken = b"{\"listen\": \"vsock:7\", \"logRingbytes\": 1}".to_vec();
    Initramfs::new()
        .bytes("etc/cloister/config.json", 0o444, broken)
        .write(&ramdisks[1], Compression::None)
        .expect("a ramdisk");
    let product = product_in(image_of(scratch.path(), ramdisks));
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    assert_eq!(up.exit_code(), DIED, "{}", up.stderr());
    let said = up.stderr();
    assert!(said.contains("/etc/cloister/config.json is invalid"), "{said}");
    assert!(said.contains("logRingbytes"), "{said}");
    assert_eq!(how_it_ended(&up), "exit 0");
}

#[test]
fn a_machine_that_cannot_hold_its_whole_image_does_not_run_a_part_of_it() {
    let scratch = scratch();
    let mut ramdisks = ramdisks(&machine().init, scratch.path(), None, Compression::None);
    let large = scratch.path().join("large.cpio");
    Initramfs::new()
        .bytes("usr/lib/large", 0o444, vec![1; 80 << 20])
        .write(&large, Compression::None)
        .expect("a ramdisk");
    ramdisks.insert(2, large);
    let product = product_in(image_of(scratch.path(), ramdisks));
    let spec = json!({"containers": [guest("app", &["sleep"])]});
    let mut up = Up::start(&product, &[pod(spec.clone())], &["--memory", "136"]);
    assert_eq!(up.exit_code(), DIED, "{}", up.stderr());
    assert!(up.stderr().contains("too little memory"), "{}", up.stderr());
    drop(up);
    Up::start(&product, &[pod(spec)], &[]).wait_running("app");
}

#[test]
fn a_machine_that_loses_its_pid_1_ends() {
    let scratch = scratch();
    // A program that PID 1 cannot be: it panics for want of arguments.
    let program = scratch.path().join("init");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/guest.rs");
    let compiled = Command::new("rustc")
        .args(["--edition", "2024", "--target", "x86_64-unknown-linux-musl", "-o"])
        .args([program.as_path(), Path::new(source)])
        .status();
    assert!(compiled.expect("rustc runs").success());
    let ramdisks = ramdisks(&program, scratch.path(), None, Compression::None);
    let product = product_in(image_of(scratch.path(), ramdisks));
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    assert_eq!(up.exit_code(), DIED, "{}", up.stderr());
    assert!(
        up.console().contains("Attempted to kill init"),
        "{}",
        up.console()
    );
    assert_eq!(how_it_ended(&up), "exit 0");
}

#[test]
fn preloaded_images_run_without_their_layers_on_the_host_and_from_compressed_ramdisks() {
    let scratch = scratch();
    let built = machine();
    let ramdisks = ramdisks(&built.init, scratch.path(), Some(&built.guests), Compression::Lz4);
    assert_eq!(ramdisks.len(), 4);
    let product = product_in(image_of(scratch.path(), ramdisks));
    let layout = scratch.path().join("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).expect("a directory");
    for name in ["index.json", "oci-layout"] {
        fs::copy(built.guests.join(name), layout.join(name)).expect("a copy");
    }
    let blobs = fs::read_dir(built.guests.join("blobs/sha256")).expect("blobs");
    for blob in blobs.flatten() {
        let bytes = fs::read(blob.path()).expect("a blob");
        // gzip(1): the layer stays away.
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            fs::write(layout.join("blobs/sha256").join(blob.file_name()), bytes).expect("a copy");
        }
    }
    let images = layout.to_str().expect("UTF-8");
    let spec = json!({"restartPolicy": "Never", "containers": [guest("app", &["say", "from the image"])]});
    let mut up = Up::start(&product, &[pod(spec)], &["--images", images]);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(up.stdout().contains("from the image"), "{}", up.stdout());
}

#[test]
fn the_machine_is_as_large_as_it_was_asked_to_be() {
    let product = machine();
    let spec = json!({"containers": [guest("app", &["cat", "/proc/meminfo"])]});
    let up = Up::start(&product, &[pod(spec)], &["--memory", "512", "--cpus", "1"]);
    up.wait_log("MemTotal:");
    let text = up.stdout();
    let total = text
        .lines()
        .find_map(|line| line.split_once("MemTotal:"))
        .expect("MemTotal")
        .1;
    let kib: u64 = total.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!((400 << 10..512 << 10).contains(&kib), "{kib} KiB");
}
