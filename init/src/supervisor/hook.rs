//! The hooks of one container: a postStart is part of its start, a preStop of its stop.

use manifest_sync::lifecycle::Hook;
use manifest_sync::status::EventType::Warning;

use super::Output;
use super::action::Action;
use super::container::Container;
use super::event::HookKind;
use super::state::{Program, State};

impl Container {
    /// Whether its start is under way and others have to wait for it because of its hook (K-009).
    pub(super) fn holds_others_back(&self) -> bool {
        let starts = match &self.state {
            State::Pending | State::Pulling | State::Spawning => true,
            State::Live(live) => matches!(live.program, Program::Starting | Program::Hooked),
            State::Waiting { .. } => self.removed,
            State::Terminated => false,
        };
        starts && self.hooks.post_start.is_some()
    }

    /// K-210: until it has ended, the container is not running for anybody else.
    pub(super) fn run_post_start(&mut self, out: &mut Output<'_>) {
        if let State::Live(live) = &mut self.state
            && live.stop.is_none()
        {
            live.program = Program::Hooked;
            out.actions.push(Action::Hook {
                unit: self.unit,
                pid: live.pid,
                kind: HookKind::PostStart,
            });
        }
    }

    /// K-215: the process has ended by itself while its postStart command ran, which fails with it; nothing is left to be
    /// killed.
    pub(super) fn post_start_cut_off(&self, out: &mut Output<'_>) {
        let is_command = matches!(self.hooks.post_start, Some(Hook::Exec { .. }));
        let runs = self
            .live()
            .is_some_and(|live| live.program == Program::Hooked && live.stop.is_none());
        if is_command && runs {
            self.emit_post_start_failed(out);
        }
    }

    fn emit_post_start_failed(&self, out: &mut Output<'_>) {
        let message = "PostStartHook failed".to_owned();
        out.emit(self.unit, Warning, "FailedPostStartHook", message);
    }

    /// A hook has ended; `grace_seconds` are the Pod's.
    pub(super) fn hook_ended(
        &mut self,
        kind: HookKind,
        result: Result<(), String>,
        grace_seconds: u32,
        out: &mut Output<'_>,
    ) {
        let State::Live(live) = &mut self.state else {
            return;
        };
        match (kind, result) {
            (HookKind::PreStop, result) => {
                // K-222: a failure changes nothing but the event.
                let in_time = live.stop.as_ref().is_some_and(|stop| stop.has_hook());
                if let Some(stop) = &mut live.stop {
                    stop.hook_ended(out.now);
                }
                if result.is_err() && in_time {
                    out.emit(
                        self.unit,
                        Warning,
                        "FailedPreStopHook",
                        "PreStopHook failed".to_owned(),
                    );
                }
            }
            (HookKind::PostStart, _) if live.program != Program::Hooked => {}
            (HookKind::PostStart, Ok(())) => live.program = Program::Running,
            (HookKind::PostStart, Err(error)) => {
                // K-212.
                live.program = Program::HookFailed(error);
                self.emit_post_start_failed(out);
                self.kill(grace_seconds, "FailedPostStartHook".to_owned(), out);
            }
        }
    }
}
