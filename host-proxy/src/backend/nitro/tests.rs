//! The back-end against a stand-in for `nitro-cli` (`testdata/nitro-cli`).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

/// Nothing here takes so long, on however busy a machine.
const LONG: Duration = Duration::from_secs(120);

struct Machine {
    directory: tempfile::TempDir,
    enclave: Enclave,
    options: Options,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let standin = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/nitro-cli");
        // A link and not a copy: what another thread's child holds open for writing cannot be executed.
        symlink(standin, directory.path().join("nitro-cli")).expect("a link");
        let state = directory.path().join("web");
        fs::create_dir(&state).expect("a directory");
        fs::write(directory.path().join("app.eif"), "an image").expect("writes");
        let options = Options {
            eif: directory.path().join("app.eif"),
            nitro_cli: Some(directory.path().join("nitro-cli")),
            ..Options::default()
        };
        Self {
            enclave: Enclave::of(&state),
            directory,
            options,
        }
    }

    /// What the stand-in does instead at `command`.
    fn hook(&self, command: &str, script: &str) {
        fs::write(self.directory.path().join(format!("{command}.sh")), script).expect("writes");
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.path().join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn start(&self) -> Result<(), Failure> {
        self.enclave.start_within(&self.options, &SIZE, LONG)
    }

    fn fails(&self, exit: Exit) -> String {
        let failure = self.start().expect_err("does not start");
        assert_eq!(failure.exit, exit, "{failure}");
        failure.message
    }

    fn enclaves(&self) -> usize {
        let all = fs::read_dir(self.directory.path()).expect("a directory");
        let is_enclave = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "enclave");
        all.filter_map(Result::ok)
            .filter(|entry| is_enclave(&entry.path()))
            .count()
    }

    fn record(&self) -> Option<Record> {
        Record::read(&self.enclave.state)
    }

    /// The hypervisor ends all enclaves.
    fn lose(&self) {
        for entry in fs::read_dir(self.directory.path()).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "enclave") {
                fs::remove_file(path).expect("removes");
            }
        }
    }
}

const SIZE: Size = Size {
    cpus: 2,
    memory_mib: 512,
};

#[test]
fn start_gives_nitro_cli_what_was_asked_and_records_its_answer() {
    let mut machine = Machine::new();
    for name in STALE {
        fs::write(machine.enclave.state.join(name), "old").expect("writes");
    }
    machine.options.cid = Some(20);
    machine.start().expect("starts");
    let record = machine.record().expect("a record");
    let calls = machine.calls();
    let expected = format!(
        "run-enclave --eif-path {} --cpu-count 2 --memory 512 --enclave-name {} --enclave-cid 20",
        machine.options.eif.display(),
        record.name
    );
    assert_eq!(calls, [expected]);
    assert!(record.name.starts_with("cloister-web-"), "{}", record.name);
    assert_eq!(machine.enclave.address(), Ok(Address::Vsock { cid: Some(20) }));
    assert!(!machine.enclave.is_debug());
    let path = machine.enclave.state.join("enclave.json");
    let mode = fs::metadata(path).expect("a record").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for name in STALE {
        assert!(!machine.enclave.state.join(name).exists(), "{name}");
    }
}

#[test]
fn debug_mode_only_when_asked() {
    let mut machine = Machine::new();
    machine.options.debug = true;
    machine.start().expect("starts");
    assert!(
        machine.calls()[0].ends_with(" --debug-mode"),
        "{:?}",
        machine.calls()
    );
    assert!(machine.enclave.is_debug());
    assert!(
        Enclave::of(&machine.enclave.state).is_debug(),
        "after a restart too"
    );
}

#[test]
fn probe_follows_describe_enclaves() {
    let machine = Machine::new();
    assert_eq!(machine.enclave.probe(), Probe::Absent);
    assert_eq!(
        machine.enclave.address().expect_err("none yet").exit,
        Exit::Unavailable
    );
    machine.start().expect("starts");
    assert_eq!(Enclave::of(&machine.enclave.state).probe(), Probe::Running);
    machine.lose();
    let gone = Enclave::of(&machine.enclave.state).probe();
    assert!(
        matches!(&gone, Probe::Ended(how) if how.contains("does not list it")),
        "{gone:?}"
    );
}

#[test]
fn an_enclave_that_is_terminating_does_not_run() {
    let machine = Machine::new();
    machine.start().expect("starts");
    machine.hook("describe-enclaves", "default | sed s/RUNNING/TERMINATING/");
    let ending = machine.enclave.probe();
    assert!(
        matches!(&ending, Probe::Ended(how) if how.contains("TERMINATING")),
        "{ending:?}"
    );
}

#[test]
fn somebody_elses_enclave_is_not_ours() {
    let machine = Machine::new();
    machine.start().expect("starts");
    let mut record = machine.record().expect("a record");
    record.started = Some(Started {
        id: "i-0-enc0".to_owned(),
        cid: 16,
    });
    record.write(&machine.enclave.state).expect("writes");
    assert!(matches!(machine.enclave.probe(), Probe::Ended(_)));
    machine.enclave.terminate();
    assert_eq!(machine.enclaves(), 1);
}

