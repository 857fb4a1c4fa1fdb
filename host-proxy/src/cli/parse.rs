//! Arguments → [`Command`]. Every mistake is collected, so that a user mends them in one go.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use lexopt::{Arg, Parser};
use manifest_sync::status::ConditionStatus;

use crate::backend::qemu::Accelerator;
use crate::broker::BrokerAddress;
use crate::egress::{self, EgressOptions};
use crate::ingress::When;
use crate::sink;

use super::known::{long_flags, long_of};
use super::logs::{Logs, SPOOL_BYTES};
use super::machine::{Kind, Machine};
use super::spelling::{nearest, suggestion};
use super::values::{choice, http_address, name, positive, publish};
use super::{Command, LogFormat, Output, Publish, Target, Verb};

/// All mistakes of one command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError {
    /// The command, when it was recognised.
    pub verb: Option<Verb>,
    /// One sentence for each mistake: what is wrong and what to do.
    pub mistakes: Vec<String>,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.mistakes {
            writeln!(f, "{mistake}")?;
        }
        match self.verb {
            Some(verb) => write!(f, "see `host-proxy {} --help`", verb.name()),
            None => f.write_str("see `host-proxy --help`"),
        }
    }
}

impl std::error::Error for UsageError {}

/// Parses the arguments after the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut arguments = arguments.into_iter();
    let fail = |mistake| {
        Err(UsageError {
            verb: None,
            mistakes: vec![mistake],
        })
    };
    let Some(first) = arguments.next() else {
        return fail("a command is missing".to_owned());
    };
    let first = first.to_string_lossy().into_owned();
    match first.as_str() {
        "version" | "--version" | "-V" => return Ok(Command::Version),
        "help" | "--help" | "-h" => {
            let verb = arguments.next().map(|name| name.to_string_lossy().into_owned());
            return Ok(Command::Help(verb.as_deref().and_then(verb_of)));
        }
        _ => {}
    }
    match verb_of(&first) {
        Some(verb) => Flags::collect(verb, Parser::from_args(arguments)),
        None => {
            let names = Verb::ALL.map(Verb::name);
            fail(format!(
                "`{first}` is not a command{}",
                suggestion(&first, &names)
            ))
        }
    }
}

fn verb_of(name: &str) -> Option<Verb> {
    Verb::ALL.into_iter().find(|verb| verb.name() == name)
}

/// Everything that any command can be told, before defaults.
#[derive(Default)]
pub(super) struct Flags {
    pub(super) mistakes: Vec<String>,
    pub(super) help: bool,
    pub(super) files: Vec<PathBuf>,
    pub(super) bundle: Option<PathBuf>,
    pub(super) images: Option<PathBuf>,
    pub(super) target: Target,
    pub(super) backend: Option<Kind>,
    pub(super) machine: Machine,
    pub(super) enclave: Option<String>,
    pub(super) publish: Vec<Publish>,
    pub(super) broker: Option<BrokerAddress>,
    pub(super) egress: EgressOptions,
    pub(super) ingress_address: Option<IpAddr>,
    pub(super) ingress_when: Option<When>,
    pub(super) http_address: Option<Option<SocketAddr>>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) logs: Logs,
    pub(super) output: Option<Output>,
    pub(super) watch: bool,
    pub(super) follow: bool,
    pub(super) grace: Option<u32>,
    pub(super) container: Option<String>,
    /// Arguments of `condition` and `exec`.
    pub(super) words: Vec<String>,
    pub(super) stdin: bool,
    /// What the arguments of `condition` say.
    pub(super) condition: Option<(String, ConditionStatus)>,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    pub(super) keys: Vec<PathBuf>,
    pub(super) policy: Option<PathBuf>,
    pub(super) application: Option<String>,
    pub(super) generation: Option<u64>,
    pub(super) broker_key: Option<PathBuf>,
    pub(super) broker_policy: bool,
    pub(super) measurements: Option<PathBuf>,
    pub(super) out: Option<PathBuf>,
}

impl Flags {
    fn collect(verb: Verb, mut parser: Parser) -> Result<Command, UsageError> {
        let mut flags = Self::default();
        loop {
            match parser.next() {
                Ok(None) => break,
                Ok(Some(Arg::Long(name))) => {
                    let name = name.to_owned();
                    match long_flags(verb).iter().copied().find(|flag| *flag == name) {
                        Some(flag) => flags.take(flag, &mut parser),
                        None => flags.unknown(verb, &format!("--{name}"), &name, &mut parser),
                    }
                }
                Ok(Some(Arg::Short(short))) => match long_of(verb, short) {
                    Some(flag) => flags.take(flag, &mut parser),
                    None => flags.unknown(verb, &format!("-{short}"), "", &mut parser),
                },
                // Its own options are the command's.
                Ok(Some(Arg::Value(program))) if verb == Verb::Exec => {
                    flags.words.push(program.to_string_lossy().into_owned());
                    let rest = parser.raw_args().into_iter().flatten();
                    flags
                        .words
                        .extend(rest.map(|word| word.to_string_lossy().into_owned()));
                }
                Ok(Some(Arg::Value(value))) => flags.value(verb, &value.to_string_lossy()),
                Err(error) => flags.mistakes.push(error.to_string()),
            }
        }
        if flags.help {
            return Ok(Command::Help(Some(verb)));
        }
        flags.finish(verb)
    }

