//! The default secret service: it gives secrets to enclaves that prove what they are, and to nobody else. The messages are
//! [`crate::release`]'s and the documents [`crate::document`]'s; here is who gets what ([`BrokerPolicy`]), what is
//! remembered ([`State`]), what is written down ([`AuditLog`]), and the network ([`server`]).
//!
//! What is believed: the policy, the secrets and the state directory, which are the operator's. Nothing that arrives.

mod audit;
mod decide;
mod json;
mod ledger;
mod limit;
mod metrics;
mod nonces;
mod policy;
pub mod server;
mod state;
mod store;

pub use audit::{AuditLog, Notice};
pub use decide::{Broker, Caller, Moment};
pub use json::{Mistake, nearest};
pub use ledger::{GenerationError, Ledger, Seen};
pub use metrics::Metrics;
pub use nonces::LIFETIME;
pub use policy::{BrokerPolicy, InvalidPolicy, MAX_POLICY, Rule};
pub use state::{State, StateError};
pub use store::{SecretStore, StoreError};

#[cfg(all(test, feature = "software"))]
mod tests;
