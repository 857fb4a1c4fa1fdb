//! F28: output without measure while nobody reads it. host-proxy and a client that follows the log stand still again and
//! again, in the middle of a flood. Meanwhile containers end and are started again as ever; afterwards every line has
//! been received or was counted as dropped, and the status tells of every end.
//!
//! While host-proxy stands still nobody can ask for a status: then the processes themselves are looked at.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use manifest_sync::plan::RestartPolicy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::history::History;
use tests::{Product, Up, guest, pod, process, product, sum, wait_for};

/// How often the readers stand still. Restarts of one container: at once, after 10 s; no third one is waited for.
const ROUNDS: usize = 3;
/// Numbered lines of a round.
const LINES: usize = 300_000;
/// Bytes of a round's line, and of what is no text.
const LINE: usize = 100_000_000;
const BINARY: usize = 40_000;
/// Longest piece of a line in one record, bytes.
const PIECE: usize = 16 * 1024;
/// What a container that floods must get rid of to show that nothing holds it up: more than everything between it and the
/// readers has room for, bytes.
const MOVED: u64 = 64 << 20;
/// What a restart with a back-off would take at least.
const BACK_OFF: Duration = Duration::from_secs(10);

/// Containers that flood when they are told to: kind, amount, exit code, records of one round.
const FLOODS: [(&str, usize, i32, usize); 4] = [
    ("lines", LINES, 1, LINES),
    ("line", LINE, 2, LINE.div_ceil(PIECE)),
    ("closed", 0, 3, 0),
    ("binary", BINARY, 4, BINARY.div_ceil(PIECE)),
];
/// What does not end before it is killed.
const ENDLESS: &str = "endless";

/// Tells its process from those of others.
fn mark(name: &str) -> String {
    format!("flood-{name}")
}

fn flooding(kind: &str, amount: usize) -> Value {
    guest(kind, &["flood-at-signal", &mark(kind), kind, &amount.to_string()])
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("it runs");
}

/// The process of a container that waits to be told.
fn waiting(up: &Up, name: &str) -> i32 {
    wait_for(&format!("{name} to wait"), || {
        let pid = up.find_guest(&mark(name))?;
        process::handles(pid, Signal::SIGUSR1).then_some(pid)
    })
}

/// Waits until a process has written so much since now.
fn wait_written(pid: i32, bytes: u64) {
    let written = || process::written(pid).expect("it runs");
    let before = written();
    wait_for("a flood that goes on", || {
        (written() >= before + bytes).then_some(())
    });
}

/// `host-proxy logs --follow`.
struct Follower(Child);

impl Follower {
    fn start(product: &Product, up: &Up) -> Self {
        let child = Command::new(&product.proxy)
            .args(["logs", "--follow", "--state-dir"])
            .arg(up.state())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("host-proxy runs"))
    }

    fn signal(&self, signal: Signal) {
        send(self.0.id().cast_signed(), signal);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn containers_end_and_start_again_while_nobody_reads_and_every_line_is_counted() {
    let Some(product) = product() else { return };
    let quiet = |round: usize| format!("quiet-{round}");
    let mut containers: Vec<Value> = FLOODS
        .iter()
        .map(|(kind, amount, ..)| flooding(kind, *amount))
        .collect();
    containers.push(flooding(ENDLESS, 0));
    containers.extend((0..ROUNDS).map(|round| guest(&quiet(round), &["idle", &mark(&quiet(round))])));
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 0});
    // Nothing is lost outside of the enclave.
    let spool = tempfile::tempdir().expect("a scratch directory");
    let directory = spool.path().to_str().expect("UTF-8");
    let flags = [
        "--log-format",
        "json",
        "--log-spool",
        directory,
        "--log-spool-bytes",
        "256Mi",
    ];
    let mut up = Up::start(&product, &[pod(spec)], &flags);
    let mut history = History::default();
    up.wait_running(ENDLESS);
    let follower = Follower::start(&product, &up);
    for round in 0..ROUNDS {
        let endless = waiting(&up, ENDLESS);
        let others = FLOODS.map(|(name, ..)| (name, waiting(&up, name)));
        history.look(&up);
        follower.signal(Signal::SIGSTOP);
        send(endless, Signal::SIGUSR1);
        wait_written(endless, 1);
        up.signal(Signal::SIGSTOP);
        for (_, pid) in others {
            send(pid, Signal::SIGUSR1);
        }
        wait_written(endless, MOVED);
        // Who has nothing to do with it is started again at once.
        let word = mark(&quiet(round));
        let killed = up.guest_pid(&word);
        send(killed, Signal::SIGKILL);
        let began = Instant::now();
        wait_for("another process", || {
            up.find_guest(&word).filter(|pid| *pid != killed)
        });
        assert!(began.elapsed() < BACK_OFF, "{:?}", began.elapsed());
        // The others come to their ends although nobody takes what they say.
        for (name, pid) in others {
            wait_for(&format!("the end of {name}"), || {
                (up.find_guest(&mark(name)) != Some(pid)).then_some(())
            });
        }
        wait_written(endless, 1);
        up.signal(Signal::SIGCONT);
        follower.signal(Signal::SIGCONT);
        send(endless, Signal::SIGKILL);
        let killed = (quiet(round), 0, 137);
        let ends = FLOODS.map(|(name, _, code, _)| (name.to_owned(), round, code));
        for (name, attempt, code) in ends.into_iter().chain([(ENDLESS.to_owned(), round, 137), killed]) {
            let ended = history.wait_ended(&up, &name, attempt);
            assert_eq!((ended.code, ended.reason.as_str()), (code, "Error"), "{name}");
        }
    }
    wait_for("the last look", || history.look(&up));
    for (name, ..) in FLOODS {
        assert_eq!(history.ends(name).len(), ROUNDS, "{name}");
    }
    history.check(RestartPolicy::Always);
    let metrics = counted(&up);
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    received(&up, &metrics);
}

