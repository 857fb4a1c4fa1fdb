//! The parent's side of the heartbeat (`nitro-cli` does the same on EC2): the guest connects to port 9000 and sends one
//! byte, which is sent back.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Port of the parent.
const PORT: u32 = 9000;
/// How long a guest may take to send its byte.
const DEADLINE: Duration = Duration::from_secs(10);

/// Answers heartbeats of the guest behind `link`, on a thread of its own, as long as this process lives. The first one
/// makes the file `booted`.
pub(super) fn answer(link: &Path, booted: PathBuf) -> io::Result<()> {
    let mut path = link.as_os_str().to_owned();
    path.push(format!("_{PORT}"));
    super::remove(Path::new(&path))?;
    let listener = UnixListener::bind(&path)?;
    std::thread::Builder::new()
        .name("heartbeat".to_owned())
        .spawn(move || {
            for connection in listener.incoming().flatten() {
                let mut connection = connection;
                let mut beat = [0];
                let answered = connection
                    .set_read_timeout(Some(DEADLINE))
                    .and_then(|()| connection.read_exact(&mut beat))
                    .and_then(|()| connection.write_all(&beat))
                    .and_then(|()| fs::write(&booted, ""));
                if answered.is_ok() {
                    eprintln!("qemu enclave: the guest has booted");
                }
            }
        })?;
    Ok(())
}
