//! What the loop does to units: starting their processes, hearing of their start and end, signalling them.

use std::rc::Rc;
use std::time::Instant;

use cloister_init::supervisor::event::{Event, ExitStatus, Pid, SpawnError};
use cloister_init::supervisor::unit::UnitId;
use manifest_sync::data::Objects;
use manifest_sync::log_record::LogStream;
use manifest_sync::plan::{ContainerPlan, Plan};
use manifest_sync::resources::ResourcesPlan;
use manifest_sync::signal;
use manifest_sync::status::EventType::Warning;

use super::cgroup::Cgroups;
use super::event_loop::{Child, POD_IP, Pid1};
use super::log_pipe::LogPipe;
use super::process::Outputs;
use super::service::NET;
use super::shared_pids::{PodProcess, SharedChild, Whose};
use super::storage::Watch;
use super::volume::Ingredients;
use super::{cgroup, container, layout, managed_file, probe, process, volume};
use crate::sys::spawn::Namespaces;
use crate::sys::{fd, kill, reap};

impl Pid1 {
    pub(super) fn reap(&mut self) {
        let mut exits = Vec::new();
        reap::reap(|pid, status| exits.push((pid, status)));
        for (pid, status) in exits {
            self.reaped += 1;
            self.exited(pid, status);
        }
    }

    pub(super) fn exited(&mut self, pid: Pid, status: ExitStatus) {
        if let Some(events) = self.images.exited(pid) {
            self.step_all(events);
            return self.free_images();
        }
        if let Some(answer) = self.command_exited(pid, status) {
            return self.step_all(answer);
        }
        if self.exec_exited(pid, status) {
            return;
        }
        let Some(pid) = self.shared_exited(pid) else {
            return;
        };
        // A short-lived process: its report may still be in the pipe.
        self.read_report(pid);
        let Some(child) = self.children.remove(&pid) else {
            return;
        };
        for pipe in &child.logs {
            pipe.drain_now();
        }
        if child.unit == UnitId::Service(NET) {
            self.net_ended();
        }
        self.target_ended(pid);
        if let (Some(shared), Some(container)) = (&child.shared, self.container(child.unit)) {
            let cgroup = self.cgroups.as_ref();
            shared.end(cgroup.map(|_| Cgroups::path(&container.name, child.attempt)));
        }
        let message = self.termination_message(&child, status);
        let oom_killed = self.release(&child);
        if let UnitId::Service(_) = child.unit {
            log::info!(
                "base service {} ended: {status}",
                self.supervisor.unit_name(child.unit)
            );
        }
        if let UnitId::Service(index) = child.unit
            && self.services.ended(index)
            // It ends with the others when the Pod has ended: nobody misses it then.
            && !self.supervisor.services_are_stopped()
        {
            let message = "the service that held the security module has ended: no document can be had and no secret \
                           released until the enclave starts again; what containers have stays";
            log::error!("attest: {message}");
            self.emit(None, Warning, "AttestationLost", message);
        }
        self.step(Event::Exited {
            pid,
            status,
            oom_killed,
            message,
        });
        self.free_images();
    }

    /// Images that an update has replaced are freed when the last instance that was made from them has ended.
    pub(super) fn free_images(&mut self) {
        let Some(plan) = &self.plan else { return };
        let planned = plan.all_containers().chain(&plan.ephemeral_containers);
        let planned = planned.map(|container| &container.image_digest);
        let running = self.children.values().filter_map(|child| child.image.as_ref());
        self.images.retain(&planned.chain(running).collect());
    }

