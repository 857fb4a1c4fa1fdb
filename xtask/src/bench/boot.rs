//! The boot of an emulated enclave, stage by stage, beside a bare bootstrap on the same kernel and machine; and the memory
//! that a root file system costs while it is unpacked.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::tests::{Backend, Product, Up, guest, pod};
use anyhow::{Context as _, Result, bail};
use rootfs::initramfs::Compression;
use serde_json::json;

use super::{Row, median, mib, ms, ratio};
use crate::system::root;
use crate::{build, eif, vm};

/// Boots of each image; the median counts.
const BOOTS: usize = 5;
/// Of a machine that has all that it needs, MiB.
const ENOUGH_MIB: u64 = 1024;
/// A root file system that is worth measuring, bytes.
const PAYLOAD: u64 = 64 << 20;
/// Precision of the search for the least memory, MiB.
const STEP_MIB: u64 = 4;
/// When a machine that has neither booted nor ended has failed.
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// One image, and how to read its console.
struct Image {
    eif: PathBuf,
    marks: Marks,
}

/// What a console says, in this order.
struct Marks {
    started: &'static str,
    ready: &'static str,
    done: &'static str,
}

const OURS: Marks = Marks {
    started: "boot: the kernel has handed over",
    ready: "base service net is ready",
    done: "app: executing",
};
const PEER: Marks = Marks {
    started: "PID 1 runs",
    ready: "application runs",
    done: "application runs",
};

/// Milliseconds since the machine started.
struct Boot {
    started: f64,
    ready: f64,
    done: f64,
}

/// Runs everything.
pub(super) fn rows(product: &Product, scratch: &Path) -> Result<Vec<Row>> {
    let parts = vm::parts()?;
    let product = Product {
        environment: vec![
            ("CLOISTER_QEMU", parts.qemu),
            ("CLOISTER_VHOST_DEVICE_VSOCK", parts.vhost),
        ],
        ..product.clone()
    };
    let bootstrap = scratch.join("bootstrap");
    build::program(&root().join("tests/guests/bootstrap.rs"), &bootstrap)?;
    let payload = scratch.join("payload");
    write_payload(&product.proxy, &payload)?;
    let copies = |payloads: usize, directory: &str| {
        (0..payloads)
            .map(|copy| (payload.clone(), format!("{directory}/payload-{copy}")))
            .collect::<Vec<_>>()
    };
    let image = |name: &str, compression, payloads: usize| -> Result<Image> {
        let eif = scratch.join(name).with_extension("eif");
        let options = eif::Options {
            out: eif.clone(),
            init: Some(product.init.clone()),
            kernel: Some(parts.kernel.clone()),
            files: copies(payloads, "/usr/lib"),
            compression,
            ..eif::Options::default()
        };
        eif::build(&options)?;
        Ok(Image { eif, marks: OURS })
    };
    let peer = |name: &str, payloads: usize| -> Result<Image> {
        let eif = scratch.join(name).with_extension("eif");
        let mut files = copies(payloads, "/rootfs/usr/lib");
        files.push((bootstrap.clone(), "/rootfs/app".to_owned()));
        eif::build(&eif::Options {
            out: eif.clone(),
            init: Some(bootstrap.clone()),
            kernel: Some(parts.kernel.clone()),
            files,
            ..eif::Options::default()
        })?;
        Ok(Image { eif, marks: PEER })
    };
    let (small, small_peer) = (image("small", Compression::None, 0)?, peer("small-peer", 0)?);
    let mut rows = stages(&product, &small, &small_peer)?;
    rows.push(Row {
        what: "enclave image (peer: the bare bootstrap; both with the kernel)",
        ours: mib(size(&small)?),
        peer: mib(size(&small_peer)?),
        ratio: ratio(size(&small)? as f64, size(&small_peer)? as f64),
        budget: "–",
    });
    let large = image("large", Compression::None, 1)?;
    rows.extend(compression(
        &product,
        &large,
        &image("large-lz4", Compression::Lz4, 1)?,
    )?);
    let ours = [&large, &image("larger", Compression::None, 2)?];
    let peer = [&peer("large-peer", 1)?, &peer("larger-peer", 2)?];
    rows.push(memory(&product, ours, peer)?);
    Ok(rows)
}

/// As compressible as programs are.
fn write_payload(program: &Path, to: &Path) -> Result<()> {
    let mut out = File::create(to)?;
    let mut written = 0;
    while written < PAYLOAD {
        written += std::io::copy(&mut File::open(program)?.take(PAYLOAD - written), &mut out)?;
    }
    out.flush()?;
    Ok(())
}

fn size(image: &Image) -> Result<u64> {
    Ok(fs::metadata(&image.eif)?.len())
}

/// Boots both images by turns, so that a busy minute of the machine hits both.
fn by_turns(product: &Product, one: &Image, other: &Image) -> Result<[Boot; 2]> {
    let mut boots = [Vec::new(), Vec::new()];
    for _ in 0..BOOTS {
        for (image, boots) in [one, other].into_iter().zip(&mut boots) {
            boots.push(boot(product, image, ENOUGH_MIB)?.map_err(anyhow::Error::msg)?);
        }
    }
    Ok(boots.map(|boots| {
        let middle = |pick: fn(&Boot) -> f64| median(boots.iter().map(pick).collect());
        Boot {
            started: middle(|boot| boot.started),
            ready: middle(|boot| boot.ready),
            done: middle(|boot| boot.done),
        }
    }))
}

