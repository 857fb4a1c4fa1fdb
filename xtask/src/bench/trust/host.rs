//! The host of one local enclave: starts it as the local back-end does, holds the control conversation, serves blobs and
//! connections to a broker when the benchmark says so.

use std::fs::{self, DirBuilder, File};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use ::tests::{Product, wait_for};
use anyhow::{Context as _, Result, bail, ensure};
use manifest_sync::config::CONTROL_PORT;
use manifest_sync::digest::Digest;
use manifest_sync::frame;
use manifest_sync::link::{StreamHeader, StreamKind, StreamReply};
use manifest_sync::protocol::{FromEnclave, ToEnclave, VERSION};
use manifest_sync::trust::TrustPolicy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Machines are shared.
const PATIENCE: Duration = Duration::from_secs(120);
/// An enclave takes a bundle when these are there: they are part of what is attested.
const READY: [&str; 2] = ["base service net is ready", "base service attest is ready"];

/// An enclave and the conversation with it. It ends with this value.
pub(super) struct Host {
    scratch: TempDir,
    guests: PathBuf,
    launcher: Child,
    pid: Pid,
    control: Option<UnixStream>,
    key: String,
}

impl Host {
    /// Starts an enclave, waits until it is complete, and is welcomed.
    pub(super) fn start(product: &Product) -> Result<Self> {
        // Paths of sockets are short.
        let scratch = tempfile::Builder::new().prefix("clb").tempdir()?;
        let state = scratch.path().join("state");
        let mut private = DirBuilder::new();
        private.mode(0o700);
        for directory in [state.clone(), state.join("link")] {
            private.create(directory)?;
        }
        fs::write(state.join("policy.json"), TrustPolicy::DEVELOPMENT)?;
        let mut launcher = Command::new(&product.proxy)
            .arg("local-launcher")
            .args([&state, &product.init])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(state.join("console.log"))?)
            .spawn()
            .context("cannot run the launcher")?;
        let mut said = String::new();
        if let Some(mut stdout) = launcher.stdout.take() {
            stdout.read_to_string(&mut said)?;
        }
        let pid = said
            .lines()
            .find_map(|line| line.strip_prefix("pid ")?.parse().ok());
        let Some(pid) = pid else {
            let _ = launcher.wait();
            bail!(
                "no enclave: {said}{}",
                fs::read_to_string(state.join("console.log"))?
            );
        };
        let mut host = Self {
            scratch,
            guests: product.guests.clone(),
            launcher,
            pid: Pid::from_raw(pid),
            control: None,
            key: String::new(),
        };
        wait_for("a complete enclave", || {
            let console = host.console();
            READY.iter().all(|ready| console.contains(ready)).then_some(())
        });
        host.control = Some(host.stream(None, StreamKind::Control {})?);
        host.say(&ToEnclave::Hello {
            version: VERSION,
            session: None,
            events_after: 0,
        })?;
        match host.hear()? {
            FromEnclave::Welcome { session, .. } => host.key = session,
            other => bail!("not welcome: {other:?}"),
        }
        Ok(host)
    }

    /// State directory of the enclave.
    pub(super) fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// What the enclave has written to its console.
    pub(super) fn console(&self) -> String {
        let bytes = fs::read(self.state().join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends a bundle.
    pub(super) fn apply(&mut self, bundle: &[u8]) -> Result<()> {
        let size = u32::try_from(bundle.len())?;
        self.say(&ToEnclave::Apply { size })?;
        Ok(self.control()?.write_all(&frame::encode(bundle))?)
    }

    /// The next message.
    pub(super) fn hear(&mut self) -> Result<FromEnclave> {
        let mut control = self.control()?;
        let mut length = [0; 4];
        control.read_exact(&mut length)?;
        let mut message = vec![0; usize::try_from(u32::from_be_bytes(length))?];
        control.read_exact(&mut message)?;
        Ok(serde_json::from_slice(&message)?)
    }

    /// Serves a blob of the guests' image.
    pub(super) fn supply(&self, request: u64, digest: &Digest) -> Result<()> {
        let blob = fs::read(self.guests.join("blobs/sha256").join(digest.hex()))?;
        let size = blob.len() as u64;
        let mut stream = self.stream(Some(&self.key), StreamKind::Blob { request, size })?;
        Ok(stream.write_all(&blob)?)
    }

    /// Connects the enclave with a broker, until one of them has had enough.
    pub(super) fn connect(&self, request: u64, broker: SocketAddr) -> Result<()> {
        let broker = TcpStream::connect(broker)?;
        broker.set_nodelay(true)?;
        let enclave = self.stream(Some(&self.key), StreamKind::Broker { request })?;
        let (mut question, mut answer) = (enclave.try_clone()?, enclave);
        let (mut asked, mut answers) = (broker.try_clone()?, broker);
        thread::spawn(move || {
            let _ = std::io::copy(&mut question, &mut asked);
            let _ = asked.shutdown(Shutdown::Write);
        });
        thread::spawn(move || {
            let _ = std::io::copy(&mut answers, &mut answer);
            let _ = answer.shutdown(Shutdown::Both);
        });
        Ok(())
    }

    fn control(&self) -> Result<&UnixStream> {
        self.control.as_ref().context("no conversation yet")
    }

    fn say(&mut self, message: &ToEnclave) -> Result<()> {
        let message = frame::encode(&serde_json::to_vec(message)?);
        Ok(self.control()?.write_all(&message)?)
    }

    /// A stream of the control port, which was accepted.
    fn stream(&self, key: Option<&str>, kind: StreamKind) -> Result<UnixStream> {
        let mut stream = UnixStream::connect(self.state().join(format!("link/{CONTROL_PORT}.sock")))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let header = StreamHeader::new(key.map(str::to_owned), kind);
        stream.write_all(&frame::encode(&serde_json::to_vec(&header)?))?;
        let mut reply = [0];
        stream.read_exact(&mut reply)?;
        ensure!(
            reply == [StreamReply::Accepted as u8],
            "the enclave refused a stream: {reply:?}"
        );
        Ok(stream)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- console:\n{}", self.console());
        }
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = self.launcher.wait();
    }
}
