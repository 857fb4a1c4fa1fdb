//! The phase of a Pod (K-290).

use manifest_sync::status::Phase;

use super::container::{Container, Role};
use super::pod::Pod;

/// What the containers of a Pod are counted as.
#[derive(Debug, Default)]
struct Count {
    pending_init: usize,
    failed_for_good: usize,
    pending_sidecar: usize,
    waiting: usize,
    running: usize,
    stopped: usize,
    stopped_for_good: usize,
    succeeded: usize,
}

/// The phase that follows from the states of the containers.
pub(super) fn phase(pod: &Pod) -> Phase {
    let mut count = Count::default();
    for container in pod.containers() {
        match container.role {
            Role::Init => count_init(container, &mut count),
            Role::Sidecar => count_sidecar(container, &mut count),
            Role::Regular => count_regular(container, &mut count),
            Role::Ephemeral => {}
        }
    }
    let has_run = pod.regular().iter().any(Container::has_run);
    let phase = match () {
        () if pod.verdict.is_some() || count.failed_for_good > 0 => Phase::Failed,
        () if count.pending_init > 0 || (count.pending_sidecar > 0 && !has_run) => Phase::Pending,
        () if count.waiting > 0 => Phase::Pending,
        () if count.running > 0 => Phase::Running,
        () if !pod.has_ended() && count.stopped != count.stopped_for_good => Phase::Running,
        () if count.succeeded == count.stopped => Phase::Succeeded,
        () => Phase::Failed,
    };
    match phase {
        // K-171.
        Phase::Pending | Phase::Running if pod.has_ended() => Phase::Failed,
        phase => phase,
    }
}

fn count_init(container: &Container, count: &mut Count) {
    match &container.newest {
        _ if container.is_running() => count.pending_init += 1,
        None => count.pending_init += 1,
        // K-054.
        Some(ended) if ended.is_removal() => {}
        Some(ended) if ended.exit_code != 0 => {
            let for_good = container.is_over() || !container.restarts(ended.exit_code);
            count.failed_for_good += usize::from(for_good);
        }
        Some(_) => {}
    }
}

fn count_sidecar(container: &Container, count: &mut Count) {
    if container.is_running() {
        count.running += 1;
        count.pending_sidecar += usize::from(!container.lets_next_start());
    } else if container.newest.is_none() {
        count.waiting += 1;
        count.pending_sidecar += 1;
    }
}

fn count_regular(container: &Container, count: &mut Count) {
    match &container.newest {
        _ if container.is_running() => count.running += 1,
        None => count.waiting += 1,
        Some(ended) => {
            count.stopped += 1;
            // Under whatever policy, one that is replaced comes back (K-464).
            let for_good = container.is_over() && !container.restarts(ended.exit_code);
            count.stopped_for_good += usize::from(for_good);
            count.succeeded += usize::from(container.is_over() && ended.exit_code == 0);
        }
    }
}
