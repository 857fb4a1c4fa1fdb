//! The kubelet's own table tests, as far as an enclave has the states that they are about: what the phase is, and what
//! follows from an event. Each row is a script; what happens at its last line counts.

use manifest_sync::status::Phase::{self, Failed, Pending, Running, Succeeded};

use super::script::play;

fn phase_of(script: &str) -> Phase {
    play(script).supervisor.report().expect("a Pod").status.phase
}

/// What is done at the last line of a script: `pull`, `spawn`, `terminate`, `kill`.
fn follows(script: &str) -> Vec<String> {
    let log = play(script).log;
    let is_action = |line: &&str| line.trim_start().starts_with('<');
    let mut actions: Vec<String> = log
        .lines()
        .rev()
        .take_while(is_action)
        .map(|line| line.trim_start().trim_start_matches("< ").to_owned())
        .filter(|action| {
            ["pull ", "spawn ", "terminate ", "kill "]
                .iter()
                .any(|verb| action.starts_with(verb))
        })
        .filter(|action| !action.contains(" net"))
        .collect();
    actions.reverse();
    actions
}

/// `TestPodPhaseWithRestartAlways`, `…Never`, `…OnFailure`.
#[test]
fn lc_292_phase_by_restart_policy() {
    let both_ran = "pod policy=P a b\n@1s > exited a code=0\n@1s > exited b code=0\n@4s end\n";
    let both_failed = "pod policy=P a b\n@1s > exited a code=1\n@1s > exited b code=1\n@4s end\n";
    let one_ran = "pod policy=P a b\n@1s > exited b code=0\n";
    let one_failed = "pod policy=P a b\n@1s > exited b code=1\n";
    let waiting = "@0s set image-error absent\npod policy=P a b\n";
    let crash_loop = "pod policy=P a b\n@1s > exited b code=1\n@2s > exited b code=1\n";
    for (policy, script, expected) in [
        ("Always", "pod policy=P a b\n", Running),
        ("Never", "pod policy=P a b\n", Running),
        ("OnFailure", "pod policy=P a b\n", Running),
        ("Always", waiting, Pending),
        ("Never", waiting, Pending),
        ("OnFailure", waiting, Pending),
        ("Always", both_ran, Running),
        ("Never", both_ran, Succeeded),
        ("OnFailure", both_ran, Succeeded),
        ("Always", both_failed, Running),
        ("Never", both_failed, Failed),
        ("OnFailure", both_failed, Running),
        ("Always", one_ran, Running),
        ("Never", one_ran, Running),
        ("OnFailure", one_ran, Running),
        ("Always", one_failed, Running),
        ("Never", one_failed, Running),
        ("OnFailure", one_failed, Running),
        ("Always", crash_loop, Running),
        ("OnFailure", crash_loop, Running),
    ] {
        let script = script.replace("policy=P", &format!("policy={policy}"));
        assert_eq!(phase_of(&script), expected, "{script}");
    }
}

/// `TestPodPhaseWithRestart…InitContainers` and `…RestartableInitContainers`.
#[test]
fn lc_292_phase_by_init_containers() {
    for (script, expected) in [
        ("@0s set image-error absent\npod init/i a\n", Pending),
        ("pod init/i a\n", Pending),
        (
            "pod policy=Never init/i a\n@1s > exited i code=1\n@3s end\n",
            Failed,
        ),
        (
            "pod policy=OnFailure init/i a\n@1s > exited i code=1\n@2s > exited i code=1\n",
            Pending,
        ),
        (
            "pod policy=Always init/i a\n@1s > exited i code=1\n@2s > exited i code=1\n",
            Pending,
        ),
        ("pod init/i a\n@1s > exited i code=0\n", Running),
        (
            "pod policy=Never init/i a\n@1s > exited i code=0\n@2s > exited a code=0\n@5s end\n",
            Succeeded,
        ),
        (
            "pod policy=Never init/i a\n@1s > exited i code=0\n@2s > exited a code=1\n@5s end\n",
            Failed,
        ),
        (
            "pod policy=Always init/i a\n@1s > exited i code=0\n@2s > exited a code=1\n@3s > exited a code=1\n",
            Running,
        ),
        // A sidecar that has not started, and one that does not count any more.
        (
            "@0s set s/startup failure\npod policy=Never sidecar/s a probe/s/startup\n",
            Pending,
        ),
        ("pod policy=Never sidecar/s a\n", Running),
        (
            "pod policy=Never sidecar/s a\n@1s > exited s code=1\n@2s > exited s code=1\n",
            Running,
        ),
        (
            "pod policy=Never sidecar/s a\n@1s > exited a code=0\n@2s > exited s code=1\n@5s end\n",
            Succeeded,
        ),
        (
            "pod policy=Never sidecar/s a\n@1s > exited a code=1\n@2s > exited s code=0\n@5s end\n",
            Failed,
        ),
        (
            "pod policy=Always sidecar/s a\n@1s > exited a code=0\n@2s > exited a code=0\n",
            Running,
        ),
        // K-169: the end is not said before the last process is gone.
        ("pod policy=Never sidecar/s a\n@1s > exited a code=0\n", Running),
    ] {
        assert_eq!(phase_of(script), expected, "{script}");
    }
}

