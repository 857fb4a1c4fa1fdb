//! Files, with a limit on each: the document, measurements, roots, bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use attest::base64;
use attest::document::{MAX_DOCUMENT, PCRS, Root};
use attest::hex::from_hex;
use attest::nsm::PcrValue;
use serde_json::Value;

/// Most bytes of a file that a flag names.
const MAX_FILE: usize = 1024 * 1024;
/// First bytes of a document: an array of four, or the tag of one.
const FIRST: [u8; 2] = [0x84, 0xd2];

/// The document of a file, or of standard input for none and for `-`. What is too long is cut: it is refused as a document.
pub(crate) fn document(path: Option<&Path>) -> Result<Vec<u8>, String> {
    // Base64 with line breaks.
    let most = 2 * MAX_DOCUMENT;
    let bytes = match path {
        None => limited(io::stdin(), most).map_err(|error| format!("cannot read standard input: {error}"))?,
        Some(path) => opened(path, most)?,
    };
    if bytes.first().is_some_and(|first| FIRST.contains(first)) {
        return Ok(bytes);
    }
    let text: Option<String> = std::str::from_utf8(&bytes)
        .ok()
        .map(|text| text.split_ascii_whitespace().collect());
    Ok(text
        .filter(|text| !text.is_empty())
        .and_then(|text| base64::decode(&text))
        .unwrap_or(bytes))
}

/// A file of at most [`MAX_FILE`] bytes.
fn file(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = opened(path, MAX_FILE + 1)?;
    if bytes.len() > MAX_FILE {
        return Err(format!("{} has more than {MAX_FILE} bytes", path.display()));
    }
    Ok(bytes)
}

fn opened(path: &Path, most: usize) -> Result<Vec<u8>, String> {
    let opened = File::open(path).and_then(|file| limited(file, most));
    opened.map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// The first bytes, `most` of them at most.
fn limited(from: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Hexadecimal digits, or the content of a file after `@`.
pub(crate) fn bytes(flag: &str, text: &str) -> Result<Vec<u8>, String> {
    match text.strip_prefix('@') {
        Some(path) => file(Path::new(path)).map_err(|error| format!("{flag}: {error}")),
        None => from_hex(text).ok_or_else(|| {
            format!("{flag}: `{text}` is not an even number of hexadecimal digits; for a file write @FILE")
        }),
    }
}

/// Roots in PEM or DER.
pub(crate) fn roots(path: &Path) -> Result<Vec<Root>, String> {
    let bytes = file(path)?;
    let roots = match bytes.first() {
        Some(0x30) => Root::from_der(&bytes).map(|root| vec![root]),
        _ => Root::from_pem(&bytes),
    };
    roots.map_err(|error| format!("{}: {error}", path.display()))
}

/// `N=HEX`.
pub(crate) fn pcr(text: &str) -> Result<(u8, PcrValue), String> {
    let (index, digits) = text
        .split_once('=')
        .ok_or_else(|| format!("--pcr: `{text}` is not N=HEX"))?;
    let index: Option<u8> = index.parse().ok().filter(|index| usize::from(*index) < PCRS);
    let index = index.ok_or_else(|| format!("--pcr: `{text}` does not begin with a number below {PCRS}"))?;
    let value = pcr_value(digits).ok_or_else(|| format!("--pcr: PCR{index} is not 96 hexadecimal digits"))?;
    Ok((index, value))
}

fn pcr_value(digits: &str) -> Option<PcrValue> {
    from_hex(digits)?.try_into().ok()
}

/// The PCRs of an image: `{"Measurements": {"PCR0": "…", …}}`, or what is inside.
pub(crate) fn measurements(path: &Path) -> Result<Vec<(u8, PcrValue)>, String> {
    let bytes = file(path)?;
    let wrong = |what: &str| format!("{}: {what}", path.display());
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|error| wrong(&format!("not JSON: {error}")))?;
    let inner = value.get("Measurements").unwrap_or(&value);
    let entries = inner
        .as_object()
        .ok_or_else(|| wrong("not the measurements of an image"))?;
    let mut pcrs = Vec::new();
    for (name, value) in entries {
        if name == "HashAlgorithm" {
            continue;
        }
        let index = name.strip_prefix("PCR").and_then(|index| index.parse().ok());
        let value = value.as_str().and_then(pcr_value);
        match (index, value) {
            (Some(index), Some(value)) => pcrs.push((index, value)),
            _ => return Err(wrong(&format!("{name} is not a PCR of 96 hexadecimal digits"))),
        }
    }
    if pcrs.is_empty() {
        return Err(wrong("it has no PCR"));
    }
    Ok(pcrs)
}
