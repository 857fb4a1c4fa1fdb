//! Sealed logs: the host stores and forwards what it cannot read, the log back-end reads it, and whatever somebody between
//! them does is noticed.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::logs::{files_of, flags};
use tests::{Product, Up, guest, pod, product, wait_for};

use super::{metric, stop};

/// What the host must never have.
const MARKER: &str = "marker-1f3870be";
const LINES: u64 = 2000;

/// The back-end's keys, made as docs/logs.md says.
fn keys(directory: &Path) -> (std::path::PathBuf, String) {
    let private = directory.join("logs.key");
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "X25519", "-out"])
        .arg(&private)
        .output();
    assert!(made.expect("openssl runs").status.success());
    let public = Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(&private)
        .output();
    let public = String::from_utf8(public.expect("openssl runs").stdout).expect("PEM");
    (private, public)
}

fn policy(logs: &Value) -> Value {
    json!({"apiVersion": "cloister.dev/v1", "kind": "EnclavePolicy", "metadata": {"name": "logs"}, "spec": {"logs": logs}})
}

fn unseal(product: &Product, key: &Path, files: &[&Path]) -> Output {
    let mut command = Command::new(&product.proxy);
    command.args(["unseal", "--key"]).arg(key).args(files);
    command.output().expect("host-proxy runs")
}

/// What `app` wrote, by what `unseal` printed.
fn texts(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .filter(|line| line["container"] == "app")
        .map(|line| line["log"].as_str().expect("text").to_owned())
        .collect()
}

/// Whether the bytes are in the process's memory: all that can be read of it.
fn memory_has(pid: i32, wanted: &[u8]) -> bool {
    use std::os::unix::fs::FileExt as _;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the maps");
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("the memory");
    maps.lines().any(|line| {
        let (range, rest) = line.split_once(' ').expect("a range");
        if !rest.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
            return false;
        }
        let (start, end) = range.split_once('-').expect("two addresses");
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        let (start, end) = (number(start), number(end));
        let mut bytes = vec![0; usize::try_from(end - start).expect("a size")];
        memory.read_exact_at(&mut bytes, start).is_ok() && has(&bytes, wanted)
    })
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Every file below a directory.
fn all_bytes(directory: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            all.extend(all_bytes(&entry.path()));
        } else if kind.is_file() {
            all.extend(std::fs::read(entry.path()).unwrap_or_default());
        }
    }
    all
}

#[test]
fn the_host_cannot_read_what_unseals_to_the_same_bytes() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (key, public) = keys(scratch.path());
    let (spool, files) = (scratch.path().join("spool"), scratch.path().join("pods"));
    // The words are in the manifest, which the host knows; their product with the numbers is not.
    let containers = json!([
        guest("app", &["count-as", MARKER, &LINES.to_string()]),
        guest("quiet", &["count-as", MARKER, "5"]),
        guest("clear", &["say", "for everybody"]),
        guest("beside", &["sleep"]),
    ]);
    let logs = json!({"default": "Sealed", "sealTo": public, "containers": [
        {"name": "clear", "policy": "Host"}, {"name": "quiet", "policy": "None"}, {"name": "beside", "policy": "None"}]});
    let spec =
        json!({"containers": containers, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0});
    let flags = flags(
        &spool,
        "64Mi",
        &[
            format!("file:{}", files.display()),
            "stdout,format=json".to_owned(),
        ],
    );
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let up = Up::start(&product, &[pod(spec), policy(&logs)], &flags);
    let expected: Vec<String> = (0..LINES).map(|line| format!("{MARKER}={line:07}")).collect();
    let sealed = wait_for("all sealed lines", || {
        let paths = files_of(&files, "app");
        let path = paths.first()?;
        let output = unseal(&product, &key, &[path]);
        (texts(&output).len() as u64 == LINES).then(|| path.clone())
    });
    let output = unseal(&product, &key, &[&sealed]);
    assert_eq!(texts(&output), expected, "the same bytes");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The manifest has the marker; what a container printed has `=` behind it.
    let printed = format!("{MARKER}=");
    assert!(
        !memory_has(up.proxy_pid(), printed.as_bytes()),
        "the proxy's memory"
    );
    assert!(
        has(&all_bytes(&files), b"for everybody"),
        "what is clear is there"
    );
    for (what, bytes) in [
        ("files", all_bytes(&files)),
        ("spool", all_bytes(&spool)),
        ("state", all_bytes(&up.state())),
        ("stdout", up.stdout().into_bytes()),
        ("stderr", up.stderr().into_bytes()),
        ("logs", up.client(&["logs"]).stdout),
        ("status", up.client(&["status", "-o", "json"]).stdout),
    ] {
        assert!(!has(&bytes, printed.as_bytes()), "{what}");
    }
    assert!(files_of(&files, "quiet").is_empty(), "None is none");
    assert_eq!(metric(&up, "cloister_log_records_total{container=\"quiet\""), 0);
    // Another sink's format, and the memory in front of it.
    let stdout = scratch.path().join("stdout.json");
    std::fs::write(&stdout, up.stdout()).expect("written");
    assert_eq!(texts(&unseal(&product, &key, &[&stdout])), expected);
    tampering_is_noticed(
        &product,
        &key,
        scratch.path(),
        &std::fs::read_to_string(&sealed).expect("text"),
    );
    stop(up);
}

