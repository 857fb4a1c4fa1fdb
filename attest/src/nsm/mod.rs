//! The Nitro Security Module: `/dev/nsm` and its protocol (`aws-nitro-enclaves-nsm-api`). One request is one CBOR item, and
//! so is its answer. The device is the platform's, which is trusted; its answers are checked all the same.

mod device;
mod message;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

pub use message::{Description, ErrorCode, Pcr, PcrValue};

use crate::cbor::CborError;
use message::{Request, Response};

/// Where the kernel puts the device.
pub const PATH: &str = "/dev/nsm";
/// Most bytes of `user_data` and `nonce` in a document; verifiers in the field refuse more.
pub const MAX_USER_DATA: usize = 512;
/// Most bytes of `public_key` in a document.
pub const MAX_PUBLIC_KEY: usize = 1024;

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

/// An open security module. Its process alone can use it; the node itself is hidden from containers.
#[derive(Debug)]
pub struct Nsm(OwnedFd);

impl Nsm {
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
        let file = std::fs::File::options().read(true).write(true).open(path)?;
        Ok(Self(file.into()))
    }

    fn call(&self, request: &Request<'_>) -> Result<Response, NsmError> {
        let answer = device::call(&self.0, &request.encode()).map_err(NsmError::Device)?;
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
    /// [`NsmError`] says why.
    pub fn random(&self) -> Result<Vec<u8>, NsmError> {
        match self.call(&Request::GetRandom)? {
            Response::GetRandom(random) if !random.is_empty() => Ok(random),
            _ => Err(NsmError::Unexpected("GetRandom")),
        }
    }
}
