//! A module in another process, behind a Unix socket: for the local back-end, whose enclave has no device, and which proves
//! nothing. Each request and each answer is a `u32` of its length, big-endian, and its bytes. The platform's place is
//! outside of the enclave, and so is the holder's; several processes may share one module, as they share the device.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{MAX_REQUEST, MAX_RESPONSE, SecurityModule};

/// How long an answer may take: what the driver of the device waits.
const PATIENCE: Duration = Duration::from_secs(120);

/// A module in another process.
#[derive(Debug)]
pub struct RemoteModule(Mutex<UnixStream>);

impl RemoteModule {
    /// Connects to the socket of the process that holds the module.
    ///
    /// # Errors
    ///
    /// As connect(2).
    pub fn connect(path: &Path) -> io::Result<Self> {
        Self::new(UnixStream::connect(path)?)
    }

    /// Takes a connection that is there.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(Mutex::new(stream)))
    }
}

impl SecurityModule for RemoteModule {
    fn exchange(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = write_frame(&stream, request).and_then(|()| {
            let answer = read_frame(&stream, MAX_RESPONSE)?;
            answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        });
        if answer.is_err() {
            // An answer that comes late must not be taken for the next one's.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        answer
    }
}

/// Answers one process until it is gone.
///
/// # Errors
///
/// The connection failed, or a request was longer than 4096 bytes.
pub fn serve(stream: &UnixStream, module: &dyn SecurityModule) -> io::Result<()> {
    while let Some(request) = read_frame(stream, MAX_REQUEST)? {
        write_frame(stream, &module.exchange(&request)?)?;
    }
    Ok(())
}

fn write_frame(mut stream: &UnixStream, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat())
}

/// `None`: the other end is gone, between two frames.
fn read_frame(mut stream: &UnixStream, most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    let (first, others) = length.split_at_mut(1);
    if stream.read(first)? == 0 {
        return Ok(None);
    }
    stream.read_exact(others)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(all(test, feature = "software"))]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::nsm::{ErrorCode, Nsm, NsmError, Platform, SoftwareModule};

    fn remote(module: &Arc<SoftwareModule>) -> Nsm {
        let (client, server) = UnixStream::pair().expect("a pair");
        let module = module.clone();
        thread::spawn(move || serve(&server, &*module));
        Nsm::new(RemoteModule::new(client).expect("a module"))
    }

    #[test]
    fn processes_share_one_module() {
        let module = Arc::new(SoftwareModule::boot(&Platform::debug()).expect("a module"));
        let (one, other) = (remote(&module), remote(&module));
        let value = one.measure(16, b"bundle").expect("measured");
        assert_eq!(other.describe_pcr(16).expect("a PCR").value, value);
        let refused = other.extend_pcr(16, b"more");
        assert!(matches!(
            refused,
            Err(NsmError::Refused(ErrorCode::ReadOnlyIndex))
        ));
        assert!(
            other
                .attest(Some(&[0; 512]), Some(&[0; 512]), Some(&[1; 1024]))
                .is_ok()
        );
    }

    #[test]
    fn a_holder_that_is_gone_or_lies_about_lengths_is_an_error() {
        let (client, server) = UnixStream::pair().expect("a pair");
        let nsm = Nsm::new(RemoteModule::new(client).expect("a module"));
        let holder = thread::spawn(move || {
            read_frame(&server, MAX_REQUEST).expect("a request");
            (&server).write_all(&[0xff; 8]).expect("written");
            server
        });
        assert!(matches!(nsm.describe(), Err(NsmError::Device(_))));
        drop(holder.join());
        assert!(matches!(nsm.describe(), Err(NsmError::Device(_))));
        let (client, server) = UnixStream::pair().expect("a pair");
        let module = SoftwareModule::boot(&Platform::debug()).expect("a module");
        (&client).write_all(&[0, 0, 0x10, 1]).expect("written");
        assert!(serve(&server, &module).is_err());
    }
}