fn stages(product: &Product, ours: &Image, peer: &Image) -> Result<Vec<Row>> {
    let [ours, peer] = by_turns(product, ours, peer)?;
    let row = |what, ours: f64, peer: f64, budget| Row {
        what,
        ours: ms(ours),
        peer: ms(peer),
        ratio: ratio(ours, peer),
        budget,
    };
    Ok(vec![
        row(
            "boot, emulated: kernel start to PID 1 (peer: a bare bootstrap, as AWS's `init.c`)",
            ours.started,
            peer.started,
            "≤ 1.05",
        ),
        row(
            "boot, emulated: PID 1 to ready for a Pod (peer: to its one program's `main`)",
            ours.ready - ours.started,
            peer.ready - peer.started,
            "–",
        ),
        Row {
            what: "boot, emulated: ready to the first container (bundle, image over vsock, unpack, start)",
            ours: ms(ours.done - ours.ready),
            peer: "does none of it".to_owned(),
            ratio: "–".to_owned(),
            budget: "–",
        },
    ])
}

/// Uncompressed beside lz4: what the choice costs.
fn compression(product: &Product, plain: &Image, lz4: &Image) -> Result<Vec<Row>> {
    let [plain_boot, lz4_boot] = by_turns(product, plain, lz4)?;
    Ok(vec![
        Row {
            what: "64 MiB of programs in the image: kernel start to PID 1, uncompressed (peer: lz4)",
            ours: ms(plain_boot.started),
            peer: ms(lz4_boot.started),
            ratio: ratio(plain_boot.started, lz4_boot.started),
            budget: "≤ 1",
        },
        Row {
            what: "64 MiB of programs in the image: size of the image, uncompressed (peer: lz4)",
            ours: mib(size(plain)?),
            peer: mib(size(lz4)?),
            ratio: ratio(size(plain)? as f64, size(lz4)? as f64),
            budget: "–",
        },
    ])
}

/// How much more memory a machine needs, at the least, when its root file system has the payload twice. (Without any
/// payload it is something else that sets the least memory.)
fn memory(product: &Product, ours: [&Image; 2], peer: [&Image; 2]) -> Result<Row> {
    let growth = |[small, large]: [&Image; 2]| -> Result<f64> {
        let least = [least_memory(product, small)?, least_memory(product, large)?];
        eprintln!("xtask: least memory {least:?} MiB");
        Ok((least[1] - least[0]) as f64 / (PAYLOAD >> 20) as f64)
    };
    let (ours, peer) = (growth(ours)?, growth(peer)?);
    Ok(Row {
        what: "peak memory at boot for each byte of the root file system (peer: a bare bootstrap)",
        ours: format!("{ours:.2}"),
        peer: format!("{peer:.2}"),
        ratio: ratio(ours, peer),
        budget: "≤ 2.2",
    })
}

/// The least memory that an image boots with, MiB.
fn least_memory(product: &Product, image: &Image) -> Result<u64> {
    let (mut too_little, mut enough) = (0, ENOUGH_MIB);
    while enough - too_little > STEP_MIB {
        let middle = (too_little + enough) / 2 / STEP_MIB * STEP_MIB;
        match boot(product, image, middle)? {
            Ok(_) => enough = middle,
            Err(_) => too_little = middle,
        }
    }
    Ok(enough)
}

/// Boots a machine to its first program; the inner error is what was said when it did not come so far.
fn boot(product: &Product, image: &Image, memory_mib: u64) -> Result<Result<Boot, String>> {
    let product = Product {
        backend: Backend::Qemu {
            eif: image.eif.clone(),
        },
        ..product.clone()
    };
    let spec = json!({"containers": [guest("app", &["sleep"])], "terminationGracePeriodSeconds": 0});
    let memory = memory_mib.to_string();
    let mut up = Up::start(&product, &[pod(spec)], &["--memory", &memory]);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let ended = up.has_ended();
        let console = up.console();
        // A kernel that cannot unpack all of its initramfs goes on with a part of it.
        let whole = !console.contains("Initramfs unpacking failed");
        if whole && console.contains(image.marks.done) {
            return Ok(Ok(read(&console, &image.marks)?));
        }
        if !whole || ended || Instant::now() > deadline {
            let eif = image.eif.display();
            return Ok(Err(format!("{eif} does not boot:\n{}{console}", up.stderr())));
        }
        std::thread::sleep(LOOK);
    }
}

fn read(console: &str, marks: &Marks) -> Result<Boot> {
    let at = |mark: &str| -> Result<f64> {
        let Some(line) = console.lines().find(|line| line.contains(mark)) else {
            bail!("no line {mark:?} on the console:\n{console}");
        };
        let seconds = line
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse::<f64>().ok());
        Ok(seconds.with_context(|| format!("no time in {line:?}"))? * 1000.0)
    };
    Ok(Boot {
        started: at(marks.started)?,
        ready: at(marks.ready)?,
        done: at(marks.done)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consoles_are_read() {
        let console = "\
            cloister-init[pid1] 1.250 INFO boot: the kernel has handed over; leaving the initramfs\n\
            cloister-init[pid1] 1.500 INFO base service net is ready\n\
            cloister-init[pid1] 2.000 INFO app: executing 9.5 ms after its spawn\n";
        let boot = read(console, &OURS).unwrap();
        assert_eq!((boot.started, boot.ready, boot.done), (1250.0, 1500.0, 2000.0));
        assert!(read("", &OURS).is_err());
    }
}
