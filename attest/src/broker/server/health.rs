//! Health and metrics, for whoever runs the broker.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use super::answer::{text, whole};
use super::{Answer, Server};
use crate::broker::metrics::MEDIA_TYPE;

pub(super) async fn answer(request: Request<Incoming>, server: Arc<Server>) -> Answer {
    let known = matches!(request.uri().path(), "/livez" | "/readyz" | "/metrics");
    if known && !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => ready(&server).await,
        "/metrics" => {
            let (nonces, generations) = server.broker.levels();
            match server.broker.metrics().text(nonces, generations) {
                Ok(metrics) => whole(StatusCode::OK, MEDIA_TYPE, metrics.into_bytes()),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            }
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /livez /readyz and /metrics\n".to_owned(),
        ),
    }
}

async fn ready(server: &Server) -> Answer {
    if server.is_stopping() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    let broker = server.broker.clone();
    // The directory may be on a disk that hangs.
    let ready = tokio::task::spawn_blocking(move || broker.ready().map_err(|error| error.to_string()));
    let ready = ready.await.unwrap_or_else(|error| Err(error.to_string()));
    match ready {
        Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
        Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
