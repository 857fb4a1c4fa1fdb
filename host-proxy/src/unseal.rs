//! `host-proxy unseal`: for the log back-end. Finds sealed batches in whatever a sink has written, opens them, prints what
//! the containers wrote, and reports what is missing, moved, repeated or forged.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use attest::sealed_log::{Opener, PrivateKey};
use manifest_sync::log_record::{Decoder, Entry, LogRun, Name};
use manifest_sync::{base64, pem};

use crate::announce::say;
use crate::cli::{LogFormat, Unseal};
use crate::exit::{Exit, Failure};
use crate::logs::{Joiner, Lines, Raw, SEALED_MARK};
use crate::table::escape;

/// An X25519 private key as PKCS #8 (RFC 8410 section 7) is this and the key's 32 bytes.
const X25519_KEY: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20,
];
/// Longest piece of a line that is looked at at once: much longer than a batch.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Largest key file; ours have some 120 bytes.
const MAX_KEY_FILE: u64 = 64 << 10;

/// Runs `unseal`: 0 when everything that was there opened and nothing was missing, 1 when not.
///
/// # Errors
/// A file cannot be read, or holds no key; standard output cannot be written to.
pub fn unseal(options: &Unseal) -> Result<Exit, Failure> {
    let mut reader = Unsealer {
        opener: Opener::new(private_key(&options.key)?),
        joiner: Joiner::default(),
        format: options.format,
        wrong: 0,
        opened: 0,
        out: Vec::new(),
    };
    let standard_input = [PathBuf::from("-")];
    let files = if options.files.is_empty() {
        &standard_input[..]
    } else {
        &options.files
    };
    for path in files {
        let cannot = |error: io::Error| Failure::new(Exit::NoInput, format!("{}: {error}", path.display()));
        if path.as_os_str() == "-" {
            reader.read(io::stdin().lock(), path).map_err(cannot)?;
        } else {
            let file = File::open(path).map_err(cannot)?;
            reader.read(BufReader::new(file), path).map_err(cannot)?;
        }
    }
    for lines in reader.joiner.finish() {
        reader.show(&lines);
    }
    reader
        .print()
        .map_err(|error| Failure::new(Exit::Host, format!("cannot write to standard output: {error}")))?;
    if reader.opened == 0 && reader.wrong == 0 {
        say("no sealed batch was found");
    }
    for rest in reader.opener.rest() {
        let end = if rest.complete {
            "complete"
        } else {
            "its end is not here: it still runs, or the end was cut off"
        };
        say(&format!(
            "{}: {} batches, {} missing; {end}",
            source(&rest.container, &rest.source),
            rest.batches,
            rest.missing
        ));
        reader.wrong += rest.missing;
    }
    Ok(Exit::Pod(u8::from(reader.wrong > 0)))
}

struct Unsealer {
    opener: Opener,
    joiner: Joiner,
    format: LogFormat,
    wrong: u64,
    opened: u64,
    out: Vec<u8>,
}

impl Unsealer {
    fn read(&mut self, mut input: impl BufRead, path: &Path) -> io::Result<()> {
        let (mut line, mut number) = (Vec::new(), 0_u64);
        loop {
            line.clear();
            if input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
                return self.print();
            }
            number += 1;
            let mut rest = line.as_slice();
            while let Some(at) = find(rest, SEALED_MARK.as_bytes()) {
                rest = rest.get(at + SEALED_MARK.len()..).unwrap_or_default();
                let length = rest.iter().take_while(|byte| is_base64(**byte)).count();
                let (text, after) = rest.split_at(length);
                rest = after;
                self.batch(text, &format!("{}, line {number}", path.display()));
            }
            if self.out.len() > 64 << 10 {
                self.print()?;
            }
        }
    }

    fn batch(&mut self, text: &[u8], place: &str) {
        let bytes = std::str::from_utf8(text).ok().and_then(base64::decode);
        let opened = match bytes.as_deref().map(|bytes| self.opener.open(bytes)) {
            Some(Ok(opened)) => opened,
            Some(Err(error)) => return self.report(&format!("{place}: {error}")),
            None => return self.report(&format!("{place}: no sealed batch: it is no base64")),
        };
        self.opened += 1;
        for finding in &opened.findings {
            let of = source(&opened.container, &opened.source);
            say(&format!("{place}: {of}, batch {}: {finding}", opened.number));
        }
        let container = Name::from(opened.container.as_str());
        let mut complete = Vec::new();
        let mut decoder = Decoder::whole(opened.records.into());
        while let Ok(Some(Entry::Run(run))) = decoder.next_entry() {
            let run = LogRun {
                container: container.clone(),
                ..run
            };
            self.joiner.join(0, run, &mut complete);
        }
        for lines in complete {
            self.show(&lines);
        }
    }

    fn report(&mut self, what: &str) {
        self.wrong += 1;
        say(&escape(what));
    }

    fn show(&mut self, lines: &Lines) {
        match self.format {
            LogFormat::Json => lines.json(&mut self.out),
            LogFormat::Text => {
                let raw = match io::IsTerminal::is_terminal(&io::stdout()) {
                    true => Raw::No,
                    false => Raw::Yes,
                };
                lines.text(0, raw, &mut self.out);
            }
        }
    }

    fn print(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(&self.out)?;
        self.out.clear();
        out.flush()
    }
}

/// `container app (source 1a2b3c4d)`
fn source(container: &str, source: &[u8; 32]) -> String {
    let short: String = source.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("container {} (source {short})", escape(container))
}

fn private_key(path: &Path) -> Result<PrivateKey, Failure> {
    let failure = |message: String| Failure::new(Exit::NoInput, format!("{}: {message}", path.display()));
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_KEY_FILE).read_to_string(&mut text))
        .map_err(|error| failure(error.to_string()))?;
    let blocks = pem::blocks(&text).map_err(|error| failure(error.to_string()))?;
    let key = match blocks.as_slice() {
        [block] if block.label == "PRIVATE KEY" => block
            .bytes
            .strip_prefix(&X25519_KEY)
            .and_then(|key| key.try_into().ok()),
        _ => None,
    };
    key.map(PrivateKey::new).ok_or_else(|| {
        failure("expected one X25519 private key, as `openssl genpkey -algorithm X25519` makes it".to_owned())
    })
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
