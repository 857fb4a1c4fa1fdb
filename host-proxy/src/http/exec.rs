//! `POST /exec`: the connection becomes an exec stream of the enclave. Nothing of it is read here: what is executed is
//! between the client and the enclave, which decides.

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use manifest_sync::config::CONTROL_PORT;
use manifest_sync::exec::CHUNK_BYTES;
use manifest_sync::link::{StreamKind, StreamReply};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Site;
use super::answer::{Answer, message};
use super::body::AnswerBody;
use crate::enclave::OpenError;

/// What the connection becomes (RFC 9110, section 7.8).
pub const PROTOCOL: &str = "cloister-exec";

/// Opens the stream, then says that the connection is one.
pub(super) async fn exec(request: Request<Incoming>, site: &Site) -> Answer {
    if request
        .headers()
        .get(UPGRADE)
        .is_none_or(|upgrade| upgrade != PROTOCOL)
    {
        return message(StatusCode::BAD_REQUEST, format!("it takes `Upgrade: {PROTOCOL}`"));
    }
    let Some(session) = site.view.borrow().session.clone() else {
        return message(StatusCode::SERVICE_UNAVAILABLE, "the enclave is not connected");
    };
    let open = site
        .enclave
        .open(CONTROL_PORT, Some(session), StreamKind::Exec {});
    let stream = match open.await {
        Ok(stream) => stream,
        Err(error @ OpenError::Refused(StreamReply::NoExec)) => {
            return message(StatusCode::CONFLICT, error.to_string());
        }
        Err(error) => return message(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    };
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(client) => relay(TokioIo::new(client), stream).await,
            Err(error) => log::debug!("exec: {error}"),
        }
    });
    let mut answer = Response::new(AnswerBody::Whole(None));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    answer
}

/// Until either side has ended: a half-close means nothing on such a stream, and a client that is gone has to be seen there.
/// An enclave that reads no more has not ended: how the command did is on its way still.
async fn relay(client: impl AsyncRead + AsyncWrite, enclave: impl AsyncRead + AsyncWrite) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_enclave, mut to_enclave) = tokio::io::split(enclave);
    let outward = async {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            // What nobody reads goes nowhere.
            let _ = to_enclave
                .write_all(buffer.get(..count).unwrap_or_default())
                .await;
        }
    };
    tokio::select! {
        () = outward => log::debug!("exec: the client has gone"),
        ended = tokio::io::copy(&mut from_enclave, &mut to_client) => {
            let _ = to_client.shutdown().await;
            log::debug!("exec: the stream has ended: {ended:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_enclave_said_last_arrives_although_it_reads_no_more() {
        for _ in 0..50 {
            let (mut client, proxy) = tokio::io::duplex(1 << 20);
            let (mut enclave, stream) = tokio::io::duplex(64);
            enclave.write_all(b"exited").await.expect("room");
            drop(enclave);
            client.write_all(&[0; 1 << 16]).await.expect("room");
            relay(proxy, stream).await;
            let mut said = Vec::new();
            client.read_to_end(&mut said).await.expect("bytes");
            assert_eq!(said, b"exited");
        }
    }
}
