//! Hooks of a container: what is done right after its start and before its stop (section 7 of the kubelet semantics).

use crate::decode::Node;
use crate::probe::{self, HttpGet};
use crate::signal;

/// The hooks of one container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// `lifecycle.postStart`: beside the program, which counts as started when the hook has ended.
    pub post_start: Option<Hook>,
    /// `lifecycle.preStop`: before the stop signal, within the grace period.
    pub pre_stop: Option<Hook>,
    /// `lifecycle.stopSignal`: instead of the image's; a name of [`crate::signal::number`] (K-150).
    pub stop_signal: Option<String>,
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// A command in the container.
    Exec {
        /// Program and arguments; never expanded (K-225).
        command: Vec<String>,
    },
    /// An HTTP request; any answer is a success.
    HttpGet(HttpGet),
    /// Nothing, for so many seconds.
    Sleep {
        /// 0 is allowed.
        seconds: u32,
    },
}

impl Hooks {
    /// The longest sleep among them, in seconds.
    pub(crate) fn longest_sleep(&self) -> u32 {
        let all = [&self.post_start, &self.pre_stop].into_iter().flatten();
        let sleeps = all.filter_map(|hook| match hook {
            Hook::Sleep { seconds } => Some(*seconds),
            _ => None,
        });
        sleeps.max().unwrap_or(0)
    }
}

/// Reads `lifecycle`.
pub(crate) fn hooks(container: &Node<'_>) -> Hooks {
    let Some(lifecycle) = container.get("lifecycle") else {
        return Hooks::default();
    };
    lifecycle.fields(&["postStart", "preStop", "stopSignal"], &[], &[]);
    let stop_signal = lifecycle.text_of("stopSignal");
    if stop_signal
        .as_deref()
        .is_some_and(|name| signal::number(name).is_none())
    {
        lifecycle.error_at(
            "stopSignal",
            "must be the name of a signal, such as SIGTERM or SIGRTMIN+3",
        );
    }
    let read = |field| lifecycle.get(field).and_then(|node| hook(&node));
    Hooks {
        post_start: read("postStart"),
        pre_stop: read("preStop"),
        stop_signal,
    }
}

fn hook(node: &Node<'_>) -> Option<Hook> {
    node.fields(&["exec", "httpGet", "sleep", "tcpSocket"], &[], &[]);
    if node.get("tcpSocket").is_some() {
        // K-559: Kubernetes accepts it, and no kubelet can run it.
        node.error_at("tcpSocket", "cannot be run as a hook: use exec, httpGet or sleep");
        return None;
    }
    match (node.get("exec"), node.get("httpGet"), node.get("sleep")) {
        (Some(exec), None, None) => {
            let command = probe::command(&exec)?;
            Some(Hook::Exec { command })
        }
        (None, Some(get), None) => probe::http_get(&get).map(Hook::HttpGet),
        (None, None, Some(sleep)) => {
            sleep.fields(&["seconds"], &[], &[]);
            let Some(seconds) = sleep.get("seconds") else {
                sleep.error_at("seconds", "is required");
                return None;
            };
            let seconds = seconds.unsigned(0, i32::MAX as u32)?;
            Some(Hook::Sleep { seconds })
        }
        _ => {
            node.error("expected exactly one of exec, httpGet and sleep");
            None
        }
    }
}
