//! The one thing that we want of a certificate: its subject's key. Whether it is valid, and for whom, is for others.

/// Tags of DER; [`VERSION`] is the one of a certificate's optional first field.
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
/// `id-ecPublicKey` and `secp384r1` (RFC 5480, section 2.1.1).
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// The subject's key of a certificate (RFC 5280, section 4.1): an uncompressed point when the curve is P-384.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut certificate = Der(certificate);
    let mut signed = Der(Der(certificate.item(SEQUENCE)?).item(SEQUENCE)?);
    if signed.0.first() == Some(&VERSION) {
        signed.any()?;
    }
    // Serial number, algorithm, issuer, validity, subject.
    for _ in 0..5 {
        signed.any()?;
    }
    let mut key = Der(signed.item(SEQUENCE)?);
    let mut algorithm = Der(key.item(SEQUENCE)?);
    if algorithm.item(OBJECT_IDENTIFIER)? != EC_PUBLIC_KEY || algorithm.item(OBJECT_IDENTIFIER)? != P384 {
        return None;
    }
    // The first byte counts the bits that are left out.
    key.item(BIT_STRING)?.strip_prefix(&[0])
}

/// DER (X.690): tag, length, content, as far as a certificate needs it.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next item, which must have this tag.
    fn item(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.any()?;
        (found == tag).then_some(content)
    }

    /// Tag and content of the next item.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // A certificate needs two bytes of length.
            0x81 | 0x82 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}
