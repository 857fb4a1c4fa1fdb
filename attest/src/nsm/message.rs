//! Requests and answers as CBOR: serde's externally tagged enums, a text string for a variant without fields, a map with
//! one entry for the others. The order of a map's keys differs between implementations.

use super::NsmError;
use crate::cbor::{Value, Writer, decode};

/// Bytes of a PCR (SHA-384).
pub const PCR_BYTES: usize = 48;

/// Value of a PCR.
pub type PcrValue = [u8; PCR_BYTES];

/// What the module can answer instead of doing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// An argument is not valid.
    InvalidArgument,
    /// There is no such PCR.
    InvalidIndex,
    /// The module has made no sense of itself.
    InvalidResponse,
    /// The PCR is locked.
    ReadOnlyIndex,
    /// Not possible in this state.
    InvalidOperation,
    /// The answer does not fit.
    BufferTooSmall,
    /// The request is too large.
    InputTooLarge,
    /// Anything else.
    InternalError,
}

impl ErrorCode {
    pub(super) const ALL: [Self; 8] = [
        Self::InvalidArgument,
        Self::InvalidIndex,
        Self::InvalidResponse,
        Self::ReadOnlyIndex,
        Self::InvalidOperation,
        Self::BufferTooSmall,
        Self::InputTooLarge,
        Self::InternalError,
    ];

    /// As it is written on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgument",
            Self::InvalidIndex => "InvalidIndex",
            Self::InvalidResponse => "InvalidResponse",
            Self::ReadOnlyIndex => "ReadOnlyIndex",
            Self::InvalidOperation => "InvalidOperation",
            Self::BufferTooSmall => "BufferTooSmall",
            Self::InputTooLarge => "InputTooLarge",
            Self::InternalError => "InternalError",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }
}

/// Version, identity and limits of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Major, minor and patch version.
    pub version: [u64; 3],
    /// Instance and enclave, such as `i-0123456789abcdef0-enc0123456789abcdef`.
    pub module_id: String,
    /// Number of PCRs.
    pub max_pcrs: u64,
    /// Indices of the locked ones.
    pub locked_pcrs: Vec<u64>,
    /// Name of the hash, `SHA384`.
    pub digest: String,
}

/// A PCR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcr {
    /// It cannot change any more, and is in documents.
    pub locked: bool,
    /// Its value.
    pub value: PcrValue,
}

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    DescribeNsm,
    DescribePcr {
        index: u16,
    },
    ExtendPcr {
        index: u16,
        data: &'a [u8],
    },
    LockPcr {
        index: u16,
    },
    LockPcrs {
        range: u16,
    },
    Attestation {
        user_data: Option<&'a [u8]>,
        nonce: Option<&'a [u8]>,
        public_key: Option<&'a [u8]>,
    },
    GetRandom,
}

impl Request<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::DescribeNsm => writer.text("DescribeNSM"),
            Self::GetRandom => writer.text("GetRandom"),
            Self::DescribePcr { index } => number(&mut writer, "DescribePCR", "index", *index),
            Self::LockPcr { index } => number(&mut writer, "LockPCR", "index", *index),
            Self::LockPcrs { range } => number(&mut writer, "LockPCRs", "range", *range),
            Self::ExtendPcr { index, data } => {
                writer
                    .map(1)
                    .text("ExtendPCR")
                    .map(2)
                    .text("index")
                    .unsigned(u64::from(*index));
                writer.text("data").bytes(data)
            }
            Self::Attestation {
                user_data,
                nonce,
                public_key,
            } => {
                writer.map(1).text("Attestation").map(3);
                for (name, value) in [
                    ("user_data", user_data),
                    ("nonce", nonce),
                    ("public_key", public_key),
                ] {
                    match value {
                        Some(bytes) => writer.text(name).bytes(bytes),
                        None => writer.text(name).null(),
                    };
                }
                &mut writer
            }
        };
        writer.finish()
    }
}

fn number<'a>(writer: &'a mut Writer, request: &str, field: &str, value: u16) -> &'a mut Writer {
    writer
        .map(1)
        .text(request)
        .map(1)
        .text(field)
        .unsigned(value.into())
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Response {
    DescribeNsm(Description),
    DescribePcr(Pcr),
    ExtendPcr(PcrValue),
    LockPcr,
    LockPcrs,
    Attestation(Vec<u8>),
    GetRandom(Vec<u8>),
}

impl Response {
    /// Reads an answer; one that is an error becomes [`NsmError::Refused`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, NsmError> {
        let value = decode(bytes).map_err(NsmError::Malformed)?;
        match &value {
            Value::Text("LockPCR") => return Ok(Self::LockPcr),
            Value::Text("LockPCRs") => return Ok(Self::LockPcrs),
            _ => {}
        }
        if let Some(error) = value.get("Error") {
            let code = error.as_text().and_then(ErrorCode::from_name);
            return Err(code.map_or(NsmError::Unexpected("known error code"), NsmError::Refused));
        }
        if let Some(body) = value.get("DescribePCR") {
            let locked = body.get("lock").and_then(Value::as_bool);
            return Ok(Self::DescribePcr(Pcr {
                locked: locked.ok_or(NsmError::Unexpected("lock"))?,
                value: pcr(body)?,
            }));
        }
        if let Some(body) = value.get("ExtendPCR") {
            return Ok(Self::ExtendPcr(pcr(body)?));
        }
        if let Some(body) = value.get("Attestation") {
            return Ok(Self::Attestation(bytes_of(body, "document")?));
        }
        if let Some(body) = value.get("GetRandom") {
            return Ok(Self::GetRandom(bytes_of(body, "random")?));
        }
        let body = value
            .get("DescribeNSM")
            .ok_or(NsmError::Unexpected("known variant"))?;
        describe(body).map(Self::DescribeNsm)
    }
}

fn describe(body: &Value<'_>) -> Result<Description, NsmError> {
    let unsigned = |name: &'static str| {
        let value = body.get(name).and_then(Value::as_unsigned);
        value.ok_or(NsmError::Unexpected(name))
    };
    let text = |name: &'static str| {
        let value = body.get(name).and_then(Value::as_text);
        value.map(str::to_owned).ok_or(NsmError::Unexpected(name))
    };
    let locked = body.get("locked_pcrs").and_then(Value::as_array);
    let locked = locked.and_then(|list| list.iter().map(Value::as_unsigned).collect());
    Ok(Description {
        version: [
            unsigned("version_major")?,
            unsigned("version_minor")?,
            unsigned("version_patch")?,
        ],
        module_id: text("module_id")?,
        max_pcrs: unsigned("max_pcrs")?,
        locked_pcrs: locked.ok_or(NsmError::Unexpected("locked_pcrs"))?,
        digest: text("digest")?,
    })
}

fn bytes_of(body: &Value<'_>, name: &'static str) -> Result<Vec<u8>, NsmError> {
    let bytes = body.get(name).and_then(Value::as_bytes);
    bytes.map(<[u8]>::to_vec).ok_or(NsmError::Unexpected(name))
}

fn pcr(body: &Value<'_>) -> Result<PcrValue, NsmError> {
    let bytes = body.get("data").and_then(Value::as_bytes);
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(NsmError::Unexpected("PCR of 48 bytes"))
}

#[cfg(test)]
#[path = "tests.rs"]
pub(super) mod tests;
