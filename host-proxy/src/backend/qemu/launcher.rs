//! The launcher: starts the vsock device and QEMU, and stays until the machine has ended. When one of the two dies, the
//! other one goes too.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::setsid;

use super::options::Machine;
use super::{BOOTED, DEVICE, LINK, PART, heartbeat};
use crate::backend::detached::Detached;

/// CID of the guest; it means something to its own device only.
const GUEST_CID: &str = "4";
/// How long the device may take to make its socket.
const DEVICE_DEADLINE: Duration = Duration::from_secs(30);
/// How often the two processes are looked at: neither has more to say than that it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Where Debian and its relatives keep QEMU's firmware.
const FIRMWARE: [&str; 2] = ["/usr/share/qemu", "/usr/share/seabios"];

/// Runs the launcher.
pub(super) fn main(state: &Path, order: &Path) -> ExitCode {
    // Fails only for the leader of a process group, which then has what it needs.
    let _ = setsid();
    let enclave = Detached::of(state);
    match launch(&enclave, state, order) {
        Ok(mut pair) => match pair.wait().and_then(|status| enclave.record_end(status)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("qemu enclave: cannot record its end: {error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            println!("error {error}");
            ExitCode::FAILURE
        }
    }
}

/// The two processes of a machine. Dropping it ends both.
struct Pair {
    device: Child,
    machine: Option<Child>,
}

fn launch(enclave: &Detached, state: &Path, order: &Path) -> Result<Pair, String> {
    let machine: Machine = fs::read(order)
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()))
        .map_err(|error| format!("cannot read {}: {error}", order.display()))?;
    let (socket, link) = (enclave.path(DEVICE), enclave.path(LINK));
    heartbeat::answer(&link, enclave.path(BOOTED))
        .map_err(|error| format!("cannot listen for the heartbeat: {error}"))?;
    let device = part(&machine.vhost)
        .arg("--guest-cid")
        .arg(GUEST_CID)
        .arg("--socket")
        .arg(&socket)
        .arg("--uds-path")
        .arg(&link)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", machine.vhost.display()))?;
    let mut pair = Pair {
        device,
        machine: None,
    };
    pair.wait_for(&socket)?;
    let child = part(&machine.qemu)
        .args(qemu_arguments(&machine, &socket))
        // Its image loader leaves temporary files behind when it is killed.
        .env("TMPDIR", state)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", machine.qemu.display()))?;
    let child = pair.machine.insert(child);
    enclave.announce(child)?;
    Ok(pair)
}

/// Facts of QEMU's documentation, docs/system/i386/nitro-enclave.rst.
fn qemu_arguments(machine: &Machine, device: &Path) -> Vec<String> {
    let mut arguments = Vec::new();
    for directory in FIRMWARE {
        arguments.extend(["-L".to_owned(), directory.to_owned()]);
    }
    let accelerator = machine.accelerator.name();
    for (flag, value) in [
        (
            "-machine",
            format!("nitro-enclave,vsock=link,id=cloister,accel={accelerator}"),
        ),
        ("-cpu", "max".to_owned()),
        ("-smp", machine.cpus.to_string()),
        ("-m", format!("{}M", machine.memory_mib)),
        ("-kernel", machine.eif.display().to_string()),
        // A comma in a value is doubled.
        (
            "-chardev",
            format!(
                "socket,id=link,path={}",
                device.display().to_string().replace(',', ",,")
            ),
        ),
        // With it, QEMU looks into a queue once more than the guest has kicked it, when the driver starts. Its security
        // module then finds a request whose answer buffer the guest is about to add, and never answers again.
        ("-global", "virtio-mmio.ioeventfd=off".to_owned()),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    arguments.extend(["-nographic".to_owned(), "-no-reboot".to_owned()]);
    arguments
}

/// A program that is ended together with us; its output is the console.
fn part(program: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("host-proxy")
        .arg(PART)
        .arg(program)
        .stdin(Stdio::null())
        // Our standard error is the console's file; our standard output is a pipe to host-proxy.
        .stdout(io::stderr());
    command
}

impl Pair {
    fn wait_for(&mut self, socket: &Path) -> Result<(), String> {
        let deadline = Instant::now() + DEVICE_DEADLINE;
        while !socket.exists() {
            if let Ok(Some(status)) = self.device.try_wait() {
                return Err(format!(
                    "the vsock device ended at once ({status}); see the console"
                ));
            }
            if Instant::now() > deadline {
                return Err("the vsock device did not make its socket".to_owned());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until one has ended. How the machine has ended, whichever was first.
    fn wait(&mut self) -> io::Result<ExitStatus> {
        let Some(machine) = &mut self.machine else {
            return Err(io::Error::other("there is no machine"));
        };
        loop {
            if let Some(status) = machine.try_wait()? {
                return Ok(status);
            }
            if let Some(status) = self.device.try_wait()? {
                eprintln!("qemu enclave: the vsock device ended ({status}): the machine is ended too");
                machine.kill()?;
                return machine.wait();
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for child in self.machine.iter_mut().chain([&mut self.device]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
