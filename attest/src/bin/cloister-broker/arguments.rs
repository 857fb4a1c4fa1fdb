//! Arguments → [`Command`]. Every mistake is collected, so that a user mends them in one go.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use attest::broker::nearest;
use lexopt::Arg::{Long, Short, Value};
use lexopt::Parser;

use crate::exit::{Exit, Failure};

/// Port of health and metrics.
const HTTP_PORT: u16 = 9090;

/// A command's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Serve,
    Check,
    PublicKey,
}

impl Verb {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "serve" => Some(Self::Serve),
            "check" => Some(Self::Check),
            "public-key" => Some(Self::PublicKey),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Check => "check",
            Self::PublicKey => "public-key",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Serve => &[
                "policy",
                "secrets",
                "state",
                "key",
                "listen",
                "http-address",
                "root",
                "rate",
            ],
            Self::Check => &["policy", "root", "secrets"],
            Self::PublicKey => &["key"],
        }
    }
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    Help(Option<Verb>),
    Version,
    Serve(Serve),
    Check(Check),
    PublicKey(PathBuf),
}

#[derive(Debug)]
pub(crate) struct Serve {
    pub(crate) policy: PathBuf,
    pub(crate) secrets: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) http_address: Option<SocketAddr>,
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) rate: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) policy: PathBuf,
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) secrets: Option<PathBuf>,
}

#[derive(Default)]
struct Flags {
    policy: Option<PathBuf>,
    secrets: Option<PathBuf>,
    state: Option<PathBuf>,
    key: Option<PathBuf>,
    listen: Option<SocketAddr>,
    http_address: Option<Option<SocketAddr>>,
    roots: Vec<PathBuf>,
    rate: Option<u32>,
    mistakes: Vec<String>,
}

/// Parses the arguments after the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Failure> {
    let mut parser = Parser::from_args(arguments);
    let first = parser.next().map_err(|error| usage(None, &[error.to_string()]))?;
    let verb = match first {
        None => return Err(usage(None, &["a command is missing".to_owned()])),
        Some(Short('h') | Long("help")) => return Ok(Command::Help(None)),
        Some(Short('V') | Long("version")) => return Ok(Command::Version),
        Some(Value(name)) if name == "version" => return Ok(Command::Version),
        Some(Value(name)) if name == "help" => return help(&mut parser),
        Some(Value(name)) => known(&name.to_string_lossy())?,
        Some(other) => return Err(usage(None, &[other.unexpected().to_string()])),
    };
    let mut flags = Flags::default();
    loop {
        match parser.next() {
            Ok(None) => break,
            Ok(Some(Short('h') | Long("help"))) => return Ok(Command::Help(Some(verb))),
            Ok(Some(Long(name))) => {
                let name = name.to_owned();
                let taken = flags.take(verb, &name, &mut parser);
                flags.mistakes.extend(taken.err());
            }
            Ok(Some(other)) => flags.mistakes.push(other.unexpected().to_string()),
            Err(error) => {
                flags.mistakes.push(error.to_string());
                break;
            }
        }
    }
    flags.finish(verb)
}

fn help(parser: &mut Parser) -> Result<Command, Failure> {
    match parser.next() {
        Ok(None) => Ok(Command::Help(None)),
        Ok(Some(Value(name))) => known(&name.to_string_lossy()).map(|verb| Command::Help(Some(verb))),
        Ok(Some(other)) => Err(usage(None, &[other.unexpected().to_string()])),
        Err(error) => Err(usage(None, &[error.to_string()])),
    }
}

fn known(name: &str) -> Result<Verb, Failure> {
    Verb::parse(name).ok_or_else(|| {
        let near = nearest(name, &["serve", "check", "public-key", "version", "help"]);
        let near = near.map(|near| format!("; did you mean `{near}`?"));
        let mistake = format!("`{name}` is not a command{}", near.unwrap_or_default());
        usage(None, &[mistake])
    })
}

fn usage(verb: Option<Verb>, mistakes: &[String]) -> Failure {
    let verb = verb.map(|verb| format!(" {}", verb.name())).unwrap_or_default();
    let mistakes = mistakes.join("\n");
    Failure::new(
        Exit::Usage,
        format!("{mistakes}\n`cloister-broker help{verb}` says more"),
    )
}

impl Flags {
    fn take(&mut self, verb: Verb, name: &str, parser: &mut Parser) -> Result<(), String> {
        if !verb.flags().contains(&name) {
            // Its value, if it has one, is not an argument.
            let _ = parser.optional_value();
            let near = nearest(name, verb.flags()).map(|near| format!("; did you mean `--{near}`?"));
            return Err(format!(
                "`--{name}` is not an option of `{}`{}",
                verb.name(),
                near.unwrap_or_default()
            ));
        }
        let value = parser.value().map_err(|error| error.to_string())?;
        let text = value.to_string_lossy().into_owned();
        let path = PathBuf::from(value);
        match name {
            "policy" => once(&mut self.policy, name, path),
            "secrets" => once(&mut self.secrets, name, path),
            "state" => once(&mut self.state, name, path),
            "key" => once(&mut self.key, name, path),
            "listen" => once(&mut self.listen, name, address(name, &text)?),
            "http-address" => {
                let address = match text.as_str() {
                    "none" => None,
                    _ => Some(address(name, &text)?),
                };
                once(&mut self.http_address, name, address)
            }
            "rate" => {
                let rate = text.parse().ok().filter(|rate| (1..=100_000).contains(rate));
                let rate =
                    rate.ok_or_else(|| format!("--rate: `{text}` is not a number from 1 to 100000"))?;
                once(&mut self.rate, name, rate)
            }
            _ => {
                self.roots.push(path);
                Ok(())
            }
        }
    }

    fn finish(mut self, verb: Verb) -> Result<Command, Failure> {
        let mut missing = |given: bool, flag: &str, what: &str| {
            if !given && verb.flags().contains(&flag) {
                self.mistakes.push(format!("{what} is missing: add `--{flag}`"));
            }
        };
        missing(self.policy.is_some(), "policy", "the policy file");
        missing(self.key.is_some(), "key", "the broker's private key");
        if verb == Verb::Serve {
            missing(self.secrets.is_some(), "secrets", "the directory of the secrets");
            missing(self.state.is_some(), "state", "the directory of the state");
            missing(
                self.listen.is_some(),
                "listen",
                "the address to listen on, IP:PORT,",
            );
        }
        if !self.mistakes.is_empty() {
            return Err(usage(Some(verb), &self.mistakes));
        }
        // Where a command cannot do without one, its absence is a mistake that has been reported.
        let needed = |path: Option<PathBuf>| path.unwrap_or_default();
        Ok(match verb {
            Verb::Serve => Command::Serve(Serve {
                policy: needed(self.policy),
                secrets: needed(self.secrets),
                state: needed(self.state),
                key: needed(self.key),
                listen: self.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()),
                http_address: self
                    .http_address
                    .unwrap_or(Some((Ipv4Addr::LOCALHOST, HTTP_PORT).into())),
                roots: self.roots,
                rate: self.rate,
            }),
            Verb::Check => Command::Check(Check {
                policy: needed(self.policy),
                roots: self.roots,
                secrets: self.secrets,
            }),
            Verb::PublicKey => Command::PublicKey(needed(self.key)),
        })
    }
}

fn address(flag: &str, text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("--{flag}: `{text}` is not IP:PORT, such as 0.0.0.0:8700 or [::]:8700"))
}

fn once<T>(place: &mut Option<T>, flag: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("--{flag} is given twice")),
    }
}
