//! The loop: one task owns all state. It waits for an input or a deadline, steps the supervisor, performs what the
//! supervisor wants, and feeds the answers back before it looks at the next input.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use cloister_init::correlation::{Occurrence, Source};
use cloister_init::supervisor::action::Action;
use cloister_init::supervisor::event::{Event, Pid, ProbeKind, ProbeOutcome};
use cloister_init::supervisor::time::Time;
use cloister_init::supervisor::unit::UnitId;
use cloister_init::supervisor::{Identity, Limits, Supervisor};
use manifest_sync::config::{CONTROL_PORT, DATA_PORT};
use manifest_sync::digest::Digest;
use manifest_sync::env;
use manifest_sync::link::{self, Address};
use manifest_sync::plan::Plan;
use manifest_sync::protocol::FromEnclave;
use manifest_sync::protocol::session::Sessions;
use manifest_sync::resources::ResourcesPlan;
use manifest_sync::status;
use manifest_sync::trust::TrustPolicy;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc::{self, Sender};

use super::boot::Booted;
use super::capacity;
use super::cgroup::{self, Cgroups};
use super::command::Commands;
use super::control::{self, Connections};
use super::exec::Execs;
use super::exit::ExitCode;
use super::finish::{Audience, Finish};
use super::heartbeat;
use super::image::Images;
use super::input::{ConnectionId, Input};
use super::journal::Journal;
use super::log_pipe::LogPipe;
use super::log_store::{self, Clear, LogStore};
use super::probe::Probes;
use super::process::ReportPipe;
use super::secrets::Secrets;
use super::security_module::Module;
use super::service::{Services, Surroundings};
use super::shared_pids::{PodProcess, SharedChild};
use super::storage::Watch;
use super::update::Release;
use super::usage::Usage;
use crate::child::spec::ChildSpec;
use crate::net::message::FromNet;
use crate::sys::kill;
use crate::unpack::message::Owners;

/// Inputs that may wait, per class; their sources wait when it is full.
const INBOX: usize = 256;
/// Statuses in a row that are not sent because there is more to hear that may change them.
const UNTOLD_STATUSES: u32 = 64;
/// The Pod's address: the enclave has no interface but `lo`.
pub(super) const POD_IP: &str = "127.0.0.1";

