//! The Nitro Security Module and its protocol (`aws-nitro-enclaves-nsm-api`). One request is one CBOR item, and so is its
//! answer: that exchange is all that a [`SecurityModule`] does, and [`Nsm`] is everything that is asked of one. The
//! platform's module is trusted; its answers are checked all the same.

mod device;
#[cfg(feature = "software")]
mod faulty;
mod measure;
mod message;
#[cfg(test)]
mod oracle;
mod remote;
#[cfg(feature = "software")]
mod software;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use device::Device;
#[cfg(feature = "software")]
pub use faulty::{Fault, FaultyModule};
pub use measure::MeasureError;
pub use message::{Description, ErrorCode, PCR_BYTES, Pcr, PcrValue};
pub use remote::{RemoteModule, serve};
#[cfg(feature = "software")]
pub use software::{Platform, SoftwareModule};

use crate::cbor::CborError;
use message::{Request, Response};

/// Where the kernel puts the device.
pub const PATH: &str = "/dev/nsm";
/// Most bytes of `user_data` and `nonce` in a document; verifiers in the field refuse more.
pub const MAX_USER_DATA: usize = 512;
/// Most bytes of `public_key` in a document.
pub const MAX_PUBLIC_KEY: usize = 1024;

/// Largest request of the driver, bytes.
const MAX_REQUEST: usize = 0x1000;
/// Largest answer of the driver, bytes. A longer one would be cut without a word.
const MAX_RESPONSE: usize = 0x3000;
/// Fewest random bytes of which we believe that they are not all the same by chance.
const ENOUGH_RANDOM: usize = 16;

/// Why the module did not do what it was asked.
#[derive(Debug)]
pub enum NsmError {
    /// The device cannot be opened or used.
    Device(io::Error),
    /// The module said no.
    Refused(ErrorCode),
    /// The answer cannot be read.
    Malformed(CborError),
    /// The answer is not one to the request.
    Unexpected(&'static str),
    /// An argument is longer than a document may hold: its name, and the most bytes.
    TooLong(&'static str, usize),
}

impl fmt::Display for NsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => write!(f, "{PATH}: {error}"),
            Self::Refused(code) => write!(f, "the security module answered {code:?}"),
            Self::Malformed(error) => write!(f, "the security module's answer is malformed: {error}"),
            Self::Unexpected(what) => write!(f, "the security module's answer has no {what}"),
            Self::TooLong(what, most) => write!(f, "{what} is longer than {most} bytes"),
        }
    }
}

impl std::error::Error for NsmError {}

/// Something that answers the requests of the protocol: the device, or a stand-in for it. Bytes in and bytes out, so a
/// stand-in is asked exactly what the device is asked, and answers through the same parser.
pub trait SecurityModule: fmt::Debug + Send + Sync {
    /// Sends one request of at most 4096 bytes and returns its answer.
    ///
    /// # Errors
    ///
    /// The module cannot be reached. A refusal is an answer.
    fn exchange(&self, request: &[u8]) -> io::Result<Vec<u8>>;
}

impl<M: SecurityModule + ?Sized> SecurityModule for Arc<M> {
    fn exchange(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        (**self).exchange(request)
    }
}

/// A security module, and what it can be asked.
#[derive(Debug)]
pub struct Nsm(Box<dyn SecurityModule>);

impl Nsm {
    /// Asks this module.
    pub fn new(module: impl SecurityModule + 'static) -> Self {
        Self(Box::new(module))
    }

    /// Opens the device.
    ///
    /// # Errors
    ///
    /// `NotFound` when this machine has none.
    pub fn open() -> io::Result<Self> {
        Self::open_at(Path::new(PATH))
    }

    /// Opens the device at another path.
    ///
    /// # Errors
    ///
    /// As open(2).
    pub fn open_at(path: &Path) -> io::Result<Self> {
        Device::open_at(path).map(Self::new)
    }

