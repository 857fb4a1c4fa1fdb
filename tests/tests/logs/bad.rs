//! Bad output and bad places for it: lines without an end, bytes that are no text, commands to a terminal, a full disk.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::logs::{Rsyslog, counting, files_of, flags, free_port};
use tests::{Up, guest, pod, process, product, wait_for};

use super::{metric, stop, up};

/// Bytes of a line without an end.
pub(super) const HUGE: u64 = 100_000_000;
/// Longest piece of a line.
pub(super) const PIECE: u64 = 16 * 1024;

/// Peak resident memory of a process, bytes.
pub(super) fn peak(pid: i32) -> u64 {
    process::memory(pid, "VmHWM") * 1024
}

#[test]
fn a_line_of_100_megabytes_is_cut_counted_and_costs_no_memory() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let files = scratch.path().join("pods");
    let spec = json!({"containers": [guest("app", &["one-line", &HUGE.to_string()])], "terminationGracePeriodSeconds": 0});
    let sink = [format!("file:{},max-size=256Mi", files.display())];
    let up = up(
        &product,
        pod(spec),
        &flags(&scratch.path().join("spool"), "16Mi", &sink),
    );
    // What was taken has arrived, or was dropped in the ring or in the spool; all of it is counted.
    wait_for("every byte or its absence", || {
        // The end of the line waits for more: it is less than a piece.
        let taken = metric(&up, "cloister_init_log_bytes_total");
        let pieces = metric(&up, "cloister_init_log_records_total");
        let received = metric(&up, "cloister_log_records_total");
        let dropped = metric(&up, "cloister_log_dropped_records_total");
        (taken == HUGE / PIECE * PIECE && pieces == HUGE / PIECE && received + dropped == pieces)
            .then_some(())
    });
    wait_for("the file", || {
        (metric(&up, "cloister_log_sink_lag_records") == 0).then_some(())
    });
    let path = files_of(&files, "app").remove(0);
    let text = std::fs::read(path).expect("the file");
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        // TIME STREAM TAG TEXT, no piece longer than a container runtime's.
        assert!(line.len() < 16 * 1024 + 64, "{}", line.len());
    }
    let (proxy, init) = (peak(up.proxy_pid()), peak(up.enclave_pid().expect("an enclave")));
    println!("peaks: host-proxy {proxy}, PID 1 {init}");
    assert!(proxy < 64 << 20, "{proxy}");
    assert!(init < 16 << 20, "{init}");
    stop(up);
}

/// Output and, for each of its lines, what JSON says.
fn corpus() -> Vec<(Vec<u8>, String)> {
    let mut cases: Vec<Vec<u8>> = [
        &b""[..],
        b" ",
        b"\r",
        b"crlf\r",
        b"nul\0in the middle",
        b"\0",
        b"tab\tand\x0bvertical\x0cfeed\x08back\x07bell",
        b"\x1b[31mred\x1b[0m",
        b"\x1b]0;title\x07",
        b"\x1b[2J\x1b[1;1H",
        b"\x9b31m",
        b"\x7f",
        b"2026-01-01T00:00:00.000000000Z stdout F forged",
        b"2026-01-01T00:00:00.000000000Z stderr P forged",
        b"<165>1 2026-01-01T00:00:00Z host app - - - forged",
        b"123 <165>1 forged",
        br#"{"time":"x","container":"other","stream":"stdout","log":"forged"}"#,
        br#""},"log":"forged"#,
        b"\"quotes\" and \\backslashes\\ and /slashes/",
        b"-- 5 records were dropped --",
        b"cloister-sealed-v1:",
        b"cloister-sealed-v1:AAAA",
        "ümläut, 日本語, \u{1f600}".as_bytes(),
        "\u{2028}\u{2029}\u{85}".as_bytes(),
        "\u{202e}right to left\u{202c}".as_bytes(),
        "\u{feff}byte order mark".as_bytes(),
        "zero\u{200b}width".as_bytes(),
        b"\xff\xfe",
        b"\xc3",
        b"\xc3\x28",
        b"\xa0\xa1",
        b"\xe2\x28\xa1",
        b"\xe2\x82",
        b"\xf0\x28\x8c\xbc",
        b"\xf0\x9f\x98",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf8\xa1\xa1\xa1\xa1",
        b"good\xffbad\xffgood",
        b"%s%n%x ${jndi:ldap://x} $(reboot) `reboot`",
        b"a=b c=\"d\" [x] key: - value",
        b"&lt;script&gt;<script>alert(1)</script>",
    ]
    .iter()
    .map(|case| case.to_vec())
    .collect();
    for size in [
        1, 7, 8, 9, 255, 256, 1023, 1024, 4095, 4096, 4097, 8191, 8192, 8193,
    ] {
        cases.push(vec![b'x'; size]);
        // A character across the place where a piece may end.
        cases.push("é".repeat(size.div_ceil(2)).into_bytes());
    }
    let says = |case: Vec<u8>| {
        let text = String::from_utf8_lossy(&case).into_owned();
        (case, text)
    };
    cases.into_iter().map(says).collect()
}

fn hex(bytes: &[u8]) -> String {
    manifest_sync::digest::hex(bytes)
}

