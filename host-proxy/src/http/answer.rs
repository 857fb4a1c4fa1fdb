//! One request → one answer.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use manifest_sync::frame::MAX_BUNDLE_BYTES;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::body::AnswerBody;
use super::{Access, Site};
use crate::cli::LogFormat;
use crate::control::{self, ApplyError, Intent};
use crate::logs::{Raw, Reader, Step, Style};
use crate::metrics;
use crate::view::StatusAnswer;

/// The control task goes through its loop at least every few seconds; this much later it hangs.
const ALIVE_WITHIN: Duration = Duration::from_secs(30);
/// How long a bundle may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the enclave may take to judge a bundle.
const APPLY_TIMEOUT: Duration = Duration::from_secs(50);

/// Bytes of a condition: its texts, each perhaps escaped.
const MAX_CONDITION_BYTES: usize = 64 << 10;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

pub(super) type Answer = Response<AnswerBody>;

/// Answers one request. `follows` is set when the answer has no end of its own.
pub(super) async fn answer(
    request: Request<Incoming>,
    site: &Site,
    access: Access,
    follows: &AtomicBool,
) -> Answer {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET | &Method::HEAD, "/livez") => livez(site),
        (&Method::GET | &Method::HEAD, "/readyz") => match site.view.borrow().ready() {
            Ok(()) => text(StatusCode::OK, "ok\n"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        (&Method::GET, "/status") => {
            let answer = StatusAnswer::from(&*site.view.borrow());
            json(StatusCode::OK, &answer)
        }
        (&Method::GET, "/events") => {
            let events: Vec<_> = site.view.borrow().events.iter().cloned().collect();
            json(StatusCode::OK, &events)
        }
        (&Method::GET, "/metrics") => {
            let made = metrics::text(
                &site.view.borrow(),
                &site.ingress.counts(),
                &site.egress.counts(),
                &site.ingress.room(),
                &site.logs.counts(),
            );
            let accepts = request
                .headers()
                .get(ACCEPT)
                .and_then(|value| value.to_str().ok());
            let open = accepts.is_some_and(|accepts| accepts.contains("application/openmetrics-text"));
            match made {
                Ok(made) if open => whole(StatusCode::OK, metrics::MEDIA_TYPE, made.into()),
                Ok(made) => whole(
                    StatusCode::OK,
                    metrics::PLAIN_MEDIA_TYPE,
                    metrics::plain(&made).into(),
                ),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            }
        }
        (&Method::GET, "/logs") => logs(site, &query, follows),
        (&Method::POST, "/apply") if access == Access::Full => apply(request, site, Intent::Begin).await,
        (&Method::POST, "/update") if access == Access::Full => apply(request, site, Intent::Change).await,
        (&Method::POST, "/stop") if access == Access::Full => stop(site, &query).await,
        (&Method::POST, "/condition") if access == Access::Full => condition(request, site).await,
        (&Method::POST, "/exec") if access == Access::Full => super::exec::exec(request, site).await,
        (_, "/livez" | "/readyz" | "/status" | "/events" | "/metrics" | "/logs") => {
            text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n")
        }
        (_, "/apply" | "/update" | "/stop" | "/condition" | "/exec") if access == Access::ReadOnly => text(
            StatusCode::FORBIDDEN,
            "only over the Unix socket: use host-proxy apply, update, stop, condition or exec\n",
        ),
        (_, "/apply" | "/update" | "/stop" | "/condition" | "/exec") => {
            text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n")
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /livez /readyz /status /events /metrics and /logs?container=NAME&follow=1\n",
        ),
    }
}

