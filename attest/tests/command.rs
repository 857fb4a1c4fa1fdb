//! The program `cloister-verify`, as a user runs it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use attest::UnixTime;
use attest::document::issue::{Authority, Draft};
use attest::hex::Hex;
use serde_json::Value;
use tempfile::TempDir;

const MODULE: &str = "i-0123456789abcdef0-enc0123456789abcdef";
const TIME: &str = "2026-06-01T12:00:00Z";
const NONCE: &str = "07070707070707070707070707070707";

/// A directory with documents, their root and measurements.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().expect("a directory"));
        let now: UnixTime = TIME.parse().expect("a time");
        let authority = Authority::new(now).expect("a root");
        let signer = authority.signer(MODULE, now).expect("a signer");
        let mut pcrs = BTreeMap::from([(0, [0xa0; 48]), (1, [0xa1; 48]), (2, [0xa2; 48]), (3, [0; 48])]);
        let document = |pcrs: &BTreeMap<u8, [u8; 48]>| {
            let draft = Draft {
                time: now,
                pcrs,
                public_key: None,
                user_data: Some(b""),
                nonce: Some(&[7; 16]),
            };
            signer.document(&draft).expect("a document")
        };
        let bytes = document(&pcrs);
        scene.write("document", &bytes);
        let mut text = attest::base64::encode(&bytes);
        for at in (0..text.len())
            .step_by(76)
            .skip(1)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            text.insert(at, '\n');
        }
        scene.write("document.b64", text.as_bytes());
        for index in 0..3 {
            pcrs.insert(index, [0; 48]);
        }
        scene.write("debug", &document(&pcrs));
        scene.write("root.der", authority.root());
        let pem = attest::base64::encode(authority.root());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n");
        scene.write("root.pem", pem.as_bytes());
        scene.write("pcrs.json", measurements([0xa0, 0xa1, 0xa2]).as_bytes());
        scene.write("other.json", measurements([0xa0, 0xa1, 0xb2]).as_bytes());
        scene.write("nonce", &[7; 16]);
        scene
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        command(self.0.path()).args(arguments).output().expect("it runs")
    }

    /// With everything that makes it a yes, and some more.
    fn verify(&self, document: &str, more: &[&str]) -> Output {
        let usual = [
            "--measurements",
            "pcrs.json",
            "--root",
            "root.der",
            "--time",
            TIME,
        ];
        self.run(&[&usual[..], &[document], more].concat())
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister-verify"));
    command.current_dir(directory).stdin(Stdio::null());
    command
}

