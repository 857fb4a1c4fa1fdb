//! The bytes of a command that the host has started: from its stream into the command's input, from its outputs into the
//! stream. Everything is bounded, and nothing here decides: when this is over the loop ends the command.
//!
//! The stream is read whatever the command does, so that its end is seen at once; input has a window for that
//! ([`manifest_sync::exec`]). Output is read only as fast as the host takes it: a command whose output nobody reads waits, and
//! nobody else does.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use manifest_sync::exec::{
    CHUNK_BYTES, EnclaveEnd, Failed, FailedReason, FromEnclave, Request, Started, ToEnclave,
};
use manifest_sync::link::{self, Stream, StreamReply};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use super::input::Input;
use super::process::ReportPipe;
use crate::child::report::{Report, Stage};

/// How long the host may take to say what it wants.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long it may take to read the rest of a command that has ended.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// Most that is read of an output after the end: what a pipe holds (pipe(7)), unless the command has made it larger.
const MAX_REST_BYTES: usize = 1 << 20;
/// Bytes read from the host in one turn.
const READ_BYTES: usize = 8 * 1024;

/// A command that was started.
pub(super) struct Work {
    pub(super) started: Started,
    pub(super) report: ReportPipe,
    pub(super) stdin: Option<Pipe>,
    pub(super) stdout: Pipe,
    pub(super) stderr: Pipe,
}

/// Our end of a pipe.
pub(super) type Pipe = AsyncFd<OwnedFd>;

/// Our ends of the three pipes, ready to be waited for.
pub(super) fn watch(
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> io::Result<(Option<Pipe>, Pipe, Pipe)> {
    use crate::sys::fd;
    let ready = |pipe: OwnedFd| {
        fd::set_nonblocking(&pipe, true)?;
        fd::watch(pipe)
    };
    Ok((stdin.map(ready).transpose()?, ready(stdout)?, ready(stderr)?))
}

/// Serves one stream to its end, and tells the loop of that.
pub(super) async fn serve(
    number: u64,
    mut stream: Stream,
    verdict: oneshot::Receiver<Result<Work, Failed>>,
    ended: watch::Receiver<Option<u8>>,
    inbox: Sender<Input>,
) {
    let mut end = EnclaveEnd::default();
    match timeout(HANDSHAKE, ask(&mut stream, &mut end)).await {
        Ok(Ok((request, rest))) => {
            if inbox.send(Input::Exec(number, request)).await.is_ok()
                && let Ok(verdict) = verdict.await
            {
                converse(stream, end, rest, verdict, ended).await;
            }
        }
        Ok(Err(error)) => log::info!("exec: {error}"),
        Err(_elapsed) => log::info!("exec: nothing was asked for in time"),
    }
    let _ = inbox.send(Input::ExecClosed(number)).await;
}

/// What is to be executed, and what came behind it.
async fn ask(stream: &mut Stream, end: &mut EnclaveEnd) -> io::Result<(Request, Vec<ToEnclave>)> {
    link::write_reply(stream, StreamReply::Accepted).await?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let messages = match end.handle_bytes(&buffer[..count]) {
            Ok(messages) => messages,
            Err(violation) => {
                let failed = Failed {
                    reason: FailedReason::Invalid,
                    message: violation.to_string(),
                };
                stream.write_all(&FromEnclave::Failed(failed).encode()).await?;
                return Err(io::Error::other(violation));
            }
        };
        let mut messages = messages.into_iter();
        if let Some(ToEnclave::Request(request)) = messages.next() {
            return Ok((request, messages.collect()));
        }
    }
}

async fn converse(
    stream: Stream,
    end: EnclaveEnd,
    rest: Vec<ToEnclave>,
    verdict: Result<Work, Failed>,
    mut ended: watch::Receiver<Option<u8>>,
) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut work = match verdict {
        Ok(work) => work,
        Err(failed) => {
            let last = FromEnclave::Failed(failed).encode();
            let _ = timeout(LAST_WORDS, writer.write_all(&last)).await;
            let _ = timeout(LAST_WORDS, writer.shutdown()).await;
            return;
        }
    };
    let input = Stdin::new(end, rest);
    let pipe = work.stdin.take();
    let late = {
        let mut ended = ended.clone();
        async move {
            let _ = ended.wait_for(Option::is_some).await;
            tokio::time::sleep(LAST_WORDS).await;
        }
    };
    tokio::select! {
        // Only its end is an end; the input's is not.
        () = input.hear(reader) => {}
        () = input.feed(pipe) => {}
        result = speak(&mut writer, work, &input, &mut ended) => {
            if result.is_ok() {
                let _ = timeout(LAST_WORDS, writer.shutdown()).await;
            }
        }
        () = late => log::info!("exec: the host does not read: closed"),
    }
}

/// Input on its way.
struct Stdin {
    end: RefCell<EnclaveEnd>,
    waiting: RefCell<Vec<u8>>,
    /// There is no more than that.
    complete: Cell<bool>,
    /// Told when something has come.
    came: Notify,
    /// What has left and was not told to the host, in bytes.
    taken: Cell<usize>,
    /// Told when something has left.
    left: Notify,
}

