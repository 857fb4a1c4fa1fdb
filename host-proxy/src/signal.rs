//! SIGINT and SIGTERM → Stop. Once: gracefully. Twice: at once. Three times: this process goes, whatever the enclave
//! does.

use std::future::Future;
use std::io;

use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::announce::say;
use crate::control::Request;

/// Sends wishes for signals from now on; the future resolves at the third one.
pub fn watch(wishes: mpsc::Sender<Request>) -> io::Result<impl Future<Output = ()>> {
    let (read, write) = std::os::unix::net::UnixStream::pair()?;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        signal_hook::low_level::pipe::register(signal as i32, write.try_clone()?)?;
    }
    read.set_nonblocking(true)?;
    let mut signals = UnixStream::from_std(read)?;
    let (abandon, abandoned) = oneshot::channel();
    tokio::spawn(async move {
        let mut abandon = Some(abandon);
        let mut count = 0;
        while signals.read_u8().await.is_ok() {
            count += 1;
            match count {
                1 => {
                    say("stopping; once more stops at once");
                    let _ = wishes.try_send(Request::Stop { grace: None });
                }
                2 => {
                    say("stopping at once");
                    let _ = wishes.try_send(Request::Stop { grace: Some(0) });
                }
                _ => drop(abandon.take().map(|abandon| abandon.send(()))),
            }
        }
    });
    Ok(async move {
        if abandoned.await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
