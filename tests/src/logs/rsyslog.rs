//! The real server, on loopback, with its files in the scratch directory.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::Tally;
use crate::wait_for;

/// A running `rsyslogd`.
pub struct Rsyslog {
    child: Child,
    port: u16,
    output: PathBuf,
    tally: Tally,
}

/// A port that nobody uses now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Rsyslog {
    /// Whether it is installed; says so when it is not.
    pub fn is_there() -> bool {
        let there = Command::new("rsyslogd").arg("-v").output().is_ok();
        if !there {
            println!("SKIPPED: there is no rsyslogd: install the package rsyslog");
        }
        there
    }

    /// Starts it; it goes on with the output of one before it.
    pub fn start(scratch: &Path, port: u16) -> Option<Self> {
        if !Self::is_there() {
            return None;
        }
        let output = scratch.join("syslog.out");
        let configuration = scratch.join("rsyslog.conf");
        let text = format!(
            // No queue of its own: what it holds in memory when it is killed is lost, and no sender can know.
            "main_queue(queue.type=\"Direct\")\n\
             module(load=\"imtcp\")\n\
             template(name=\"plain\" type=\"string\" string=\"%structured-data% %msg%\\n\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"plain\")\n",
            output.display()
        );
        std::fs::write(&configuration, text).expect("a configuration");
        let child = Command::new("rsyslogd")
            .args(["-n", "-iNONE", "-f"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .spawn()
            .expect("rsyslogd runs");
        wait_for("rsyslogd", || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(Self {
            child,
            port,
            output,
            tally: Tally::default(),
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has written by now, and those before it with the same files.
    pub fn tally(&mut self) -> &Tally {
        self.tally.read_on(&self.output);
        &self.tally
    }

    /// Ends it as a crash would.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
