//! The security module of a local enclave: software, in the launcher, at a Unix socket that only the enclave sees. It measures
//! what this back-end starts as the platform measures an image. Its root is made once for a state directory and kept there,
//! so that a verifier or a broker which was given it goes on believing; nobody else does.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use attest::UnixTime;
use attest::document::issue::{Authority, IssueError, Key};
use attest::nsm::{PcrValue, Platform, SoftwareModule, serve};
use manifest_sync::digest::BundleDigest;
use manifest_sync::measurement::Measurement;
use serde_json::json;

use super::{POLICY, configuration};

/// Files of the state directory. The socket is the enclave's.
pub(super) const SOCKET: &str = "nsm.sock";
/// The root's certificate, for verifiers.
const ROOT_PEM: &str = "nsm-root.pem";
/// The root's certificate and private key, for the next module.
const ROOT: &str = "nsm-root.der";
const KEY: &str = "nsm-root.key";
/// What is measured, as `nitro-cli build-enclave` says it.
const MEASUREMENTS: &str = "measurements.json";

/// Boots a module for the enclave that is about to start, and answers at its socket for as long as this process lives.
pub(super) fn start(state: &Path, init: &Path) -> io::Result<()> {
    let image = measure(
        &fs::read(init)?,
        &configuration()?,
        &fs::read(state.join(POLICY))?,
    );
    let module = SoftwareModule::boot_under(authority(state)?, &Platform::of_image(image))
        .map_err(io::Error::other)?;
    fs::write(state.join(ROOT_PEM), module.root_pem())?;
    let hex = |value: &PcrValue| manifest_sync::digest::hex(value);
    let [pcr0, pcr1, pcr2] = &image;
    let measurements = json!({
        "Measurements": {
            "HashAlgorithm": "Sha384 { ... }",
            "PCR0": hex(pcr0),
            "PCR1": hex(pcr1),
            "PCR2": hex(pcr2),
        }
    });
    fs::write(state.join(MEASUREMENTS), format!("{measurements:#}\n"))?;
    let socket = state.join(SOCKET);
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    let module = Arc::new(module);
    std::thread::Builder::new()
        .name("security-module".to_owned())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let module = Arc::clone(&module);
                // One connection: the enclave's. When it ends, nobody can come back for the module.
                std::thread::spawn(move || serve(&stream, &*module));
            }
        })?;
    Ok(())
}

/// PCR0, 1 and 2 of a local enclave, after the pattern of an image's: everything; the program; what configures it.
pub(super) fn measure(init: &[u8], configuration: &[u8], policy: &[u8]) -> [PcrValue; 3] {
    let value = |index, parts: &[&[u8]]| {
        let data = *BundleDigest::of(&parts.concat()).as_bytes();
        Measurement { index, data }.value()
    };
    [
        value(0, &[init, configuration, policy]),
        value(1, &[init]),
        value(2, &[configuration, policy]),
    ]
}

/// The root of this state directory; a new one when there is none that can be read.
fn authority(state: &Path) -> io::Result<Authority> {
    let (key_path, root_path) = (state.join(KEY), state.join(ROOT));
    let kept = || -> Option<Authority> {
        let key = Key::from_pkcs8(&fs::read(&key_path).ok()?).ok()?;
        Authority::restore(key, fs::read(&root_path).ok()?).ok()
    };
    if let Some(authority) = kept() {
        return Ok(authority);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let authority = Authority::new(UnixTime::from_seconds(0).plus(now))
        .map_err(|error: IssueError| io::Error::other(error))?;
    write_private(&key_path, authority.key().pkcs8().expose())?;
    fs::write(&root_path, authority.root())?;
    Ok(authority)
}

fn write_private(path: &PathBuf, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_register_depends_on_its_part() {
        let [all, program, rest] = measure(b"init", b"config", b"policy");
        let [other_all, same, other_rest] = measure(b"init", b"config", b"polica");
        assert_ne!(all, other_all);
        assert_eq!(program, same);
        assert_ne!(rest, other_rest);
        let [_, other_program, same] = measure(b"inis", b"config", b"policy");
        assert_ne!(program, other_program);
        assert_eq!(rest, same);
    }

    #[test]
    fn a_state_directory_keeps_its_root() {
        let state = tempfile::tempdir().expect("a directory");
        let root = |state: &Path| authority(state).expect("a root").root().to_vec();
        let first = root(state.path());
        assert_eq!(root(state.path()), first);
        fs::write(state.path().join(KEY), "garbage").expect("written");
        assert_ne!(root(state.path()), first);
    }
}