/// As `cargo xtask eif` prints them.
fn measurements(bytes: [u8; 3]) -> String {
    let [pcr0, pcr1, pcr2] = bytes.map(|byte| Hex(&[byte; 48]).to_string());
    format!(
        r#"{{"Measurements": {{"HashAlgorithm": "Sha384 {{ ... }}", "PCR0": "{pcr0}", "PCR1": "{pcr1}", "PCR2": "{pcr2}"}}}}"#
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn ends(output: &Output, code: i32) -> String {
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{error}");
    out + &error
}

#[test]
fn a_document_that_is_as_expected_is_a_yes_and_the_report_says_what_it_proves() {
    let scene = Scene::new();
    let report = ends(
        &scene.verify("document", &["--nonce", NONCE, "--user-data", ""]),
        0,
    );
    for part in [
        "YES",
        MODULE,
        TIME,
        &format!("PCR0         {}  as expected", Hex(&[0xa0; 48])),
        "as expected",
        "public key   none",
        "software-nsm.cloister",
    ] {
        assert!(report.contains(part), "{part} is not in\n{report}");
    }
    assert!(!report.contains("warning"), "{report}");
    // In base64, on standard input, with the root in PEM, with the nonce in a file.
    ends(&scene.verify("document.b64", &["--nonce", "@nonce"]), 0);
    ends(&scene.verify("document", &["--root", "root.pem"]), 0);
    for (name, argument) in [
        ("document", "-"),
        ("document.b64", "-"),
        ("document", "--max-age=300"),
    ] {
        let mut child = command(scene.0.path())
            .args([
                "--measurements",
                "pcrs.json",
                "--root",
                "root.der",
                "--time",
                TIME,
                argument,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let bytes = fs::read(scene.path(name)).expect("a document");
        child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(&bytes)
            .expect("written");
        let report = ends(&child.wait_with_output().expect("it ends"), 0);
        assert!(report.contains("no nonce was compared"), "{report}");
    }
}

#[test]
fn programs_get_json() {
    let scene = Scene::new();
    let output = scene.verify("document", &["-o", "json", "--nonce", NONCE]);
    ends(&output, 0);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verified"], true);
    assert_eq!(report["moduleId"], MODULE);
    assert_eq!(report["time"], TIME);
    assert_eq!(report["debug"], false);
    assert_eq!(report["pcrs"]["PCR1"], Hex(&[0xa1; 48]).to_string());
    assert_eq!(report["nonce"], NONCE);
    assert_eq!(report["userData"], "");
    assert_eq!(report["publicKey"], Value::Null);
    assert_eq!(
        report["compared"],
        serde_json::json!(["PCR0", "PCR1", "PCR2", "nonce"])
    );
    assert_eq!(report["certificates"].as_array().map(Vec::len), Some(5));
    assert_eq!(report["warnings"], serde_json::json!([]));

    let output = scene.verify("document", &["--output=json", "--nonce", &"08".repeat(16)]);
    ends(&output, 1);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verified"], false);
    assert_eq!(report["check"], "policy");
    assert!(
        report["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("nonce"))
    );
}

#[test]
fn everything_else_is_a_no_that_says_why() {
    let scene = Scene::new();
    scene.write("nothing", b"");
    scene.write("noise", &[0x84; 60_000]);
    let mut changed = fs::read(scene.path("document")).expect("a document");
    let last = changed.len() - 1;
    changed[last] ^= 1;
    scene.write("changed", &changed);
    let other = [
        "--root",
        "root.der",
        "--time",
        TIME,
        "document",
        "--measurements",
        "other.json",
    ];
    for (output, part) in [
        (scene.run(&other), "PCR2 is a2a2"),
        (
            scene.run(&["--measurements", "pcrs.json", "--time", TIME, "document"]),
            "not trusted",
        ),
        (scene.verify("changed", &[]), "changed on its way"),
        (
            scene.verify("nothing", &[]),
            "0 bytes are no attestation document",
        ),
        (scene.verify("root.der", &[]), "no attestation document"),
        (scene.verify("debug", &[]), "debug mode"),
        (
            scene.verify("document", &["--pcr", &format!("16={}", "00".repeat(48))]),
            "PCR16 is not in",
        ),
        (scene.verify("document", &["--nonce", "07"]), "16 random bytes"),
        (scene.verify("document", &["--user-data", "00"]), "user data"),
        (scene.verify("document", &["--public-key", "00"]), "public key"),
    ] {
        let report = ends(&output, 1);
        assert!(
            report.starts_with("NO: ") && report.contains(part),
            "{part} is not in\n{report}"
        );
    }
    let at = |time: &str| {
        scene.run(&[
            "--measurements",
            "pcrs.json",
            "--root",
            "root.der",
            "--time",
            time,
            "document",
        ])
    };
    assert!(ends(&at("2026-06-01T12:05:01Z"), 1).contains("more than 300 s ago"));
    assert!(ends(&at("2026-06-01T15:00:01Z"), 1).contains("was valid until"));
    assert!(ends(&at("2026-06-01T11:59:56Z"), 1).contains("is valid from"));
    let now = scene.run(&["--measurements", "pcrs.json", "--root", "root.der", "document"]);
    ends(&now, 1);
}

#[test]
fn what_is_given_up_is_in_the_report() {
    let scene = Scene::new();
    let report = ends(&scene.verify("debug", &["--allow-debug"]), 0);
    assert!(report.contains("warning      debug mode"), "{report}");
    let report = ends(
        &scene.run(&[
            "--measurements",
            "pcrs.json",
            "--root",
            "root.der",
            "--time=document",
            "document",
        ]),
        0,
    );
    assert!(report.contains("the document's own time"), "{report}");
    // A later release beside this one.
    let more = ["--measurements", "other.json", "--nonce", NONCE];
    let report = ends(&scene.verify("document", &more), 0);
    assert!(!report.contains("warning"), "{report}");
}

#[test]
fn mistakes_are_told_all_at_once() {
    let scene = Scene::new();
    scene.write("wrong.json", br#"{"PCR0": "00"}"#);
    scene.write("empty.json", b"{}");
    for (arguments, parts) in [
        (&["document"][..], &["which image do you expect"][..]),
        (&["--pcr", "1=00"], &["PCR1 is not 96"]),
        (&["--pcr", "32=00", "--pcr", "x"], &["below 32", "not N=HEX"]),
        (&["--measurements", "absent.json"], &["cannot read absent.json"]),
        (&["--measurements", "wrong.json"], &["PCR0 is not a PCR"]),
        (&["--measurements", "empty.json"], &["it has no PCR"]),
        (&["--measurements", "document"], &["not JSON"]),
        (
            &["--root", "document", "--nonce", "0"],
            &["no certificate", "hexadecimal digits"],
        ),
        (
            &["--time", "noon", "--max-age", "-1", "-o", "xml"],
            &["not a time", "number of seconds", "neither"],
        ),
        (
            &["--nonsense", "a", "b"],
            &["no flag --nonsense", "one document at a time"],
        ),
        (
            &["--measurements", "pcrs.json", "absent"],
            &["cannot read absent"],
        ),
        (
            &["--measurements", "pcrs.json", "--nonce", "00", "--nonce", "00"],
            &["--nonce is given twice"],
        ),
        (&["-x"], &["invalid option"]),
        (&["--pcr"], &["missing argument"]),
    ] {
        let output = scene.run(arguments);
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let said = ends(&output, 64);
        for part in parts {
            assert!(said.contains(part), "{arguments:?}: {part} is not in\n{said}");
        }
    }
    assert!(ends(&scene.run(&["--help"]), 0).contains("Exit codes"));
    assert!(ends(&scene.run(&["--version"]), 0).starts_with("cloister-verify "));
}