fn of(metrics: &str, count: &str, container: &str) -> u64 {
    sum(
        metrics,
        &format!("cloister_{count}_records_total{{container=\"{container}\""),
    )
}

/// Waits until each line has become a record, and each record was received or counted as dropped; returns the counts.
fn counted(up: &Up) -> String {
    let all = |metrics: &str, count: &str| sum(metrics, &format!("cloister_{count}_records_total"));
    let mut last = String::new();
    let metrics = wait_for("every line, or its absence", || {
        let metrics = up.metrics();
        let taken = FLOODS
            .iter()
            .all(|(name, _, _, records)| of(&metrics, "init_log", name) == (ROUNDS * records) as u64);
        let known = all(&metrics, "log") + all(&metrics, "log_dropped");
        let line = format!("{taken} {known} {}", all(&metrics, "init_log"));
        if line != last {
            println!("{line}");
            last = line;
        }
        (taken && known == all(&metrics, "init_log")).then_some(metrics)
    });
    let unknown = of(&metrics, "log_dropped", "");
    let mut missing = 0;
    for (name, ..) in FLOODS {
        let (taken, got) = (of(&metrics, "init_log", name), of(&metrics, "log", name));
        let dropped = of(&metrics, "log_dropped", name);
        println!("{name}: {taken} records, {got} received, {dropped} dropped");
        assert!(got + dropped <= taken, "{name}: {got} and {dropped} of {taken}");
        missing += taken - got - dropped;
    }
    // Of whom some were is not known when several had to make room at once.
    println!("{unknown} dropped of somebody, {missing} of these");
    assert!(missing <= unknown, "{missing} of {unknown}");
    metrics
}

/// Checks what was printed: what was received, in its order, and notices for everything else.
fn received(up: &Up, metrics: &str) {
    let text = up.stdout();
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut notices: BTreeMap<String, u64> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("one JSON object a line");
        let field = |name: &str| line[name].as_str().expect("text").to_owned();
        let (container, text) = (field("container"), field("log"));
        if line["stream"] == "system" {
            let count = text.trim_start_matches("-- ").split(' ').next();
            let count: u64 = count.and_then(|count| count.parse().ok()).expect("a number");
            *notices.entry(container).or_default() += count;
        } else {
            lines.entry(container).or_default().push(text);
        }
    }
    for (name, ..) in FLOODS {
        let said = notices.get(name).copied().unwrap_or_default();
        assert_eq!(said, of(metrics, "log_dropped", name), "{name}");
    }
    let numbers: Vec<usize> = lines["lines"]
        .iter()
        .map(|line| line[..9].parse().expect("a number"))
        .collect();
    assert_eq!(numbers.len() as u64, of(metrics, "log", "lines"));
    let rounds: Vec<&[usize]> = numbers.chunk_by(|one, next| one < next).collect();
    assert_eq!(rounds.len(), ROUNDS, "no line twice, and none before its turn");
    for round in rounds {
        assert_eq!(round.last(), Some(&(LINES - 1)), "the newest are kept");
    }
    // Its ring has room for all of it.
    assert_eq!(lines["binary"].len(), ROUNDS);
    for text in &lines["binary"] {
        assert!(
            text.starts_with("\u{1b}[2J\u{1b}]0;title\u{7}\0\u{fffd}"),
            "{text:?}"
        );
    }
    assert!(!lines.contains_key("closed"));
}
