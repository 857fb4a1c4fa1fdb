//! Reading an image: everything is checked before it is believed, and nothing of the file's size is held in memory.

use std::io::{self, Read, Seek, SeekFrom};

use serde::Serialize;
use serde_json::Value;

use super::header::{CHECKED_BYTES, HEADER_BYTES, Header, SECTION_HEADER_BYTES, decode_section};
use super::measure::{Measurements, Measurer, Part};
use super::signature::Signature;
use super::write::{MAX_COMMAND_LINE, unhex};
use super::{EifError, SectionKind};

/// Most bytes of metadata: it is held in memory, and its JSON takes a multiple. Real ones have some 100 bytes.
const MAX_METADATA: u64 = 1 << 20;
/// Most bytes of a signature section. A certificate and its issuers fit; reading a map of CBOR takes the square of it.
const MAX_SIGNATURE: u64 = 32 << 10;
/// Bytes that are read at once.
const CHUNK: usize = 1 << 16;

/// What an image holds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// Version of the format.
    pub version: u16,
    /// `x86_64` or `arm64`.
    pub architecture: &'static str,
    /// Sections in the order of the file.
    pub sections: Vec<SectionSummary>,
    /// The kernel's command line.
    pub command_line: String,
    /// What the image says about its build; measured by nobody.
    pub metadata: Option<Value>,
    /// Present when the image is signed, and then `true`: an image whose signature is not one of its PCR0 by the key of
    /// its certificate is refused, as Nitro refuses to start it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_valid: Option<bool>,
    /// The PCRs.
    pub measurements: Measurements,
}

/// One section.
#[derive(Debug, Clone, Serialize)]
pub struct SectionSummary {
    /// What it holds.
    pub kind: &'static str,
    /// Offset of its header in the file, bytes.
    pub offset: u64,
    /// Bytes of its content.
    pub size: u64,
}

/// Reads an image, checks its structure and checksum, and computes its measurements.
///
/// # Errors
///
/// [`EifError::Malformed`] names the section and what is wrong with it.
pub fn inspect(mut file: impl Read + Seek) -> Result<Description, EifError> {
    let length = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    if length < HEADER_BYTES as u64 {
        return malformed(format!(
            "it has {length} bytes, and its header alone needs {HEADER_BYTES}"
        ));
    }
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact(&mut bytes).map_err(unreadable)?;
    let (header, expected) = Header::decode(&bytes)?;
    let mut contents = Contents::default();
    contents.checksum.update(&bytes[..CHECKED_BYTES]);
    let mut position = HEADER_BYTES as u64;
    for (index, (offset, size)) in header.sections.iter().enumerate() {
        if *offset != position {
            return malformed(format!(
                "section {index}: it is at {offset}, but what is before it ends at {position}"
            ));
        }
        let start = offset + SECTION_HEADER_BYTES as u64;
        if start > length {
            return malformed(format!(
                "section {index}: its header ends at {start}, but the file has {length} bytes"
            ));
        }
        let mut head = [0; SECTION_HEADER_BYTES];
        file.read_exact(&mut head).map_err(unreadable)?;
        contents.checksum.update(&head);
        let (kind, own_size) = decode_section(&head, index)?;
        let name = kind.name();
        if own_size != *size {
            return malformed(format!(
                "section {index} ({name}): {own_size} bytes in its own header, {size} in the file's"
            ));
        }
        position = start.saturating_add(*size);
        if position > length {
            return malformed(format!(
                "section {index} ({name}): {size} bytes from {start}, but the file has {length} bytes"
            ));
        }
        contents.summaries.push(SectionSummary {
            kind: name,
            offset: *offset,
            size: *size,
        });
        contents.read(index, kind, *size, &mut file)?;
    }
    if position != length {
        let more = length - position;
        return malformed(format!("{more} bytes follow the last section"));
    }
    contents.describe(&header, expected)
}

fn unreadable(error: io::Error) -> EifError {
    EifError::Io("cannot read the image".to_owned(), error)
}

fn malformed<T>(text: String) -> Result<T, EifError> {
    Err(EifError::Malformed(text))
}

#[derive(Default)]
struct Contents {
    summaries: Vec<SectionSummary>,
    checksum: crc32fast::Hasher,
    measurer: Option<Measurer>,
    kernel: bool,
    ramdisks: usize,
    command_line: Option<String>,
    metadata: Option<Value>,
    signature: Option<Signature>,
}