/// Everything PID 1 knows.
pub(super) struct Pid1 {
    pub(super) started: Instant,
    pub(super) supervisor: Supervisor,
    pub(super) plan: Option<Rc<Plan>>,
    /// What runs as a whole, as soon as there is a plan.
    pub(super) release: Option<Release>,
    /// The plan that the Pod's cgroup has the size of.
    pub(super) sized: Option<Rc<Plan>>,
    pub(super) runtime: env::Runtime,
    pub(super) boot_id: String,
    pub(super) owners: Owners,
    pub(super) cgroups: Option<Cgroups>,
    /// Why there are no cgroups, if there are none.
    pub(super) unlimited: String,
    pub(super) policy: TrustPolicy,
    /// The security module, until a bundle has been measured.
    pub(super) module: Option<Module>,
    pub(super) secrets: Secrets,
    /// Once the volumes are there.
    pub(super) storage: Option<Watch>,
    pub(super) children: BTreeMap<Pid, Child>,
    /// First process of the Pod's PID namespace, if its containers share one.
    pub(super) pod_process: Option<PodProcess>,
    /// How many containers have been started in it.
    pub(super) shared_starts: Cell<Pid>,
    pub(super) services: Services,
    pub(super) images: Images,
    pub(super) probes: Probes,
    pub(super) commands: Commands,
    pub(super) execs: Execs,
    pub(super) logs: Rc<RefCell<LogStore>>,
    pub(super) log_streams: usize,
    pub(super) usage: RefCell<Usage>,
    /// Answers of probes: container, kind, result.
    pub(super) probed: BTreeMap<(String, ProbeKind, &'static str), u64>,
    pub(super) sessions: Sessions,
    pub(super) connections: Connections,
    pub(super) journal: Journal,
    /// Whether the status has changed since it was sent, and how often that was put off.
    pub(super) untold: Option<u32>,
    pub(super) finish: Option<Finish>,
    /// A bundle that came before all base services were ready.
    pub(super) pending: Option<(ConnectionId, Vec<u8>)>,
    /// Set when the enclave has to end although its Pod has not.
    pub(super) failure: Option<ExitCode>,
    pub(super) reaped: u64,
    pub(super) refused: u64,
    /// Denied attempts to reach something outside, by container.
    pub(super) egress_denied: BTreeMap<String, u64>,
    pub(super) facts: Sender<Input>,
    pub(super) wishes: Sender<Input>,
}

/// A live process of a unit.
pub(super) struct Child {
    pub(super) unit: UnitId,
    pub(super) attempt: u32,
    pub(super) report: Option<ReportPipe>,
    /// Of a container in which commands may run: what these start from.
    pub(super) spec: Option<Rc<ChildSpec>>,
    /// Name of its container.
    pub(super) container: Option<String>,
    /// What its container has asked for.
    pub(super) resources: ResourcesPlan,
    /// What its cgroup allows: that within the Pod's own (K-448).
    pub(super) enforced: ResourcesPlan,
    /// The image that it was made from, which an update may have replaced in the plan.
    pub(super) image: Option<Digest>,
    /// Set where its PID namespace is not its own.
    pub(super) shared: Option<SharedChild>,
    pub(super) logs: Vec<Rc<LogPipe>>,
    pub(super) spawned: Instant,
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
    let Booted { config, .. } = &booted;
    let (heartbeat, parent_cids) = (config.heartbeat, config.parent_cids.clone());
    let mut pid1 = match Pid1::new(booted, data, facts, wishes.clone()) {
        Ok(pid1) => pid1,
        Err(error) => {
            log::error!("{error}");
            return ExitCode::EventLoop;
        }
    };
    tokio::task::spawn_local(control::accept(control, wishes));
    tokio::task::spawn_local(log_store::seal_in_time(Rc::clone(&pid1.logs)));
    if heartbeat {
        tokio::task::spawn_local(heartbeat::send(parent_cids));
    }
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
        pid1.tell_status();
        pid1.apply_pending();
        if let Some(code) = pid1.failure {
            let said =
                async { while !matches!(wishes_inbox.recv().await, None | Some(Input::ControlClosed(_))) {} };
            let _ = tokio::time::timeout(LAST_WORDS, said).await;
            return code;
        }
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
    pub(super) fn new(
        booted: Booted,
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
        let (cgroups, unlimited) = match booted.cgroups {
            Ok(cgroups) => (Some(cgroups), String::new()),
            Err(error) => (None, error.to_string()),
        };
        let identity = Identity {
            boot_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            uid: uid.clone(),
            pod_ip: POD_IP.to_owned(),
            restart_cap: booted.config.crash_loop_back_off.max_container_restart_period,
            limits: if cgroups.is_some() {
                Limits::Enforced
            } else {
                Limits::Absent
            },
        };
        let surroundings = Surroundings {
            owners: booted.owners,
            cgroup: cgroup::system(cgroups.as_ref()),
        };
        let clear = if booted.policy.allow_clear_logs {
            Clear::Leaves
        } else {
            Clear::Stays
        };
        let logs = LogStore::new(booted.config.log_ring_bytes, clear);
        Ok(Self {
            started: Instant::now(),
            supervisor: Supervisor::new(identity),
            plan: None,
            release: None,
            sized: None,
            runtime: env::Runtime {
                pod_ip: POD_IP.to_owned(),
                host_ip: POD_IP.to_owned(),
                node_name: "enclave".to_owned(),
                uid,
                capacity: capacity::of_this_machine(),
            },
            boot_id,
            owners: booted.owners,
            storage: None,
            children: BTreeMap::new(),
            pod_process: None,
            shared_starts: Cell::new(0),
            services: Services::new(
                &booted.config,
                surroundings.clone(),
                key.clone(),
                data,
                booted.module.is_some(),
            ),
            images: Images::new(surroundings, facts.clone()),
            probes: Probes::default(),
            commands: Commands::default(),
            cgroups,
            unlimited,
            execs: Execs::default(),
            policy: booted.policy,
            module: booted.module,
            secrets: Secrets::default(),
            logs: Rc::new(RefCell::new(logs)),
            log_streams: 0,
            usage: RefCell::default(),
            probed: BTreeMap::new(),
            sessions: Sessions::new(key, booted.config.takeover),
            connections: Connections::default(),
            journal: Journal::default(),
            untold: None,
            finish: None,
            pending: None,
            failure: None,
            reaped: 0,
            refused: 0,
            egress_denied: BTreeMap::new(),
            facts,
            wishes,
        })
    }