fn tampering_is_noticed(product: &Product, key: &Path, scratch: &Path, text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() > 6, "{}", lines.len());
    let look = |lines: &[String]| {
        let path = scratch.join("tampered");
        std::fs::write(&path, lines.join("\n")).expect("written");
        let output = unseal(product, key, &[&path]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), texts(&output).len() as u64, said)
    };
    let all: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let mut dropped = all.clone();
    dropped.drain(2..4);
    let (code, given, said) = look(&dropped);
    let mut expected = String::new();
    write!(
        expected,
        "2 batches from number 2 on, with {} records",
        LINES - given
    )
    .expect("memory");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&expected), "{said}");
    let mut moved = all.clone();
    moved.swap(1, 3);
    let (_, given, said) = look(&moved);
    assert_eq!(given, LINES);
    assert!(said.contains("it comes late"), "{said}");
    let mut doubled = all.clone();
    doubled.insert(3, all[1].clone());
    let (_, given, said) = look(&doubled);
    assert_eq!(given, LINES, "nothing is given twice");
    assert!(said.contains("it was here before"), "{said}");
    let mut changed = all.clone();
    let middle = changed[2].len() - 100;
    let letter = if changed[2].as_bytes()[middle] == b'A' {
        "B"
    } else {
        "A"
    };
    changed[2].replace_range(middle..=middle, letter);
    let (code, _, said) = look(&changed);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("does not open") && said.contains("1 batches from number 2 on"),
        "{said}"
    );
    let cut: Vec<String> = all[..3].to_vec();
    let (_, _, said) = look(&cut);
    assert!(said.contains("its end is not here"), "{said}");
    // Somebody else's key opens nothing.
    let (other, _) = keys(&{
        let directory = scratch.join("other");
        std::fs::create_dir(&directory).expect("a directory");
        directory
    });
    let path = scratch.join("tampered");
    let output = unseal(product, &other, &[&path]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[test]
fn a_trust_policy_without_clear_logs_leaves_sealed_ones() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (key, public) = keys(scratch.path());
    let trust = scratch.path().join("trust.json");
    let text = json!({"apiVersion": "cloister.dev/v1", "kind": "TrustPolicy", "any": true});
    std::fs::write(&trust, text.to_string()).expect("a policy");
    let files = scratch.path().join("pods");
    let words = guest("app", &["count-as", MARKER, "3"]);
    let spec = json!({"containers": [words], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0});
    let flags = [
        "--policy".to_owned(),
        trust.display().to_string(),
        "--log-sink".to_owned(),
        format!("file:{}", files.display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let logs = json!({"default": "Host"});
    let mut refused = Up::start(&product, &[pod(spec.clone()), policy(&logs)], &flags);
    assert_eq!(refused.exit_code(), 65, "{}", refused.stderr());
    assert!(
        refused.stderr().contains("spec.logs.default"),
        "{}",
        refused.stderr()
    );
    let logs = json!({"default": "Sealed", "sealTo": public});
    let up = Up::start(&product, &[pod(spec), policy(&logs)], &flags);
    wait_for("the sealed lines", || {
        let paths = files_of(&files, "app");
        let texts = texts(&unseal(&product, &key, &[paths.first()?]));
        (texts.len() == 3).then_some(())
    });
    stop(up);
}
