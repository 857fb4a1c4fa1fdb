//! The client: one large message there and back, and a long stream of small ones, over one connection.

use std::error::Error;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::Endpoint;

use crate::codec::Raw;
use crate::{COUNT, TURN};

/// 1 MiB: many frames of HTTP/2, and many times its windows.
const LARGE: usize = 1 << 20;
/// How many messages are streamed.
const MANY: u64 = 1000;

pub(crate) async fn call(target: &str) -> Result<(), Box<dyn Error>> {
    let channel = Endpoint::from_shared(format!("http://{target}"))?
        .connect()
        .await?;
    let mut client = Grpc::new(channel);

    let text: Bytes = (0..=u8::MAX).cycle().take(LARGE).collect();
    client.ready().await?;
    let request = Request::new(text.clone());
    let answer = client
        .unary(request, PathAndQuery::from_static(TURN), Raw)
        .await?;
    if !answer.get_ref().iter().rev().eq(&text) {
        return Err("the answer is not the message turned around".into());
    }
    println!("turned {}", text.len());

    client.ready().await?;
    let request = Request::new(Bytes::from(MANY.to_string()));
    let path = PathAndQuery::from_static(COUNT);
    let mut numbers = client.server_streaming(request, path, Raw).await?.into_inner();
    let (mut count, mut sum) = (0_u64, 0_u64);
    while let Some(number) = numbers.message().await? {
        count += 1;
        sum += std::str::from_utf8(&number)?.parse::<u64>()?;
    }
    println!("{count} numbers, sum {sum}");
    Ok(())
}
