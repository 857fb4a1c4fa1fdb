//! Signals to our own children. A process that has just ended is no error: its exit is on its way.

use cloister_init::supervisor::event::Pid;
use nix::sys::signal::{self, Signal};
use nix::unistd;

/// kill(2) with SIGKILL.
pub(crate) fn kill(pid: Pid) {
    send(pid, Signal::SIGKILL);
}

/// SIGKILL for a whole process group; its leader is a child that has not been reaped.
pub(crate) fn kill_group(leader: Pid) {
    send(-leader, Signal::SIGKILL);
}

/// kill(2) with a signal by its name (`SIGTERM`) or number (`15`); SIGTERM if it is neither.
pub(crate) fn signal(pid: Pid, name: &str) {
    send(pid, parse(name).unwrap_or(Signal::SIGTERM));
}

fn parse(name: &str) -> Option<Signal> {
    match name.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok(),
        Err(_) if name.starts_with("SIG") => name.parse().ok(),
        Err(_) => format!("SIG{name}").parse().ok(),
    }
}

fn send(pid: Pid, signal: Signal) {
    if let Err(error) = signal::kill(unistd::Pid::from_raw(pid), signal) {
        log::debug!("kill({pid}, {signal}): {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_named_as_images_name_them() {
        assert_eq!(parse("SIGQUIT"), Some(Signal::SIGQUIT));
        assert_eq!(parse("QUIT"), Some(Signal::SIGQUIT));
        assert_eq!(parse("3"), Some(Signal::SIGQUIT));
        assert_eq!(parse("nonsense"), None);
    }
}
