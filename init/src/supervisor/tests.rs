//! Transcripts, and random histories.

mod histories;
mod plans;
mod script;
mod summary;
mod transcripts;
mod world;
