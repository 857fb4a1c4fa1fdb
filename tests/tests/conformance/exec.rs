//! Commands that the host has executed in containers (LC-289), in place of the API server's exec and log subresources.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tests::{Product, Up, guest, pod, product, wait_for};

/// An exec that is under way.
struct Running(Child);

impl Running {
    /// `host-proxy exec` with these arguments.
    fn start(product: &Product, up: &Up, arguments: &[&str]) -> Self {
        let child = Command::new(&product.proxy)
            .args(["exec", "--state-dir"])
            .arg(up.state())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.expect("host-proxy runs"))
    }

    /// Waits for its first line of output.
    fn first_line(&mut self) -> String {
        let (mut line, mut byte) = (Vec::new(), [0]);
        let out = self.0.stdout.as_mut().expect("a pipe");
        while out.read(&mut byte).expect("readable") == 1 && byte != [b'\n'] {
            line.extend(byte);
        }
        String::from_utf8_lossy(&line).into_owned()
    }

    /// The same, and its first line has come: there is a place for it, as those of others that have ended are given back
    /// a moment later.
    fn start_when_free(product: &Product, up: &Up, arguments: &[&str]) -> Self {
        wait_for("a place for a command", || {
            let mut running = Self::start(product, up, arguments);
            let has_started = !running.first_line().is_empty();
            if !has_started {
                running.0.wait().expect("our child");
            }
            has_started.then_some(running)
        })
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("our child");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Two containers that run, and one that does not.
fn with_two() -> Value {
    let mut ended = guest("ended", &["exit", "0"]);
    ended["restartPolicy"] = json!("Never");
    let mut web = guest("web", &["idle", "web"]);
    web["env"] = json!([{"name": "WHERE", "value": "in web"}]);
    web["securityContext"] = json!({"runAsUser": 1234});
    pod(
        json!({"initContainers": [guest("setup", &["exit", "0"])], "containers": [web, guest("db", &["sleep"])],
               "terminationGracePeriodSeconds": 1}),
    )
}

/// Whether any process of this machine executes the guest with this word.
fn runs(word: &str) -> bool {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program == b"/guest") && words.any(|part| part == word.as_bytes())
    })
}

#[test]
fn lc_289_a_command_has_outputs_of_its_own_and_an_exit_code() {
    let Some(product) = product() else { return };
    let up = Up::start(&product, &[with_two()], &[]);
    up.wait_running("web");
    up.wait_running("db");
    // kubectl takes the first container, and says so.
    let said = up.exec(&["--", "/guest", "both", "to stdout", "to stderr", "7"]);
    assert_eq!(said.status.code(), Some(7), "{said:?}");
    assert_eq!(text(&said.stdout), "to stdout\n");
    let error = text(&said.stderr);
    assert!(
        error.contains("Defaulted container \"web\" out of: setup, web, db"),
        "{error}"
    );
    assert!(
        error.contains("to stderr\n") && error.contains("command terminated with exit code 7"),
        "{error}"
    );
    // Options behind the command are its own, `--` or not.
    let said = up.exec(&["-c", "db", "/guest", "both", "-c", "--help", "0"]);
    assert_eq!(
        (said.status.code(), text(&said.stdout).as_str()),
        (Some(0), "-c\n"),
        "{said:?}"
    );
    assert_eq!(text(&said.stderr), "--help\n");
    // A signal's exit code is a shell's.
    let said = up.exec(&["-c", "db", "--", "/guest", "fault"]);
    assert_eq!(said.status.code(), Some(134), "{said:?}");
    // More than any buffer takes, and in order.
    let said = up.exec(&["-c", "db", "--", "/guest", "count-as", "n", "100000"]);
    assert!(said.status.success());
    let expected: String = (0..100_000).map(|line| format!("n={line:07}\n")).collect();
    assert!(text(&said.stdout) == expected, "{} bytes", said.stdout.len());
    // What the host does is told.
    up.wait_event(
        "DebugExec",
        r#"["/guest","both","to stdout","to stderr","7"] in container web"#,
    );
    up.wait_console("exec: the host executes");
}

#[test]
fn lc_289_a_command_is_what_the_container_is() {
    let Some(product) = product() else { return };
    let mut annotated = with_two();
    annotated["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "db"});
    let up = Up::start(&product, &[annotated], &[]);
    up.wait_running("web");
    up.wait_running("db");
    let said = up.exec(&["/guest", "who"]);
    assert!(
        text(&said.stderr).contains("Defaulted container \"db\""),
        "{said:?}"
    );
    let said = up.exec(&["-c", "web", "--", "/guest", "who"]);
    let who = text(&said.stdout);
    assert!(who.contains("1234"), "{who}");
    assert!(
        who.contains("it is /guest idle web"),
        "it sees the container's processes: {who}"
    );
}

#[test]
fn lc_289_a_command_reads_what_it_is_given_to_the_end() {
    let Some(product) = product() else { return };
    let up = Up::start(&product, &[with_two()], &[]);
    up.wait_running("db");
    let mut running = Running::start(&product, &up, &["-i", "-c", "db", "--", "/guest", "stdin"]);
    let input: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut stdin = running.0.stdin.take().expect("a pipe");
    let given = input.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&given));
    let said = running.0.wait_with_output().expect("our child");
    writer.join().expect("no panic").expect("all was read");
    assert_eq!(said.status.code(), Some(0), "{}", text(&said.stderr));
    assert!(
        said.stdout == input,
        "{} bytes of {}",
        said.stdout.len(),
        input.len()
    );
    // Without -i it reads an end at once, whatever this side has.
    let said = Running::start(&product, &up, &["-c", "db", "--", "/guest", "stdin"]);
    let said = said.0.wait_with_output().expect("our child");
    assert_eq!((said.status.code(), said.stdout.len()), (Some(0), 0));
    // One that does not read what it is given ends all the same.
    let mut running = Running::start(&product, &up, &["-i", "-c", "db", "--", "/guest", "exit", "5"]);
    let mut stdin = running.0.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(&vec![0; 10 << 20]));
    let said = running.0.wait_with_output().expect("our child");
    assert_eq!(said.status.code(), Some(5), "{}", text(&said.stderr));
    let _ = writer.join();
}

