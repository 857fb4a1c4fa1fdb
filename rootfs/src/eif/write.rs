//! Writing an image: two passes over the files, nothing of their size in memory.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::header::{
    CHECKED_BYTES, FLAG_ARM64, HEADER_BYTES, Header, MAX_SECTIONS, SECTION_HEADER_BYTES, VERSION,
    encode_section,
};
use super::measure::{Measurements, Measurer, Part};
use super::signature::Signer;
use super::{EifError, SectionKind};

/// Memory and vCPUs that launchers take when nobody says otherwise, as the reference implementation writes them.
const DEFAULT_MEMORY_BYTES: u64 = 1 << 30;
const DEFAULT_CPUS: u64 = 2;
/// Bytes that are read at once.
const CHUNK: usize = 1 << 16;
/// Longest command line that Linux takes, on x86 and arm64: `COMMAND_LINE_SIZE` less its NUL.
pub(super) const MAX_COMMAND_LINE: usize = 2047;

/// What the image says about itself. Nobody measures it.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Name of the image.
    pub name: String,
    /// Version of the image.
    pub version: String,
    /// When it was built, RFC 3339; the same for the same input, or two builds are not the same.
    pub build_time: String,
    /// Version of the kernel.
    pub kernel_version: String,
}

/// The parts of an image.
pub struct EifBuilder {
    /// A bzImage.
    pub kernel: PathBuf,
    /// The kernel's command line.
    pub command_line: String,
    /// Initramfs archives; the first is measured apart from the others.
    pub ramdisks: Vec<PathBuf>,
    /// About the build.
    pub metadata: Metadata,
    /// Signs PCR0.
    pub signer: Option<Signer>,
}

/// Where the content of a section comes from.
enum Content<'a> {
    File(&'a Path),
    Bytes(Vec<u8>),
}

struct Section<'a> {
    kind: SectionKind,
    part: Part,
    content: Content<'a>,
    size: u64,
}

impl EifBuilder {
    /// Writes the image and returns its measurements. The file is complete or absent.
    ///
    /// # Errors
    ///
    /// When a part cannot be read, the image cannot be written, or the signer refuses.
    pub fn write(&self, to: &Path) -> Result<Measurements, EifError> {
        let mut sections = self.sections()?;
        let measurements = measure(&sections, self.signer.as_ref())?;
        if let Some(signer) = &self.signer {
            let signature = signer.sign(&unhex(&measurements.pcr0))?;
            sections.push(Section::bytes(
                SectionKind::Signature,
                Part::Unmeasured,
                signature,
            ));
        }
        let mut new = to.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        write_sections(&sections, &new)
            .and_then(|()| fs::rename(&new, to).map_err(|error| io("cannot rename", &new, error)))
            .inspect_err(|_| {
                let _ = fs::remove_file(&new);
            })?;
        Ok(measurements)
    }

    fn sections(&self) -> Result<Vec<Section<'_>>, EifError> {
        let line = self.command_line.as_bytes();
        if line.len() > MAX_COMMAND_LINE || line.contains(&0) {
            let message = format!("command line: at most {MAX_COMMAND_LINE} bytes, none of them NUL");
            return Err(EifError::Malformed(message));
        }
        // Kernel, command line, metadata and a signature need a place too.
        if self.ramdisks.is_empty() || self.ramdisks.len() > MAX_SECTIONS - 4 {
            let message = format!(
                "{} ramdisks: between 1 and {}",
                self.ramdisks.len(),
                MAX_SECTIONS - 4
            );
            return Err(EifError::Malformed(message));
        }
        let mut sections = vec![
            Section::file(SectionKind::Kernel, Part::Bootstrap, &self.kernel)?,
            Section::bytes(SectionKind::CommandLine, Part::Bootstrap, line.to_vec()),
            Section::bytes(SectionKind::Metadata, Part::Unmeasured, self.metadata.encode()?),
        ];
        for (index, path) in self.ramdisks.iter().enumerate() {
            let part = if index == 0 {
                Part::Bootstrap
            } else {
                Part::Application
            };
            sections.push(Section::file(SectionKind::Ramdisk, part, path)?);
        }
        Ok(sections)
    }
}

