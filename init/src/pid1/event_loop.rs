//! The loop: one task owns all state. It waits for an input or a deadline, steps the supervisor, performs what the
//! supervisor wants, and feeds the answers back before it looks at the next input.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use cloister_init::supervisor::action::Action;
use cloister_init::supervisor::event::{Event, ExitStatus, Pid, SpawnError};
use cloister_init::supervisor::time::Time;
use cloister_init::supervisor::unit::UnitId;
use cloister_init::supervisor::{Identity, Supervisor};
use manifest_sync::config::{CONTROL_PORT, DATA_PORT};
use manifest_sync::env;
use manifest_sync::link::{self, Address, Stream, StreamHeader, StreamKind, StreamReply};
use manifest_sync::log_record::LogStream;
use manifest_sync::plan::{ContainerPlan, Plan};
use manifest_sync::protocol::session::{Decision, Sessions};
use manifest_sync::protocol::{Counters, FromEnclave, RefusedReason, VERSION, enclave};
use manifest_sync::reject::{Finding, Rejection};
use manifest_sync::status;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc::{self, Sender};

use super::boot::Booted;
use super::control::{self, Connections, LogRequest};
use super::exit::ExitCode;
use super::finish::{Audience, Finish};
use super::image::Images;
use super::input::{ConnectionId, Input};
use super::journal::Journal;
use super::log_store::{LogPipe, LogStore};
use super::process::{Outputs, ReportPipe};
use super::service::Services;
use super::{container, layout, managed_file, process, volume};
use crate::sys::spawn::Namespaces;
use crate::sys::{fd, kill, proc, reap};
use crate::unpack::message::Owners;

/// Inputs that may wait, per class; their sources wait when it is full.
const INBOX: usize = 256;
/// The Pod's address: the enclave has no interface but `lo`.
const POD_IP: &str = "127.0.0.1";
/// K-440: SIGTERM, when the image names no stop signal.
const DEFAULT_STOP_SIGNAL: &str = "SIGTERM";

/// Everything PID 1 knows.
struct Pid1 {
    started: Instant,
    supervisor: Supervisor,
    plan: Option<Rc<Plan>>,
    runtime: env::Runtime,
    boot_id: String,
    owners: Owners,
    children: BTreeMap<Pid, Child>,
    services: Services,
    images: Images,
    logs: Rc<RefCell<LogStore>>,
    log_streams: usize,
    sessions: Sessions,
    connections: Connections,
    journal: Journal,
    finish: Option<Finish>,
    reaped: u64,
    refused: u64,
    facts: Sender<Input>,
    wishes: Sender<Input>,
}

/// A live process of a unit.
struct Child {
    unit: UnitId,
    attempt: u32,
    report: Option<ReportPipe>,
    logs: Vec<Rc<LogPipe>>,
    spawned: Instant,
}

/// Runs until the enclave may end.
pub(crate) async fn run(booted: Booted) -> ExitCode {
    let (facts, mut facts_inbox) = mpsc::channel(INBOX);
    let (wishes, mut wishes_inbox) = mpsc::channel(INBOX);
    if let Err(error) = watch_signals(&facts) {
        log::error!("cannot watch for signals: {error}");
        return ExitCode::EventLoop;
    }
    let (control, data) = match listen(&booted.config.listen) {
        Ok(listeners) => listeners,
        Err(error) => {
            log::error!(
                "cannot listen for the controller at {}: {error}",
                booted.config.listen
            );
            return ExitCode::Listen;
        }
    };
    let mut pid1 = match Pid1::new(&booted, data, facts, wishes.clone()) {
        Ok(pid1) => pid1,
        Err(error) => {
            log::error!("{error}");
            return ExitCode::EventLoop;
        }
    };
    tokio::task::spawn_local(control::accept(control, wishes));
    let services = pid1.services.declarations();
    pid1.step(Event::Boot { services });
    loop {
        let deadline = pid1.started + Duration::from_millis(pid1.next_deadline().as_millis());
        let input = tokio::select! {
            biased;
            Some(fact) = facts_inbox.recv() => fact,
            () = tokio::time::sleep_until(deadline.into()) => Input::Tick,
            Some(wish) = wishes_inbox.recv() => wish,
        };
        pid1.handle(input);
        if pid1.is_over() {
            return ExitCode::Finished;
        }
    }
}

