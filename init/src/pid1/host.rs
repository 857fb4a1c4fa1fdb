//! What the loop does for the host: letting a controller in, hearing its wishes, telling it what has happened.

use std::rc::Rc;

use cloister_init::supervisor::event::Event;
use manifest_sync::link::{self, Stream, StreamHeader, StreamKind, StreamReply};
use manifest_sync::log_plan::LogPolicy;
use manifest_sync::plan::{ContainerPlan, Plan, VolumeSource};
use manifest_sync::protocol::session::Decision;
use manifest_sync::protocol::{
    Counters, FromEnclave, GateCondition, ProbeCounters, RefusedReason, UsageCounters, VERSION, enclave,
};
use manifest_sync::reject::{Finding, Rejection};
use manifest_sync::trust::{self, VerifiedBundle};
use manifest_sync::update;

use super::attestation::Identity;
use super::cgroup;
use super::control::{self, LogRequest};
use super::event_loop::Pid1;
use super::exit::ExitCode;
use super::finish::Audience;
use super::input::{ConnectionId, Input};
use super::measure;
use super::storage::Watch;
use super::update::Release;
use crate::handshakes::Room;
use crate::sys::{fd, proc};

const FOREIGN: &str = "this enclave has another controller: present its session key, or stop the other one";
const UNANSWERED: &str = "Apply while the one before has not been answered";
const SUPERSEDED: &str = "a controller with the session key has taken over";

