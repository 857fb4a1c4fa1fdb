//! What the platform measures of an image. Formulas: `aws-nitro-enclaves-image-format`, `EifHasher`; confirmed against
//! `/dev/nsm` by the VM tests.

use std::fmt;

use manifest_sync::digest::hex;
use ring::digest::{Context, SHA384, digest};
use serde::Serialize;

/// Bytes of a PCR (SHA-384).
const PCR_BYTES: usize = 48;

/// The PCRs of an image, as lower-case hexadecimal digits. Printed as JSON by `nitro-cli build-enclave` and by us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measurements {
    /// Name of the hash, in the words of `nitro-cli`.
    #[serde(rename = "HashAlgorithm")]
    pub hash_algorithm: &'static str,
    /// Kernel, command line and all ramdisks.
    #[serde(rename = "PCR0")]
    pub pcr0: String,
    /// Kernel, command line and the first ramdisk.
    #[serde(rename = "PCR1")]
    pub pcr1: String,
    /// The other ramdisks.
    #[serde(rename = "PCR2")]
    pub pcr2: String,
    /// The signing certificate (DER), when the image is signed.
    #[serde(rename = "PCR8", skip_serializing_if = "Option::is_none")]
    pub pcr8: Option<String>,
}

/// One register that is extended once: `SHA384(0^48 || SHA384(data))`.
#[derive(Clone)]
struct Register(Context);

impl Register {
    fn new() -> Self {
        Self(Context::new(&SHA384))
    }

    fn finish(self) -> String {
        extend(self.0.finish().as_ref())
    }
}

fn extend(data: &[u8]) -> String {
    let mut extended = Context::new(&SHA384);
    extended.update(&[0; PCR_BYTES]);
    extended.update(data);
    hex(extended.finish().as_ref())
}

/// Measures an image while its content goes by, section after section.
#[derive(Clone)]
pub(super) struct Measurer {
    image: Register,
    bootstrap: Register,
    application: Register,
    certificate: Option<String>,
}

/// Which registers a section goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Kernel, command line, first ramdisk.
    Bootstrap,
    /// Further ramdisks.
    Application,
    /// Metadata and signature.
    Unmeasured,
}

impl Measurer {
    pub(super) fn new() -> Self {
        Self {
            image: Register::new(),
            bootstrap: Register::new(),
            application: Register::new(),
            certificate: None,
        }
    }

    pub(super) fn update(&mut self, part: Part, bytes: &[u8]) {
        let register = match part {
            Part::Bootstrap => &mut self.bootstrap,
            Part::Application => &mut self.application,
            Part::Unmeasured => return,
        };
        register.0.update(bytes);
        self.image.0.update(bytes);
    }

    pub(super) fn certificate(&mut self, der: &[u8]) {
        self.certificate = Some(extend(digest(&SHA384, der).as_ref()));
    }

    pub(super) fn finish(self) -> Measurements {
        Measurements {
            hash_algorithm: "Sha384 { ... }",
            pcr0: self.image.finish(),
            pcr1: self.bootstrap.finish(),
            pcr2: self.application.finish(),
            pcr8: self.certificate,
        }
    }
}

impl fmt::Display for Measurements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "PCR0: {}\nPCR1: {}\nPCR2: {}", self.pcr0, self.pcr1, self.pcr2)?;
        match &self.pcr8 {
            Some(pcr8) => writeln!(f, "PCR8: {pcr8}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_one_ramdisk_has_the_constant_pcr2_and_equal_pcr0_and_pcr1() {
        let mut measurer = Measurer::new();
        measurer.update(Part::Bootstrap, b"kernel");
        measurer.update(Part::Unmeasured, b"metadata");
        let measured = measurer.finish();
        assert_eq!(measured.pcr0, measured.pcr1);
        // SHA384(0^48 || SHA384("")), seen in documents of real enclaves.
        assert!(measured.pcr2.starts_with("21b9efbc"), "{}", measured.pcr2);
        assert!(measured.pcr2.ends_with("fc500a"), "{}", measured.pcr2);
    }

    #[test]
    fn a_later_ramdisk_changes_pcr0_and_pcr2_only() {
        let mut measurer = Measurer::new();
        measurer.update(Part::Bootstrap, b"kernel");
        let mut changed = measurer.clone();
        measurer.update(Part::Application, b"config a");
        changed.update(Part::Application, b"config b");
        let (one, other) = (measurer.finish(), changed.finish());
        assert_eq!(one.pcr1, other.pcr1);
        assert_ne!(one.pcr0, other.pcr0);
        assert_ne!(one.pcr2, other.pcr2);
    }
}
