//! Exact text of the table and of the change lines.

use manifest_sync::status::{Condition, PodStatus};

use super::*;

pub(crate) fn container(name: &str, state: ContainerState, restarts: u32) -> ContainerStatus {
    ContainerStatus {
        name: name.to_owned(),
        image: format!("{name}@sha256:{}", "ab".repeat(32)),
        ready: matches!(state, ContainerState::Running { .. }),
        started: true,
        restart_count: restarts,
        state,
        ..ContainerStatus::default()
    }
}

pub(crate) fn running() -> ContainerState {
    ContainerState::Running {
        started_at: "2026-01-01T00:00:05Z".to_owned(),
    }
}

fn terminated(code: i32) -> ContainerState {
    ContainerState::Terminated {
        exit_code: code,
        signal: None,
        reason: if code == 0 { "Completed" } else { "Error" }.to_owned(),
        message: None,
        started_at: String::new(),
        finished_at: String::new(),
        container_id: String::new(),
    }
}

pub(crate) fn report(containers: Vec<ContainerStatus>) -> PodReport {
    PodReport {
        name: "web".to_owned(),
        status: PodStatus {
            phase: Phase::Running,
            start_time: "2026-01-01T00:00:00Z".to_owned(),
            conditions: vec![Condition {
                r#type: "Ready".to_owned(),
                status: "True".to_owned(),
                reason: None,
                message: None,
                last_transition_time: String::new(),
            }],
            container_statuses: containers,
            ..PodStatus::default()
        },
        ..PodReport::default()
    }
}

#[test]
fn the_table_is_exactly_this() {
    let mut app = container("app", running(), 1);
    app.last_state = Some(terminated(3));
    let waiting = ContainerState::Waiting {
        reason: "CrashLoopBackOff".to_owned(),
        message: None,
    };
    let answer = StatusAnswer {
        link: Link::Connected,
        pod: Some(report(vec![app, container("log\u{1b}[2J", waiting, 12)])),
        events: vec![Event {
            sequence: 1,
            count: 4,
            first_time: "2026-01-01T00:00:10Z".to_owned(),
            time: "2026-01-01T00:00:30Z".to_owned(),
            r#type: EventType::Warning,
            reason: "BackOff".to_owned(),
            message: "Back-off restarting\nfailed container".to_owned(),
            field_path: Some("spec.containers{log}".to_owned()),
            ..Event::default()
        }],
    };
    let now = time::parse_rfc3339("2026-01-01T00:03:00Z").expect("a time");
    let expected = "\
POD   PHASE     READY   RESTARTS   AGE
web   Running   1/2     13         3m

NAME           READY   STATE     REASON             RESTARTS   LAST EXIT   IMAGE
app            yes     Running   -                  1          3 Error     app@sha256:abababababab
log\\u{1b}[2J   no      Waiting   CrashLoopBackOff   12         -           log\\u{1b}[2J@sha256:abababababab

LAST SEEN         TYPE      REASON    OBJECT                 MESSAGE
2m (x4 over 2m)   Warning   BackOff   spec.containers{log}   Back-off restarting\\nfailed container
";
    assert_eq!(status(&answer, now), expected);
}

#[test]
fn without_a_pod_and_without_a_link_it_says_so() {
    let answer = StatusAnswer {
        link: Link::Connecting {
            reason: "connection refused".to_owned(),
        },
        pod: None,
        events: Vec::new(),
    };
    let expected = "The enclave is not connected: connection refused. What follows is the last that is known.\n\nNo Pod yet.\n";
    assert_eq!(status(&answer, 0), expected);
}

#[test]
fn changes_are_short_lines() {
    let before = report(vec![
        container("app", running(), 0),
        container("log", running(), 0),
    ]);
    let first = [
        "web: container app running",
        "web: container log running",
        "web: Running",
        "web: ready",
    ];
    assert_eq!(changes(None, &before), first);
    assert_eq!(changes(Some(&before), &before), [""; 0]);
    let mut after = before.clone();
    after.status.container_statuses =
        vec![container("app", running(), 1), container("log", terminated(3), 0)];
    assert_eq!(
        changes(Some(&before), &after),
        [
            "web: container app running (restart 1)",
            "web: container log ended: Error, exit code 3"
        ]
    );
}
