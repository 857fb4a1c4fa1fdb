//! Streams opened ahead of need. A Pod that reaches nothing has none, one that reaches something seldom has one; each time most
//! of them are taken the number that is kept doubles, so that a connection of a busy Pod never waits for a stream.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use manifest_sync::config::DATA_PORT;
use manifest_sync::link::{StreamKind, read_target};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Egress;
use crate::enclave::Enclave;
use crate::view::{Link, View};

/// Most streams that wait.
const MOST: u64 = 32;
/// First pause after a stream that could not be opened; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause: an enclave whose Pod may reach nothing is asked again so seldom.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What became of a stream.
enum News {
    /// It waits in the enclave.
    Waits,
    /// A connection took it.
    Taken,
    /// It could not be opened, or ended unused.
    Ended(String),
}

/// Keeps streams waiting until nobody needs the view any more.
pub(super) async fn keep(egress: &Egress, enclave: &Enclave, mut view: View) {
    let (sender, mut news) = mpsc::channel(64);
    let (mut kept, mut wanted) = (0_u64, 1_u64);
    let mut pause = FIRST_PAUSE;
    let mut not_before = Instant::now();
    loop {
        let (session, has_pod) = {
            let view = view.borrow_and_update();
            let connected = view.link == Link::Connected;
            (view.session.clone().filter(|_| connected), view.report.is_some())
        };
        if let Some(session) = session.filter(|_| has_pod && Instant::now() >= not_before) {
            while kept < wanted {
                kept += 1;
                let (egress, enclave) = (egress.clone(), enclave.clone());
                let (session, sender) = (session.clone(), sender.clone());
                tokio::task::spawn_local(wait(egress, enclave, session, sender));
            }
        }
        egress.inner.idle.store(kept, Relaxed);
        tokio::select! {
            Some(news) = news.recv() => match news {
                News::Waits => pause = FIRST_PAUSE,
                News::Taken => {
                    kept -= 1;
                    if kept * 2 < wanted {
                        wanted = (wanted * 2).min(MOST);
                    }
                }
                News::Ended(reason) => {
                    kept -= 1;
                    log::debug!("egress: no stream: {reason}");
                    if Instant::now() >= not_before {
                        not_before = Instant::now() + pause;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            },
            () = tokio::time::sleep_until(not_before), if Instant::now() < not_before => {}
            changed = view.changed() => if changed.is_err() { return },
        }
    }
}

/// Opens a stream, waits for a connection, carries it.
async fn wait(egress: Egress, enclave: Enclave, session: String, news: mpsc::Sender<News>) {
    let opened = enclave
        .open(DATA_PORT, Some(session), StreamKind::Egress {})
        .await;
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(error) => return drop(news.send(News::Ended(error.to_string())).await),
    };
    let _ = news.send(News::Waits).await;
    match read_target(&mut stream).await {
        Ok(target) => {
            let _ = news.send(News::Taken).await;
            egress.carry(stream, &target).await;
        }
        Err(error) => drop(news.send(News::Ended(error.to_string())).await),
    }
}
