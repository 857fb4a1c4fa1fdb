//! PID 1: boots, then runs one loop on one thread. Sources become [`input::Input`]s, one task owns all state,
//! effects go through one `perform`. It parses control frames and its own children's reports, nothing else.

mod atomic_writer;
mod attestation;
mod boot;
mod capacity;
mod cgroup;
mod command;
mod container;
mod control;
mod egress;
mod event_loop;
mod exec;
mod exec_stream;
mod exit;
mod finish;
mod heartbeat;
mod host;
mod image;
mod initramfs;
mod input;
mod journal;
mod layout;
mod limits;
mod log_cut;
mod log_gap;
mod log_pipe;
mod log_ring;
mod log_sealed;
mod log_store;
mod managed_file;
mod measure;
mod non_root;
mod probe;
mod process;
mod release;
mod sandbox;
mod secrets;
mod security_module;
mod service;
mod shared_pids;
mod storage;
mod unit;
mod update;
mod usage;
mod volume;

use std::io::Write as _;

use manifest_sync::config::End;

use self::exit::ExitCode;
use crate::sys;

/// Runs PID 1 until the Pod has ended; then ends the machine or the process.
pub(crate) fn main() -> std::process::ExitCode {
    crate::console::start("pid1");
    announce_panics();
    keep_memory_private();
    let (code, end) = match boot::boot() {
        Ok(booted) => {
            let end = booted.config.end;
            (run(booted), end)
        }
        Err(error) => {
            log::error!("boot: {error}");
            let code = match error {
                boot::BootError::Step(..) => ExitCode::Boot,
                boot::BootError::ReadConfig(_) | boot::BootError::ParseConfig(_) => ExitCode::Configuration,
                boot::BootError::ReadPolicy(_) | boot::BootError::ParsePolicy(_) => ExitCode::Policy,
            };
            // Without PID 1 the kernel panics, and its last words would hide ours.
            let end = if sys::proc::is_machine() {
                End::PowerOff
            } else {
                End::Exit
            };
            (code, end)
        }
    };
    log::info!("end: {} (code {})", code.sentence(), code as u8);
    if end == End::PowerOff {
        sys::power::power_off();
    }
    std::process::ExitCode::from(code as u8)
}

fn run(booted: boot::Booted) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error!("cannot make the event loop: {error}");
            return ExitCode::EventLoop;
        }
    };
    tokio::task::LocalSet::new().block_on(&runtime, event_loop::run(booted))
}

/// Secrets pass through this process: nobody may trace it or find them in a core file. In a user namespace of its own, a
/// process that cannot be dumped could not use its own files in /proc (proc(5)); nothing there is protected anyway.
fn keep_memory_private() {
    if sys::proc::is_initial_user_namespace()
        && let Err(error) = nix::sys::prctl::set_dumpable(false)
    {
        log::warn!("cannot keep the memory of PID 1 private: {error}");
    }
}

/// A PID 1 that lost its mind ends the enclave (`panic = "abort"`), with one line that says where. The message is
/// left out: it may carry what a container or the host has sent.
fn announce_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "cloister-init: internal error at {place}: the enclave ends"
        );
    }));
}
