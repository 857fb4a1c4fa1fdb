//! What a status says word by word; transcripts show only its outline.

use manifest_sync::resources::ResourcesPlan;
use manifest_sync::status::{Condition, ContainerState, PodReport};

use super::plans::{container, plan, scratch};
use super::script::play;
use super::world::World;
use crate::supervisor::event::Event;
use crate::supervisor::time::Time;

use manifest_sync::plan::RestartPolicy::{Always, Never};

fn report_of(script: &str) -> PodReport {
    play(script).supervisor.report().expect("a Pod")
}

fn condition<'a>(report: &'a PodReport, kind: &str) -> &'a Condition {
    let mut all = report.status.conditions.iter();
    all.find(|condition| condition.r#type == kind)
        .unwrap_or_else(|| panic!("no condition {kind}"))
}

/// `Type=Status` or `Type=Status:Reason`, in order.
fn outline(report: &PodReport) -> String {
    let all = report.status.conditions.iter();
    let words: Vec<String> = all
        .map(|one| match &one.reason {
            Some(reason) => format!("{}={}:{reason}", one.r#type, one.status),
            None => format!("{}={}", one.r#type, one.status),
        })
        .collect();
    words.join(" ")
}

fn since(report: &PodReport, kind: &str) -> String {
    condition(report, kind).last_transition_time.clone()
}

fn second(second: u8) -> String {
    format!("1970-01-01T00:00:{second:02}Z")
}

#[test]
fn lc_160_conditions_become_true_in_order_without_init_containers() {
    let script = "pod app probe/app/readiness:delay=3,period=1\n@5s end\n";
    let report = report_of(script);
    assert_eq!(
        outline(&report),
        "PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True"
    );
    let times = [
        "PodScheduled",
        "Initialized",
        "PodReadyToStartContainers",
        "ContainersReady",
        "Ready",
    ];
    let times: Vec<String> = times.iter().map(|kind| since(&report, kind)).collect();
    assert!(times.is_sorted() && times[3] == times[4], "{times:?}");
    assert!(times[3] > times[0], "{times:?}");
}

#[test]
fn lc_161_the_sandbox_comes_before_the_init_containers() {
    let report = report_of("pod init/first app\n@2s > exited first code=0\n@5s end\n");
    assert_eq!(since(&report, "PodReadyToStartContainers"), second(0));
    assert_eq!(since(&report, "Initialized"), second(2));
    assert_eq!(since(&report, "Ready"), second(2));
}

#[test]
fn lc_162_a_missing_volume_leaves_the_sandbox_unmade() {
    for (init, initialized) in [(false, "True"), (true, "False:ContainersNotInitialized")] {
        let mut pod = plan(Always, 30, vec![container("app")]);
        if init {
            pod.init_containers.push(container("first"));
        }
        pod.volumes.push(scratch());
        let mut world = World::new();
        world.boot();
        world
            .volume_errors
            .push("configmap \"absent\" not found".to_owned());
        world.image_error = Some("nobody gets that far".to_owned());
        world.step(Event::Accept(Box::new(pod)));
        let report = world.supervisor.report().expect("a Pod");
        let expected = format!(
            "PodReadyToStartContainers=False Initialized={initialized} Ready=False:ContainersNotReady \
             ContainersReady=False:ContainersNotReady PodScheduled=True"
        );
        assert_eq!(outline(&report), expected);
    }
}

#[test]
fn lc_164_readiness_gates_hold_the_pod_back() {
    let script = "pod app gate=example.com/a gate=example.com/b\n";
    let report = report_of(script);
    let ready = condition(&report, "Ready");
    assert_eq!(ready.reason.as_deref(), Some("ReadinessGatesNotReady"));
    let message = "corresponding condition of pod readiness gate \"example.com/a\" does not exist., corresponding \
                   condition of pod readiness gate \"example.com/b\" does not exist.";
    assert_eq!(ready.message.as_deref(), Some(message));
    assert_eq!(condition(&report, "ContainersReady").status, "True");

    let script = format!("{script}@1s > condition example.com/b True\n@2s > condition example.com/a False\n");
    let report = report_of(&script);
    let message = "the status of pod readiness gate \"example.com/a\" is not \"True\", but False";
    assert_eq!(condition(&report, "Ready").message.as_deref(), Some(message));
    // K-270: conditions of others come first.
    assert!(outline(&report).starts_with("example.com/b=True example.com/a=False PodReady"));

    let script = format!("{script}@3s > condition example.com/a True\n@4s > condition example.com/b True\n");
    let report = report_of(&script);
    assert_eq!(condition(&report, "Ready").status, "True");
    // K-271: the second one said nothing new.
    assert_eq!(since(&report, "Ready"), second(3));
    assert_eq!(since(&report, "example.com/b"), second(1));

    let report = report_of(&format!("{script}@5s > condition example.com/b False\n"));
    assert_eq!(condition(&report, "Ready").status, "False");
    // What is no gate is ignored.
    let report = report_of(&format!("{script}@5s > condition Initialized False\n"));
    assert_eq!(condition(&report, "Initialized").status, "True");
}

#[test]
fn lc_202_resources_of_the_pod_are_in_its_status() {
    let mut planned = plan(Always, 30, vec![container("app")]);
    planned.resources = ResourcesPlan {
        cpu_request: Some(100),
        memory_request: Some(100 << 20),
        memory_limit: Some(200 << 20),
        ..ResourcesPlan::default()
    };
    let mut world = World::new();
    world.boot();
    world.step(Event::Accept(Box::new(planned)));
    let status = &world.supervisor.report().expect("a Pod").status;
    assert_eq!(status.qos_class, "Burstable");
    let amount =
        |amounts: &std::collections::BTreeMap<String, String>, name: &str| amounts.get(name).cloned();
    assert_eq!(
        amount(&status.allocated_resources, "cpu").as_deref(),
        Some("100m")
    );
    assert_eq!(
        amount(&status.resources.limits, "memory").as_deref(),
        Some("200Mi")
    );
    assert!(status.container_statuses[0].resources.is_empty(), "{status:?}");
}

#[test]
fn lc_165_quality_of_service() {
    let mut guaranteed = container("app");
    guaranteed.resources = ResourcesPlan {
        cpu_request: Some(100),
        cpu_limit: Some(100),
        memory_request: Some(200 << 20),
        memory_limit: Some(200 << 20),
        ..ResourcesPlan::default()
    };
    for (one, class) in [(guaranteed, "Guaranteed"), (container("app"), "BestEffort")] {
        let mut world = World::new();
        world.boot();
        world.step(Event::Accept(Box::new(plan(Always, 30, vec![one]))));
        let report = world.supervisor.report().expect("a Pod");
        assert_eq!(report.status.qos_class, class);
        let status = &report.status.container_statuses[0];
        let limit = status.resources.limits.get("memory").map(String::as_str);
        let request = status.allocated_resources.get("cpu").map(String::as_str);
        let expected = if class == "Guaranteed" {
            (Some("200Mi"), Some("100m"))
        } else {
            (None, None)
        };
        assert_eq!((limit, request), expected);
    }
}

#[test]
fn lc_166_addresses() {
    let status = report_of("pod app\n").status;
    assert_eq!(
        (status.host_ip.as_str(), status.pod_ip.as_str()),
        ("127.0.0.1", "127.0.0.1")
    );
    assert_eq!(status.host_ips[0].ip, status.host_ip);
    assert_eq!(status.pod_ips[0].ip, status.pod_ip);
}

#[test]
fn lc_106_the_message_of_a_crash_loop() {
    let report = report_of("pod app\n@1s > exited app code=1\n@2s > exited app code=1\n@3s end\n");
    let status = &report.status.container_statuses[0];
    let ContainerState::Waiting { reason, message } = &status.state else {
        panic!("{status:?}");
    };
    let expected = "back-off 10s restarting failed container=app pod=pod_default(uid)";
    assert_eq!(
        (reason.as_str(), message.as_deref()),
        ("CrashLoopBackOff", Some(expected))
    );
    assert!(
        matches!(&status.last_state, Some(ContainerState::Terminated { exit_code: 1, reason, .. }) if reason == "Error"),
        "{status:?}"
    );
    assert_eq!(status.restart_count, 1);
}

#[test]
fn lc_025_the_condition_while_all_restart() {
    let start = "pod policy=Never init/first source:Never:AllIn:42 app\n@1s > exited first code=0\n";
    let report = report_of(start);
    // K-046: idle.
    assert!(outline(&report).ends_with(" PodScheduled=True AllContainersRestarting=False"));

    let report = report_of(&format!("{start}@2s > exited source code=42\n"));
    let restarting = condition(&report, "AllContainersRestarting");
    assert_eq!(restarting.status, "True");
    assert_eq!(restarting.reason.as_deref(), Some("RestartAllContainersStarted"));
    let message = "container exited with restart policy rule";
    assert_eq!(restarting.message.as_deref(), Some(message));

    // The victim ignores SIGTERM: two seconds (K-142).
    let report = report_of(&format!("{start}@2s > exited source code=42\n@4s end\n"));
    assert_eq!(condition(&report, "AllContainersRestarting").status, "False");
    assert_eq!(condition(&report, "Initialized").status, "True");
    assert_eq!(since(&report, "Initialized"), second(1));
    let app = &report.status.container_statuses[0];
    let expected = "The container is removed because RestartAllContainers in place";
    let ContainerState::Waiting { reason, message } = &app.state else {
        panic!("{app:?}");
    };
    assert_eq!(
        (reason.as_str(), message.as_deref()),
        ("RestartingAllContainers", Some(expected))
    );
    let Some(ContainerState::Terminated {
        reason,
        message,
        exit_code: 137,
        ..
    }) = &app.last_state
    else {
        panic!("{app:?}");
    };
    assert_eq!(
        (reason.as_str(), message.as_deref()),
        ("RestartingAllContainers", Some(expected))
    );

    let end = "@5s > exited first code=0\n@6s > exited source code=0\n@7s > exited app code=3\n@20s end\n";
    let report = report_of(&format!("{start}@2s > exited source code=42\n@4s end\n{end}"));
    assert!(
        outline(&report).ends_with("AllContainersRestarting=False:PodFailed"),
        "{}",
        outline(&report)
    );
}

/// `pkg/kubelet/status/generate_test.go`, as far as an enclave knows the state of its containers.
#[test]
fn lc_297_messages_of_conditions() {
    let table = [
        (
            "pod app\n",
            "PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True",
            None,
        ),
        (
            "@0s set b/readiness failure\npod a b probe/b/readiness\n",
            "PodReadyToStartContainers=True Initialized=True Ready=False:ContainersNotReady \
             ContainersReady=False:ContainersNotReady PodScheduled=True",
            Some("containers with unready status: [b]"),
        ),
        (
            "@0s set side/startup failure\npod z a sidecar/side probe/side/startup\n",
            "PodReadyToStartContainers=True Initialized=False:ContainersNotInitialized Ready=False:ContainersNotReady \
             ContainersReady=False:ContainersNotReady PodScheduled=True",
            Some("containers with unready status: [side z a]"),
        ),
        (
            "pod policy=Never init/first app\n@1s > exited first code=0\n@2s > exited app code=0\n@9s end\n",
            "PodReadyToStartContainers=False Initialized=True:PodCompleted Ready=False:PodCompleted \
             ContainersReady=False:PodCompleted PodScheduled=True",
            None,
        ),
        (
            "pod policy=Never app\n@2s > exited app code=1\n@9s end\n",
            "PodReadyToStartContainers=False Initialized=True Ready=False:PodFailed ContainersReady=False:PodFailed \
             PodScheduled=True",
            None,
        ),
        (
            "pod policy=Never init/first init/second app\n@2s > exited first code=1\n@9s end\n",
            "PodReadyToStartContainers=False Initialized=False:ContainersNotInitialized Ready=False:PodFailed \
             ContainersReady=False:PodFailed PodScheduled=True",
            None,
        ),
    ];
    for (script, expected, message) in table {
        let report = report_of(script);
        assert_eq!(outline(&report), expected, "{script}");
        assert_eq!(
            condition(&report, "Ready").message.as_deref(),
            message,
            "{script}"
        );
    }
    let report = report_of("pod policy=Never init/first init/second app\n");
    let message = "containers with incomplete status: [first second]";
    assert_eq!(
        condition(&report, "Initialized").message.as_deref(),
        Some(message)
    );
}

#[test]
fn a_stop_before_the_pod_has_run_leaves_it_failed() {
    // K-171.
    let mut world = World::new();
    world.boot();
    world.image_error = Some("absent".to_owned());
    world.step(Event::Accept(Box::new(plan(Never, 30, vec![container("app")]))));
    world.step(Event::Stop { grace_seconds: None });
    world.pass_to(Time::from_millis(60_000));
    let report = world.supervisor.report().expect("a Pod");
    assert_eq!(format!("{:?}", report.status.phase), "Failed");
}
