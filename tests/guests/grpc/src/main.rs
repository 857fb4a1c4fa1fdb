//! gRPC as applications have it: a client of tonic, which finds its server by name and knows of no proxy, and the server that
//! it calls. `grpc serve PORT` and `grpc call HOST:PORT`; messages are bytes, since nothing here depends on what they mean.
#![forbid(unsafe_code)]

mod client;
mod codec;
mod server;

use std::error::Error;
use std::process::ExitCode;

/// Turns its message around.
const TURN: &str = "/test.Echo/Turn";
/// Streams the numbers below the one in its message.
const COUNT: &str = "/test.Echo/Count";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result: Result<(), Box<dyn Error>> = match words[..] {
        ["serve", port] => server::serve(port).await,
        ["call", target] => client::call(target).await,
        _ => Err("usage: grpc serve PORT | grpc call HOST:PORT".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("grpc: {error:?}");
            ExitCode::FAILURE
        }
    }
}
