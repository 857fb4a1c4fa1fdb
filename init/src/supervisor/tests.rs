//! Transcripts, and random histories.

mod histories;
mod plans;
mod script;
mod statuses;
mod summary;
mod transcripts;
mod world;