impl Metadata {
    /// The fields that `nitro-cli describe-eif` wants, in the order of the reference implementation. They are a type
    /// and not a `Value`, whose order depends on what other crates of a build want of serde_json.
    fn encode(&self) -> Result<Vec<u8>, EifError> {
        let identity = Identity {
            image_name: &self.name,
            image_version: &self.version,
            build_metadata: BuildMetadata {
                build_time: &self.build_time,
                build_tool: "cloister",
                build_tool_version: env!("CARGO_PKG_VERSION"),
                operating_system: "Linux",
                kernel_version: &self.kernel_version,
            },
            docker_info: Nothing {},
            custom_metadata: Nothing {},
        };
        serde_json::to_vec(&identity).map_err(|error| EifError::Malformed(format!("metadata: {error}")))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Identity<'a> {
    image_name: &'a str,
    image_version: &'a str,
    build_metadata: BuildMetadata<'a>,
    docker_info: Nothing,
    custom_metadata: Nothing,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BuildMetadata<'a> {
    build_time: &'a str,
    build_tool: &'a str,
    build_tool_version: &'a str,
    operating_system: &'a str,
    kernel_version: &'a str,
}

/// An empty object.
#[derive(Serialize)]
struct Nothing {}

impl<'a> Section<'a> {
    fn file(kind: SectionKind, part: Part, path: &'a Path) -> Result<Self, EifError> {
        let size = fs::metadata(path)
            .map_err(|error| io("cannot read", path, error))?
            .len();
        Ok(Self {
            kind,
            part,
            content: Content::File(path),
            size,
        })
    }

    fn bytes(kind: SectionKind, part: Part, bytes: Vec<u8>) -> Self {
        Self {
            kind,
            part,
            size: bytes.len() as u64,
            content: Content::Bytes(bytes),
        }
    }

    /// Passes the content on, piece by piece.
    fn for_each(&self, mut take: impl FnMut(&[u8]) -> Result<(), EifError>) -> Result<(), EifError> {
        let path = match &self.content {
            Content::Bytes(bytes) => return take(bytes),
            Content::File(path) => *path,
        };
        let mut file = File::open(path).map_err(|error| io("cannot open", path, error))?;
        let mut chunk = vec![0; CHUNK];
        let mut seen = 0;
        loop {
            let count = file
                .read(&mut chunk)
                .map_err(|error| io("cannot read", path, error))?;
            if count == 0 {
                break;
            }
            seen += count as u64;
            take(&chunk[..count])?;
        }
        if seen == self.size {
            return Ok(());
        }
        let message = format!("{} changed while it was read", path.display());
        Err(EifError::Malformed(message))
    }
}

fn measure(sections: &[Section<'_>], signer: Option<&Signer>) -> Result<Measurements, EifError> {
    let mut measurer = Measurer::new();
    for section in sections {
        section.for_each(|bytes| {
            measurer.update(section.part, bytes);
            Ok(())
        })?;
    }
    if let Some(signer) = signer {
        measurer.certificate(signer.certificate_der());
    }
    Ok(measurer.finish())
}

fn write_sections(sections: &[Section<'_>], to: &Path) -> Result<(), EifError> {
    let mut offset = HEADER_BYTES as u64;
    let header = Header {
        version: VERSION,
        flags: if cfg!(target_arch = "aarch64") {
            FLAG_ARM64
        } else {
            0
        },
        default_memory: DEFAULT_MEMORY_BYTES,
        default_cpus: DEFAULT_CPUS,
        sections: sections
            .iter()
            .map(|section| {
                let own = offset;
                offset += SECTION_HEADER_BYTES as u64 + section.size;
                (own, section.size)
            })
            .collect(),
    };
    let failed = |error| io("cannot write", to, error);
    let mut file = BufWriter::new(File::create(to).map_err(failed)?);
    let mut checksum = crc32fast::Hasher::new();
    let mut put = |file: &mut BufWriter<File>, bytes: &[u8]| {
        checksum.update(bytes);
        file.write_all(bytes).map_err(failed)
    };
    put(&mut file, &header.encode())?;
    // The checksum's place.
    file.write_all(&[0; HEADER_BYTES - CHECKED_BYTES])
        .map_err(failed)?;
    for section in sections {
        put(&mut file, &encode_section(section.kind, section.size))?;
        section.for_each(|bytes| put(&mut file, bytes))?;
    }
    let mut file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.seek(SeekFrom::Start(CHECKED_BYTES as u64))
        .and_then(|_| file.write_all(&checksum.finalize().to_be_bytes()))
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

fn io(what: &str, path: &Path, error: std::io::Error) -> EifError {
    EifError::Io(format!("{what} {}", path.display()), error)
}

/// Hexadecimal digits that we have made ourselves.
pub(super) fn unhex(digits: &str) -> Vec<u8> {
    digits
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
