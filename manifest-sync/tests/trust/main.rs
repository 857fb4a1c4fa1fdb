//! Who may say what runs: policies, envelopes, verdicts, measurements, and everything that a hostile host can send.

mod envelope;
mod golden;
mod policy;
mod support;
mod verdict;
