//! The pure part of egress: DNS messages, the server names of TLS clients, the addresses that stand for names, and how often
//! denials are told. All bytes here come from containers, which may be hostile.

pub mod book;
pub mod dns;
pub mod hello;
pub mod limit;
