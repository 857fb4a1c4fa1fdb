//! Enclave images from outside: what is measured, that builds repeat, signatures, and hostile files.
#![cfg(feature = "image-builder")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod build;
mod hostile;
mod malformed;
mod sample;
mod signing;
