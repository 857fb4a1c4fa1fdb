//! The Pod for people: the table of `status`, and the short lines that `up` prints when something changes.
//! Pure: report → text. What the enclave says is escaped, so that it cannot drive the terminal.

use std::fmt::Write as _;

use manifest_sync::status::{Condition, ContainerState, ContainerStatus, Event, EventType, Phase, PodReport};

use crate::time;
use crate::view::{Link, StatusAnswer};

/// Events shown below the table.
const EVENTS_SHOWN: usize = 10;

/// The whole answer of `status`; `now` in seconds since 1970.
pub fn status(answer: &StatusAnswer, now: u64) -> String {
    let mut out = String::new();
    if let Link::Connecting { reason } = &answer.link {
        let _ = writeln!(
            out,
            "The enclave is not connected: {}. What follows is the last that is known.\n",
            escape(reason)
        );
    }
    let Some(pod) = &answer.pod else {
        out.push_str("No Pod yet.\n");
        return out;
    };
    let (ready, total, restarts) = counts(pod);
    let pod_row = [
        pod.name.clone(),
        phase(pod).to_owned(),
        format!("{ready}/{total}"),
        restarts.to_string(),
        age(&pod.status.start_time, now),
    ];
    out.push_str(&columns(
        &["POD", "PHASE", "READY", "RESTARTS", "AGE"],
        &[pod_row],
    ));
    if let Some(message) = pod.status.message.as_ref().or(pod.status.reason.as_ref()) {
        let _ = writeln!(out, "{}", escape(message));
    }
    let rows: Vec<_> = pod.status.all_containers().map(container_row).collect();
    out.push('\n');
    out.push_str(&columns(
        &[
            "NAME",
            "READY",
            "STATE",
            "REASON",
            "RESTARTS",
            "LAST EXIT",
            "IMAGE",
        ],
        &rows,
    ));
    if !answer.events.is_empty() {
        let skip = answer.events.len().saturating_sub(EVENTS_SHOWN);
        let rows: Vec<_> = answer
            .events
            .iter()
            .skip(skip)
            .map(|event| event_row(event, now))
            .collect();
        out.push('\n');
        out.push_str(&columns(
            &["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"],
            &rows,
        ));
    }
    out
}

/// Ready containers, containers, restarts, as kubectl counts them: sidecars are containers, and once the Pod is
/// initialized, restarts of init containers are history.
fn counts(pod: &PodReport) -> (usize, usize, u32) {
    let status = &pod.status;
    let initialized =
        |condition: &&Condition| condition.r#type == "Initialized" && condition.status == "True";
    let initialized = status.conditions.iter().any(|condition| initialized(&condition));
    let sidecars = status.init_container_statuses.iter();
    let sidecars = sidecars.filter(|init| pod.sidecars.contains(&init.name));
    let lasting: Vec<&ContainerStatus> = sidecars.chain(&status.container_statuses).collect();
    let restarts = |counted: &mut dyn Iterator<Item = &ContainerStatus>| {
        counted.map(|one| one.restart_count).fold(0, u32::saturating_add)
    };
    let restarts = if initialized {
        restarts(&mut lasting.iter().copied())
    } else {
        restarts(&mut status.all_containers())
    };
    let ready = lasting.iter().filter(|one| one.ready).count();
    (ready, lasting.len(), restarts)
}

/// `Running`, …
pub fn phase(pod: &PodReport) -> &'static str {
    match pod.status.phase {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
    }
}

