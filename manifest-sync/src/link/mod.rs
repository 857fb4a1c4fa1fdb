//! The link between host and enclave: addresses, dialling, listening, stream headers.
//! The only place that knows vsock from Unix sockets.

mod address;
mod egress;
mod framing;
mod header;
mod listener;
mod stream;

pub use address::{Address, InvalidAddress};
pub use egress::{
    EgressHost, EgressReply, EgressTarget, read_egress_reply, read_target, write_egress_reply, write_target,
};
pub use header::{
    HeaderError, MAX_HEADER_BYTES, StreamHeader, StreamKind, StreamReply, read_header, read_reply,
    write_header, write_reply,
};
pub use listener::{Listener, listen};
pub use stream::{Stream, dial};
