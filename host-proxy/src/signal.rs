//! SIGINT and SIGTERM → Stop. Once: gracefully. Twice: at once. Three times: this process goes, whatever the enclave
//! does. SIGHUP → what this process was started with is read again and sent as an update.

use std::future::Future;
use std::io;

use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::announce::say;
use crate::client::rejected;
use crate::control::{ApplyError, Intent, Request};
use crate::serving::Reload;
use crate::table::escape;

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

/// On SIGHUP, as a daemon reads its configuration again: the update goes to the enclave, and what comes of it is said.
pub fn update_on_hangup(wishes: mpsc::Sender<Request>, reload: Reload) -> io::Result<()> {
    let (read, write) = std::os::unix::net::UnixStream::pair()?;
    signal_hook::low_level::pipe::register(Signal::SIGHUP as i32, write)?;
    read.set_nonblocking(true)?;
    let mut signals = UnixStream::from_std(read)?;
    tokio::task::spawn_local(async move {
        while signals.read_u8().await.is_ok() {
            say(&update(&wishes, &reload).await);
        }
    });
    Ok(())
}

/// What came of it, in words.
async fn update(wishes: &mpsc::Sender<Request>, reload: &Reload) -> String {
    let bundle = match reload() {
        Ok(bundle) => bundle,
        Err(failure) => return format!("not updated: {failure}"),
    };
    let (reply, verdict) = oneshot::channel();
    let wish = Request::Apply {
        bundle,
        intent: Intent::Change,
        reply,
    };
    if wishes.send(wish).await.is_err() {
        return "not updated: the proxy is ending".to_owned();
    }
    match verdict.await {
        Ok(Ok(applied)) => format!("updated {}", escape(&applied.digest)),
        Ok(Err(ApplyError::Rejected(rejection))) => format!("not updated: {}", rejected(&rejection)),
        Ok(Err(error)) => format!("not updated: {}", escape(&error.to_string())),
        Err(_) => "the enclave was lost before it has answered: see `host-proxy status`".to_owned(),
    }
}