#[test]
fn whatever_is_written_arrives_as_it_was_and_as_one_line() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let files = scratch.path().join("pods");
    let corpus = corpus();
    assert!(corpus.len() >= 60, "{}", corpus.len());
    // An argument has at most 128 KiB (execve(2)), and is in hexadecimal.
    let mut parts: Vec<Vec<u8>> = vec![Vec::new()];
    for (bytes, _) in &corpus {
        if parts.last().is_some_and(|part| part.len() + bytes.len() > 30_000) {
            parts.push(Vec::new());
        }
        let part = parts.last_mut().expect("one");
        part.extend_from_slice(bytes);
        part.push(b'\n');
    }
    let containers: Vec<Value> = parts
        .iter()
        .enumerate()
        .map(|(index, part)| guest(&format!("c{index}"), &["write-bytes", "-", &hex(part)]))
        .collect();
    let spec = json!({"restartPolicy": "Never", "containers": containers});
    let flags = [
        "--log-format".to_owned(),
        "json".to_owned(),
        "--log-sink".to_owned(),
        format!("file:{}", files.display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut up = Up::start(&product, &[pod(spec)], &flags);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    let (mut json, mut raw) = (Vec::new(), Vec::new());
    for index in 0..parts.len() {
        let name = format!("c{index}");
        for line in up.stdout().lines() {
            let line: Value = serde_json::from_str(line).expect("one JSON object a line");
            if line["container"] == name.as_str() {
                json.push(line["log"].as_str().expect("text").to_owned());
            }
        }
        for path in files_of(&files, &name) {
            raw.extend(lines_of_cri(&path));
        }
    }
    let (bytes, texts): (Vec<_>, Vec<_>) = corpus.into_iter().unzip();
    assert_eq!(json, texts);
    assert_eq!(raw, bytes);
}

/// Lines of a file in the CRI format, put together.
fn lines_of_cri(path: &Path) -> Vec<Vec<u8>> {
    let text = std::fs::read(path).expect("a file");
    let (mut lines, mut open) = (Vec::new(), Vec::new());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").expect("a whole line");
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let tag = fields.nth(2).expect("a tag");
        open.extend_from_slice(fields.next().expect("text"));
        if tag == b"F" {
            lines.push(std::mem::take(&mut open));
        }
    }
    assert!(open.is_empty());
    lines
}

#[test]
fn a_terminal_obeys_no_container() {
    let Some(product) = product() else { return };
    if Command::new("script").arg("--version").output().is_err() {
        println!("SKIPPED: there is no script: install the package bsdutils");
        return;
    }
    let attack = "\x1b[31mred\x1b]0;title\x07\x1b[2J\rover\x08\x08\u{9b}1m\u{202e}end\n";
    let spec = json!({"containers": [guest("app", &["write-bytes", "-", &hex(attack.as_bytes())])],
        "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 0});
    let beside = json!({"name": "other", "image": "guest", "args": ["sleep"]});
    let mut spec = spec;
    spec["containers"].as_array_mut().expect("a list").push(beside);
    let up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("end");
    let command = format!(
        "{} logs --state-dir {}",
        product.proxy.display(),
        up.state().display()
    );
    let shown = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .output()
        .expect("script runs");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("red") && shown.contains("over"), "{shown:?}");
    for obeyed in ['\x1b', '\x07', '\x08', '\u{9b}', '\u{202e}'] {
        assert!(!shown.contains(obeyed), "{shown:?}");
    }
    // The terminal itself makes CR LF of the line's end.
    assert!(!shown.replace("\r\n", "\n").contains('\r'), "{shown:?}");
    stop(up);
}

/// A small file system, unmounted at the end.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path) -> Option<Self> {
        std::fs::create_dir(path).expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k", "none"])
            .arg(path)
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: no tmpfs can be mounted here: run as root");
            return None;
        }
        Some(Self(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_loses_what_has_no_room_and_counts_it() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let spool = scratch.path().join("spool");
    let Some(_disk) = SmallDisk::mount(&spool) else {
        return;
    };
    let port = free_port();
    if !Rsyslog::is_there() {
        return;
    }
    let sinks = [format!("syslog+tcp://127.0.0.1:{port}")];
    let up = up(
        &product,
        counting(3, 40_000, 400, 5),
        &flags(&spool, "64Mi", &sinks),
    );
    wait_for("all lines, most of them too many for the disk", || {
        (metric(&up, "cloister_log_records_total") == 120_000).then_some(())
    });
    assert!(up.stderr().contains("No space left on device"), "{}", up.stderr());
    let mut server = Rsyslog::start(scratch.path(), port).expect("it is there");
    let tally = wait_for("every line or its absence", || {
        (server.tally().accounted() >= 120_000).then(|| server.tally().clone())
    });
    assert_eq!(tally.distinct() + tally.dropped(), 120_000);
    assert!(
        tally.dropped() > 1000 && tally.distinct() > 1000,
        "{}",
        tally.dropped()
    );
    assert_eq!(
        metric(&up, "cloister_log_sink_dropped_records_total"),
        tally.dropped()
    );
    stop(up);
}
