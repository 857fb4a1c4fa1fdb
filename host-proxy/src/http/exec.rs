//! `POST /exec`: the connection becomes an exec stream of the enclave. Nothing of it is read here: what is executed is
//! between the client and the enclave, which decides.

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use manifest_sync::config::CONTROL_PORT;
use manifest_sync::link::{Stream, StreamKind, StreamReply};

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
            Ok(client) => relay(client, stream).await,
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

/// Until either side ends: a half-close means nothing on such a stream, and a client that is gone has to be seen there.
async fn relay(client: Upgraded, stream: Stream) {
    let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
    let (mut from_enclave, mut to_enclave) = tokio::io::split(stream);
    let ended = tokio::select! {
        ended = tokio::io::copy(&mut from_client, &mut to_enclave) => ended,
        ended = tokio::io::copy(&mut from_enclave, &mut to_client) => ended,
    };
    log::debug!("exec: the stream has ended: {ended:?}");
}
