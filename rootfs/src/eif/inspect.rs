//! Reading an image: everything is checked before it is believed, and nothing of the file's size is held in memory.

use std::io::{Read, Seek, SeekFrom};

use serde::Serialize;
use serde_json::Value;

use super::header::{CHECKED_BYTES, HEADER_BYTES, Header, SECTION_HEADER_BYTES, decode_section};
use super::measure::{Measurements, Measurer, Part};
use super::signature::Signature;
use super::write::unhex;
use super::{EifError, SectionKind};

/// Sections that are read as a whole: command line, metadata, signature.
const MAX_SMALL_SECTION: u64 = 1 << 20;
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
    /// Whether the signature, if there is one, is one of PCR0 by the key of its certificate.
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
    let io = |error| EifError::Io("cannot read the image".to_owned(), error);
    let malformed = |text: String| EifError::Malformed(text);
    let length = file.seek(SeekFrom::End(0)).map_err(io)?;
    file.rewind().map_err(io)?;
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact(&mut bytes).map_err(|_| {
        malformed(format!(
            "it has {length} bytes, and its header alone needs {HEADER_BYTES}"
        ))
    })?;
    let (header, expected) = Header::decode(&bytes)?;
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&bytes[..CHECKED_BYTES]);
    let mut contents = Contents::default();
    let mut position = HEADER_BYTES as u64;
    for (index, (offset, size)) in header.sections.iter().enumerate() {
        if *offset != position {
            let message =
                format!("section {index}: it is at {offset}, but the one before it ends at {position}");
            return Err(malformed(message));
        }
        let end = offset
            .checked_add(SECTION_HEADER_BYTES as u64)
            .and_then(|start| start.checked_add(*size))
            .filter(|end| *end <= length);
        position =
            end.ok_or_else(|| malformed(format!("section {index}: it ends behind the end of the file")))?;
        let mut head = [0; SECTION_HEADER_BYTES];
        file.read_exact(&mut head).map_err(io)?;
        checksum.update(&head);
        let (kind, own_size) = decode_section(&head, index)?;
        if own_size != *size {
            let message =
                format!("section {index}: {own_size} bytes in its own header, {size} in the file's");
            return Err(malformed(message));
        }
        contents.summaries.push(SectionSummary {
            kind: kind.name(),
            offset: *offset,
            size: *size,
        });
        contents.read(index, kind, *size, &mut file, &mut checksum)?;
    }
    if position != length {
        return Err(malformed(format!(
            "{} bytes follow the last section",
            length - position
        )));
    }
    if checksum.finalize() != expected {
        let message = "the checksum is wrong: the file was damaged or cut and padded";
        return Err(malformed(message.to_owned()));
    }
    contents.describe(&header)
}

#[derive(Default)]
struct Contents {
    summaries: Vec<SectionSummary>,
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
        checksum: &mut crc32fast::Hasher,
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
        let small = !matches!(kind, SectionKind::Kernel | SectionKind::Ramdisk);
        if small && size > MAX_SMALL_SECTION {
            return Err(malformed("it is larger than 1 MiB"));
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
            file.read_exact(chunk)
                .map_err(|error| EifError::Io("cannot read the image".to_owned(), error))?;
            checksum.update(chunk);
            measurer.update(part, chunk);
            if small {
                whole.extend_from_slice(chunk);
            }
            left -= wanted as u64;
        }
        match kind {
            SectionKind::Kernel | SectionKind::Ramdisk => {}
            SectionKind::CommandLine => {
                let text = String::from_utf8(whole).map_err(|_| malformed("it is not UTF-8"))?;
                self.command_line = Some(text);
            }
            SectionKind::Metadata => {
                let value = serde_json::from_slice(&whole).map_err(|error| malformed(&error.to_string()))?;
                self.metadata = Some(value);
            }
            SectionKind::Signature => {
                let signature = Signature::decode(&whole)?;
                measurer.certificate(&signature.certificate);
                self.signature = Some(signature);
            }
        }
        Ok(())
    }

    fn describe(self, header: &Header) -> Result<Description, EifError> {
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
            signature_valid: self.signature.map(|signature| signature.is_valid_for(&pcr0)),
            measurements,
        })
    }
}
