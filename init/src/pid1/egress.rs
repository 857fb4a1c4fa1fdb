//! What the loop does for egress: routes for networks that the Pod may reach, the policy for `net`, and events about what was
//! denied, with the container that wanted it.

use std::collections::BTreeSet;

use cloister_init::supervisor::unit::UnitId;
use manifest_sync::plan::Plan;
use manifest_sync::status::EventType::Warning;

use super::event_loop::Pid1;
use crate::net::message::{DeniedKind, FromNet};
use crate::sys::{proc, route};

/// Instead of a name that a container has made up, where what containers say must not leave.
const WITHHELD: &str = "a destination";

impl Pid1 {
    /// Opens what the bundle allows, before any container runs.
    pub(super) fn open_egress(&mut self, plan: &Plan) {
        let Some(policy) = plan.egress.clone() else { return };
        for network in policy.networks() {
            if let Err(error) = route::add_local(network) {
                let message = format!("{network} cannot be reached: this kernel has no such route: {error}");
                self.emit(None, Warning, "EgressUnavailable", &message);
            }
        }
        let searches = plan.dns.searches.iter();
        let searches = searches.map(|domain| manifest_sync::egress::normalize(domain));
        self.services.open_egress(policy, searches.collect());
    }

    /// `net` has something to say about egress.
    pub(super) fn hear_of_egress(&mut self, message: FromNet) {
        match message {
            FromNet::EgressDenied {
                number,
                kind,
                destination,
                socket,
                untold,
            } => {
                let container = socket.and_then(|inode| self.container_with_socket(inode));
                // Whoever was denied is answered now: it had to have its socket open until here.
                self.services.denial_heard(number);
                self.count_denials(None, untold);
                self.tell_denial(container, &kind, &destination, untold);
            }
            FromNet::EgressUntold { count } => self.count_denials(None, count),
            FromNet::EgressTrouble { message } => self.emit(None, Warning, "EgressUnavailable", &message),
            FromNet::Probed { .. } => {}
        }
    }

    fn tell_denial(&mut self, container: Option<UnitId>, kind: &DeniedKind, destination: &str, untold: u64) {
        // A made-up name can carry what a container knows, and the host reads events.
        let may_say = self.policy.allow_clear_logs;
        let destination = if may_say { destination } else { WITHHELD };
        let rule = "spec.egress of the EnclavePolicy does not allow it";
        let (reason, mut text) = match kind {
            DeniedKind::Lookup => ("EgressDenied", format!("lookup of {destination}: {rule}")),
            DeniedKind::Connection => ("EgressDenied", format!("connection to {destination}: {rule}")),
            DeniedKind::ServerName { name } => {
                let name = if may_say { name.as_str() } else { "another name" };
                (
                    "EgressDenied",
                    format!("connection to {destination}: its TLS client asks for the server {name}"),
                )
            }
            DeniedKind::ByHost => (
                "EgressDenied",
                format!("connection to {destination}: host-proxy does not allow it (see --egress-allow)"),
            ),
            DeniedKind::Failed { reason } => {
                let text = format!("connection to {destination}: {reason}");
                log::info!("egress: {text}");
                return self.emit(container, Warning, "EgressFailed", &text);
            }
        };
        if untold > 0 {
            text.push_str(&format!("; {untold} more were denied before"));
        }
        log::info!("egress: {text}");
        self.count_denials(container, 1);
        self.emit(container, Warning, reason, &text);
    }

    /// Containers are bounded by the plan, and so are the counters.
    fn count_denials(&mut self, container: Option<UnitId>, count: u64) {
        if count == 0 {
            return;
        }
        let name = container
            .map_or("", |unit| self.supervisor.unit_name(unit))
            .to_owned();
        *self.egress_denied.entry(name).or_default() += count;
    }

    /// The container that a socket belongs to. Its processes are in its mount namespace; that of processes may be the whole Pod's.
    fn container_with_socket(&self, inode: u64) -> Option<UnitId> {
        let namespaces: Vec<(UnitId, String)> = self
            .children
            .iter()
            .filter(|(_, child)| !matches!(child.unit, UnitId::Service(_)))
            .filter_map(|(pid, child)| Some((child.unit, proc::mount_namespace(*pid)?)))
            .collect();
        let wanted: BTreeSet<&str> = namespaces.iter().map(|(_, name)| name.as_str()).collect();
        let found = proc::namespace_with_socket(inode, &wanted)?;
        let (unit, _) = namespaces.iter().find(|(_, name)| *name == found)?;
        Some(*unit)
    }
}
