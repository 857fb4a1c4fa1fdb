//! The link between host and enclave: addresses, dialling, listening, stream headers.
//! The only place that knows vsock from Unix sockets.