#[test]
fn lc_289_what_cannot_be_executed_says_why() {
    let Some(product) = product() else { return };
    let up = Up::start(&product, &[with_two()], &[]);
    up.wait_running("db");
    for (arguments, code, why) in [
        (
            &["-c", "db", "--", "nope"][..],
            127,
            "exec: \"nope\": executable file not found in $PATH",
        ),
        (
            &["-c", "db", "--", "/nope"],
            127,
            "exec: \"/nope\": No such file or directory",
        ),
        (
            &["-c", "db", "--", "/etc"],
            126,
            "exec: \"/etc\": Permission denied",
        ),
        (
            &["-c", "nope", "--", "/guest"],
            64,
            "container nope is not valid for pod test: it has setup, web, db",
        ),
        (
            &["-c", "setup", "--", "/guest"],
            69,
            "container not found (\"setup\"): it does not run",
        ),
        (&["-t", "--", "/guest"], 64, "there are no terminals"),
        (&["-c", "db"], 64, "the command is missing"),
        (&["-c", "db", "--", ""], 64, "no command specified"),
    ] {
        let said = up.exec(arguments);
        assert_eq!(said.status.code(), Some(code), "{arguments:?}: {said:?}");
        assert!(text(&said.stderr).contains(why), "{arguments:?}: {said:?}");
    }
}

#[test]
fn lc_289_only_a_policy_that_says_so_lets_the_host_execute() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let policy = scratch.path().join("policy.json");
    let text_of_it =
        json!({"apiVersion": "cloister.dev/v1", "kind": "TrustPolicy", "any": true, "allowClearLogs": true});
    std::fs::write(&policy, text_of_it.to_string()).expect("a policy");
    let flags = ["--policy", policy.to_str().expect("UTF-8")];
    let up = Up::start(&product, &[with_two()], &flags);
    up.wait_running("db");
    let said = up.exec(&["--", "/guest", "say", "hello"]);
    assert_eq!(said.status.code(), Some(76), "{said:?}");
    assert!(text(&said.stderr).contains("`allowDebugExec: true`"), "{said:?}");
    assert!(said.stdout.is_empty());
}

#[test]
fn lc_289_nothing_of_a_command_outlives_its_client_its_end_or_its_container() {
    let Some(product) = product() else { return };
    let mut up = Up::start(&product, &[with_two()], &[]);
    up.wait_running("db");
    // The client dies: so do the command, its child, and one that has left their session.
    let mut running = Running::start(
        &product,
        &up,
        &["-c", "db", "--", "/guest", "hang-with-child", "lc289-dead"],
    );
    assert_eq!(running.first_line(), "hanging");
    wait_for("the child", || runs("lc289-dead").then_some(()));
    running.kill();
    wait_for("the end of all", || (!runs("lc289-dead")).then_some(()));
    // The command ends: what it has left behind does not stay.
    let said = up.exec(&["-c", "db", "--", "/guest", "leave-behind", "lc289-left", "4"]);
    assert_eq!(said.status.code(), Some(4), "{said:?}");
    wait_for("the end of what was left", || (!runs("lc289-left")).then_some(()));
    // Nobody reads: the command waits, and the container beside it, other commands and the enclave do not.
    let stalled: Vec<_> = (0..7)
        .map(|_| Running::start_when_free(&product, &up, &["-c", "db", "--", "/guest", "flood"]))
        .collect();
    let said = up.exec(&["-c", "web", "--", "/guest", "say", "hello"]);
    assert_eq!(text(&said.stdout), "hello\n");
    // There are so many and no more.
    let arguments = ["-c", "db", "--", "/guest", "hang-with-child", "lc289-stop"];
    let last = Running::start_when_free(&product, &up, &arguments);
    let said = up.exec(&["-c", "web", "--", "/guest", "say", "hello"]);
    assert_eq!(said.status.code(), Some(69));
    assert!(text(&said.stderr).contains("too many streams"), "{said:?}");
    // The Pod stops: all of them end, and their clients do, which may or may not hear how.
    assert!(up.client(&["stop"]).status.success());
    let said = last.0.wait_with_output().expect("our child");
    assert!(matches!(said.status.code(), Some(137 | 69)), "{said:?}");
    for mut running in stalled {
        running.0.stdout.take();
        running.0.wait().expect("our child");
    }
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(!runs("lc289-stop"));
}

#[test]
fn lc_289_logs_are_those_of_the_container_named() {
    let Some(product) = product() else { return };
    let containers = [
        guest("web", &["env", "FROM_WEB"]),
        guest("db", &["env", "FROM_DB"]),
    ];
    let up = Up::start(&product, &[pod(json!({"containers": containers}))], &[]);
    up.wait_log("FROM_WEB");
    up.wait_log("FROM_DB");
    // What a command prints goes to who has asked for it, and not into the log.
    let said = up.exec(&["-c", "web", "--", "/guest", "say", "by hand"]);
    assert_eq!(text(&said.stdout), "by hand\n");
    let web = text(&up.client(&["logs", "web"]).stdout);
    assert!(
        web.contains("FROM_WEB") && !web.contains("FROM_DB") && !web.contains("by hand"),
        "{web}"
    );
    assert!(!up.client(&["logs", "nope"]).status.success());
}
