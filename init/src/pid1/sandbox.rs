//! What a container runtime calls the sandbox: what the Pod's containers share before the first starts. The enclave's UTS,
//! IPC and network namespaces are the Pod's, so their settings are made here.

use std::time::Duration;

use manifest_sync::plan::Plan;
use manifest_sync::status::EventType::Warning;

use super::event_loop::Pid1;
use super::input::Input;

/// Between two events about a sandbox that cannot be made: a kubelet's next try comes after 10 to 15 seconds (K-006).
const RETRY: Duration = Duration::from_secs(12);

impl Pid1 {
    /// Sets host name and sysctls, and says what there is to say about DNS. If that cannot be done nothing of the Pod
    /// starts, and the plan says why.
    pub(super) fn prepare_sandbox(&mut self, plan: &mut Plan) {
        if let Err(message) = self.try_sandbox(plan) {
            plan.kernel_hostname = Err(message.clone());
            self.sandbox_failed(message);
        }
        if plan.dns.search_line_cut {
            let line = plan.dns.searches.join(" ");
            let message =
                "Search Line limits were exceeded, some search paths have been omitted, the applied search \
                           line is: "
                    .to_owned();
            self.emit(None, Warning, "DNSConfigForming", &(message + &line));
        }
        if let Some(policy) = plan
            .dns
            .missing_cluster_dns
            .as_ref()
            .filter(|_| plan.egress.is_none())
        {
            let message = format!(
                "pod: \"{}_{}({})\". kubelet does not have ClusterDNS IP configured and cannot create Pod using \
                 \"{policy}\" policy. Falling back to \"Default\" policy.",
                plan.name, plan.namespace, self.runtime.uid
            );
            self.emit(None, Warning, "MissingClusterDNS", &message);
        }
    }

    fn try_sandbox(&self, plan: &Plan) -> Result<(), String> {
        let name = plan.kernel_hostname.clone()?;
        if let Err(error) = nix::unistd::sethostname(&name) {
            // An enclave that is no machine of its own may not be allowed to have a name.
            log::warn!("cannot set the host name to {name}: {error}");
        }
        for (name, value) in &plan.sysctls {
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            std::fs::write(&path, value)
                .map_err(|error| format!("cannot set sysctl \"{name}\" to \"{value}\": {error}"))?;
        }
        Ok(())
    }

    /// K-529. Nothing changes until the next bundle; the event comes again as a kubelet's does.
    pub(super) fn sandbox_failed(&mut self, message: String) {
        if self.finish.is_some() {
            return;
        }
        let event = format!("Failed to create pod sandbox: {message}");
        self.emit(None, Warning, "FailedCreatePodSandBox", &event);
        let facts = self.facts.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(RETRY).await;
            let _ = facts.send(Input::SandboxFailed(message)).await;
        });
    }
}