/// What changed from `before` to `after`, one short line each.
pub fn changes(before: Option<&PodReport>, after: &PodReport) -> Vec<String> {
    let mut lines = Vec::new();
    let name = escape(&after.name);
    for container in after.status.all_containers() {
        let known = before.and_then(|report| {
            report
                .status
                .all_containers()
                .find(|other| other.name == container.name)
        });
        let same_state = known.is_some_and(|known| {
            describe(known) == describe(container) && known.restart_count == container.restart_count
        });
        if !same_state {
            lines.push(format!(
                "{name}: container {} {}",
                escape(&container.name),
                describe(container)
            ));
        }
    }
    let old_phase = before.map(phase);
    if old_phase != Some(phase(after)) {
        let why = after.status.message.as_ref().or(after.status.reason.as_ref());
        let why = why.map(|why| format!(" ({})", escape(why))).unwrap_or_default();
        lines.push(format!("{name}: {}{why}", phase(after)));
    }
    let is_ready = |report: &PodReport| {
        report
            .status
            .conditions
            .iter()
            .any(|one| one.r#type == "Ready" && one.status == "True")
    };
    if is_ready(after) && !before.is_some_and(is_ready) {
        lines.push(format!("{name}: ready"));
    }
    lines
}

/// One container in words: `running (restart 1)`, `waiting: CrashLoopBackOff`, `ended: Error, exit code 3`.
fn describe(container: &ContainerStatus) -> String {
    match &container.state {
        ContainerState::Waiting { reason, message } => {
            let message = message.as_ref().filter(|text| !text.is_empty());
            let message = message
                .map(|text| format!(" ({})", escape(text)))
                .unwrap_or_default();
            format!("waiting: {}{message}", escape(reason))
        }
        ContainerState::Running { .. } if container.restart_count > 0 => {
            format!("running (restart {})", container.restart_count)
        }
        ContainerState::Running { .. } => "running".to_owned(),
        ContainerState::Terminated {
            exit_code, reason, ..
        } => {
            format!("ended: {}, exit code {exit_code}", escape(reason))
        }
    }
}

fn container_row(container: &ContainerStatus) -> [String; 7] {
    let (state, reason) = match &container.state {
        ContainerState::Waiting { reason, .. } => ("Waiting", reason.as_str()),
        ContainerState::Running { .. } => ("Running", ""),
        ContainerState::Terminated { reason, .. } => ("Terminated", reason.as_str()),
    };
    let exit = [Some(&container.state), container.last_state.as_ref()]
        .into_iter()
        .flatten()
        .find_map(|state| match state {
            ContainerState::Terminated {
                exit_code, reason, ..
            } => Some(format!("{exit_code} {reason}")),
            _ => None,
        });
    [
        container.name.clone(),
        if container.ready { "yes" } else { "no" }.to_owned(),
        state.to_owned(),
        dash(reason),
        container.restart_count.to_string(),
        dash(exit.as_deref().unwrap_or_default()),
        short_image(&container.image),
    ]
}

fn event_row(event: &Event, now: u64) -> [String; 5] {
    let kind = match event.r#type {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    // As kubectl writes it.
    let last = age(&event.time, now);
    let seen = match event.count {
        0 | 1 => last,
        count => format!("{last} (x{count} over {})", age(&event.first_time, now)),
    };
    [
        seen,
        kind.to_owned(),
        event.reason.clone(),
        event.field_path.clone().unwrap_or_else(|| "pod".to_owned()),
        event.message.clone(),
    ]
}

/// A digest of 64 figures pushes everything else off the screen: twelve identify it.
fn short_image(image: &str) -> String {
    match image.split_once("@sha256:") {
        Some((name, hex)) => format!("{name}@sha256:{}", hex.chars().take(12).collect::<String>()),
        None => image.to_owned(),
    }
}

fn dash(text: &str) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text.to_owned()
    }
}

/// `5s`, `3m`, `2h`, `4d`; `-` when the time cannot be read.
fn age(since: &str, now: u64) -> String {
    let Some(since) = time::parse_rfc3339(since) else {
        return "-".to_owned();
    };
    let seconds = now.saturating_sub(since);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Left-aligned columns, three spaces apart, no trailing blanks.
fn columns<const N: usize>(head: &[&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = rows
        .iter()
        .map(|row| row.clone().map(|cell| escape(&cell)))
        .collect();
    let width = |index: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(index))
            .map(|cell| cell.chars().count());
        cells
            .chain(head.get(index).map(|cell| cell.len()))
            .max()
            .unwrap_or_default()
    };
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (index, cell) in cells.enumerate() {
            let _ = write!(text, "{cell:width$}   ", width = width(index));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut head.iter().copied());
    for row in &rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

/// Control characters as `\u{1b}`: a terminal must not obey what comes out of an enclave.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\t' => out.push(' '),
            // C0, DEL, C1 and the bidirectional overrides.
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "{}", character.escape_unicode());
            }
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
#[path = "table_tests.rs"]
pub(crate) mod tests;