    pub(super) fn read_report(&mut self, pid: Pid) {
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
            Some(report) => {
                let message = report.to_string();
                if let UnitId::Service(_) = child.unit {
                    let name = self.supervisor.unit_name(child.unit);
                    log::error!(
                        "base service {name} cannot start: {message}; no container starts without it"
                    );
                }
                self.step(Event::StartFailed { pid, message });
            }
        }
    }

    pub(super) fn service_ready(&mut self, pid: Pid) {
        if let Some(child) = self.children.get(&pid) {
            log::info!("base service {} is ready", self.supervisor.unit_name(child.unit));
        }
        self.step(Event::ServiceReady { pid });
    }

    /// K-332, K-333; the instance's files are gone afterwards.
    pub(super) fn termination_message(&self, child: &Child, status: ExitStatus) -> Option<String> {
        let container = self.container(child.unit)?;
        let instance = layout::instance(&container.name, child.attempt);
        let mut message = process::termination_message(&instance);
        let failed = status != ExitStatus::Code(0);
        if message.is_empty() && failed && container.termination_message_from_logs {
            message = self.logs.borrow().tail(&container.name, child.attempt);
            // The log has whole lines; the message is what was written.
            if child.logs.iter().any(|pipe| pipe.is_cut_off()) {
                message.truncate(message.strip_suffix('\n').unwrap_or(&message).len());
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&instance) {
            log::warn!("cannot remove {}: {error}", instance.display());
        }
        Some(message).filter(|message| !message.is_empty())
    }

    /// The instance's cgroup goes. Whether the kernel has killed one of its processes for want of memory.
    fn release(&self, child: &Child) -> bool {
        match (&self.cgroups, self.container(child.unit)) {
            (Some(cgroups), Some(container)) => {
                let cgroup = cgroup::instance(&container.name, child.attempt);
                self.usage.borrow_mut().ended(&container.name, &cgroup);
                cgroups.remove(&container.name, child.attempt)
            }
            _ => false,
        }
    }

    pub(super) fn container(&self, unit: UnitId) -> Option<&ContainerPlan> {
        let plan = self.plan.as_ref()?;
        match unit {
            UnitId::Service(_) => None,
            UnitId::Init(index) => plan.init_containers.get(index),
            UnitId::Container(index) => plan.containers.get(index),
            UnitId::Ephemeral(index) => plan.ephemeral_containers.get(index),
        }
    }

    /// K-143: the Pod's, the image's, SIGTERM.
    pub(super) fn stop_signal(&self, pid: Pid) -> i32 {
        let child = self.children.get(&pid);
        let container = child.and_then(|child| self.container(child.unit));
        let own = container.and_then(|container| signal::number(container.hooks.stop_signal.as_deref()?));
        own.or_else(|| signal::of_image(&self.images.get(child?.image.as_ref()?)?.stop_signal))
            .unwrap_or(kill::SIGTERM)
    }

    pub(super) fn pull(&mut self, unit: UnitId) -> Vec<Event> {
        let Some(digest) = self
            .container(unit)
            .map(|container| container.image_digest.clone())
        else {
            return Vec::new();
        };
        self.images.pull(unit, digest)
    }

    pub(super) fn spawn(&mut self, unit: UnitId, attempt: u32) -> Event {
        let spawned = match unit {
            UnitId::Service(index) => self.spawn_service(index, attempt),
            UnitId::Init(_) | UnitId::Container(_) | UnitId::Ephemeral(_) => {
                self.spawn_container(unit, attempt)
            }
        };
        match spawned {
            Ok(pid) => Event::Spawned { unit, pid },
            Err((reason, message)) => {
                if let UnitId::Service(_) = unit {
                    log::error!("base service {}: {message}", self.supervisor.unit_name(unit));
                }
                Event::SpawnFailed {
                    unit,
                    reason,
                    message,
                }
            }
        }
    }

    pub(super) fn spawn_service(&mut self, index: usize, attempt: u32) -> Result<Pid, (SpawnError, String)> {
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
                spec: None,
                container: None,
                resources: ResourcesPlan::default(),
                enforced: ResourcesPlan::default(),
                image: None,
                shared: None,
                logs: Vec::new(),
                spawned,
            },
        ))
    }

    pub(super) fn spawn_container(
        &mut self,
        unit: UnitId,
        attempt: u32,
    ) -> Result<Pid, (SpawnError, String)> {
        let create = |error: std::io::Error| (SpawnError::Create, format!("cannot create: {error}"));
        let plan = self
            .plan
            .clone()
            .ok_or((SpawnError::Create, "no Pod".to_owned()))?;
        if plan.share_process_namespace && self.pod_process.is_none() {
            self.pod_process = Some(PodProcess::start().map_err(create)?);
        }
        let container = self
            .container(unit)
            .ok_or((SpawnError::Create, "no such container".to_owned()))?;
        let image = self
            .images
            .get(&container.image_digest)
            .ok_or((SpawnError::Create, "image is not unpacked".to_owned()))?;
        let released = self.secrets.released();
        let enforced = container.resources.within(&plan.resources);
        let placement = match &self.cgroups {
            None => container::Placement::default(),
            Some(cgroups) => container::Placement {
                cgroup: Some(cgroups.create(container, attempt, &enforced).map_err(create)?),
                oom_score_adj: Some(cgroups.oom_score_adj(&plan, container)),
            },
        };
        let around = container::Surroundings {
            runtime: &self.runtime,
            released,
            owners: self.owners,
            attempt,
            placement,
        };
        let spec = container::describe(&plan, container, image, &around)?;
        let files = [
            managed_file::hosts(&plan, POD_IP),
            format!("{}\n", plan.name_inside()),
            managed_file::resolv_conf(&plan),
        ];
        process::prepare(&layout::instance(&container.name, attempt), files).map_err(create)?;
        let (stdout, stdout_end) = fd::pipe().map_err(create)?;
        let (stderr, stderr_end) = fd::pipe().map_err(create)?;
        let outputs = Outputs {
            stdin: None,
            stdout: &stdout_end,
            stderr: &stderr_end,
        };
        let has_commands = probe::has_commands(container) || self.policy.allow_debug_exec;
        let image_digest = container.image_digest.clone();
        let (name, resources) = (container.name.clone(), container.resources);
        let spawned = Instant::now();
        let (started, shared) = match &self.pod_process {
            Some(pod) if plan.share_process_namespace => {
                let (told, number) = fd::pipe().map_err(create)?;
                fd::set_nonblocking(&told, true).map_err(create)?;
                let kept = [&pod.pidfd, &number];
                let mut started =
                    process::start(&spec, Namespaces::Mount, &outputs, &kept).map_err(create)?;
                let shared = SharedChild::new(self.shared_starts.get(), started.pid, told);
                self.shared_starts.set(self.shared_starts.get() + 1);
                started.pid = shared.number;
                (started, Some(shared))
            }
            _ => {
                let started = process::start(&spec, Namespaces::Container, &outputs, &[]);
                (started.map_err(create)?, None)
            }
        };
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
                spec: has_commands.then(|| Rc::new(spec)),
                container: Some(name),
                resources,
                enforced,
                image: Some(image_digest),
                shared,
                logs,
                spawned,
            },
        ))
    }

    /// The process that signals for a container go to; `pid` is what the supervisor calls it.
    pub(super) fn process(&self, pid: Pid) -> Pid {
        let shared = self.children.get(&pid).and_then(|child| child.shared.as_ref());
        shared.map_or(pid, SharedChild::process)
    }

    /// Where containers share a PID namespace: what the supervisor calls the container that has ended with this process;
    /// `None` if none has.
    fn shared_exited(&mut self, pid: Pid) -> Option<Pid> {
        if self.pod_process.as_ref().is_some_and(|pod| pod.is(pid)) {
            log::warn!("the first process of the Pod's PID namespace has ended, and its containers with it");
            self.pod_process = None;
            return None;
        }
        let mut shared = self.children.values().filter_map(|child| child.shared.as_ref());
        match shared.find_map(|child| Some((child.whose(pid)?, child.number))) {
            None => Some(pid),
            Some((Whose::Starter, _)) => None,
            Some((Whose::Process | Whose::FailedStarter, number)) => Some(number),
        }
    }

    /// K-380: made once. Their use is watched from then on.
    pub(super) fn set_up_volumes(&mut self) -> Event {
        let Some(plan) = self.plan.clone() else {
            return Event::VolumesSetUp(Err("no Pod".to_owned()));
        };
        let result = volume::set_up(&self.ingredients(&plan));
        if result.is_ok() {
            self.storage = Watch::begin(&plan, self.now());
        }
        Event::VolumesSetUp(result)
    }

    /// What volumes are made of.
    pub(super) fn ingredients<'a>(&'a self, plan: &'a Plan) -> Ingredients<'a> {
        Ingredients {
            objects: Objects {
                plan,
                released: self.secrets.released(),
            },
            runtime: &self.runtime,
            secrets: &self.secrets,
        }
    }

    pub(super) fn adopt(&mut self, started: process::Started, mut child: Child) -> Pid {
        started.report.watch(started.pid, self.facts.clone());
        child.report = Some(started.report);
        self.children.insert(started.pid, child);
        started.pid
    }
}
