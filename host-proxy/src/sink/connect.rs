//! Connections to servers: TCP, with TLS on top where the sink says so. The certificates to trust are those of one file,
//! or those of the web.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::spec::{Server, Tls};

/// How long a connection may take, with name and handshake.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection of either kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Connects to one server, again and again.
pub(super) struct Connector {
    server: Server,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Connector {
    /// For `server`.
    ///
    /// # Errors
    /// The file with the certificates cannot be read, or has none.
    pub(super) fn new(server: &Server) -> io::Result<Self> {
        let tls = server.tls.as_ref().map(|tls| -> io::Result<_> {
            let name = tls.server_name.clone().unwrap_or_else(|| server.host.clone());
            let name = ServerName::try_from(name).map_err(io::Error::other)?;
            Ok((TlsConnector::from(Arc::new(config(tls)?)), name))
        });
        Ok(Self {
            server: server.clone(),
            tls: tls.transpose()?,
        })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        let connecting = async {
            let tcp = TcpStream::connect((self.server.host.as_str(), self.server.port)).await?;
            tcp.set_nodelay(true)?;
            let connection: Box<dyn Connection> = match &self.tls {
                None => Box::new(tcp),
                Some((connector, name)) => Box::new(connector.connect(name.clone(), tcp).await?),
            };
            Ok(connection)
        };
        let named = |error: io::Error| {
            let Server { host, port, .. } = &self.server;
            io::Error::new(error.kind(), format!("cannot connect to {host}:{port}: {error}"))
        };
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected.map_err(named),
            Err(_) => Err(named(io::ErrorKind::TimedOut.into())),
        }
    }
}

fn config(tls: &Tls) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let wrong = |error: &dyn std::fmt::Display| {
                io::Error::other(format!("{}: no certificates (PEM): {error}", file.display()))
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"it has none"));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
