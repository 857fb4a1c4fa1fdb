//! What changes, as short lines on standard error while `up` or `serve` runs.

use std::io::Write as _;

use crate::table::{changes, escape};
use crate::view::{Link, View};

/// Prints one line on standard error; `eprintln!` would panic when nobody reads there.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints changes until no news will come.
pub async fn announce(mut view: View) {
    let mut known = None;
    let mut connected = false;
    loop {
        let snapshot = view.borrow_and_update().clone();
        match (&snapshot.link, connected) {
            (Link::Connected, false) => connected = true,
            (Link::Connecting { reason }, true) => {
                connected = false;
                say(&format!(
                    "the connection to the enclave is lost: {}; trying again",
                    escape(reason)
                ));
            }
            _ => {}
        }
        if let Some(report) = snapshot.report {
            for line in changes(known.as_ref(), &report) {
                say(&line);
            }
            known = Some(report);
        }
        if view.changed().await.is_err() {
            return;
        }
    }
}
