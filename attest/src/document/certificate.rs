//! The outline of a certificate (RFC 5280, section 4.1): names, dates, key and key usage. Signatures, basic constraints,
//! path length and critical extensions are webpki's; it does not tell dates and names, and leaves key usage aside.

use super::der::{
    BIT_STRING, BOOLEAN, Der, EXTENSIONS, GENERALIZED_TIME, INTEGER, NotDer, OBJECT, OCTET_STRING,
    PRINTABLE_STRING, SEQUENCE, SET, UTC_TIME, UTF8_STRING, VERSION,
};
use crate::time::UnixTime;

/// 2.5.4.3, a common name.
pub(super) const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
/// 2.5.29.15, the key usage.
pub(super) const KEY_USAGE: [u8; 3] = [0x55, 0x1d, 0x0f];
/// In front of the uncompressed point of a P-384 key: id-ecPublicKey, secp384r1, a bit string of 97 bytes.
pub(super) const P384_PREFIX: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
/// Bytes of the point: 4, x and y.
const POINT_BYTES: usize = 97;

/// A certificate's outline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outline<'a> {
    /// The name's encoding.
    pub(super) issuer: &'a [u8],
    /// The name's encoding.
    pub(super) subject: &'a [u8],
    pub(super) common_name: &'a str,
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
    /// SubjectPublicKeyInfo.
    pub(super) key: &'a [u8],
    /// The first byte of the bits; none without the extension.
    key_usage: Option<u8>,
}

impl<'a> Outline<'a> {
    pub(super) fn parse(certificate: &'a [u8]) -> Result<Self, NotDer> {
        let mut outer = Der(certificate);
        let mut whole = Der(outer.expect(SEQUENCE)?.content);
        outer.finish()?;
        let mut body = Der(whole.expect(SEQUENCE)?.content);
        whole.expect(SEQUENCE)?;
        whole.expect(BIT_STRING)?;
        whole.finish()?;

        body.expect(VERSION)?;
        body.expect(INTEGER)?;
        body.expect(SEQUENCE)?;
        let issuer = body.expect(SEQUENCE)?.whole;
        let mut validity = Der(body.expect(SEQUENCE)?.content);
        let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
        validity.finish()?;
        let subject = body.expect(SEQUENCE)?;
        let key = body.expect(SEQUENCE)?.whole;
        // Unique identifiers, between key and extensions, do not occur.
        let extensions = body.optional(EXTENSIONS)?;
        body.finish()?;
        Ok(Self {
            issuer,
            subject: subject.whole,
            common_name: common_name(subject.content)?,
            not_before,
            not_after,
            key,
            key_usage: match extensions {
                Some(extensions) => key_usage(extensions.content)?,
                None => None,
            },
        })
    }

    /// Its key may sign certificates: the bit keyCertSign.
    pub(super) fn signs_certificates(&self) -> bool {
        self.key_usage.is_some_and(|bits| bits & 0x04 != 0)
    }

    /// Its key may sign documents: the bit digitalSignature.
    pub(super) fn signs_documents(&self) -> bool {
        self.key_usage.is_some_and(|bits| bits & 0x80 != 0)
    }

    /// The uncompressed point of a P-384 key; none for any other.
    pub(super) fn p384_point(&self) -> Option<&'a [u8]> {
        let point = self.key.strip_prefix(&P384_PREFIX)?;
        (point.len() == POINT_BYTES && point.first() == Some(&4)).then_some(point)
    }
}

/// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` afterwards (RFC 5280, section 4.1.2.5).
fn time(der: &mut Der<'_>) -> Result<UnixTime, NotDer> {
    let element = der.next()?;
    let text = std::str::from_utf8(element.content).map_err(|_| NotDer)?;
    let digits = text.strip_suffix('Z').ok_or(NotDer)?;
    let (year, rest) = match element.tag {
        UTC_TIME => digits.split_at_checked(2),
        GENERALIZED_TIME => digits.split_at_checked(4),
        _ => None,
    }
    .ok_or(NotDer)?;
    if rest.len() != 10 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotDer);
    }
    let year: u64 = year.parse().map_err(|_| NotDer)?;
    let year = match element.tag {
        UTC_TIME if year < 50 => 2000 + year,
        UTC_TIME => 1900 + year,
        _ => year,
    };
    let mut pairs = rest.as_bytes().chunks_exact(2).map(|pair| {
        pair.iter()
            .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
    });
    let mut next = || pairs.next().ok_or(NotDer);
    let date = [year, next()?, next()?];
    let clock = [next()?, next()?, next()?];
    UnixTime::from_civil(date, clock).ok_or(NotDer)
}

/// The last common name of a distinguished name; empty when there is none.
fn common_name(content: &[u8]) -> Result<&str, NotDer> {
    let (mut names, mut found) = (Der(content), "");
    while !names.is_empty() {
        let mut attributes = Der(names.expect(SET)?.content);
        while !attributes.is_empty() {
            let mut attribute = Der(attributes.expect(SEQUENCE)?.content);
            let object = attribute.expect(OBJECT)?.content;
            let value = attribute.next()?;
            attribute.finish()?;
            if object == COMMON_NAME && matches!(value.tag, UTF8_STRING | PRINTABLE_STRING) {
                found = std::str::from_utf8(value.content).map_err(|_| NotDer)?;
            }
        }
    }
    Ok(found)
}

fn key_usage(extensions: &[u8]) -> Result<Option<u8>, NotDer> {
    let mut outer = Der(extensions);
    let mut list = Der(outer.expect(SEQUENCE)?.content);
    outer.finish()?;
    let mut usage = None;
    while !list.is_empty() {
        let mut extension = Der(list.expect(SEQUENCE)?.content);
        let object = extension.expect(OBJECT)?.content;
        extension.optional(BOOLEAN)?;
        let value = extension.expect(OCTET_STRING)?.content;
        extension.finish()?;
        if object == KEY_USAGE {
            let mut value = Der(value);
            let bits = value.expect(BIT_STRING)?.content;
            value.finish()?;
            // The number of unused bits, then the bits.
            let [0..=7, first, ..] = bits else {
                return Err(NotDer);
            };
            if usage.replace(*first).is_some() {
                return Err(NotDer);
            }
        }
    }
    Ok(usage)
}
