//! Prints what it finds at `/dev/nsm`, one fact a line, for the tests in a virtual machine: with `protocol` it makes every
//! request once, which leaves no register for a bundle; with `measured` it looks at what PID 1 has made of them.

use std::error::Error;

use attest::nsm::{ErrorCode, Nsm, NsmError};
use ring::digest::{Context, SHA384};

/// A PCR that nobody measures into.
const OWN: u16 = 20;
/// Where the kernel says which source of entropy it uses.
const RNG: &str = "/sys/devices/virtual/misc/hw_random/rng_current";
/// The Pod's cgroup, which is there once a Pod was accepted.
const POD: &str = "/sys/fs/cgroup/pod";
/// What is read there.
const FILES: [&str; 4] = ["cpu.max", "cpu.weight", "memory.max", "pids.max"];

fn main() {
    let mode = std::env::args().nth(1);
    let done = match mode.as_deref() {
        Some("protocol") => protocol(),
        Some("measured") => measured(),
        other => Err(format!("no mode {other:?}").into()),
    };
    match done {
        Ok(()) => println!("probe: done"),
        Err(error) => println!("probe: failed: {error}"),
    }
    notify();
    // A base service that ends is started again, and PCRs are locked by now.
    loop {
        std::thread::park();
    }
}

/// Tells PID 1 that we are ready.
fn notify() {
    let number = std::env::var("NOTIFY_FD").unwrap_or_default();
    let _ = std::fs::write(format!("/proc/self/fd/{number}"), "1");
}

/// Every request once, on registers that nobody has used.
fn protocol() -> Result<(), Box<dyn Error>> {
    let nsm = Nsm::open()?;
    let description = nsm.describe()?;
    println!("probe: {} PCRs of {}", description.max_pcrs, description.digest);
    println!("probe: module id is {} bytes", description.module_id.len());
    for index in 0..3 {
        let pcr = nsm.describe_pcr(index)?;
        println!("probe: PCR{index} {} {}", lock(pcr.locked), hex(&pcr.value));
    }
    let before = nsm.describe_pcr(OWN)?;
    println!("probe: PCR{OWN} {} {}", lock(before.locked), hex(&before.value));
    let extended = nsm.extend_pcr(OWN, b"measured")?;
    let mut expected = Context::new(&SHA384);
    expected.update(&before.value);
    expected.update(b"measured");
    println!("probe: extend is {}", extended == expected.finish().as_ref());
    nsm.lock_pcr(OWN)?;
    println!(
        "probe: extend after lock: {}",
        refusal(nsm.extend_pcr(OWN, b"more"))
    );
    println!("probe: lock of PCR0: {}", refusal(nsm.lock_pcr(0)));
    println!("probe: PCR32: {}", refusal(nsm.describe_pcr(32)));
    println!("probe: lock of 33 PCRs: {}", refusal(nsm.lock_pcrs(33)));
    nsm.lock_pcrs(32)?;
    println!("probe: {} PCRs are locked", nsm.describe()?.locked_pcrs.len());
    println!(
        "probe: extend of the last: {}",
        refusal(nsm.extend_pcr(31, b"more"))
    );
    let (one, other) = (nsm.random()?, nsm.random()?);
    println!("probe: random {} bytes, fresh {}", one.len(), one != other);
    let document = nsm.attest(Some(b"user data"), Some(b"nonce"), None)?;
    let holds = |wanted: &[u8]| document.windows(wanted.len()).any(|window| window == wanted);
    println!(
        "probe: document holds what it was given: {}",
        holds(b"user data") && holds(b"nonce")
    );
    println!("probe: entropy {}", std::fs::read_to_string(RNG)?.trim());
    Ok(())
}

/// What the registers hold once PID 1 has measured a bundle.
fn measured() -> Result<(), Box<dyn Error>> {
    let nsm = Nsm::open()?;
    notify();
    while std::fs::metadata(POD).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    for index in [16, 17, 18, 31] {
        let pcr = nsm.describe_pcr(index)?;
        println!("probe: PCR{index} {} {}", lock(pcr.locked), hex(&pcr.value));
        println!(
            "probe: extend of PCR{index}: {}",
            refusal(nsm.extend_pcr(index, b"more"))
        );
    }
    println!("probe: {} PCRs are locked", nsm.describe()?.locked_pcrs.len());
    println!(
        "probe: device node is there: {}",
        std::fs::metadata(attest::nsm::PATH).is_ok()
    );
    let mut known = [const { String::new() }; FILES.len()];
    // A resize changes them.
    loop {
        for (name, known) in FILES.iter().zip(&mut known) {
            let value = std::fs::read_to_string(format!("{POD}/{name}"));
            let value = value.as_deref().map_or("absent", str::trim);
            if value != known {
                println!("probe: pod {name} {value}");
                value.clone_into(known);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn lock(locked: bool) -> &'static str {
    if locked { "locked" } else { "open" }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refusal<T>(result: Result<T, NsmError>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(NsmError::Refused(code)) => name(code),
        Err(error) => error.to_string(),
    }
}

fn name(code: ErrorCode) -> String {
    format!("{code:?}")
}
