//! One of the two programs of a machine. A process of this program asks the kernel to be ended together with the launcher
//! (`PR_SET_PDEATHSIG`, which survives exec), then becomes the program: nothing is left behind when the launcher is killed.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

pub(super) fn main(program: &[PathBuf]) -> ExitCode {
    let Some((program, arguments)) = program.split_first() else {
        return ExitCode::FAILURE;
    };
    if let Err(error) = set_pdeathsig(Signal::SIGKILL) {
        eprintln!("qemu enclave: cannot bind to the launcher: {error}");
        return ExitCode::FAILURE;
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("qemu enclave: cannot run {}: {error}", program.display());
    ExitCode::FAILURE
}
