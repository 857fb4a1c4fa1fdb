//! `host-proxy exec`, as `kubectl exec` behaves: a command in a container, with this program's standard input and outputs and
//! the command's exit code. It talks to the enclave through the proxy, which only relays ([`crate::http`]).

use std::os::fd::AsFd as _;
use std::path::Path;

use manifest_sync::exec::{CHUNK_BYTES, Failed, FailedReason, FromEnclave, HostEnd, Request, ToEnclave};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::announce::say;
use crate::client;
use crate::exit::{Exit, Failure};
use crate::table;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// Runs the command to its end, and ends as it did. Whatever ends this process ends the command, too: the stream is gone
/// then.
///
/// # Errors
/// The proxy, the enclave or the container refuses; the connection breaks; an output cannot be written.
pub async fn exec(socket: &Path, request: Request) -> Result<Exit, Failure> {
    request
        .check()
        .map_err(|message| Failure::new(Exit::Usage, message))?;
    let stream = client::upgrade(socket, "/exec").await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut input = request.stdin.then(input).transpose()?;
    send(&mut writer, &ToEnclave::Request(request)).await?;
    let mut end = HostEnd::default();
    let mut started = false;
    let (mut received, mut chunk) = (vec![0; READ_BYTES], vec![0; CHUNK_BYTES]);
    loop {
        let room = end.room().min(chunk.len());
        tokio::select! {
            count = reader.read(&mut received) => {
                let Ok(count @ 1..) = count else {
                    return Err(lost("the connection to the container has ended before the command did"));
                };
                let bytes = received.get(..count).unwrap_or_default();
                for message in end.handle_bytes(bytes).map_err(|violation| lost(&violation.to_string()))? {
                    match message {
                        FromEnclave::Started(place) => {
                            started = true;
                            if !place.of.is_empty() {
                                let all = table::escape(&place.of.join(", "));
                                say(&format!("Defaulted container \"{}\" out of: {all}", table::escape(&place.container)));
                            }
                        }
                        FromEnclave::Stdout(bytes) => write(std::io::stdout().lock(), &bytes, "output")?,
                        FromEnclave::Stderr(bytes) => write(std::io::stderr().lock(), &bytes, "error")?,
                        FromEnclave::Taken(_) => {}
                        FromEnclave::Exited { code } => {
                            if code != 0 {
                                say(&format!("command terminated with exit code {code}"));
                            }
                            return Ok(Exit::Pod(code));
                        }
                        FromEnclave::Failed(failed) => return Err(refused(&failed)),
                    }
                }
            }
            count = some(&mut input, chunk.get_mut(..room).unwrap_or_default()), if started && room > 0 => {
                match count {
                    Ok(count @ 1..) => {
                        end.sending(count);
                        let bytes = chunk.get(..count).unwrap_or_default().to_vec();
                        send(&mut writer, &ToEnclave::Stdin(bytes)).await?;
                    }
                    // What cannot be read has ended.
                    Ok(0) | Err(_) => {
                        input = None;
                        send(&mut writer, &ToEnclave::StdinEnd).await?;
                    }
                }
            }
        }
    }
}

/// Standard input, whatever it is: read by another thread, so that nothing waits for it.
fn input() -> Result<File, Failure> {
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let input =
        input.map_err(|error| Failure::new(Exit::Host, format!("cannot read standard input: {error}")))?;
    Ok(File::from_std(input.into()))
}

async fn some(input: &mut Option<File>, chunk: &mut [u8]) -> std::io::Result<usize> {
    match input {
        Some(input) => input.read(chunk).await,
        None => std::future::pending().await,
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), message: &ToEnclave) -> Result<(), Failure> {
    // One that is gone is noticed where its last words are read.
    let _ = writer.write_all(&message.encode()).await;
    let _ = writer.flush().await;
    Ok(())
}

fn write(mut out: impl std::io::Write, bytes: &[u8], which: &str) -> Result<(), Failure> {
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Exit::Host, format!("cannot write to standard {which}: {error}")))
}

fn lost(message: &str) -> Failure {
    Failure::new(Exit::Unavailable, table::escape(message))
}

fn refused(failed: &Failed) -> Failure {
    let exit = match failed.reason {
        FailedReason::Invalid => Exit::Usage,
        // As a shell has it, and a container runtime.
        FailedReason::NotFound => Exit::Pod(127),
        FailedReason::CannotExecute => Exit::Pod(126),
        FailedReason::NotRunning | FailedReason::Failed => Exit::Unavailable,
    };
    let message = table::escape(&failed.message);
    Failure::new(exit, format!("error executing command in container: {message}"))
}
