//! Sidecars: start-up (section D of the cases).
