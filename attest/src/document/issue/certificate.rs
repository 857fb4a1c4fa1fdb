//! Certificates like the platform's (RFC 5280): ECDSA with P-384 and SHA-384, basic constraints and key usage.

use super::{IssueError, Key};
use crate::document::certificate::{COMMON_NAME, KEY_USAGE, P384_PREFIX};
use crate::document::der::{
    BIT_STRING, BOOLEAN, EXTENSIONS, GENERALIZED_TIME, INTEGER, OBJECT, OCTET_STRING, SEQUENCE, SET,
    UTC_TIME, UTF8_STRING, VERSION,
};
use crate::random::random_bytes;
use crate::time::UnixTime;

/// ecdsa-with-SHA384, 1.2.840.10045.4.3.3.
const ECDSA_SHA384: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
/// 2.5.4.11, an organisational unit.
const UNIT: [u8; 3] = [0x55, 0x04, 0x0b];
/// 2.5.29.19, basic constraints.
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];

/// Bits of the key usage, as its first byte.
const DIGITAL_SIGNATURE: u8 = 0x80;
const NON_REPUDIATION: u8 = 0x40;
const SIGN_CERTIFICATES: u8 = 0x04;
const SIGN_LISTS: u8 = 0x02;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::document) enum Role {
    /// Issues others, without a limit.
    Root,
    /// Issues others, of which so many may be between it and the signer.
    Issuer(u8),
    /// Signs documents.
    Signer,
}

/// A certificate to be issued.
#[derive(Debug, Clone)]
pub(in crate::document) struct Template {
    /// Its name's encoding.
    pub(in crate::document) subject: Vec<u8>,
    pub(in crate::document) not_before: UnixTime,
    pub(in crate::document) not_after: UnixTime,
    /// Each one encoded.
    pub(in crate::document) extensions: Vec<Vec<u8>>,
    /// The object identifier of the algorithm that it is signed by.
    pub(in crate::document) algorithm: Vec<u8>,
}

impl Template {
    pub(in crate::document) fn new(
        role: Role,
        subject: &str,
        not_before: UnixTime,
        not_after: UnixTime,
    ) -> Self {
        let usage = match role {
            Role::Root | Role::Issuer(1..) => DIGITAL_SIGNATURE | SIGN_CERTIFICATES | SIGN_LISTS,
            Role::Issuer(0) => SIGN_CERTIFICATES,
            Role::Signer => DIGITAL_SIGNATURE | NON_REPUDIATION,
        };
        Self {
            subject: name(subject),
            not_before,
            not_after,
            extensions: vec![basic_constraints(role), key_usage(usage)],
            algorithm: ECDSA_SHA384.to_vec(),
        }
    }

    /// The certificate of `key`, issued by the key and the name of another, or by its own.
    pub(in crate::document) fn issue(
        &self,
        key: &Key,
        issuer: &[u8],
        issuer_key: &Key,
    ) -> Result<Vec<u8>, IssueError> {
        // Positive, and without a leading zero.
        let mut serial = random_bytes::<16>()?;
        if let Some(first) = serial.first_mut() {
            *first = *first & 0x7f | 0x40;
        }
        let algorithm = element(SEQUENCE, &[&element(OBJECT, &[&self.algorithm])]);
        let extensions: Vec<&[u8]> = self.extensions.iter().map(Vec::as_slice).collect();
        let body = element(
            SEQUENCE,
            &[
                &element(VERSION, &[&element(INTEGER, &[&[2]])]),
                &element(INTEGER, &[&serial]),
                &algorithm,
                issuer,
                &element(SEQUENCE, &[&time(self.not_before), &time(self.not_after)]),
                &self.subject,
                &P384_PREFIX,
                key.point(),
                &element(EXTENSIONS, &[&element(SEQUENCE, &extensions)]),
            ],
        );
        let signature = issuer_key.sign(&body)?;
        let signature = element(BIT_STRING, &[&[0], &signature]);
        Ok(element(SEQUENCE, &[&body, &algorithm, &signature]))
    }
}

/// A distinguished name: a unit that says what this is, and a common name.
pub(in crate::document) fn name(common_name: &str) -> Vec<u8> {
    let attribute = |object: &[u8], value: &str| {
        let (object, value) = (
            element(OBJECT, &[object]),
            element(UTF8_STRING, &[value.as_bytes()]),
        );
        element(SET, &[&element(SEQUENCE, &[&object, &value])])
    };
    element(
        SEQUENCE,
        &[
            &attribute(&UNIT, "development only"),
            &attribute(&COMMON_NAME, common_name),
        ],
    )
}

pub(in crate::document) fn basic_constraints(role: Role) -> Vec<u8> {
    let authority = element(BOOLEAN, &[&[0xff]]);
    let content = match role {
        Role::Root => element(SEQUENCE, &[&authority]),
        Role::Issuer(between) => element(SEQUENCE, &[&authority, &element(INTEGER, &[&[between]])]),
        Role::Signer => element(SEQUENCE, &[]),
    };
    extension(&BASIC_CONSTRAINTS, true, &content)
}

pub(in crate::document) fn key_usage(bits: u8) -> Vec<u8> {
    // DER has no zeros at the end of named bits.
    let unused = u8::try_from(bits.trailing_zeros().min(7)).unwrap_or(7);
    let content = element(BIT_STRING, &[&[unused, bits]]);
    extension(&KEY_USAGE, bits & SIGN_CERTIFICATES != 0, &content)
}

pub(in crate::document) fn extension(object: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let object = element(OBJECT, &[object]);
    let flag = if critical {
        element(BOOLEAN, &[&[0xff]])
    } else {
        Vec::new()
    };
    element(SEQUENCE, &[&object, &flag, &element(OCTET_STRING, &[content])])
}

fn time(time: UnixTime) -> Vec<u8> {
    let ([year, month, day], [hour, minute, second]) = time.civil();
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    if (1950..2050).contains(&year) {
        element(UTC_TIME, &[format!("{:02}{rest}", year % 100).as_bytes()])
    } else {
        element(GENERALIZED_TIME, &[format!("{year:04}{rest}").as_bytes()])
    }
}

/// A tag, the length, and the parts one after another. Everything here is far below 64 KiB.
pub(in crate::document) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let [.., high, low] = length.to_be_bytes();
    let mut bytes = match length {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}
