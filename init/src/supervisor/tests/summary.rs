//! A report in one line, for transcripts.

use std::fmt::Write as _;

use manifest_sync::status::{Condition, ContainerState, PodReport};

pub(super) fn summary(report: &PodReport) -> String {
    let mut text = format!("{:?}", report.status.phase);
    let restarting = |condition: &&Condition| condition.r#type == "AllContainersRestarting";
    let restarting = report.status.conditions.iter().find(restarting);
    if restarting.is_some_and(|condition| condition.status == "True") {
        text.push_str(" restarting");
    }
    let mut conditions = report.status.conditions.iter();
    if let Some(reason) = &report.status.reason {
        let _ = write!(text, " {reason}");
    }
    if let Some(condition) =
        conditions.find(|condition| condition.r#type == "Initialized" && condition.status == "False")
    {
        let message = condition.message.clone().unwrap_or_default();
        let _ = write!(text, " ({message})");
    }
    let sandbox = |condition: &&Condition| condition.r#type == "PodReadyToStartContainers";
    if !report
        .status
        .all_containers()
        .any(|status| status.container_id.contains('/'))
        && report
            .status
            .conditions
            .iter()
            .find(sandbox)
            .is_some_and(|sandbox| sandbox.status == "False")
    {
        text.push_str(" (not set up)");
    }
    for status in report.status.all_containers() {
        let state = |state: &ContainerState| match state {
            ContainerState::Waiting { reason, .. } => format!("waiting:{reason}"),
            ContainerState::Running { .. } => "running".to_owned(),
            ContainerState::Terminated {
                exit_code, reason, ..
            } => format!("terminated:{reason}:{exit_code}"),
        };
        let last = status
            .last_state
            .as_ref()
            .map(|last| format!(" last={}", state(last)))
            .unwrap_or_default();
        let _ = write!(
            text,
            " | {} {} restarts={}{last}",
            status.name,
            state(&status.state),
            status.restart_count
        );
        if matches!(status.state, ContainerState::Running { .. }) {
            text.push_str(match (status.started, status.ready) {
                (false, _) => " unstarted",
                (true, false) => " unready",
                (true, true) => "",
            });
        }
    }
    text
}
