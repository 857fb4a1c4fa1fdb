//! One request of an enclave → one answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::{Answer, Server};
use crate::broker::decide::{Caller, Moment};
use crate::hex::Hex;
use crate::random::random_bytes;
use crate::release::{
    MAX_REQUEST, NONCE_PATH, NonceAnswer, Refusal, RefusalCode, SECRETS_PATH, SecretsAnswer,
};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// Under which name a request is in the audit log.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

#[derive(Debug, Clone, Copy)]
enum Endpoint {
    Nonce,
    Secrets,
}

pub(super) async fn answer(request: Request<Incoming>, server: &Arc<Server>, peer: SocketAddr) -> Answer {
    let endpoint = match request.uri().path() {
        NONCE_PATH => Endpoint::Nonce,
        SECRETS_PATH => Endpoint::Secrets,
        _ => {
            let message = format!("there are {NONCE_PATH} and {SECRETS_PATH}\n");
            return text(StatusCode::NOT_FOUND, message);
        }
    };
    if request.method() != Method::POST {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n".to_owned());
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return answer;
    }
    match judged(request, endpoint, server, peer).await {
        Ok(answer) => answer,
        Err((status, refusal)) => {
            server.broker.turned_away(&refusal);
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            // Both answers say no in the same words.
            json(status, SecretsAnswer::Refused(refusal).to_json())
        }
    }
}

/// What is refused before anybody looks at the request: a status of HTTP and a refusal.
type TurnedAway = (u16, Refusal);

fn away(code: RefusalCode, why: &str) -> TurnedAway {
    (code.status(), Refusal::new(code, why))
}

async fn judged(
    request: Request<Incoming>,
    endpoint: Endpoint,
    server: &Arc<Server>,
    peer: SocketAddr,
) -> Result<Answer, TurnedAway> {
    if !server.rate.allows(peer.ip(), Instant::now()) {
        return Err(away(
            RefusalCode::RateLimited,
            "too many requests from this address; ask again in some seconds",
        ));
    }
    let body = body(request.into_body(), server).await?;
    match endpoint {
        Endpoint::Nonce => {
            let answer = server.broker.nonce(&body, Moment::now());
            let status = match &answer {
                NonceAnswer::Nonce { .. } => 200,
                NonceAnswer::Refused(refusal) => refusal.code.status(),
            };
            Ok(json(code(status), answer.to_json()))
        }
        Endpoint::Secrets => secrets(body, server, peer).await,
    }
}

async fn body(body: Incoming, server: &Arc<Server>) -> Result<Bytes, TurnedAway> {
    let too_long = || {
        let why = format!("the body has more than {MAX_REQUEST} bytes");
        (413, Refusal::new(RefusalCode::Malformed, &why))
    };
    // Before a byte of it is read.
    if body.size_hint().lower() > u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX) {
        return Err(too_long());
    }
    let collected = Limited::new(body, MAX_REQUEST).collect();
    match tokio::time::timeout(server.limits.body, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(away(RefusalCode::Malformed, "the body ended early")),
        Err(_) => {
            let why = "the body did not arrive in time";
            Err((408, Refusal::new(RefusalCode::Malformed, why)))
        }
    }
}

async fn secrets(body: Bytes, server: &Arc<Server>, peer: SocketAddr) -> Result<Answer, TurnedAway> {
    let busy = || away(RefusalCode::Unavailable, "the broker is busy; ask again");
    let turn = tokio::time::timeout(server.limits.turn, server.verifications.clone().acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(busy());
    };
    let name: [u8; 8] = random_bytes().map_err(|_| busy())?;
    let request = Hex(&name).to_string();
    let header = HeaderValue::from_str(&request);
    let broker = server.broker.clone();
    let judging = tokio::task::spawn_blocking(move || {
        // Until the work is done, even when the client has gone.
        let _turn = turn;
        let caller = Caller { peer, request };
        let answer = broker.secrets(&body, caller, Moment::now());
        let status = match &answer {
            SecretsAnswer::Sealed(_) => 200,
            SecretsAnswer::Refused(refusal) => refusal.code.status(),
        };
        (status, answer.to_json())
    });
    let (status, body) = judging.await.map_err(|_| busy())?;
    let mut answer = json(code(status), body);
    if let Ok(header) = header {
        answer.headers_mut().insert(REQUEST_ID, header);
    }
    Ok(answer)
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn json(status: StatusCode, body: Vec<u8>) -> Answer {
    whole(status, JSON, body)
}

pub(super) fn text(status: StatusCode, text: String) -> Answer {
    whole(status, TEXT, text.into_bytes())
}

pub(super) fn whole(status: StatusCode, media_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    answer.headers_mut().insert(CONTENT_TYPE, media_type);
    answer
}
