//! What `cargo xtask bench relay` runs beside the product: the relays to compare it with, and the clients.
#![forbid(unsafe_code)]

mod clients;
mod fair;
mod process;
mod relays;

use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const HELP: &str = "\
relay-bench relay splice|tokio|ours LISTEN TARGET    LISTEN, TARGET: a port of 127.0.0.1, or the path of a Unix socket
relay-bench bulk in|out PORT MILLISECONDS PROCESS... PROCESS: a pid; +pid: with all below it
relay-bench connections CLIENTS PORT MILLISECONDS
relay-bench ping BYTES idle|busy PORT MILLISECONDS
relay-bench fair PORT MILLISECONDS PAIRS
relay-bench idle COUNT PORT                          until its standard input ends";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let time = |text: &str| text.parse().map(Duration::from_millis);
    let answer = match words.as_slice() {
        ["relay", kind, listen, target] => return relays::run(kind, &listen.parse()?, &target.parse()?),
        ["bulk", "in", port, window, processes @ ..] => {
            clients::bulk_in(port.parse()?, time(window)?, processes)?
        }
        ["bulk", "out", port, window, processes @ ..] => {
            clients::bulk_out(port.parse()?, time(window)?, processes)?
        }
        ["connections", count, port, window] => {
            clients::connections(count.parse()?, port.parse()?, time(window)?)?
        }
        ["ping", bytes, beside @ ("idle" | "busy"), port, window] => {
            clients::ping(bytes.parse()?, *beside == "busy", port.parse()?, time(window)?)?
        }
        ["fair", port, window, pairs] => fair::fair(port.parse()?, time(window)?, pairs.parse()?)?,
        ["idle", count, port] => return clients::idle(count.parse()?, port.parse()?),
        _ => bail!("{HELP}"),
    };
    println!("{answer}");
    Ok(())
}
