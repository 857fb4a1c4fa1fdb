//! The payload of a document: the fields that the security module writes, each once, each within its limits. An unknown
//! field is refused: a NitroTPM document has the same signer and differs in its fields only.

use std::collections::BTreeMap;

use super::payload_error::PayloadError;
use crate::cbor::{Item, Reader};
use crate::nsm::{MAX_PUBLIC_KEY, MAX_USER_DATA, PcrValue};
use crate::time::UnixTime;

/// Registers of the module.
pub const PCRS: usize = 32;
/// Most certificates in `cabundle`. Real documents have four.
pub const MAX_BUNDLE: usize = 8;
/// Most bytes of a certificate.
pub const MAX_CERTIFICATE: usize = 1024;
/// The one hash there is.
pub(super) const DIGEST: &str = "SHA384";

pub(super) const MODULE_ID: &str = "module_id";
pub(super) const DIGEST_FIELD: &str = "digest";
pub(super) const TIMESTAMP: &str = "timestamp";
pub(super) const PCRS_FIELD: &str = "pcrs";
pub(super) const CERTIFICATE: &str = "certificate";
pub(super) const BUNDLE: &str = "cabundle";
pub(super) const PUBLIC_KEY: &str = "public_key";
pub(super) const USER_DATA: &str = "user_data";
pub(super) const NONCE: &str = "nonce";
/// In the documents of virtual machines that are no enclaves.
const TPM_PCRS: &str = "nitrotpm_pcrs";

/// What a document says, which nobody has verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnverifiedPayload<'a> {
    pub(super) module_id: &'a str,
    pub(super) timestamp: UnixTime,
    pub(super) pcrs: BTreeMap<u8, PcrValue>,
    pub(super) certificate: &'a [u8],
    pub(super) bundle: Vec<&'a [u8]>,
    pub(super) public_key: Option<&'a [u8]>,
    pub(super) user_data: Option<&'a [u8]>,
    pub(super) nonce: Option<&'a [u8]>,
}

/// The fields that were seen. `Some(None)` is an optional field that is null.
#[derive(Default)]
struct Fields<'a> {
    module_id: Option<&'a str>,
    digest: Option<()>,
    timestamp: Option<UnixTime>,
    pcrs: Option<BTreeMap<u8, PcrValue>>,
    certificate: Option<&'a [u8]>,
    bundle: Option<Vec<&'a [u8]>>,
    public_key: Option<Option<&'a [u8]>>,
    user_data: Option<Option<&'a [u8]>>,
    nonce: Option<Option<&'a [u8]>>,
}

impl<'a> UnverifiedPayload<'a> {
    pub(super) fn parse(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::strict(payload);
        let Item::Map(length) = reader.item()? else {
            return Err(PayloadError::NotAMap);
        };
        let mut fields = Fields::default();
        reader.repeat(length, |reader| fields.read(reader))?;
        reader.finish()?;
        let missing = PayloadError::Missing;
        Ok(Self {
            module_id: fields.module_id.ok_or(missing(MODULE_ID))?,
            timestamp: fields
                .digest
                .ok_or(missing(DIGEST_FIELD))
                .and(fields.timestamp.ok_or(missing(TIMESTAMP)))?,
            pcrs: fields.pcrs.ok_or(missing(PCRS_FIELD))?,
            certificate: fields.certificate.ok_or(missing(CERTIFICATE))?,
            bundle: fields.bundle.ok_or(missing(BUNDLE))?,
            public_key: fields.public_key.flatten(),
            user_data: fields.user_data.flatten(),
            nonce: fields.nonce.flatten(),
        })
    }
}

impl<'a> Fields<'a> {
    /// One field and its value.
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), PayloadError> {
        let Item::Text(name) = reader.item()? else {
            return Err(PayloadError::FieldName);
        };
        match name {
            MODULE_ID => once(&mut self.module_id, MODULE_ID, || module_id(reader)),
            DIGEST_FIELD => once(&mut self.digest, DIGEST_FIELD, || digest(reader)),
            TIMESTAMP => once(&mut self.timestamp, TIMESTAMP, || timestamp(reader)),
            PCRS_FIELD => once(&mut self.pcrs, PCRS_FIELD, || pcrs(reader)),
            CERTIFICATE => once(&mut self.certificate, CERTIFICATE, || {
                bytes(reader, CERTIFICATE, 1, MAX_CERTIFICATE)
            }),
            BUNDLE => once(&mut self.bundle, BUNDLE, || bundle(reader)),
            PUBLIC_KEY => once(&mut self.public_key, PUBLIC_KEY, || {
                optional(reader, PUBLIC_KEY, 1, MAX_PUBLIC_KEY)
            }),
            USER_DATA => once(&mut self.user_data, USER_DATA, || {
                optional(reader, USER_DATA, 0, MAX_USER_DATA)
            }),
            NONCE => once(&mut self.nonce, NONCE, || {
                optional(reader, NONCE, 0, MAX_USER_DATA)
            }),
            TPM_PCRS => Err(PayloadError::NitroTpm),
            unknown => Err(PayloadError::unknown(unknown)),
        }
    }
}

