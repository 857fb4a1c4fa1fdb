//! The heartbeat of a Nitro enclave: `nitro-cli` waits for a connection to port 9000 of the parent with one byte, which
//! it sends back, and ends an enclave that stays silent (aws-nitro-enclaves-sdk-bootstrap, `init.c`).

use std::io;
use std::time::Duration;

use manifest_sync::link::{Address, dial};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Port of the parent.
const PORT: u32 = 9000;
/// The byte, both ways.
const BEAT: u8 = 0xb7;
/// How long a parent may take. A CID that nobody has refuses at once.
const DEADLINE: Duration = Duration::from_secs(10);

/// Tells the parent that we have booted, wherever it is: a CID that nobody has may take seconds to say so, and must not delay
/// the others. A parent that does not want to know is no reason to end.
pub(super) async fn send(parent_cids: Vec<u32>) {
    let mut tries = tokio::task::JoinSet::new();
    for cid in parent_cids {
        tries.spawn_local(async move {
            let answer = tokio::time::timeout(DEADLINE, beat(cid)).await;
            (
                cid,
                answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            )
        });
    }
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok((cid, Ok(()))) => return log::info!("heartbeat: the parent at CID {cid} answered"),
            Ok((cid, Err(error))) => log::debug!("heartbeat: CID {cid}: {error}"),
            Err(error) => log::debug!("heartbeat: {error}"),
        }
    }
    log::info!("heartbeat: no parent listens on port {PORT}");
}

async fn beat(cid: u32) -> io::Result<()> {
    let parent = Address::Vsock { cid: Some(cid) };
    let mut stream = dial(&parent, PORT, DEADLINE).await?;
    stream.write_all(&[BEAT]).await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await?;
    if answer == [BEAT] {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the parent answered with another byte",
        ))
    }
}
