//! `cloister-init`: PID 1 of an enclave, and its applets. The first argument chooses.

mod attestation;
mod beneath;
mod child;
mod console;
mod handshakes;
mod net;
mod pause;
mod pid1;
mod seccomp;
mod sys;
mod unpack;

use std::process::ExitCode;

/// Exit code for an applet that does not exist (sysexits.h: EX_USAGE).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => pid1::main(),
        Some("attest") => attestation::main(),
        Some("child") => child::main(),
        Some("net") => net::main(),
        Some("pause") => pause::main(),
        Some("unpack") => unpack::main(),
        // Words of the kernel's command line that mean nothing to the kernel are PID 1's arguments (kernel-command-line(7));
        // AWS's has one.
        Some(_) if std::process::id() == 1 => pid1::main(),
        Some(other) => {
            eprintln!("cloister-init: no applet {other:?}: it is PID 1 of an enclave and takes no arguments");
            ExitCode::from(USAGE)
        }
    }
}