fn livez(site: &Site) -> Answer {
    if site.view.borrow().beat.elapsed() < ALIVE_WITHIN {
        text(StatusCode::OK, "ok\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "the control task hangs\n")
    }
}

/// The value of `name` in `a=1&b=2`. Names of containers need no escapes.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn logs(site: &Site, query: &str, follows: &AtomicBool) -> Answer {
    let follow = parameter(query, "follow").is_some_and(|value| value != "0" && value != "false");
    let container = parameter(query, "container")
        .filter(|name| !name.is_empty())
        .map(str::to_owned);
    let format = if parameter(query, "format") == Some("json") {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
    if let Some(name) = &container {
        let view = site.view.borrow();
        let statuses = view
            .report
            .iter()
            .flat_map(|report| report.status.all_containers());
        let known: Vec<_> = statuses.map(|status| status.name.as_str()).collect();
        if !known.is_empty() && !known.contains(&name.as_str()) {
            let message = format!("the Pod has no container {name}; it has: {}\n", known.join(", "));
            return text(StatusCode::NOT_FOUND, message);
        }
    }
    follows.store(follow, Relaxed);
    let (pieces, body) = mpsc::channel(4);
    let style = Style {
        format,
        raw: Raw::Yes,
    };
    tokio::spawn(send_lines(site.logs.reader(), pieces, container, style, follow));
    let mut answer = Response::new(AnswerBody::Pieces(body));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    answer
}

/// Sends the lines of one reader; ends when the client goes, or, without `follow`, at the newest line.
async fn send_lines(
    mut reader: Reader,
    pieces: mpsc::Sender<Bytes>,
    container: Option<String>,
    style: Style,
    follow: bool,
) {
    let mut width = 0;
    loop {
        match reader.step() {
            Step::Lines(lines, lost) => {
                let mut batch = Vec::new();
                if lost > 0 {
                    batch.extend(format!("-- {lost} lines lost: too slow --\n").into_bytes());
                }
                let wanted = |name: &str| container.as_deref().is_none_or(|wanted| wanted == name);
                for lines in lines.iter().filter(|lines| wanted(&lines.container)) {
                    width = width.max(lines.container.len());
                    style.render(lines, width, &mut batch);
                }
                if !batch.is_empty() && pieces.send(batch.into()).await.is_err() {
                    return;
                }
            }
            Step::Empty if follow => tokio::select! {
                () = reader.wait() => {}
                () = pieces.closed() => return,
            },
            Step::Empty | Step::Ended => return,
        }
    }
}

#[derive(Serialize)]
struct Message {
    message: String,
}

pub(super) fn message(status: StatusCode, message: impl Into<String>) -> Answer {
    json(
        status,
        &Message {
            message: message.into(),
        },
    )
}

async fn apply(request: Request<Incoming>, site: &Site, intent: Intent) -> Answer {
    let limit = MAX_BUNDLE_BYTES;
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(request.into_body(), limit).collect()).await;
    let bundle = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return message(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("a bundle has at most {limit} bytes"),
            );
        }
        Err(_) => return message(StatusCode::REQUEST_TIMEOUT, "the bundle did not arrive in time"),
    };
    // A port in use must be known before anything runs.
    let ports = match crate::bundle::ports(&bundle) {
        Ok(ports) => ports,
        Err(rejection) => return json(StatusCode::UNPROCESSABLE_ENTITY, &rejection),
    };
    if intent == Intent::Begin
        && let Err(error) = site.ingress.bind(&ports).await
    {
        return message(StatusCode::LOCKED, error.to_string());
    }
    let (reply, verdict) = oneshot::channel();
    let wish = control::Request::Apply {
        bundle: bundle.to_vec(),
        intent,
        reply,
    };
    if site.control.send(wish).await.is_err() {
        return message(StatusCode::SERVICE_UNAVAILABLE, "the proxy is ending");
    }
    match tokio::time::timeout(APPLY_TIMEOUT, verdict).await {
        Ok(Ok(Ok(applied))) => json(StatusCode::OK, &applied),
        Ok(Ok(Err(ApplyError::Rejected(rejection)))) => json(StatusCode::UNPROCESSABLE_ENTITY, &rejection),
        Ok(Ok(Err(error))) => message(StatusCode::CONFLICT, error.to_string()),
        Ok(Err(_)) | Err(_) => message(
            StatusCode::SERVICE_UNAVAILABLE,
            "the enclave did not answer in time",
        ),
    }
}

async fn stop(site: &Site, query: &str) -> Answer {
    let grace = match parameter(query, "grace").map(str::parse) {
        None => None,
        Some(Ok(grace)) => Some(grace),
        Some(Err(_)) => return message(StatusCode::BAD_REQUEST, "grace is a number of seconds"),
    };
    match site.control.send(control::Request::Stop { grace }).await {
        Ok(()) => message(StatusCode::ACCEPTED, "stopping"),
        Err(_) => message(StatusCode::SERVICE_UNAVAILABLE, "the proxy is ending"),
    }
}

async fn condition(request: Request<Incoming>, site: &Site) -> Answer {
    let body = Limited::new(request.into_body(), MAX_CONDITION_BYTES).collect();
    let Ok(Ok(body)) = tokio::time::timeout(BODY_TIMEOUT, body).await else {
        return message(StatusCode::BAD_REQUEST, "the condition did not arrive");
    };
    let condition = match serde_json::from_slice(&body.to_bytes()) {
        Ok(condition) => condition,
        Err(error) => return message(StatusCode::BAD_REQUEST, format!("no condition: {error}")),
    };
    let (reply, verdict) = oneshot::channel();
    let wish = control::Request::SetCondition { condition, reply };
    if site.control.send(wish).await.is_err() {
        return message(StatusCode::SERVICE_UNAVAILABLE, "the proxy is ending");
    }
    match tokio::time::timeout(APPLY_TIMEOUT, verdict).await {
        Ok(Ok(Ok(()))) => message(StatusCode::OK, "set"),
        Ok(Ok(Err(refusal))) => message(StatusCode::UNPROCESSABLE_ENTITY, refusal),
        _ => message(StatusCode::SERVICE_UNAVAILABLE, "the enclave does not answer"),
    }
}

fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    whole(status, TEXT, text.into().into())
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            whole(status, JSON, bytes.into())
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn whole(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(AnswerBody::Whole(Some(bytes)));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}
