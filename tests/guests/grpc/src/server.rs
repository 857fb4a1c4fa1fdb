//! The server: tonic's handlers on hyper's HTTP/2, without tonic's own server, which would bring a router.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, ready};
use std::pin::Pin;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};

use crate::codec::Raw;
use crate::{COUNT, TURN};

pub(crate) async fn serve(port: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    println!("serving");
    loop {
        let (stream, _) = listener.accept().await?;
        let connection =
            Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service_fn(answer));
        tokio::spawn(async {
            match connection.await {
                Ok(()) => println!("served"),
                Err(error) => println!("connection: {error:?}"),
            }
        });
    }
}

async fn answer(request: http::Request<Incoming>) -> Result<http::Response<Body>, Infallible> {
    let mut method = Grpc::new(Raw);
    Ok(match request.uri().path() {
        TURN => method.unary(Turn, request).await,
        COUNT => method.server_streaming(Count, request).await,
        other => Status::unimplemented(other.to_owned()).into_http(),
    })
}

struct Turn;

impl UnaryService<Bytes> for Turn {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let turned = request.into_inner().iter().rev().copied().collect();
        ready(Ok(Response::new(turned)))
    }
}

struct Count;

impl ServerStreamingService<Bytes> for Count {
    type Response = Bytes;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let number = std::str::from_utf8(request.get_ref())
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        let Some(number) = number else {
            return ready(Err(Status::invalid_argument("the message has to be a number")));
        };
        let numbers = (0..number).map(|number| Ok(Bytes::from(number.to_string())));
        ready(Ok(Response::new(Box::pin(tokio_stream::iter(numbers)))))
    }
}
