//! Signatures: what PCR8 is, and what is not a signature of an image.

use attest::cbor::{Value, Writer, decode};
use manifest_sync::digest::hex;
use ring::digest::{Context, SHA384, digest};
use rootfs::eif::Signer;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::sample::{Inputs, Parts, RAMDISK, SIGNATURE, read, signed, signer, testdata};

#[test]
fn pcr8_measures_the_certificate_and_the_other_registers_do_not_change() {
    let mut inputs = Inputs::new();
    let (unsigned, before) = inputs.build();
    inputs.signer = Some(signer("signer"));
    let (image, after) = inputs.build();
    let certificate = CertificateDer::from_pem_slice(&testdata("signer-certificate.pem")).unwrap();
    let mut pcr8 = Context::new(&SHA384);
    pcr8.update(&[0; 48]);
    pcr8.update(digest(&SHA384, &certificate).as_ref());
    assert_eq!(after.pcr8, Some(hex(pcr8.finish().as_ref())));
    assert_eq!(
        (before.pcr0, before.pcr1, before.pcr2),
        (after.pcr0.clone(), after.pcr1.clone(), after.pcr2.clone())
    );
    let seen = read(&image).unwrap();
    assert_eq!(seen.signature_valid, Some(true));
    assert_eq!(seen.measurements, after);
    assert!(
        Parts::of(&image).without(SIGNATURE).image() == unsigned,
        "more than a section is new"
    );
}

/// Certificate and COSE_Sign1 of a signature section.
fn fields(section: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let section = decode(section).unwrap();
    let field = |name| {
        section.as_array().unwrap()[0]
            .get(name)
            .and_then(Value::as_integers)
    };
    (field("signing_certificate").unwrap(), field("signature").unwrap())
}

fn section(certificate: &[u8], cose: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer
        .array(1)
        .map(2)
        .text("signing_certificate")
        .integers(certificate);
    writer.text("signature").integers(cose);
    writer.finish()
}

/// Why the image with this signature section is refused, if it is.
fn refusal(image: &Parts, certificate: &[u8], cose: &[u8]) -> Option<String> {
    let mut image = image.clone();
    *image.content(SIGNATURE) = section(certificate, cose);
    read(&image.image()).err().map(|error| error.to_string())
}

const REFUSED: &str = "malformed EIF: the signature is not one of its PCR0 by the key of the certificate";

#[track_caller]
fn refused(image: &Parts, certificate: &[u8], cose: &[u8]) {
    let message = refusal(image, certificate, cose).expect("it is accepted");
    assert!(message.starts_with(REFUSED), "{message}");
}

#[test]
fn a_signature_of_anything_else_is_refused() {
    let mut image = Parts::of(&signed());
    let (certificate, cose) = fields(image.content(SIGNATURE));
    assert_eq!(refusal(&image, &certificate, &cose), None);

    let mut another = image.clone();
    another.content(RAMDISK)[0] ^= 1;
    refused(&another, &certificate, &cose);

    let mut damaged = cose.clone();
    *damaged.last_mut().unwrap() ^= 1;
    refused(&image, &certificate, &damaged);
    refused(&image, &testdata("other-certificate.pem"), &cose);

    // The same digest, signed by another: valid with the other certificate only.
    let mut inputs = Inputs::new();
    inputs.signer = Some(signer("other"));
    let (_, another) = fields(Parts::of(&inputs.build().0).content(SIGNATURE));
    assert_eq!(
        refusal(&image, &testdata("other-certificate.pem"), &another),
        None
    );
    refused(&image, &certificate, &another);

    // What is signed names the register: another one of the same value is not PCR0.
    let decoded = decode(&cose).unwrap();
    let fields = decoded.as_array().unwrap();
    let mut payload = fields[2].as_bytes().unwrap().to_vec();
    let index = payload
        .windows(14)
        .position(|text| text == b"register_index")
        .unwrap();
    payload[index + 14] = 1;
    let mut rewritten = Writer::new();
    rewritten.array(4).bytes(fields[0].as_bytes().unwrap()).map(0);
    rewritten.bytes(&payload).bytes(fields[3].as_bytes().unwrap());
    refused(&image, &certificate, &rewritten.finish());
}

#[test]
fn only_the_key_of_the_certificate_signs() {
    let mut image = Parts::of(&signed());
    let (_, cose) = fields(image.content(SIGNATURE));
    let signer = CertificateDer::from_pem_slice(&testdata("signer-certificate.pem")).unwrap();
    let other = CertificateDer::from_pem_slice(&testdata("other-certificate.pem")).unwrap();
    // The signer's key stands in what is another's certificate: that does not make it the key of this certificate.
    refused(&image, &pem(&[&other[..], &signer[..]].concat()), &cose);
    assert_eq!(refusal(&image, &pem(&signer), &cose), None);
    for end in 0..signer.len() / 2 {
        refused(&image, &pem(&signer[..end]), &cose);
    }
}

fn pem(der: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = b"-----BEGIN CERTIFICATE-----\n".to_vec();
    for chunk in der.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(bits);
        for index in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * index) & 63).unwrap();
            text.push(if index <= chunk.len() {
                ALPHABET[digit]
            } else {
                b'='
            });
        }
    }
    text.extend(b"\n-----END CERTIFICATE-----\n");
    text
}

#[test]
fn a_key_that_cannot_sign_is_refused_with_what_to_do() {
    let (key, certificate) = (testdata("signer-key.pem"), testdata("signer-certificate.pem"));
    for (key, certificate, expected) in [
        (&b"no PEM"[..], &certificate[..], "openssl pkcs8"),
        (&key, b"no PEM", "the certificate is not PEM"),
        (
            &key,
            &testdata("other-certificate.pem"),
            "the certificate is for another key",
        ),
    ] {
        let error = Signer::from_pem(key, certificate).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
