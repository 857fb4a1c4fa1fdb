//! Supervisor.

pub mod action;
pub mod event;
pub mod time;
pub mod unit;