/// The control port, which is ours, and the data port, which is for `net`.
fn listen(address: &Address) -> std::io::Result<(link::Listener, OwnedFd)> {
    let data = link::listen(address, DATA_PORT)?.into_fd()?;
    Ok((link::listen(address, CONTROL_PORT)?, data))
}

/// signal(7) through a socket pair: the handler writes one byte, a task turns it into an input.
fn watch_signals(inbox: &Sender<Input>) -> std::io::Result<()> {
    let sources: [(i32, fn() -> Input); 2] = [
        (nix::libc::SIGCHLD, || Input::Child),
        (nix::libc::SIGTERM, || Input::Terminate),
    ];
    for (signal, input) in sources {
        let (ours, handlers) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(signal, handlers)?;
        let mut ours = tokio::net::UnixStream::from_std(ours)?;
        let inbox = inbox.clone();
        tokio::task::spawn_local(async move {
            let mut bytes = [0; 64];
            while let Ok(1..) = ours.read(&mut bytes).await {
                if inbox.send(input()).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

impl Pid1 {
    fn new(
        booted: &Booted,
        data: OwnedFd,
        facts: Sender<Input>,
        wishes: Sender<Input>,
    ) -> Result<Self, attest::EntropyError> {
        let key = manifest_sync::digest::hex(&attest::random_bytes::<32>()?);
        let uid = pod_uid(attest::random_bytes()?);
        let boot_id = manifest_sync::digest::hex(&attest::random_bytes::<16>()?);
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let identity = Identity {
            boot_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            uid: uid.clone(),
            pod_ip: POD_IP.to_owned(),
        };
        Ok(Self {
            started: Instant::now(),
            supervisor: Supervisor::new(identity),
            plan: None,
            runtime: env::Runtime {
                pod_ip: POD_IP.to_owned(),
                host_ip: POD_IP.to_owned(),
                node_name: "enclave".to_owned(),
                uid,
            },
            boot_id,
            owners: booted.owners,
            children: BTreeMap::new(),
            services: Services::new(&booted.config, booted.owners, key.clone(), data),
            images: Images::new(booted.owners, facts.clone()),
            logs: Rc::new(RefCell::new(LogStore::new(booted.config.log_ring_bytes))),
            log_streams: 0,
            sessions: Sessions::new(key, booted.config.takeover),
            connections: Connections::default(),
            journal: Journal::default(),
            finish: None,
            reaped: 0,
            refused: 0,
            facts,
            wishes,
        })
    }

    fn now(&self) -> Time {
        Time::from_millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The earliest moment at which something is due, without an input.
    fn next_deadline(&self) -> Time {
        let own = self.finish.as_ref().map(Finish::deadline);
        self.supervisor
            .next_deadline()
            .into_iter()
            .chain(own)
            .min()
            .unwrap_or(Time::from_millis(NEVER_MS))
    }

    fn is_over(&self) -> bool {
        self.finish
            .as_ref()
            .is_some_and(|finish| finish.is_over(self.now(), self.log_streams))
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Child => self.reap(),
            Input::Terminate => self.step(Event::Stop { grace_seconds: None }),
            Input::Report(pid) => self.read_report(pid),
            Input::ServiceReady(pid) => self.step(Event::ServiceReady { pid }),
            Input::Worker(message) => {
                let events = self.images.hear(message);
                self.ask_for_blob();
                self.step_all(events);
            }
            Input::Tick => self.step(Event::Tick),
            Input::Connection(header, stream) => self.connected(header, stream),
            Input::ConnectionRefused => self.refused += 1,
            Input::Control(id, input) => self.hear(id, input),
            Input::Blob {
                request,
                size,
                stream,
            } => self.supply(request, size, stream),
            Input::ControlClosed(id) => self.disconnected(id),
            Input::LogStreamEnded => self.log_streams = self.log_streams.saturating_sub(1),
        }
    }

    fn step(&mut self, event: Event) {
        self.step_all(vec![event]);
    }

    /// Steps the supervisor; answers to its actions are stepped before anything else, so that an exit can never
    /// overtake its spawn.
    fn step_all(&mut self, events: Vec<Event>) {
        let mut events = VecDeque::from(events);
        let mut actions = Vec::new();
        while let Some(event) = events.pop_front() {
            self.supervisor.step(self.now(), event, &mut actions);
            for action in std::mem::take(&mut actions) {
                events.extend(self.perform(action));
            }
        }
    }

    fn perform(&mut self, action: Action) -> Vec<Event> {
        match action {
            Action::PullImage(unit) => self.pull(unit),
            Action::Spawn { unit, attempt } => vec![self.spawn(unit, attempt)],
            Action::Terminate(pid) => {
                kill::signal(pid, &self.stop_signal(pid));
                Vec::new()
            }
            Action::Kill(pid) => {
                kill::kill(pid);
                Vec::new()
            }
            Action::Emit {
                container,
                r#type,
                reason,
                message,
            } => {
                self.emit(container, r#type, reason, message);
                Vec::new()
            }
            Action::StatusChanged => {
                if let Some(report) = self.supervisor.report() {
                    self.connections.send_to_controller(&FromEnclave::Status {
                        report: Box::new(report),
                    });
                }
                Vec::new()
            }
            Action::Finish { exit_code } => {
                self.end(exit_code);
                Vec::new()
            }
        }
    }

    fn emit(
        &mut self,
        container: Option<UnitId>,
        r#type: status::EventType,
        reason: &'static str,
        message: String,
    ) {
        let field_path =
            container.map(|unit| format!("spec.containers{{{}}}", self.supervisor.unit_name(unit)));
        let time = self.supervisor.timestamp(self.now());
        let reason = reason.to_owned();
        let event = self.journal.record(status::Event {
            sequence: 0,
            time,
            r#type,
            reason,
            message,
            field_path,
        });
        self.connections.send_to_controller(&FromEnclave::Event { event });
    }

    fn end(&mut self, exit_code: u8) {
        let audience = if self.connections.has_controller() {
            Audience::Present
        } else {
            Audience::Absent
        };
        self.finish = Some(Finish::new(exit_code, self.now(), audience));
        self.logs.borrow_mut().close();
        if let Some(id) = self.connections.controller() {
            self.send_finished(id);
        }
    }

    fn send_finished(&mut self, id: ConnectionId) {
        let Some(finish) = &self.finish else { return };
        let report = Box::new(self.supervisor.report().unwrap_or_default());
        let exit_code = finish.exit_code;
        self.connections
            .send(id, &FromEnclave::Finished { exit_code, report });
    }
}

// Processes.
impl Pid1 {
    fn reap(&mut self) {
        let mut exits = Vec::new();
        reap::reap(|pid, status| exits.push((pid, status)));
        for (pid, status) in exits {
            self.reaped += 1;
            self.exited(pid, status);
        }
    }

    fn exited(&mut self, pid: Pid, status: ExitStatus) {
        if let Some(events) = self.images.exited(pid) {
            return self.step_all(events);
        }
        // A short-lived process: its report may still be in the pipe.
        self.read_report(pid);
        let Some(child) = self.children.remove(&pid) else {
            return;
        };
        for pipe in &child.logs {
            pipe.drain_now();
        }
        let message = self.termination_message(&child, status);
        self.step(Event::Exited { pid, status, message });
    }

    fn read_report(&mut self, pid: Pid) {
        let Some(child) = self.children.get_mut(&pid) else {
            return;
        };
        let Some(report) = child.report.take() else { return };
        match report.read() {
            None => {
                let took = child.spawned.elapsed().as_secs_f64() * 1000.0;
                let unit = child.unit;
                log::info!(
                    "{}: executing {took:.1} ms after its spawn",
                    self.supervisor.unit_name(unit)
                );
                self.step(Event::Started { pid });
            }
            Some(report) => self.step(Event::StartFailed {
                pid,
                message: report.to_string(),
            }),
        }
    }

    /// K-332, K-333; the instance's files are gone afterwards.
    fn termination_message(&self, child: &Child, status: ExitStatus) -> Option<String> {
        let container = self.container(child.unit)?;
        let instance = layout::instance(&container.name, child.attempt);
        let mut message = process::termination_message(&instance);
        let failed = status != ExitStatus::Code(0);
        if message.is_empty() && failed && container.termination_message_from_logs {
            message = self.logs.borrow().tail(&container.name, child.attempt);
        }
        if let Err(error) = std::fs::remove_dir_all(&instance) {
            log::warn!("cannot remove {}: {error}", instance.display());
        }
        Some(message).filter(|message| !message.is_empty())
    }

    fn container(&self, unit: UnitId) -> Option<&ContainerPlan> {
        let UnitId::Container(index) = unit else {
            return None;
        };
        self.plan.as_ref()?.containers.get(index)
    }

    fn stop_signal(&self, pid: Pid) -> String {
        let image = self
            .children
            .get(&pid)
            .and_then(|child| self.container(child.unit))
            .and_then(|container| self.images.get(&container.image_digest));
        match image {
            Some(image) if !image.stop_signal.is_empty() => image.stop_signal.clone(),
            _ => DEFAULT_STOP_SIGNAL.to_owned(),
        }
    }

    fn pull(&mut self, unit: UnitId) -> Vec<Event> {
        let Some(digest) = self
            .container(unit)
            .map(|container| container.image_digest.clone())
        else {
            return Vec::new();
        };
        self.images.pull(unit, digest)
    }

    fn spawn(&mut self, unit: UnitId, attempt: u32) -> Event {
        let spawned = match unit {
            UnitId::Service(index) => self.spawn_service(index, attempt),
            UnitId::Container(_) => self.spawn_container(unit, attempt),
        };
        match spawned {
            Ok(pid) => Event::Spawned { unit, pid },
            Err((reason, message)) => Event::SpawnFailed {
                unit,
                reason,
                message,
            },
        }
    }

    fn spawn_service(&mut self, index: usize, attempt: u32) -> Result<Pid, (SpawnError, String)> {
        let spawned = Instant::now();
        let started = self
            .services
            .start(index, &self.facts)
            .map_err(|error| (SpawnError::Create, format!("cannot start: {error}")))?;
        let unit = UnitId::Service(index);
        Ok(self.adopt(
            started,
            Child {
                unit,
                attempt,
                report: None,
                logs: Vec::new(),
                spawned,
            },
        ))
    }

    fn spawn_container(&mut self, unit: UnitId, attempt: u32) -> Result<Pid, (SpawnError, String)> {
        let create = |error: std::io::Error| (SpawnError::Create, format!("cannot create: {error}"));
        let plan = self
            .plan
            .clone()
            .ok_or((SpawnError::Create, "no Pod".to_owned()))?;
        let container = self
            .container(unit)
            .ok_or((SpawnError::Create, "no such container".to_owned()))?;
        let image = self
            .images
            .get(&container.image_digest)
            .ok_or((SpawnError::Create, "image is not unpacked".to_owned()))?;
        volume::set_up(&plan).map_err(|error| (SpawnError::Volume, error.0))?;
        let around = container::Surroundings {
            runtime: &self.runtime,
            owners: self.owners,
            attempt,
        };
        let spec = container::describe(&plan, container, image, &around)
            .map_err(|message| (SpawnError::Config, message))?;
        let files = [
            managed_file::hosts(&plan, POD_IP),
            format!("{}\n", plan.hostname),
            managed_file::resolv_conf(&plan.dns),
        ];
        process::prepare(&layout::instance(&container.name, attempt), files).map_err(create)?;
        let (stdout, stdout_end) = fd::pipe().map_err(create)?;
        let (stderr, stderr_end) = fd::pipe().map_err(create)?;
        let outputs = Outputs {
            stdout: &stdout_end,
            stderr: &stderr_end,
        };
        let spawned = Instant::now();
        let started = process::start(&spec, Namespaces::Container, &outputs, &[]).map_err(create)?;
        let mut logs = Vec::new();
        for (fd, stream) in [(stdout, LogStream::Stdout), (stderr, LogStream::Stderr)] {
            fd::set_nonblocking(&fd, true).map_err(create)?;
            let pipe = LogPipe::new(fd, &container.name, attempt, stream, &self.logs).map_err(create)?;
            tokio::task::spawn_local(Rc::clone(&pipe).drain());
            logs.push(pipe);
        }
        Ok(self.adopt(
            started,
            Child {
                unit,
                attempt,
                report: None,
                logs,
                spawned,
            },
        ))
    }

    fn adopt(&mut self, started: process::Started, mut child: Child) -> Pid {
        started.report.watch(started.pid, self.facts.clone());
        child.report = Some(started.report);
        self.children.insert(started.pid, child);
        started.pid
    }
}

// The host.
impl Pid1 {
    fn connected(&mut self, header: StreamHeader, stream: Stream) {
        if header.stream == (StreamKind::Control {}) {
            if !self.connections.open(stream, self.wishes.clone()) {
                self.refused += 1;
            }
            return;
        }
        if !header
            .session
            .as_deref()
            .is_some_and(|key| self.sessions.is_key(key))
        {
            self.refused += 1;
            return control::refuse(stream, StreamReply::NotYourSession);
        }
        match header.stream {
            StreamKind::Logs {
                container,
                after,
                follow,
            } => {
                self.log_streams += 1;
                let request = LogRequest {
                    container,
                    after,
                    follow,
                };
                let (logs, inbox) = (Rc::clone(&self.logs), self.wishes.clone());
                tokio::task::spawn_local(control::deliver_logs(stream, request, logs, inbox));
            }
            StreamKind::Blob { request, size } => self.blob_arrived(request, size, stream),
            StreamKind::Control {} | StreamKind::Ingress { .. } => {
                self.refused += 1;
                control::refuse(stream, StreamReply::Malformed);
            }
        }
    }

    fn blob_arrived(&mut self, request: u64, size: u64, stream: Stream) {
        let facts = self.facts.clone();
        tokio::task::spawn_local(async move {
            let mut stream = stream;
            if link::write_reply(&mut stream, StreamReply::Accepted)
                .await
                .is_ok()
            {
                let _ = facts
                    .send(Input::Blob {
                        request,
                        size,
                        stream,
                    })
                    .await;
            }
        });
    }

    fn supply(&mut self, request: u64, size: u64, stream: Stream) {
        let supplied = stream.into_std_fd().and_then(|stream| {
            // The worker reads like any ordinary program.
            fd::set_nonblocking(&stream, false)?;
            self.images.supply(request, size, &stream)
        });
        if let Err(error) = supplied {
            log::info!("blob request {request}: {error}");
        }
    }

    fn hear(&mut self, id: ConnectionId, input: enclave::Input) {
        if let enclave::Input::Violation { reason, message } = input {
            return self.turn_away(id, reason, message);
        }
        if let enclave::Input::Hello {
            session,
            events_after,
            ..
        } = input
        {
            return self.greet(id, session.as_deref(), events_after);
        }
        if !self.connections.is_controller(id) {
            return self.turn_away(id, RefusedReason::NotYourSession, SUPERSEDED.to_owned());
        }
        match input {
            enclave::Input::Apply { bundle } => self.apply(id, &bundle),
            enclave::Input::BlobUnavailable { request, message } => {
                if let Err(error) = self.images.unavailable(request, &message) {
                    log::info!("blob request {request}: {error}");
                }
            }
            enclave::Input::Stop { grace_seconds } => self.step(Event::Stop { grace_seconds }),
            enclave::Input::FinishedAck => {
                let now = self.now();
                if let Some(finish) = &mut self.finish {
                    finish.acknowledge(now);
                }
            }
            enclave::Input::Ping { nonce } => {
                let counters = self.counters();
                self.connections.send(id, &FromEnclave::Pong { nonce, counters });
            }
            enclave::Input::Hello { .. } | enclave::Input::Violation { .. } => {}
        }
    }

    fn greet(&mut self, id: ConnectionId, session: Option<&str>, events_after: u64) {
        if self.sessions.decide(session) == Decision::Refuse {
            return self.turn_away(id, RefusedReason::NotYourSession, FOREIGN.to_owned());
        }
        if let Some(old) = self.connections.promote(id) {
            self.turn_away(old, RefusedReason::Superseded, SUPERSEDED.to_owned());
        }
        let welcome = FromEnclave::Welcome {
            version: VERSION,
            session: self.sessions.key().to_owned(),
            boot_id: self.boot_id.clone(),
            bundle: self.plan.as_ref().map(|plan| plan.digest.to_string()),
        };
        self.connections.send(id, &welcome);
        for event in self.journal.after(events_after) {
            self.connections
                .send(id, &FromEnclave::Event { event: event.clone() });
        }
        if let Some(report) = self.supervisor.report() {
            self.connections.send(
                id,
                &FromEnclave::Status {
                    report: Box::new(report),
                },
            );
        }
        self.ask_for_blob();
        self.send_finished(id);
        self.audience_changed(Audience::Present);
    }

    fn turn_away(&mut self, id: ConnectionId, reason: RefusedReason, message: String) {
        self.refused += 1;
        log::info!("control: connection {}: {message}", id.0);
        self.connections
            .send(id, &FromEnclave::Refused { reason, message });
        self.disconnected(id);
    }

    fn disconnected(&mut self, id: ConnectionId) {
        if self.connections.close(id) {
            self.sessions.disconnected();
            self.audience_changed(Audience::Absent);
        }
    }

    fn audience_changed(&mut self, audience: Audience) {
        let now = self.now();
        if let Some(finish) = &mut self.finish {
            finish.audience_changed(now, audience);
        }
    }

    fn ask_for_blob(&mut self) {
        if let Some((request, digest)) = self.images.wanted().cloned() {
            self.connections
                .send_to_controller(&FromEnclave::NeedBlob { request, digest });
        }
    }

    fn apply(&mut self, id: ConnectionId, bundle: &[u8]) {
        let answer = match Plan::from_bundle_bytes(bundle) {
            Err(rejection) => FromEnclave::Rejected { rejection },
            Ok((plan, warnings)) => match &self.plan {
                Some(running) if running.digest != plan.digest => FromEnclave::Rejected {
                    rejection: already_running(&running.name),
                },
                Some(_) => FromEnclave::Applied {
                    digest: plan.digest.to_string(),
                    warnings,
                },
                None => {
                    let digest = plan.digest.to_string();
                    self.connections
                        .send(id, &FromEnclave::Applied { digest, warnings });
                    return self.accept(plan);
                }
            },
        };
        self.connections.send(id, &answer);
    }

    fn accept(&mut self, mut plan: Plan) {
        log::info!(
            "bundle {}: Pod {}/{} accepted",
            plan.digest,
            plan.namespace,
            plan.name
        );
        let uid = plan.uid.get_or_insert_with(|| self.runtime.uid.clone());
        self.runtime.uid.clone_from(uid);
        if let Err(error) = nix::unistd::sethostname(&plan.hostname) {
            log::warn!("cannot set the host name to {}: {error}", plan.hostname);
        }
        let ports = plan.containers.iter().flat_map(|container| &container.ports);
        self.services
            .open_ports(ports.map(|port| port.container_port).collect());
        self.plan = Some(Rc::new(plan.clone()));
        self.step(Event::Accept(Box::new(plan)));
    }

    fn counters(&self) -> Counters {
        let logs = self.logs.borrow();
        Counters {
            resident_bytes: proc::resident_bytes(),
            reaped: self.reaped,
            log_bytes: logs.taken_bytes,
            log_dropped_bytes: logs.dropped_bytes,
            refused_connections: self.refused,
        }
    }
}

/// A deadline that never comes: a century.
const NEVER_MS: u64 = 100 * 365 * 24 * 3_600_000;
const FOREIGN: &str = "this enclave has another controller: present its session key, or stop the other one";
const SUPERSEDED: &str = "a controller with the session key has taken over";

fn already_running(name: &str) -> Rejection {
    Rejection {
        errors: vec![Finding {
            object: format!("Pod/{name}"),
            path: String::new(),
            message:
                "is already running with another bundle, which cannot be replaced: stop this enclave and \
                      start a new one"
                    .to_owned(),
        }],
    }
}

/// RFC 9562, version 4.
fn pod_uid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = manifest_sync::digest::hex(&bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
