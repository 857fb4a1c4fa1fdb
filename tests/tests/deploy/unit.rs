//! The systemd unit for plain EC2.

use std::process::Command;

use host_proxy::exit::Exit;

use crate::files;

const NAME: &str = "cloister@.service";

/// Values of a setting, in the order of the file.
fn setting<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn systemd_accepts_the_unit() {
    // host-proxy is not installed here; any program will do.
    let unit = files::text(NAME).replace("/usr/bin/host-proxy", "/bin/true");
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let verify = |text: &str| {
        let file = scratch.path().join(NAME);
        std::fs::write(&file, text).expect("a unit");
        Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(&file)
            .output()
    };
    match verify(&unit) {
        Err(error) => println!("SKIPPED: deploy/{NAME} is verified by systemd-analyze: {error}"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && !text.contains(NAME), "{text}");
            let broken = verify(&unit.replace("KillMode", "KilMode")).expect("it has just run");
            let text = String::from_utf8_lossy(&broken.stderr).into_owned();
            assert!(text.contains("KilMode"), "a misspelt setting is found: {text}");
        }
    }
}

#[test]
fn restarts_follow_the_exit_codes() {
    let unit = files::text(NAME);
    let again = [Exit::Unavailable, Exit::Died, Exit::Host, Exit::InUse].map(|exit| exit.code().to_string());
    assert_eq!(setting(&unit, "RestartForceExitStatus"), [again.join(" ")]);
    // Every other code, those of containers too, is final.
    assert_eq!(setting(&unit, "Restart"), ["on-abnormal"]);
    assert_eq!(setting(&unit, "KillSignal"), ["SIGTERM"]);
    assert_eq!(setting(&unit, "TimeoutStopSec"), ["2min"]);
    // A killed host-proxy finds the enclave and the session key again.
    assert_eq!(setting(&unit, "KillMode"), ["process"]);
    assert_eq!(setting(&unit, "RuntimeDirectoryPreserve"), ["yes"]);
    assert_eq!(
        setting(&unit, "RestrictAddressFamilies"),
        ["AF_UNIX AF_INET AF_INET6 AF_VSOCK"]
    );
}
