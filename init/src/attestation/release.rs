//! Having secrets released: one conversation with the broker, over a connection that the host has made and may do with as it
//! likes. What comes back is opened here and goes to PID 1 as a file in memory.

use std::os::fd::OwnedFd;
use std::time::Duration;

use attest::Secret;
use attest::http::{self, Response, ResponseReader};
use attest::release::{
    BrokerPublicKey, MAX_ANSWER, MAX_REQUEST, NONCE_PATH, Names, NonceAnswer, NonceRequest, Pending,
    SECRETS_PATH, encode_set,
};
use tokio::time::timeout;

use super::connection::Connection;
use super::{Shared, Unavailable, document};

/// The `Host` field: the host has chosen whom it connects us with, and we do not know the name.
const HOST: &str = "broker";
/// How long the conversation may take: two answers of a broker that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// The set of `names`, as [`encode_set`] writes it, or why not in words that are safe to publish.
pub(super) async fn release(
    stream: OwnedFd,
    names: Names,
    broker: BrokerPublicKey,
    shared: &Shared,
) -> Result<Secret, String> {
    timeout(PATIENCE, converse(stream, names, broker, shared))
        .await
        .unwrap_or_else(|_elapsed| {
            Err(format!(
                "the broker did not answer within {} s",
                PATIENCE.as_secs()
            ))
        })
}

async fn converse(
    stream: OwnedFd,
    names: Names,
    broker: BrokerPublicKey,
    shared: &Shared,
) -> Result<Secret, String> {
    let identity = shared.borrow().identity.clone();
    let identity = identity.ok_or_else(|| Unavailable::NoModule.to_string())?;
    let mut broker_line = Line {
        connection: Connection::new(stream).map_err(|error| error.to_string())?,
    };
    let answer = broker_line
        .post(NONCE_PATH, &NonceRequest {}.to_json(), MAX_REQUEST)
        .await?;
    let nonce = match NonceAnswer::parse(&answer.body).map_err(|error| error.to_string())? {
        NonceAnswer::Nonce { value, .. } => value,
        NonceAnswer::Refused(refusal) => return Err(format!("the broker refused: {refusal}")),
    };
    let pending = Pending::begin(
        nonce,
        *identity.bundle.as_bytes(),
        identity.generation,
        identity.application,
        names,
    )
    .map_err(|error| error.to_string())?;
    let document = document(
        shared,
        &pending.binding().encode(),
        Some(nonce.as_bytes()),
        Some(pending.public_key()),
    )
    .map_err(|error| error.to_string())?;
    let request = pending.request_with(document).to_json();
    let answer = broker_line.post(SECRETS_PATH, &request, MAX_ANSWER).await?;
    let secrets = pending
        .finish(&broker, &answer.body)
        .map_err(|error| error.to_string())?;
    encode_set(&secrets).map_err(|error| error.to_string())
}

/// The connection to the broker.
struct Line {
    connection: Connection,
}

impl Line {
    /// The broker says in the body what it thinks of a request, whatever the status.
    async fn post(&mut self, path: &str, body: &[u8], most: usize) -> Result<Response, String> {
        let lost = |error: std::io::Error| format!("the connection to the broker: {error}");
        let request = http::post(HOST, path, body).unwrap_or_default();
        self.connection.write(&request).await.map_err(lost)?;
        let mut reader = ResponseReader::new(most);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = self.connection.read(&mut buffer).await.map_err(lost)?;
            if count == 0 {
                return Err(
                    "the broker, or the host between, closed the connection before it answered".to_owned(),
                );
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            if let Some(response) = reader
                .read(bytes)
                .map_err(|error| format!("the broker's answer: {error}"))?
            {
                return Ok(response);
            }
        }
    }
}
