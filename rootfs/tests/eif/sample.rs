//! Images to test with: built by us, and taken apart and put together again by code that shares nothing with the writer.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use manifest_sync::config::EnclaveConfig;
use manifest_sync::trust::TrustPolicy;
use rootfs::eif::{Description, EifBuilder, EifError, Measurements, Metadata, Signer, inspect};
use rootfs::enclave_image::EnclaveImage;
use rootfs::initramfs::Compression;

pub(crate) const HEADER: usize = 548;
pub(crate) const SECTION_HEADER: usize = 12;
pub(crate) const CHECKSUM: usize = 544;
/// Numbers of the section kinds.
pub(crate) const KERNEL: u16 = 1;
pub(crate) const COMMAND_LINE: u16 = 2;
pub(crate) const RAMDISK: u16 = 3;
pub(crate) const SIGNATURE: u16 = 4;
pub(crate) const METADATA: u16 = 5;

/// A file of the signing tests.
pub(crate) fn testdata(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata/eif")
            .join(name),
    )
    .unwrap()
}

pub(crate) fn signer(name: &str) -> Signer {
    let (key, certificate) = (format!("{name}-key.pem"), format!("{name}-certificate.pem"));
    Signer::from_pem(&testdata(&key), &testdata(&certificate)).unwrap()
}

/// What an image is made of, in a directory of its own.
pub(crate) struct Inputs {
    directory: tempfile::TempDir,
    pub(crate) config: EnclaveConfig,
    pub(crate) policy: Vec<u8>,
    pub(crate) compression: Compression,
    pub(crate) files: Vec<(PathBuf, String)>,
    pub(crate) images: Option<PathBuf>,
    pub(crate) signer: Option<Signer>,
}

impl Inputs {
    pub(crate) fn new() -> Self {
        let inputs = Self {
            directory: tempfile::tempdir().unwrap(),
            config: EnclaveConfig::machine(),
            policy: TrustPolicy::DEVELOPMENT.into(),
            compression: Compression::None,
            files: Vec::new(),
            images: None,
            signer: None,
        };
        fs::write(inputs.path("kernel"), [0xea; 300]).unwrap();
        fs::write(inputs.path("init"), "program ".repeat(20)).unwrap();
        inputs
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The ramdisks alone.
    pub(crate) fn ramdisks(&self) -> Vec<PathBuf> {
        EnclaveImage {
            init: &self.path("init"),
            modules: &[],
            config: &self.config,
            policy: &self.policy,
            files: &self.files,
            images: self.images.as_deref(),
            compression: self.compression,
        }
        .write_ramdisks(self.directory.path())
        .unwrap()
    }

    /// The image and what its builder says about it.
    pub(crate) fn build(&mut self) -> (Vec<u8>, Measurements) {
        let out = self.path("image.eif");
        let measured = EifBuilder {
            kernel: self.path("kernel"),
            command_line: "console=ttyS0".to_owned(),
            ramdisks: self.ramdisks(),
            metadata: Metadata {
                name: "test".to_owned(),
                version: "1".to_owned(),
                build_time: "1970-01-01T00:00:00Z".to_owned(),
                kernel_version: "6.12".to_owned(),
            },
            signer: self.signer.take(),
        }
        .write(&out)
        .unwrap();
        (fs::read(out).unwrap(), measured)
    }
}

/// A small image, signed.
pub(crate) fn signed() -> Vec<u8> {
    static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut inputs = Inputs::new();
        inputs.signer = Some(signer("signer"));
        inputs.build().0
    });
    IMAGE.clone()
}

pub(crate) fn read(image: &[u8]) -> Result<Description, EifError> {
    inspect(Cursor::new(image))
}

/// An image in pieces.
#[derive(Clone)]
pub(crate) struct Parts {
    /// The header up to the number of sections.
    start: Vec<u8>,
    /// Kind and content.
    pub(crate) sections: Vec<(u16, Vec<u8>)>,
}

impl Parts {
    pub(crate) fn of(image: &[u8]) -> Self {
        let mut sections = Vec::new();
        let mut rest = &image[HEADER..];
        while !rest.is_empty() {
            let (head, behind) = rest.split_at(SECTION_HEADER);
            let kind = u16::from_be_bytes(head[..2].try_into().unwrap());
            let size = usize::try_from(u64::from_be_bytes(head[4..].try_into().unwrap())).unwrap();
            let (content, behind) = behind.split_at(size);
            sections.push((kind, content.to_vec()));
            rest = behind;
        }
        let start = image[..26].to_vec();
        Self { start, sections }
    }

    pub(crate) fn content(&mut self, kind: u16) -> &mut Vec<u8> {
        let found = self.sections.iter_mut().find(|section| section.0 == kind);
        &mut found.unwrap().1
    }

    pub(crate) fn without(mut self, kind: u16) -> Self {
        self.sections.retain(|section| section.0 != kind);
        self
    }

    /// The image of these sections, however many they are, with the right checksum.
    pub(crate) fn image(&self) -> Vec<u8> {
        let mut image = vec![0; HEADER];
        image[..26].copy_from_slice(&self.start);
        let count = u16::try_from(self.sections.len()).unwrap();
        image[26..28].copy_from_slice(&count.to_be_bytes());
        for (index, (kind, content)) in self.sections.iter().enumerate() {
            let (offset, size) = (
                (image.len() as u64).to_be_bytes(),
                (content.len() as u64).to_be_bytes(),
            );
            if index < 32 {
                image[28 + 8 * index..][..8].copy_from_slice(&offset);
                image[284 + 8 * index..][..8].copy_from_slice(&size);
            }
            image.extend(kind.to_be_bytes());
            image.extend([0; 2]);
            image.extend(size);
            image.extend(content);
        }
        seal(&mut image);
        image
    }
}

/// Makes the checksum right.
pub(crate) fn seal(image: &mut [u8]) {
    if image.len() < HEADER {
        return;
    }
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&image[..CHECKSUM]);
    checksum.update(&image[HEADER..]);
    image[CHECKSUM..HEADER].copy_from_slice(&checksum.finalize().to_be_bytes());
}