    fn call(&self, request: &Request<'_>) -> Result<Response, NsmError> {
        let request = request.encode();
        if request.len() > MAX_REQUEST {
            return Err(NsmError::TooLong("the request", MAX_REQUEST));
        }
        let answer = self.0.exchange(&request).map_err(NsmError::Device)?;
        Response::decode(&answer)
    }

    /// Version, module id and limits.
    ///
    /// # Errors
    ///
    /// [`NsmError`] says why.
    pub fn describe(&self) -> Result<Description, NsmError> {
        match self.call(&Request::DescribeNsm)? {
            Response::DescribeNsm(description) => Ok(description),
            _ => Err(NsmError::Unexpected("DescribeNSM")),
        }
    }

    /// Value and lock of a PCR.
    ///
    /// # Errors
    ///
    /// `InvalidIndex` when there is no such PCR.
    pub fn describe_pcr(&self, index: u16) -> Result<Pcr, NsmError> {
        match self.call(&Request::DescribePcr { index })? {
            Response::DescribePcr(pcr) => Ok(pcr),
            _ => Err(NsmError::Unexpected("DescribePCR")),
        }
    }

    /// Extends a PCR: new = SHA-384(old || data). Returns the new value.
    ///
    /// # Errors
    ///
    /// `ReadOnlyIndex` when it is locked.
    pub fn extend_pcr(&self, index: u16, data: &[u8]) -> Result<PcrValue, NsmError> {
        match self.call(&Request::ExtendPcr { index, data })? {
            Response::ExtendPcr(value) => Ok(value),
            _ => Err(NsmError::Unexpected("ExtendPCR")),
        }
    }

    /// Locks a PCR until the enclave ends. Only locked ones are in documents.
    ///
    /// # Errors
    ///
    /// [`NsmError`] says why.
    pub fn lock_pcr(&self, index: u16) -> Result<(), NsmError> {
        match self.call(&Request::LockPcr { index })? {
            Response::LockPcr => Ok(()),
            _ => Err(NsmError::Unexpected("LockPCR")),
        }
    }

    /// Locks all PCRs below `range`.
    ///
    /// # Errors
    ///
    /// [`NsmError`] says why.
    pub fn lock_pcrs(&self, range: u16) -> Result<(), NsmError> {
        match self.call(&Request::LockPcrs { range })? {
            Response::LockPcrs => Ok(()),
            _ => Err(NsmError::Unexpected("LockPCRs")),
        }
    }

    /// An attestation document: COSE_Sign1, signed by the platform.
    ///
    /// # Errors
    ///
    /// [`NsmError::TooLong`] for what verifiers would refuse.
    pub fn attest(
        &self,
        user_data: Option<&[u8]>,
        nonce: Option<&[u8]>,
        public_key: Option<&[u8]>,
    ) -> Result<Vec<u8>, NsmError> {
        for (name, value, most) in [
            ("user_data", user_data, MAX_USER_DATA),
            ("nonce", nonce, MAX_USER_DATA),
            ("public_key", public_key, MAX_PUBLIC_KEY),
        ] {
            if value.is_some_and(|value| value.len() > most) {
                return Err(NsmError::TooLong(name, most));
            }
        }
        let request = Request::Attestation {
            user_data,
            nonce,
            public_key,
        };
        match self.call(&request)? {
            Response::Attestation(document) => Ok(document),
            _ => Err(NsmError::Unexpected("Attestation")),
        }
    }

    /// Random bytes of the platform; how many is its choice (256 on Nitro).
    ///
    /// # Errors
    ///
    /// [`NsmError::Unexpected`] when they are too few, or all the same.
    pub fn random(&self) -> Result<Vec<u8>, NsmError> {
        match self.call(&Request::GetRandom)? {
            Response::GetRandom(random) if random.len() >= ENOUGH_RANDOM => {
                let same = random.iter().all(|byte| Some(byte) == random.first());
                if same {
                    return Err(NsmError::Unexpected("randomness: its bytes are all the same"));
                }
                Ok(random)
            }
            Response::GetRandom(_) => Err(NsmError::Unexpected("randomness: there are too few bytes")),
            _ => Err(NsmError::Unexpected("GetRandom")),
        }
    }
}