    fn unknown(&mut self, verb: Verb, typed: &str, name: &str, parser: &mut Parser) {
        // The value of `--unknown=value` must not be taken for an argument of its own.
        let _ = parser.optional_value();
        let hint = match suggestion(name, long_flags(verb)) {
            hint if hint.is_empty() => hint,
            _ => nearest(name, long_flags(verb))
                .map(|flag| format!("; did you mean `--{flag}`?"))
                .unwrap_or_default(),
        };
        self.mistakes
            .push(format!("`{typed}` is not an option of `{}`{hint}", verb.name()));
    }

    fn value(&mut self, verb: Verb, value: &str) {
        if verb == Verb::Logs && self.container.is_none() {
            self.container = Some(value.to_owned());
        } else if verb == Verb::Condition {
            self.words.push(value.to_owned());
        } else if verb == Verb::Unseal {
            self.files.push(value.into());
        } else if verb == Verb::Inspect && self.bundle.is_none() {
            self.bundle = Some(value.into());
        } else if matches!(verb, Verb::Up | Verb::Apply | Verb::Update | Verb::Sign) {
            self.mistakes.push(format!(
                "unexpected argument `{value}`; a manifest is given as `-f {value}`"
            ));
        } else {
            self.mistakes.push(format!("unexpected argument `{value}`"));
        }
    }

    /// Takes one known flag and its value.
    fn take(&mut self, flag: &'static str, parser: &mut Parser) {
        match flag {
            "help" => self.help = true,
            "watch" => self.watch = true,
            "follow" => self.follow = true,
            "stdin" => self.stdin = true,
            "tty" => self.mistakes.push(
                "--tty: there are no terminals in the enclave: leave `-t` out; `-i` alone gives the command an input"
                    .to_owned(),
            ),
            "broker-policy" => self.broker_policy = true,
            "debug-mode" => self.machine.debug = true,
            _ => match parser.value() {
                Ok(value) => {
                    if let Err(mistake) = self.set(flag, value) {
                        self.mistakes.push(format!("--{flag}: {mistake}"));
                    }
                }
                Err(_) => self.mistakes.push(format!("--{flag}: a value is missing")),
            },
        }
    }

    fn set(&mut self, flag: &str, value: OsString) -> Result<(), String> {
        let text = value.to_string_lossy().into_owned();
        if text.is_empty() {
            return Err("the value is empty".to_owned());
        }
        match flag {
            "file" => self.files.push(value.into()),
            "bundle" => self.bundle = Some(value.into()),
            "images" => self.images = Some(value.into()),
            "key" => self.keys.push(value.into()),
            "policy" => self.policy = Some(value.into()),
            "out" => self.out = Some(value.into()),
            "broker-key" => self.broker_key = Some(value.into()),
            "measurements" => self.measurements = Some(value.into()),
            "reason" => self.reason = Some(text),
            "message" => self.message = Some(text),
            "container" => self.container = Some(text),
            "application" => self.application = Some(text),
            "generation" => {
                let generation = text.parse().ok().filter(|number| *number <= MAX_GENERATION);
                let wrong = || format!("`{text}` is not a number from 0 to {MAX_GENERATION}");
                self.generation = Some(generation.ok_or_else(wrong)?);
            }
            "state-dir" => self.target.state_dir = Some(value.into()),
            "init" => self.machine.init = Some(value.into()),
            "eif" => self.machine.eif = Some(value.into()),
            "cpus" => self.machine.cpus = Some(positive(&text)?),
            "memory" => self.machine.memory_mib = Some(positive(&text)?),
            "cid" => self.machine.cid = Some(positive(&text)?),
            "accel" => {
                let all = [("tcg", Accelerator::Tcg), ("kvm", Accelerator::Kvm)];
                self.machine.accelerator = Some(choice(&text, &all)?);
            }
            "name" => self.target.name = Some(name(&text)?),
            "enclave" => self.enclave = Some(text),
            "publish" => self.publish.push(publish(&text)?),
            "broker" => self.broker = Some(text.parse()?),
            "egress-allow" => self.egress.allow.push(text.parse()?),
            "egress-local" => self.egress.local.push(egress::local(&text)?),
            "resolve" => self.egress.resolve.push(text.parse()?),
            "ingress-address" => {
                let address = text
                    .parse()
                    .map_err(|_| format!("`{text}` is not an IP address"))?;
                self.ingress_address = Some(address);
            }
            "ingress-when" => {
                let all = [("ready", When::Ready), ("connected", When::Connected)];
                self.ingress_when = Some(choice(&text, &all)?);
            }
            "http-address" => self.http_address = Some(http_address(&text)?),
            "log-format" => {
                self.log_format = Some(choice(
                    &text,
                    &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                )?);
            }
            "log-sink" => self.logs.sinks.push(sink::Spec::parse(&text)?),
            "log-spool" => self.logs.spool = Some(value.into()),
            "log-spool-bytes" => self.logs.spool_bytes = Some(sink::bytes(&text, SPOOL_BYTES)?),
            "output" => {
                let all = [
                    ("table", Output::Table),
                    ("json", Output::Json),
                    ("yaml", Output::Yaml),
                ];
                self.output = Some(choice(&text, &all)?);
            }
            "backend" => {
                let all = [
                    ("local", Kind::Local),
                    ("qemu", Kind::Qemu),
                    ("nitro", Kind::Nitro),
                ];
                self.backend = Some(choice(&text, &all)?);
            }
            "grace" => {
                let grace = text
                    .parse()
                    .map_err(|_| format!("`{text}` is not a number of seconds"))?;
                self.grace = Some(grace);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Largest generation of a bundle.
const MAX_GENERATION: u64 = i64::MAX as u64;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
