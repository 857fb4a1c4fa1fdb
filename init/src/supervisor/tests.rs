//! Transcripts, and random histories.

mod histories;
mod plans;
mod script;
mod statuses;
mod summary;
mod tables;
mod transcripts;
mod world;