#[test]
fn silence_of_nitro_cli_is_not_death() {
    for answer in [
        "echo '[]'; echo 'Failed connections: 1' >&2; echo '[ E39 ] x' >&2; exit 39",
        "echo 'no JSON'",
        "exit 1",
        "kill -9 $$",
    ] {
        let machine = Machine::new();
        machine.start().expect("starts");
        machine.hook("describe-enclaves", answer);
        assert_eq!(machine.enclave.probe(), Probe::Running, "{answer}");
        assert_eq!(machine.enclave.obituary(), None, "{answer}");
    }
    let machine = Machine::new();
    machine.start().expect("starts");
    machine.hook("describe-enclaves", "default; echo '[ E39 ] x' >&2; exit 39");
    assert_eq!(
        machine.enclave.probe(),
        Probe::Running,
        "listed in spite of another's failure"
    );
}

#[test]
fn obituary_says_what_to_do_and_does_not_wait() {
    let machine = Machine::new();
    assert_eq!(machine.enclave.obituary(), None);
    machine.start().expect("starts");
    let id = machine
        .record()
        .and_then(|record| record.started)
        .expect("started")
        .id;
    machine.lose();
    // Never answers: an obituary that waited for it would not come back.
    machine.hook(
        "describe-enclaves",
        "while [ ! -e \"$here/go\" ]; do sleep 0.01; done; default",
    );
    assert_eq!(machine.enclave.obituary(), None);
    assert_eq!(machine.enclave.obituary(), None);
    fs::write(machine.directory.path().join("go"), "").expect("writes");
    let until = Instant::now() + LONG;
    let obituary = loop {
        if let Some(obituary) = machine.enclave.obituary() {
            break obituary;
        }
        assert!(Instant::now() < until, "an obituary in time");
        std::thread::yield_now();
    };
    assert!(obituary.contains(&id), "{obituary}");
    assert!(obituary.contains("--debug-mode"), "{obituary}");
    assert!(obituary.contains("nitro-cli console"), "{obituary}");
}

#[test]
fn asking_often_runs_nitro_cli_seldom() {
    let machine = Machine::new();
    machine.start().expect("starts");
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(machine.enclave.probe(), Probe::Running);
        assert_eq!(machine.enclave.clone().obituary(), None);
    }
    let described = machine.calls().len() - 1;
    let most = 2 + usize::try_from(began.elapsed().as_millis() / 500).expect("not so long");
    assert!(
        (1..=most).contains(&described),
        "{described} in {:?}",
        began.elapsed()
    );
}

#[test]
fn terminate_names_the_enclave_by_its_id() {
    let machine = Machine::new();
    machine.enclave.terminate();
    assert!(machine.calls().is_empty());
    machine.start().expect("starts");
    assert_eq!(machine.enclave.probe(), Probe::Running);
    let id = machine
        .record()
        .and_then(|record| record.started)
        .expect("started")
        .id;
    machine.enclave.terminate();
    assert_eq!(
        machine.calls().last(),
        Some(&format!("terminate-enclave --enclave-id {id}"))
    );
    assert!(
        matches!(machine.enclave.probe(), Probe::Ended(_)),
        "what was seen is forgotten"
    );
    machine.enclave.terminate();
    machine.start().expect("starts anew");
    assert_eq!(machine.enclave.probe(), Probe::Running);
}

#[test]
fn error_codes_become_a_sentence_and_leave_nothing() {
    for (stderr, expected) in [
        (
            "[ E19 ] File operation failure.\nFile: '/dev/nitro_enclaves', failing operation: 'Open'.",
            "EnclaveOptions",
        ),
        (
            "[ E19 ] File operation failure.\nFile: '/sys/module/nitro_enclaves/parameters/ne_cpus', failing \
             operation: 'Open'.",
            "driver nitro_enclaves",
        ),
        (
            "[ E22 ] Insufficient CPUs available in the pool.",
            "fewer than 2 vCPUs",
        ),
        ("[ E26 ] Insufficient memory requested.", "512 MiB are too little"),
        (
            "[ E27 ] Insufficient memory available.\n[ E39 ] x",
            "raise memory_mib in /etc/nitro_enclaves/allocator.yaml",
        ),
        ("[ E29 ] Ioctl failure.", "the driver refused 2 vCPUs and 512 MiB"),
        ("[ E36 ] Enclave boot failure.", "did not say that it booted"),
        ("[ E56 ] Logger error.", "group ne"),
        ("[ E12 ] Epoll error.", "failed with E12"),
        (
            "error: Found argument '--enclave-name' which wasn't expected",
            "1.1 or later",
        ),
        ("", "nitro-cli failed"),
    ] {
        let machine = Machine::new();
        machine.hook("run-enclave", &format!("cat >&2 <<'END'\n{stderr}\nEND\nexit 29"));
        let message = machine.fails(Exit::Unavailable);
        assert!(message.starts_with("cannot start a Nitro enclave: "), "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(
            message.contains(stderr.lines().next().unwrap_or_default()),
            "{message}"
        );
        assert_eq!(machine.record(), None, "{stderr}");
        assert_eq!(machine.enclave.probe(), Probe::Absent, "{stderr}");
    }
}