fn once<T>(
    place: &mut Option<T>,
    name: &'static str,
    read: impl FnOnce() -> Result<T, PayloadError>,
) -> Result<(), PayloadError> {
    if place.is_some() {
        return Err(PayloadError::Duplicate(name));
    }
    *place = Some(read()?);
    Ok(())
}

/// `i-…-enc…`: an instance and an enclave in it. A NitroTPM document has `-tpm…` there.
fn module_id<'a>(reader: &mut Reader<'a>) -> Result<&'a str, PayloadError> {
    let Item::Text(text) = reader.item()? else {
        return Err(PayloadError::WrongType(MODULE_ID));
    };
    let hex = |part: &str| {
        (1..=64).contains(&part.len()) && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts = text.strip_prefix("i-").and_then(|rest| rest.split_once("-enc"));
    match parts {
        Some((instance, enclave)) if hex(instance) && hex(enclave) => Ok(text),
        _ => Err(PayloadError::ModuleId),
    }
}

fn digest(reader: &mut Reader<'_>) -> Result<(), PayloadError> {
    match reader.item()? {
        Item::Text(DIGEST) => Ok(()),
        Item::Text(_) => Err(PayloadError::Digest),
        _ => Err(PayloadError::WrongType(DIGEST_FIELD)),
    }
}

fn timestamp(reader: &mut Reader<'_>) -> Result<UnixTime, PayloadError> {
    match reader.item()? {
        Item::Unsigned(0) => Err(PayloadError::Timestamp),
        Item::Unsigned(milliseconds) => Ok(UnixTime::from_milliseconds(milliseconds)),
        _ => Err(PayloadError::WrongType(TIMESTAMP)),
    }
}

/// Locked registers only, so some may be missing.
fn pcrs(reader: &mut Reader<'_>) -> Result<BTreeMap<u8, PcrValue>, PayloadError> {
    let Item::Map(length) = reader.item()? else {
        return Err(PayloadError::WrongType(PCRS_FIELD));
    };
    let mut pcrs = BTreeMap::new();
    reader.repeat(length, |reader| {
        let Item::Unsigned(number) = reader.item()? else {
            return Err(PayloadError::PcrIndex(None));
        };
        let index = u8::try_from(number)
            .ok()
            .filter(|index| usize::from(*index) < PCRS);
        let index = index.ok_or(PayloadError::PcrIndex(Some(number)))?;
        let Item::Bytes(bytes) = reader.item()? else {
            return Err(PayloadError::WrongType(PCRS_FIELD));
        };
        let value = PcrValue::try_from(bytes).map_err(|_| PayloadError::PcrLength(index, bytes.len()))?;
        match pcrs.insert(index, value) {
            None => Ok(()),
            Some(_) => Err(PayloadError::DuplicatePcr(index)),
        }
    })?;
    if pcrs.is_empty() {
        return Err(PayloadError::NoPcrs);
    }
    Ok(pcrs)
}

fn bundle<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, PayloadError> {
    let Item::Array(length) = reader.item()? else {
        return Err(PayloadError::WrongType(BUNDLE));
    };
    let mut bundle = Vec::new();
    reader.repeat(length, |reader| {
        if bundle.len() == MAX_BUNDLE {
            return Err(PayloadError::BundleLength);
        }
        bundle.push(bytes(reader, BUNDLE, 1, MAX_CERTIFICATE)?);
        Ok(())
    })?;
    if bundle.is_empty() {
        return Err(PayloadError::BundleLength);
    }
    Ok(bundle)
}

fn bytes<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
    least: usize,
    most: usize,
) -> Result<&'a [u8], PayloadError> {
    optional(reader, field, least, most)?.ok_or(PayloadError::WrongType(field))
}

fn optional<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
    least: usize,
    most: usize,
) -> Result<Option<&'a [u8]>, PayloadError> {
    match reader.item()? {
        Item::Null => Ok(None),
        Item::Bytes(bytes) if (least..=most).contains(&bytes.len()) => Ok(Some(bytes)),
        Item::Bytes(bytes) => Err(PayloadError::Length {
            field,
            length: bytes.len(),
            least,
            most,
        }),
        _ => Err(PayloadError::WrongType(field)),
    }
}
