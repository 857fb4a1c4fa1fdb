//! Compares what the reference implementation of the enclave image format says of an image with what we say: checksum,
//! measurements, signature. Then it builds the image again from its sections, which must give the same bytes.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Seek as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use aws_nitro_enclaves_image_format::defs::EifIdentityInfo;
use aws_nitro_enclaves_image_format::utils::{EifBuilder, eif_reader::EifReader};
use rootfs::eif::{Description, inspect};
use sha2::{Digest as _, Sha384};

/// Bytes of a section header.
const SECTION_HEADER: u64 = 12;
/// Of the image's header: offset of the number of sections, of their places, of their sizes, of the checksum; bytes.
const COUNT: usize = 26;
const PLACES: usize = 28;
const SIZES: usize = 284;
const CHECKSUM: usize = 544;
const HEADER: usize = 548;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path] = arguments.as_slice() else {
        eprintln!("oracle: it takes the path of one enclave image");
        return ExitCode::FAILURE;
    };
    match compare(path) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("oracle: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether both say the same.
fn compare(path: &str) -> Result<bool> {
    let ours = inspect(File::open(path).with_context(|| format!("cannot open {path}"))?)?;
    let mut theirs = EifReader::from_eif(path.to_owned()).map_err(|text| anyhow!("reference: {text}"))?;
    let mut same = line(
        "checksum",
        "valid",
        if theirs.check_crc() { "valid" } else { "wrong" },
    );
    let measured = theirs
        .get_measurements()
        .map_err(|text| anyhow!("reference: {text}"))?;
    // As both print it; `HashAlgorithm` is whatever the reference's hash library calls itself in this version.
    let json = serde_json::to_value(&ours.measurements)?;
    for name in ["PCR0", "PCR1", "PCR2", "PCR8"] {
        let own = json.get(name).and_then(|value| value.as_str()).unwrap_or("none");
        same &= line(name, own, measured.get(name).map_or("none", String::as_str));
    }
    same &= line(
        "signature",
        signature(ours.signature_valid),
        their_signature(&mut theirs, measured)?,
    );
    let metadata = theirs.get_metadata().context("reference: it reads no metadata")?;
    same &= line("metadata", &text(&ours.metadata)?, &text(&Some(&metadata))?);
    let again = rebuild(Path::new(path), &ours, metadata)?;
    let again = if again { "the same bytes" } else { "other bytes" };
    same &= line("built again", "the same bytes", again);
    Ok(same)
}

/// One line for one value, or two when they differ.
fn line(name: &str, ours: &str, theirs: &str) -> bool {
    if ours == theirs {
        println!("same       {name}: {ours}");
    } else {
        println!("DIFFERENT  {name}: we say        {ours}");
        println!("           {name}: reference says {theirs}");
    }
    ours == theirs
}

fn signature(valid: Option<bool>) -> &'static str {
    match valid {
        None => "none",
        Some(true) => "valid",
        Some(false) => "wrong",
    }
}

fn their_signature(image: &mut EifReader, measured: BTreeMap<String, String>) -> Result<&'static str> {
    if image.signature_section.is_none() {
        return Ok(signature(None));
    }
    image
        .get_certificate_info(measured)
        .map_err(|text| anyhow!("reference: {text}"))?;
    Ok(signature(Some(image.sign_check == Some(true))))
}

/// JSON with its keys in one order.
fn text(value: &impl serde::Serialize) -> Result<String> {
    Ok(serde_json::to_value(value)?.to_string())
}

/// Whether the reference implementation makes the same file from the sections. A signature is another one each time: it
/// is left out, and with it what the header says about it.
fn rebuild(path: &Path, image: &Description, metadata: EifIdentityInfo) -> Result<bool> {
    let file = File::open(path)?;
    let scratch = tempfile::tempdir()?;
    let mut kernel = None;
    let mut ramdisks = Vec::new();
    let mut end = HEADER as u64;
    for (index, section) in image.sections.iter().enumerate() {
        if section.kind == "signature" {
            if index + 1 != image.sections.len() {
                bail!("the signature is not the last section");
            }
            continue;
        }
        let mut content = vec![0; usize::try_from(section.size)?];
        file.read_exact_at(&mut content, section.offset + SECTION_HEADER)?;
        end = section.offset + SECTION_HEADER + section.size;
        let out = scratch.path().join(index.to_string());
        match section.kind {
            "kernel" => kernel = Some(out.clone()),
            "ramdisk" => ramdisks.push(out.clone()),
            _ => continue,
        }
        fs::write(&out, content)?;
    }
    let kernel = kernel.context("no kernel")?;
    let flags = u16::from(image.architecture == "arm64");
    let line = image.command_line.clone();
    let mut builder = EifBuilder::new(&kernel, line, None, Sha384::new(), flags, metadata);
    for ramdisk in &ramdisks {
        builder.add_ramdisk(ramdisk);
    }
    let mut out = tempfile::tempfile()?;
    builder.write_to(&mut out);
    out.rewind()?;
    let mut theirs = Vec::new();
    std::io::Read::read_to_end(&mut out, &mut theirs)?;
    let mut ours = vec![0; usize::try_from(end)?];
    file.read_exact_at(&mut ours, 0)?;
    if image.signature_valid.is_some() {
        for bytes in [&mut ours, &mut theirs] {
            forget_signature(bytes, image.sections.len() - 1)?;
        }
    }
    Ok(ours == theirs)
}

/// Blanks what a signature changes in a header: number of sections, its own place and size, checksum.
fn forget_signature(image: &mut [u8], index: usize) -> Result<()> {
    let header = image.get_mut(..HEADER).context("no header")?;
    header[COUNT..PLACES].fill(0);
    for array in [PLACES, SIZES] {
        header[array + 8 * index..][..8].fill(0);
    }
    header[CHECKSUM..].fill(0);
    Ok(())
}
