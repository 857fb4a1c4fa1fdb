//! Arguments → [`Request`]. Every mistake is collected, so that a user mends them in one go.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use attest::UnixTime;
use attest::document::{DebugMode, Identity, MAX_AGE, MAX_AHEAD, Policy, Root};
use attest::nsm::PcrValue;
use lexopt::Arg::{Long, Short, Value};
use lexopt::Parser;

use crate::input;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Version,
    Verify(Box<Request>),
}

/// What is asked of a document.
#[derive(Debug)]
pub(crate) struct Request {
    /// `None`: standard input.
    pub(crate) document: Option<PathBuf>,
    pub(crate) policy: Policy,
    /// The registers that the policy compares.
    pub(crate) compared: Vec<u8>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) user_data: Option<Vec<u8>>,
    pub(crate) public_key: Option<Vec<u8>>,
    pub(crate) when: When,
    pub(crate) max_age: Duration,
    pub(crate) output: Output,
}

/// At which time a document is verified.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    Now,
    At(UnixTime),
    /// At the time that the document itself names.
    Document,
}

/// How the report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Default)]
struct Flags {
    document: Option<PathBuf>,
    pcrs: Vec<(u8, PcrValue)>,
    nonce: Option<Vec<u8>>,
    user_data: Option<Vec<u8>>,
    public_key: Option<Vec<u8>>,
    debug: bool,
    roots: Vec<Root>,
    when: Option<When>,
    max_age: Option<Duration>,
    output: Option<Output>,
}

/// Parses the arguments after the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Vec<String>> {
    let mut parser = Parser::from_args(arguments);
    let (mut flags, mut mistakes) = (Flags::default(), Vec::new());
    loop {
        let argument = match parser.next() {
            Ok(Some(argument)) => argument,
            Ok(None) => break,
            Err(error) => {
                mistakes.push(error.to_string());
                break;
            }
        };
        let known = match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Long("allow-debug") => {
                flags.debug = true;
                Ok(())
            }
            Value(path) => flags.take_document(path.into()),
            Short('o') => flags.take("output", &mut parser),
            Long(name) => {
                let name = name.to_owned();
                flags.take(&name, &mut parser)
            }
            other @ Short(_) => Err(other.unexpected().to_string()),
        };
        mistakes.extend(known.err());
    }
    if !flags.pcrs.iter().any(|(index, _)| matches!(index, 0 | 8)) && mistakes.is_empty() {
        mistakes.push(
            "which image do you expect? Give --measurements, or --pcr 0=… (an image) or --pcr 8=… (its signer)"
                .to_owned(),
        );
    }
    if mistakes.is_empty() {
        Ok(Command::Verify(Box::new(flags.request())))
    } else {
        Err(mistakes)
    }
}

impl Flags {
    fn take_document(&mut self, path: PathBuf) -> Result<(), String> {
        match self.document.replace(path) {
            None => Ok(()),
            Some(first) => Err(format!("one document at a time: {} is one", first.display())),
        }
    }

    /// A flag with a value.
    fn take(&mut self, name: &str, parser: &mut Parser) -> Result<(), String> {
        let flag = format!("--{name}");
        if !matches!(
            name,
            "measurements"
                | "pcr"
                | "nonce"
                | "user-data"
                | "public-key"
                | "root"
                | "time"
                | "max-age"
                | "output"
        ) {
            // Its value, if it has one, is not a document.
            let _ = parser.optional_value();
            return Err(format!("there is no flag {flag}"));
        }
        let value = parser.value().map_err(|error| error.to_string())?;
        let text = value.to_string_lossy();
        match name {
            "measurements" => self.pcrs.extend(input::measurements(value.as_ref())?),
            "pcr" => self.pcrs.push(input::pcr(&text)?),
            "nonce" => once(&mut self.nonce, &flag, input::bytes(&flag, &text)?)?,
            "user-data" => once(&mut self.user_data, &flag, input::bytes(&flag, &text)?)?,
            "public-key" => once(&mut self.public_key, &flag, input::bytes(&flag, &text)?)?,
            "root" => self.roots.extend(input::roots(value.as_ref())?),
            "time" => once(&mut self.when, &flag, when(&text)?)?,
            "max-age" => {
                let seconds = text.parse().ok().map(Duration::from_secs);
                let seconds =
                    seconds.ok_or_else(|| format!("--max-age: `{text}` is not a number of seconds"))?;
                once(&mut self.max_age, &flag, seconds)?;
            }
            _ => {
                let output = match &*text {
                    "text" => Output::Text,
                    "json" => Output::Json,
                    _ => return Err(format!("--output: `{text}` is neither `text` nor `json`")),
                };
                once(&mut self.output, &flag, output)?;
            }
        }
        Ok(())
    }

    fn request(self) -> Request {
        let max_age = self.max_age.unwrap_or(MAX_AGE);
        let identity = |(index, value): &(u8, PcrValue)| match index {
            0 => Some(Identity::Image(*value)),
            8 => Some(Identity::Signer(*value)),
            _ => None,
        };
        // Parsing has seen to it that there is one; no document has this value.
        let identity = self.pcrs.iter().find_map(identity);
        let mut policy = Policy::new(identity.unwrap_or(Identity::Image([0; 48]))).age(max_age, MAX_AHEAD);
        for (index, value) in &self.pcrs {
            policy = policy.pcr(*index, *value);
        }
        if !self.roots.is_empty() {
            policy = policy.roots(self.roots);
        }
        if self.debug {
            policy = policy.debug_mode(DebugMode::Allow);
        }
        let mut compared: Vec<u8> = self.pcrs.iter().map(|(index, _)| *index).collect();
        compared.sort_unstable();
        compared.dedup();
        Request {
            document: self.document.filter(|path| path.as_os_str() != "-"),
            policy,
            compared,
            nonce: self.nonce,
            user_data: self.user_data,
            public_key: self.public_key,
            when: self.when.unwrap_or(When::Now),
            max_age,
            output: self.output.unwrap_or(Output::Text),
        }
    }
}

fn when(text: &str) -> Result<When, String> {
    match text {
        "document" => Ok(When::Document),
        _ => text
            .parse()
            .map(When::At)
            .map_err(|error| format!("--time: {error}")),
    }
}

fn once<T>(place: &mut Option<T>, flag: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{flag} is given twice")),
    }
}