impl Stdin {
    fn new(end: EnclaveEnd, rest: Vec<ToEnclave>) -> Self {
        let input = Self {
            end: RefCell::new(end),
            waiting: RefCell::default(),
            complete: Cell::new(false),
            came: Notify::new(),
            taken: Cell::new(0),
            left: Notify::new(),
        };
        input.take(rest);
        input
    }

    fn take(&self, messages: Vec<ToEnclave>) {
        for message in messages {
            match message {
                ToEnclave::Stdin(bytes) => self.waiting.borrow_mut().extend(bytes),
                ToEnclave::StdinEnd => self.complete.set(true),
                ToEnclave::Request(_) => {}
            }
        }
        self.came.notify_one();
    }

    /// Reads until the host goes, or says what it may not say.
    async fn hear(&self, mut reader: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            let heard = self.end.borrow_mut().handle_bytes(&buffer[..count]);
            match heard {
                Ok(messages) => self.take(messages),
                Err(violation) => return log::info!("exec: {violation}"),
            }
            tokio::task::yield_now().await;
        }
    }

    /// Gives the command its input, and then the end of it. Never over.
    async fn feed(&self, mut pipe: Option<Pipe>) {
        loop {
            let bytes = std::mem::take(&mut *self.waiting.borrow_mut());
            if bytes.is_empty() {
                if self.complete.get() {
                    pipe = None;
                }
                self.came.notified().await;
                continue;
            }
            // A command that has closed its input gets nothing any more; the host is not to wait for it.
            if let Some(open) = &pipe
                && write_all(open, &bytes).await.is_err()
            {
                pipe = None;
            }
            self.taken.set(self.taken.get() + bytes.len());
            self.left.notify_one();
        }
    }

    /// What the host may send again, once there is something.
    async fn has_taken(&self) -> FromEnclave {
        loop {
            let count = self.taken.take();
            if count > 0 {
                self.end.borrow_mut().taken(count);
                return FromEnclave::Taken(u32::try_from(count).unwrap_or(u32::MAX));
            }
            self.left.notified().await;
        }
    }
}

/// Says how the command starts, what it writes, and how it ends.
async fn speak(
    writer: &mut (impl AsyncWrite + Unpin),
    work: Work,
    input: &Stdin,
    ended: &mut watch::Receiver<Option<u8>>,
) -> io::Result<()> {
    if let Some(report) = work.report.wait().await {
        return writer
            .write_all(&FromEnclave::Failed(failed(&report)).encode())
            .await;
    }
    writer
        .write_all(&FromEnclave::Started(work.started).encode())
        .await?;
    let (mut stdout, mut stderr) = (Some(work.stdout), Some(work.stderr));
    let code = loop {
        let message = tokio::select! {
            chunk = chunk(stdout.as_ref()) => match chunk {
                Some(bytes) => FromEnclave::Stdout(bytes),
                None => {
                    stdout = None;
                    continue;
                }
            },
            chunk = chunk(stderr.as_ref()) => match chunk {
                Some(bytes) => FromEnclave::Stderr(bytes),
                None => {
                    stderr = None;
                    continue;
                }
            },
            taken = input.has_taken() => taken,
            code = ended.wait_for(Option::is_some) => match code {
                Ok(code) => break code.unwrap_or_default(),
                Err(_) => return Ok(()),
            },
        };
        writer.write_all(&message.encode()).await?;
        tokio::task::yield_now().await;
    };
    // Nobody who could write is left, or hardly: what is in the pipes is all.
    for (pipe, message) in [
        (stdout, FromEnclave::Stdout as fn(Vec<u8>) -> FromEnclave),
        (stderr, FromEnclave::Stderr),
    ] {
        let Some(pipe) = pipe else { continue };
        let mut rest = 0;
        while rest < MAX_REST_BYTES
            && let Ok(bytes @ [_, ..]) = read(pipe.get_ref()).as_deref()
        {
            rest += bytes.len();
            writer.write_all(&message(bytes.to_vec()).encode()).await?;
        }
    }
    writer.write_all(&FromEnclave::Exited { code }.encode()).await
}

/// As kubectl has it from a runtime.
fn failed(report: &Report) -> Failed {
    const ENOENT: i32 = nix::libc::ENOENT;
    let reason = match (report.stage, report.errno) {
        // Without an error of the kernel's, it was not found in PATH.
        (Stage::Exec, 0 | ENOENT) => FailedReason::NotFound,
        (Stage::Exec, _) => FailedReason::CannotExecute,
        _ => FailedReason::Failed,
    };
    Failed {
        reason,
        message: report.to_string(),
    }
}

/// Some output; `None` at its end. Without a pipe there never is any.
async fn chunk(pipe: Option<&Pipe>) -> Option<Vec<u8>> {
    let Some(pipe) = pipe else {
        return std::future::pending().await;
    };
    loop {
        let mut ready = pipe.readable().await.ok()?;
        if let Ok(read) = ready.try_io(|pipe| read(pipe.get_ref())) {
            return read.ok().filter(|bytes| !bytes.is_empty());
        }
    }
}

fn read(pipe: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; CHUNK_BYTES];
    let count = nix::unistd::read(pipe.as_fd(), &mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}

async fn write_all(pipe: &Pipe, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = pipe.writable().await?;
        if let Ok(written) = ready.try_io(|pipe| Ok(nix::unistd::write(pipe.get_ref(), bytes)?)) {
            bytes = bytes.get(written?..).unwrap_or_default();
        }
    }
    Ok(())
}
