//! Files that flags name, with a limit on each.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use attest::Secret;
use attest::broker::{BrokerPolicy, MAX_POLICY};
use attest::document::Root;
use attest::release::BrokerKey;

use crate::exit::{Exit, Failure};

/// Most bytes of a key or a root.
const MAX_FILE: usize = 64 << 10;

/// A file in a buffer that is wiped; one byte more than `most` when it is longer.
fn read(path: &Path, most: usize) -> Result<Secret, Failure> {
    let wrong = |what: String| Failure::new(Exit::NoInput, format!("{}: {what}", path.display()));
    // A buffer that grows would leave copies of a key behind.
    let mut bytes = Vec::with_capacity(most + 2);
    let opened = File::open(path).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes));
    let length = opened.map_err(|error| wrong(format!("cannot read: {error}")));
    let bytes = Secret::new(bytes);
    match length? {
        length if length > most => Err(wrong(format!("has more than {most} bytes"))),
        _ => Ok(bytes),
    }
}

/// The broker's private key.
pub(crate) fn key(path: &Path) -> Result<BrokerKey, Failure> {
    let text = read(path, MAX_FILE)?;
    BrokerKey::from_pem(text.expose())
        .map_err(|error| Failure::new(Exit::NoInput, format!("{}: {error}", path.display())))
}

/// The policy, with AWS's root, or these, for rules that name none.
pub(crate) fn policy(path: &Path, roots: &[PathBuf]) -> Result<BrokerPolicy, Failure> {
    let roots = match roots {
        [] => Root::aws(),
        paths => {
            let roots: Result<Vec<_>, _> = paths.iter().map(|path| root(path)).collect();
            roots?.concat()
        }
    };
    let bytes = read(path, MAX_POLICY)?;
    BrokerPolicy::parse(bytes.expose(), &roots).map_err(|mistakes| {
        let text = mistakes.to_string();
        let lines: Vec<_> = text
            .lines()
            .map(|line| format!("{}: {line}", path.display()))
            .collect();
        Failure::new(Exit::Data, lines.join("\n"))
    })
}

fn root(path: &Path) -> Result<Vec<Root>, Failure> {
    let bytes = read(path, MAX_FILE)?;
    let roots = match bytes.expose().first() {
        Some(0x30) => Root::from_der(bytes.expose()).map(|root| vec![root]),
        _ => Root::from_pem(bytes.expose()),
    };
    roots.map_err(|error| Failure::new(Exit::NoInput, format!("{}: {error}", path.display())))
}