impl Contents {
    fn read(
        &mut self,
        index: usize,
        kind: SectionKind,
        size: u64,
        file: &mut impl Read,
    ) -> Result<(), EifError> {
        let malformed =
            |text: &str| EifError::Malformed(format!("section {index} ({}): {text}", kind.name()));
        let twice = match kind {
            SectionKind::Kernel => std::mem::replace(&mut self.kernel, true),
            SectionKind::CommandLine => self.command_line.is_some(),
            SectionKind::Metadata => self.metadata.is_some(),
            SectionKind::Signature => self.signature.is_some(),
            SectionKind::Ramdisk => false,
        };
        if twice {
            return Err(malformed("there is one already"));
        }
        // What is held in memory.
        let most = match kind {
            SectionKind::Kernel | SectionKind::Ramdisk => None,
            SectionKind::CommandLine => Some(MAX_COMMAND_LINE as u64),
            SectionKind::Metadata => Some(MAX_METADATA),
            SectionKind::Signature => Some(MAX_SIGNATURE),
        };
        if let Some(most) = most.filter(|most| size > *most) {
            return Err(malformed(&format!("{size} bytes, but at most {most} are read")));
        }
        let part = match kind {
            SectionKind::Kernel | SectionKind::CommandLine => Part::Bootstrap,
            SectionKind::Ramdisk if self.ramdisks == 0 => Part::Bootstrap,
            SectionKind::Ramdisk => Part::Application,
            SectionKind::Metadata | SectionKind::Signature => Part::Unmeasured,
        };
        self.ramdisks += usize::from(kind == SectionKind::Ramdisk);
        let measurer = self.measurer.get_or_insert_with(Measurer::new);
        let mut whole = Vec::new();
        let mut chunk = vec![0; CHUNK];
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let chunk = &mut chunk[..wanted];
            file.read_exact(chunk).map_err(unreadable)?;
            self.checksum.update(chunk);
            measurer.update(part, chunk);
            if most.is_some() {
                whole.extend_from_slice(chunk);
            }
            left -= wanted as u64;
        }
        match kind {
            SectionKind::Kernel | SectionKind::Ramdisk => {}
            SectionKind::CommandLine => {
                let text = String::from_utf8(whole).map_err(|_| malformed("it is not UTF-8"))?;
                // What is behind it would be shown and measured, but the kernel does not see it.
                if text.contains('\0') {
                    return Err(malformed("it holds a NUL, where the kernel would stop reading"));
                }
                self.command_line = Some(text);
            }
            SectionKind::Metadata => {
                let value = serde_json::from_slice(&whole)
                    .map_err(|error| malformed(&format!("it is not JSON: {error}")))?;
                self.metadata = Some(value);
            }
            SectionKind::Signature => {
                let signature = Signature::decode(&whole).map_err(|text| malformed(&text))?;
                measurer.certificate(&signature.certificate);
                self.signature = Some(signature);
            }
        }
        Ok(())
    }

    fn describe(self, header: &Header, checksum: u32) -> Result<Description, EifError> {
        if self.checksum.finalize() != checksum {
            return malformed("the checksum is wrong: the file was damaged or cut and padded".to_owned());
        }
        let missing = |what: &str| EifError::Malformed(format!("it has no {what} section"));
        if !self.kernel {
            return Err(missing("kernel"));
        }
        if self.ramdisks == 0 {
            return Err(missing("ramdisk"));
        }
        let command_line = self.command_line.ok_or_else(|| missing("cmdline"))?;
        let measurements = self.measurer.unwrap_or_else(Measurer::new).finish();
        let pcr0 = unhex(&measurements.pcr0);
        let signature_valid = self.signature.map(|signature| signature.is_valid_for(&pcr0));
        if signature_valid == Some(false) {
            return malformed(
                "the signature is not one of its PCR0 by the key of the certificate: the image was changed after it \
                 was signed, or signed with another key"
                    .to_owned(),
            );
        }
        Ok(Description {
            version: header.version,
            architecture: if header.flags & super::header::FLAG_ARM64 != 0 {
                "arm64"
            } else {
                "x86_64"
            },
            sections: self.summaries,
            command_line,
            metadata: self.metadata,
            signature_valid,
            measurements,
        })
    }
}