#[test]
fn an_enclave_that_came_up_in_spite_of_an_error_is_ended() {
    for script in [
        // aws-nitro-enclaves-cli issue 273: the answer and then an error.
        "default \"$@\"; echo '[ E11 ] Socket error.' >&2; exit 11",
        "default \"$@\" | head -c 20",
        "default \"$@\" | sed 's/\"EnclaveCID\": 16/\"EnclaveCID\": 3/'",
        "default \"$@\" | sed 's/\"EnclaveCID\": 16/\"EnclaveCID\": 4294967296/'",
        "default \"$@\" | sed 's/\"EnclaveID\": \"i-/\"EnclaveID\": \"--i-/'",
        "default \"$@\" >/dev/null; head -c 10000000 /dev/zero",
    ] {
        let machine = Machine::new();
        machine.hook("run-enclave", script);
        machine.fails(Exit::Unavailable);
        assert_eq!(machine.enclaves(), 0, "{script}");
        assert_eq!(machine.record(), None, "{script}");
    }
}

#[test]
fn an_enclave_that_cannot_be_recorded_is_ended() {
    let machine = Machine::new();
    // The second record cannot be written: its temporary file's name is taken by a directory.
    machine.hook(
        "run-enclave",
        "default \"$@\"; mkdir \"$here/web/enclave.json.new\"",
    );
    let message = machine.fails(Exit::Host);
    assert!(message.contains("web"), "{message}");
    assert_eq!(machine.enclaves(), 0);
}

#[test]
fn a_hang_ends_at_the_deadline_and_the_next_start_ends_what_came_up_late() {
    let machine = Machine::new();
    machine.hook("run-enclave", "echo 'Start allocating memory...' >&2; sleep 1000");
    let hang = machine
        .enclave
        .start_within(&machine.options, &SIZE, Duration::from_millis(300));
    let message = hang.expect_err("a deadline").message;
    assert!(message.contains("did not end within"), "{message}");
    assert!(message.contains("Start allocating memory"), "{message}");
    // The daemon that run-enclave left goes on.
    let name = machine.record().expect("the name is kept").name;
    let late =
        format!("{{\"EnclaveName\": \"{name}\", \"EnclaveID\": \"i-1-enc1\", \"State\": \"RUNNING\"}}");
    fs::write(machine.directory.path().join("i-1-enc1.enclave"), late).expect("writes");
    assert_eq!(machine.enclave.probe(), Probe::Absent, "nothing to pick up");
    fs::remove_file(machine.directory.path().join("run-enclave.sh")).expect("removes");
    machine.start().expect("starts");
    assert!(
        machine
            .calls()
            .contains(&"terminate-enclave --enclave-id i-1-enc1".to_owned())
    );
    assert_eq!(machine.enclaves(), 1);
    assert_eq!(machine.enclave.probe(), Probe::Running);
}

#[test]
fn a_running_enclave_is_not_started_over() {
    let machine = Machine::new();
    machine.start().expect("starts");
    let message = machine.fails(Exit::InUse);
    assert!(message.contains("i-0123456789abcdef0-enc1"), "{message}");
    assert_eq!(machine.enclave.probe(), Probe::Running);
    assert_eq!(machine.enclaves(), 1);
}

#[test]
fn what_is_missing_is_said_before_anything_starts() {
    let mut machine = Machine::new();
    machine.options.cid = Some(3);
    let message = machine.fails(Exit::Usage);
    assert!(message.contains("use 4 or more"), "{message}");
    machine.options.cid = None;
    machine.options.eif = machine.directory.path().join("absent.eif");
    let failure = machine
        .enclave
        .start(&machine.options, &SIZE)
        .expect_err("no image");
    assert_eq!(failure.exit, Exit::NoInput);
    assert!(failure.message.contains("absent.eif"), "{failure}");
    assert!(machine.calls().is_empty());
    machine.options.nitro_cli = Some(machine.directory.path().join("absent"));
    let message = machine.fails(Exit::Unavailable);
    assert!(message.contains("install aws-nitro-enclaves-cli"), "{message}");
    assert_eq!(machine.record(), None);
}

#[test]
fn the_record_of_another_back_end_is_no_enclave_of_ours() {
    let machine = Machine::new();
    fs::write(
        machine.enclave.state.join("enclave.json"),
        r#"{"pid":1,"started":2}"#,
    )
    .expect("writes");
    assert_eq!(machine.enclave.probe(), Probe::Absent);
    machine.start().expect("starts");
    assert_eq!(machine.enclave.probe(), Probe::Running);
}