impl Pid1 {
    pub(super) fn connected(&mut self, header: StreamHeader, stream: Stream) {
        if header.stream == (StreamKind::Control {}) {
            if self.connections.open(stream, self.wishes.clone()) == Room::Made {
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
            StreamKind::Blob { request, size } => self.accept_stream(stream, move |stream| Input::Blob {
                request,
                size,
                stream,
            }),
            StreamKind::Broker { request } => {
                self.accept_stream(stream, move |stream| Input::Broker { request, stream });
            }
            StreamKind::Exec {} => self.open_exec(stream),
            StreamKind::Control {}
            | StreamKind::Ingress { .. }
            | StreamKind::Datagrams { .. }
            | StreamKind::Egress {} => {
                self.refused += 1;
                control::refuse(stream, StreamReply::Malformed);
            }
        }
    }

    /// A stream that we have asked for: answered first, then handed on.
    fn accept_stream(&self, mut stream: Stream, input: impl FnOnce(Stream) -> Input + 'static) {
        let facts = self.facts.clone();
        tokio::task::spawn_local(async move {
            let accepted = link::write_reply(&mut stream, StreamReply::Accepted).await;
            if accepted.is_ok() {
                let _ = facts.send(input(stream)).await;
            }
        });
    }

    pub(super) fn supply(&mut self, request: u64, size: u64, stream: Stream) {
        let supplied = stream.into_std_fd().and_then(|stream| {
            // The worker reads like any ordinary program.
            fd::set_nonblocking(&stream, false)?;
            self.images.supply(request, size, &stream)
        });
        if let Err(error) = supplied {
            log::info!("blob request {request}: {error}");
        }
    }

    pub(super) fn hear(&mut self, id: ConnectionId, input: enclave::Input) {
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
            enclave::Input::Apply { bundle } => {
                // Answers have no names but their order, so there is never more than one to come.
                if self.pending.as_ref().is_some_and(|(waiting, _)| *waiting == id) {
                    return self.turn_away(id, RefusedReason::Malformed, UNANSWERED.to_owned());
                }
                self.pending = Some((id, bundle));
                self.apply_pending();
            }
            enclave::Input::BlobUnavailable { request, message } => {
                if let Err(error) = self.images.unavailable(request, &message) {
                    log::info!("blob request {request}: {error}");
                }
            }
            enclave::Input::BrokerUnavailable { request, message } => {
                self.broker_unavailable(request, &message);
            }
            enclave::Input::Stop { grace_seconds } => self.step(Event::Stop { grace_seconds }),
            enclave::Input::SetCondition { request, condition } => {
                let refusal = self.set_condition(condition).err();
                self.connections
                    .send(id, &FromEnclave::ConditionSet { request, refusal });
            }
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

    /// K-274; an error is for the host's user.
    fn set_condition(&mut self, condition: GateCondition) -> Result<(), String> {
        condition.check()?;
        let gates = self.supervisor.readiness_gates();
        if !gates.contains(&condition.r#type) {
            let known = match gates {
                [] => "it has none".to_owned(),
                gates => format!("it has {}", gates.join(", ")),
            };
            return Err(format!("the Pod has no such readiness gate: {known}"));
        }
        self.step(Event::SetCondition(condition));
        Ok(())
    }

    pub(super) fn greet(&mut self, id: ConnectionId, session: Option<&str>, events_after: u64) {
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
        self.ask_for_broker();
        self.send_finished(id);
        self.audience_changed(Audience::Present);
    }

    pub(super) fn turn_away(&mut self, id: ConnectionId, reason: RefusedReason, message: String) {
        self.refused += 1;
        log::info!("control: connection {}: {message}", id.0);
        self.connections
            .send(id, &FromEnclave::Refused { reason, message });
        self.disconnected(id);
    }

    pub(super) fn disconnected(&mut self, id: ConnectionId) {
        if self.connections.close(id) {
            self.sessions.disconnected();
            self.audience_changed(Audience::Absent);
        }
    }

    pub(super) fn audience_changed(&mut self, audience: Audience) {
        let now = self.now();
        if let Some(finish) = &mut self.finish {
            finish.audience_changed(now, audience);
        }
    }

    pub(super) fn ask_for_blob(&mut self) {
        if let Some((request, digest)) = self.images.wanted().cloned() {
            self.connections
                .send_to_controller(&FromEnclave::NeedBlob { request, digest });
        }
    }

    /// A bundle waits until the enclave is complete: base services are part of what is attested.
    pub(super) fn apply_pending(&mut self) {
        if self.supervisor.services_are_ready()
            && let Some((id, bundle)) = self.pending.take()
        {
            self.apply(id, &bundle);
        }
    }

    fn apply(&mut self, id: ConnectionId, bundle: &[u8]) {
        let answer = match trust::verify(bundle, &self.policy) {
            Err(error) => {
                log::warn!("refused a bundle: {error}");
                FromEnclave::Rejected {
                    rejection: error.into(),
                }
            }
            Ok(verified) if self.plan.is_some() => self.succeed(verified),
            Ok(verified) => return self.accept_first(id, verified),
        };
        self.connections.send(id, &answer);
    }

    /// Measures, then runs.
    fn accept_first(&mut self, id: ConnectionId, verified: VerifiedBundle) {
        if let Err(rejection) = update::first(&verified) {
            self.connections.send(id, &FromEnclave::Rejected { rejection });
            return;
        }
        if let Some(rejection) = self.needs_module(verified.plan()) {
            self.connections.send(id, &FromEnclave::Rejected { rejection });
            return;
        }
        let names = verified
            .plan()
            .all_containers()
            .map(|container| container.name.as_str());
        if let Err(error) = self.logs.borrow_mut().follow(&verified.plan().logs, names) {
            let rejection = Rejection {
                errors: vec![Finding {
                    object: "EnclavePolicy".to_owned(),
                    path: "spec.logs.sealTo".to_owned(),
                    message: error.to_string(),
                }],
            };
            self.connections.send(id, &FromEnclave::Rejected { rejection });
            return;
        }
        if let Err(error) = self.measure(&verified) {
            self.cannot_vouch(id, &error);
            return;
        }
        let warnings = self.warnings(&verified);
        self.release = Some(Release::first(&verified));
        let digest = verified.digest().to_string();
        self.connections
            .send(id, &FromEnclave::Applied { digest, warnings });
        self.accept(verified.into_plan());
    }

    /// What is to be known of a bundle that runs.
    pub(super) fn warnings(&self, verified: &VerifiedBundle) -> Vec<Finding> {
        let mut warnings = verified.warnings().to_vec();
        warnings.extend(self.unenforced(verified.plan()));
        warnings.extend(self.withheld(verified.plan()));
        warnings
    }

    /// Measures the bundle and gives the security module away, for good.
    fn measure(&mut self, verified: &VerifiedBundle) -> Result<(), String> {
        let (Some(module), Some(attestation)) = (self.module.take(), self.services.attestation()) else {
            return Ok(());
        };
        measure::measure(&module, verified.measurements())
            .map_err(|error| format!("the bundle cannot be measured: {error}"))?;
        let identity = Identity::of(verified, Release::first(verified).history)?;
        attestation
            .begin(&module, identity, verified.plan())
            .map_err(|error| format!("the security module cannot be given to the attest service: {error}"))
    }

    /// What cannot be measured does not run, and neither does anything else here afterwards: the registers are no longer
    /// what a verifier expects.
    fn cannot_vouch(&mut self, id: ConnectionId, error: &str) {
        log::error!("{error}");
        let rejection = Rejection::of("enclave", format!("{error}, so this enclave ends"));
        self.connections.send(id, &FromEnclave::Rejected { rejection });
        self.connections.close(id);
        self.failure = Some(ExitCode::Measurement);
    }

    /// Why the Pod cannot run where nothing can be attested.
    fn needs_module(&self, plan: &Plan) -> Option<Rejection> {
        let attests = |source: &VolumeSource| {
            matches!(
                source,
                VolumeSource::SecretProvider { .. } | VolumeSource::Attestation
            )
        };
        let index = plan.volumes.iter().position(|volume| attests(&volume.source))?;
        self.module.is_none().then(|| Rejection {
            errors: vec![Finding {
                object: format!("Pod/{}", plan.name),
                path: format!("spec.volumes[{index}].csi"),
                message: "needs a security module, and this machine has none: nothing here can be attested"
                    .to_owned(),
            }],
        })
    }

    pub(super) fn accept(&mut self, mut plan: Plan) {
        log::info!(
            "bundle {}: Pod {}/{} accepted",
            plan.digest,
            plan.namespace,
            plan.name
        );
        let uid = plan.uid.get_or_insert_with(|| self.runtime.uid.clone());
        self.runtime.uid.clone_from(uid);
        self.prepare_sandbox(&mut plan);
        self.limit(&plan);
        let ports = plan.lasting_containers().flat_map(|container| &container.ports);
        self.services.open_ports(ports.collect());
        // With volumes, it begins when they are there.
        self.storage = if plan.volumes.is_empty() {
            Watch::begin(&plan, self.now())
        } else {
            None
        };
        self.open_egress(&plan);
        self.plan = Some(Rc::new(plan.clone()));
        self.sized.clone_from(&self.plan);
        self.step(Event::Accept(Box::new(plan)));
        self.begin_secrets();
    }

    /// Why there are no logs, when there are none.
    fn withheld(&self, plan: &Plan) -> Option<Finding> {
        let host = |container: &&ContainerPlan| plan.logs.policy_of(&container.name) == LogPolicy::Host;
        let names: Vec<&str> = plan
            .all_containers()
            .filter(host)
            .map(|container| &*container.name)
            .collect();
        (!self.policy.allow_clear_logs && !names.is_empty()).then(|| Finding {
            object: format!("Pod/{}", plan.name),
            path: "spec.containers[*]".to_owned(),
            message: format!(
                "what containers print is discarded ({}): the trust policy does not say `allowClearLogs`; an \
                 EnclavePolicy can have it sealed (spec.logs)",
                names.join(", ")
            ),
        })
    }

    fn usage(&self) -> Vec<UsageCounters> {
        if self.cgroups.is_none() {
            return Vec::new();
        }
        let running = self.children.values().filter_map(|child| {
            let container = self.container(child.unit)?;
            Some((
                container.name.as_str(),
                cgroup::instance(&container.name, child.attempt),
            ))
        });
        self.usage.borrow_mut().counters(running)
    }

    fn probes_counted(&self) -> Vec<ProbeCounters> {
        let counted = self
            .probed
            .iter()
            .map(|((container, kind, result), count)| ProbeCounters {
                container: container.clone(),
                probe: kind.to_string(),
                result: (*result).to_owned(),
                count: *count,
            });
        counted.collect()
    }

    pub(super) fn counters(&self) -> Counters {
        let logs = self.logs.borrow();
        Counters {
            resident_bytes: proc::resident_bytes(),
            reaped: self.reaped,
            log_bytes: logs.taken_bytes,
            log_dropped_bytes: logs.dropped_bytes,
            refused_connections: self.refused,
            log_ring_limit_bytes: logs.ring_limit(),
            logs: logs.counters(),
            usage: self.usage(),
            probes: self.probes_counted(),
            egress_denied: self.egress_denied.clone(),
        }
    }
}
