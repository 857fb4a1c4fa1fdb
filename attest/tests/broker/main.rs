//! The program `cloister-broker`, as an operator runs it and as enclaves and hosts meet it.

mod commands;
mod crash;
mod scene;
mod serving;