    pub(super) fn now(&self) -> Time {
        Time::from_millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The earliest moment at which something is due, without an input.
    pub(super) fn next_deadline(&self) -> Time {
        let own = self.finish.as_ref().map(Finish::deadline);
        self.supervisor
            .next_deadline()
            .into_iter()
            .chain(own)
            .chain(self.secrets.deadline())
            .chain(self.storage.as_ref().map(Watch::deadline))
            .min()
            .unwrap_or(Time::from_millis(NEVER_MS))
    }

    pub(super) fn is_over(&self) -> bool {
        self.finish
            .as_ref()
            .is_some_and(|finish| finish.is_over(self.now(), self.log_streams))
    }

    pub(super) fn handle(&mut self, input: Input) {
        match input {
            Input::Child => self.reap(),
            Input::Terminate => self.step(Event::Stop { grace_seconds: None }),
            Input::Report(pid) => self.read_report(pid),
            Input::ServiceReady(pid) => self.service_ready(pid),
            Input::Net(FromNet::Probed { number, answer }) => self.net_answered(number, answer),
            Input::Net(message) => self.hear_of_egress(message),
            Input::SandboxFailed(message) => self.sandbox_failed(message),
            Input::Slept(number) => self.slept(number),
            Input::CommandLate(number) => self.command_late(number),
            Input::Worker(pid) => {
                let events = self.images.hear(pid);
                self.ask_for_blob();
                self.step_all(events);
            }
            Input::Attest(message, attached) => self.attested(message, attached),
            Input::Broker { request, stream } => self.broker_connected(request, stream),
            Input::Tick => {
                self.step(Event::Tick);
                self.advance_secrets();
                self.watch_storage();
            }
            Input::Connection(header, stream) => self.connected(header, stream),
            Input::ConnectionRefused => self.refused += 1,
            Input::Control(id, input) => self.hear(id, input),
            Input::Blob {
                request,
                size,
                stream,
            } => self.supply(request, size, stream),
            Input::ControlClosed(id) => self.disconnected(id),
            Input::Exec(number, request) => self.exec(number, request),
            Input::ExecClosed(number) => self.exec_closed(number),
            Input::LogStreamEnded => self.log_streams = self.log_streams.saturating_sub(1),
        }
    }

    pub(super) fn step(&mut self, event: Event) {
        self.step_all(vec![event]);
    }

    /// Steps the supervisor; answers to its actions are stepped before anything else, so that an exit can never
    /// overtake its spawn.
    pub(super) fn step_all(&mut self, events: Vec<Event>) {
        let mut events = VecDeque::from(events);
        let mut actions = Vec::new();
        while let Some(event) = events.pop_front() {
            self.count_probe(&event);
            self.supervisor.step(self.now(), event, &mut actions);
            for action in std::mem::take(&mut actions) {
                events.extend(self.perform(action));
            }
        }
        self.tell_status();
    }

    /// Sends the status if it has changed; later, if more facts are there already. When many containers start at once, a
    /// status of all for each would be more than the host can read, and many times the memory that we may have.
    fn tell_status(&mut self) {
        let Some(put_off) = self.untold else { return };
        let all_is_heard = self.facts.capacity() == self.facts.max_capacity();
        if !all_is_heard && put_off < UNTOLD_STATUSES {
            self.untold = Some(put_off + 1);
            return;
        }
        self.untold = None;
        if let Some(report) = self.supervisor.report() {
            self.connections.send_to_controller(&FromEnclave::Status {
                report: Box::new(report),
            });
        }
    }

    /// For the host's metrics; the words are those of the kubelet's `prober_probe_total`.
    fn count_probe(&mut self, event: &Event) {
        let Event::Probed { pid, kind, outcome } = event else {
            return;
        };
        let result = match outcome {
            ProbeOutcome::Success | ProbeOutcome::Warning(_) => "successful",
            ProbeOutcome::Failure(_) => "failed",
            ProbeOutcome::Error(_) => "unknown",
        };
        let unit = self.children.get(pid).map(|child| child.unit);
        if let Some(container) = unit.and_then(|unit| self.container(unit)) {
            let key = (container.name.clone(), *kind, result);
            *self.probed.entry(key).or_default() += 1;
        }
    }

    pub(super) fn perform(&mut self, action: Action) -> Vec<Event> {
        match action {
            Action::PullImage(unit) => self.pull(unit),
            Action::SetUpVolumes => vec![self.set_up_volumes()],
            Action::Spawn { unit, attempt } => vec![self.spawn(unit, attempt)],
            Action::Terminate(pid) => {
                kill::signal(self.process(pid), self.stop_signal(pid));
                Vec::new()
            }
            Action::Kill(pid) => {
                kill::kill(self.process(pid));
                Vec::new()
            }
            Action::Probe { unit, pid, kind } => self.probe(unit, pid, kind),
            Action::Resize => self.resize(),
            Action::Hook { unit, pid, kind } => self.hook(unit, pid, kind),
            Action::Emit {
                container,
                r#type,
                reason,
                message,
            } => {
                self.emit(container, r#type, reason, &message);
                Vec::new()
            }
            Action::StatusChanged => {
                self.untold.get_or_insert(0);
                Vec::new()
            }
            Action::Finish { exit_code } => {
                self.end(exit_code);
                Vec::new()
            }
        }
    }

    pub(super) fn emit(
        &mut self,
        container: Option<UnitId>,
        r#type: status::EventType,
        reason: &'static str,
        message: &str,
    ) {
        let source = match reason {
            "AttestationLost" | "MountRotationComplete" | "MountRotationFailed" => Source::Enclave,
            // What the host does here is told whatever else there is to tell.
            "DebugExec" => Source::Enclave,
            // A Pod whose containers have used up the kubelet's burst has to be told what it may not reach.
            "EgressDenied" | "EgressFailed" | "EgressUnavailable" => Source::Enclave,
            _ => Source::Kubelet,
        };
        let field_path = container.and_then(|unit| unit.field_path(self.supervisor.unit_name(unit)));
        let now = self.now();
        let occurrence = Occurrence {
            source,
            r#type,
            reason,
            message,
            field_path: field_path.as_deref(),
        };
        let supervisor = &self.supervisor;
        let event = self
            .journal
            .record(now, occurrence, |time| supervisor.timestamp(time));
        if let Some(event) = event {
            self.connections.send_to_controller(&FromEnclave::Event { event });
        }
    }

    pub(super) fn end(&mut self, exit_code: u8) {
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

    pub(super) fn send_finished(&mut self, id: ConnectionId) {
        let Some(finish) = &self.finish else { return };
        let report = Box::new(self.supervisor.report().unwrap_or_default());
        let exit_code = finish.exit_code;
        self.connections
            .send(id, &FromEnclave::Finished { exit_code, report });
    }
}

/// How long the host may take to read why the enclave ends.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A deadline that never comes: a century.
const NEVER_MS: u64 = 100 * 365 * 24 * 3_600_000;

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
