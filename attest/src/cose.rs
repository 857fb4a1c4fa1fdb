//! What documents and enclave images have in common of COSE (RFC 9052): one signature, ES384.

use crate::cbor::Writer;

/// The protected header as it travels: `{1: -35}`, the algorithm ES384 (RFC 9053, section 2.1).
pub const PROTECTED: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];

/// What is signed: `Sig_structure` (RFC 9052, section 4.4) around the payload as it was received.
pub fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer
        .array(4)
        .text("Signature1")
        .bytes(&PROTECTED)
        .bytes(&[])
        .bytes(payload);
    writer.finish()
}