/// `TestComputePodActions…`.
#[test]
fn lc_293_what_is_started_and_killed() {
    for (script, expected) in [
        (
            "pod a b\n",
            &["pull a", "pull b", "spawn a attempt=0", "spawn b attempt=0"][..],
        ),
        ("pod a b\n@1s > tick\n", &[]),
        (
            "pod policy=Always a b\n@1s > exited a code=0\n",
            &["spawn a attempt=1"],
        ),
        ("pod policy=OnFailure a b\n@1s > exited a code=0\n", &[]),
        (
            "pod policy=OnFailure a b\n@1s > exited a code=1\n",
            &["spawn a attempt=1"],
        ),
        ("pod policy=Never a b\n@1s > exited a code=1\n", &[]),
        (
            "pod policy=Never a:Always b\n@1s > exited a code=0\n",
            &["spawn a attempt=1"],
        ),
        ("pod policy=Always a:Never b\n@1s > exited a code=1\n", &[]),
        (
            "pod policy=Never a:Never:In:42 b\n@1s > exited a code=42\n",
            &["spawn a attempt=1"],
        ),
        ("pod policy=Never a:Never:In:42 b\n@1s > exited a code=1\n", &[]),
        // Init containers.
        ("pod init/i init/j a\n@1s > tick\n", &[]),
        (
            "pod init/i init/j a\n@1s > exited i code=0\n",
            &["pull j", "spawn j attempt=0"],
        ),
        (
            "pod init/i init/j a\n@1s > exited i code=1\n",
            &["spawn i attempt=1"],
        ),
        (
            "pod policy=OnFailure init/i a\n@1s > exited i code=1\n",
            &["spawn i attempt=1"],
        ),
        ("pod policy=Never init/i a\n@1s > exited i code=1\n", &[]),
        (
            "pod init/i a b\n@1s > exited i code=0\n@2s > exited a code=1\n",
            &["spawn a attempt=1"],
        ),
        // Sidecars.
        (
            "pod policy=Never sidecar/s init/i a\n@1s > exited s code=0\n",
            &["spawn s attempt=1"],
        ),
        (
            "pod policy=Never sidecar/s init/i a\n@1s > exited i code=1\n",
            &["terminate s"],
        ),
        (
            "pod policy=Never sidecar/s a\n@1s > exited a code=0\n",
            &["terminate s"],
        ),
        (
            "pod policy=Always sidecar/s a\n@1s > exited a code=0\n",
            &["spawn a attempt=1"],
        ),
        ("pod sidecar/s a\n@1s > stop\n", &["terminate a"]),
        ("pod sidecar/s a\n@1s > stop\n@2s > exited s code=0\n", &[]),
        // All at once.
        (
            "pod policy=Never init/i a:Never:AllIn:42 b\n@1s > exited i code=0\n@2s > exited a code=42\n",
            &["terminate b"],
        ),
        (
            "pod policy=Never a:Never:AllIn:42\n@2s > exited a code=42\n",
            &["spawn a attempt=1"],
        ),
        ("pod policy=Never a:Never:AllIn:42\n@2s > exited a code=41\n", &[]),
    ] {
        assert_eq!(follows(script), expected, "{script}");
    }
}

/// `kuberuntime_termination_order_test.go`.
#[test]
fn lc_294_order_of_the_stop() {
    let stop = "pod grace=10 sidecar/s sidecar/t a b\n@1s > stop\n";
    for (more, expected) in [
        ("", &["terminate a", "terminate b"][..]),
        ("@2s > exited a code=0\n", &[]),
        ("@2s > exited a code=0\n@3s > exited b code=0\n", &["terminate t"]),
        (
            "@2s > exited a code=0\n@3s > exited b code=0\n@4s > exited t code=0\n",
            &["terminate s"],
        ),
        // A later sidecar that ends early does not put the earlier one before the containers.
        ("@2s > exited t code=0\n", &[]),
    ] {
        assert_eq!(follows(&format!("{stop}{more}")), expected, "{more}");
    }
    // When the grace period is over, nobody waits for anybody.
    let log = play(&format!("{stop}@11s end\n")).log;
    let late = log.split("@11s tick").nth(1).expect("a deadline");
    for action in ["kill a", "kill b", "terminate s", "terminate t"] {
        assert!(late.contains(&format!("< {action}\n")), "{action}: {late}");
    }
    // What has not been started is nothing to wait for.
    let early = "pod grace=10 sidecar/s init/i sidecar/t a\n@1s > stop\n";
    assert_eq!(
        follows(early),
        ["terminate s", "terminate i"],
        "{}",
        play(early).log
    );
}
