//! Where secrets are, and where they are not: random markers are released, and looked for in everything that the host has
//! seen and in the memory and files of every process of the enclave.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use attest::Secret;
use attest::hex::Hex;
use serde_json::json;
use tests::{Up, guest, wait_for};

use crate::broker::{Broker, man_in_the_middle_that_listens};
use crate::release::{class, knows, mounts, start, with_secrets};
use crate::said;

/// A text that is nowhere by chance.
fn marker() -> String {
    let bytes = Secret::random(24).expect("random bytes");
    format!("taint-{}", Hex(bytes.expose()))
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle.as_bytes())
}

#[test]
fn a_secret_is_in_the_containers_that_name_it_and_nowhere_else() {
    let (in_a_variable, in_a_file) = (marker(), marker());
    let mut broker = Broker::new(&[("variable", &in_a_variable), ("file", &in_a_file)]);
    let (host, heard) = man_in_the_middle_that_listens(broker.address);
    let objects = json!([{"objectName": "variable"}, {"objectName": "file", "filePermission": "0400"}]);
    let containers = [
        knows(guest("app", &["show", "PASSWORD"])),
        mounts(guest("files", &["show", "/secrets/file"])),
        guest("other", &["show", "/secrets/file"]),
    ];
    let Some(up) = start(&[class(&objects, &[]), with_secrets(&containers)], host) else {
        return;
    };
    broker.start(&up, |_| {});
    said(&up, "app", "PASSWORD");
    said(&up, "files", "/secrets/file");
    said(&up, "other", "/secrets/file");

    // What the host has: the whole conversation with the broker, its own files, and what it is told.
    let heard = heard.lock().expect("a lock").clone();
    assert!(heard.len() > 1000, "the host heard {} bytes", heard.len());
    let mut seen = vec![("the conversation".to_owned(), heard)];
    files_below(up.scratch(), &mut seen);
    for command in [&["status", "-o", "json"][..], &["logs"][..]] {
        seen.push((command.join(" "), up.client(command).stdout));
    }
    for (what, bytes) in &seen {
        for marker in [&in_a_variable, &in_a_file] {
            assert!(!contains(bytes, marker), "a secret is in {what}");
        }
    }
    assert!(
        seen.len() > 6,
        "{:?}",
        seen.iter().map(|(what, _)| what).collect::<Vec<_>>()
    );

    // The memory of host-proxy, its launcher, the attest service and the containers.
    let init = up.enclave_pid().expect("an enclave");
    let app = up.guest_pid("PASSWORD");
    assert!(
        contains(&memory(app), &in_a_variable),
        "the search finds what is there"
    );
    assert!(!contains(&memory(app), &in_a_file));
    let innocent: Vec<i32> = Up::children_of(init)
        .into_iter()
        .filter(|pid| *pid != app)
        .collect();
    assert!(
        innocent.len() >= 4,
        "net, attest and two containers: {innocent:?}"
    );
    for host in [up.proxy_pid(), tests::stat(init).expect("PID 1").1] {
        let memory = memory(host);
        assert!(
            !contains(&memory, &in_a_variable) && !contains(&memory, &in_a_file),
            "the host has a secret"
        );
    }
    for pid in innocent {
        let name = fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .unwrap_or_default()
            .replace('\0', " ");
        let memory = memory(pid);
        assert!(memory.len() > 4096, "{name}: nothing to be read");
        assert!(
            !contains(&memory, &in_a_variable),
            "the variable's secret is in the memory of {name}"
        );
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let has_the_file = root.join("secrets/file").exists();
        // Whoever reads a file has it in memory.
        assert!(
            has_the_file || !contains(&memory, &in_a_file),
            "the file's secret is in the memory of {name}"
        );
        let volumes = root.join("run/cloister/volumes");
        if let Ok(volumes) = fs::metadata(&volumes) {
            // A base service: PID 1's files are before it, and it may not pass.
            assert_eq!(volumes.permissions().mode() & 0o077, 0, "{name}");
            assert_ne!(uid(pid), 0, "{name} runs as root");
        } else {
            // A container: its own files only.
            let environment = fs::read(format!("/proc/{pid}/environ")).expect("its environment");
            assert!(!contains(&environment, &in_a_variable), "{name}");
        }
        assert!(no_core_file(pid), "{name} would leave a core file");
    }
    wait_for("the broker's word", || {
        broker.audit().contains("\"variable\"").then_some(())
    });
    assert!(!contains(broker.audit().as_bytes(), &in_a_variable));
}

fn uid(pid: i32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .expect("a user");
    line.split_whitespace()
        .next()
        .and_then(|uid| uid.parse().ok())
        .expect("a number")
}

fn no_core_file(pid: i32) -> bool {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .expect("a limit");
    core.split_whitespace().filter(|word| *word == "0").count() == 2
}

fn files_below(directory: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            files_below(&entry.path(), into);
        } else if kind.is_file() {
            into.push((
                entry.path().display().to_string(),
                fs::read(entry.path()).unwrap_or_default(),
            ));
        }
    }
}

/// Everything that a process has in memory and may read itself (proc_pid_mem(5)).
fn memory(pid: i32) -> Vec<u8> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
    let mut file = File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let mut all = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(access)) = (fields.next(), fields.next()) else {
            continue;
        };
        // Programs and libraries are files; the kernel's own pages cannot be read.
        if !access.starts_with("rw") || line.ends_with("[vvar]") {
            continue;
        }
        let (start, end) = range.split_once('-').expect("a range");
        let number = |text: &str| u64::from_str_radix(text, 16).expect("an address");
        let mut part = vec![0; usize::try_from(number(end) - number(start)).expect("it fits")];
        let read = file
            .seek(SeekFrom::Start(number(start)))
            .and_then(|_| file.read(&mut part));
        if let Ok(count) = read {
            all.extend_from_slice(&part[..count]);
        }
    }
    all
}
