//! Arguments → [`Command`]. Every mistake is collected, so that a user mends them in one go.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use lexopt::{Arg, Parser};

use crate::backend::nitro;
use crate::backend::qemu::{self, Accelerator};

use super::{Backend, Command, LogFormat, Output, Publish, Serve, Serving, Target, Up, Verb};

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

/// Long flags of a command: `backend` and so on.
fn long_flags(verb: Verb) -> &'static [&'static str] {
    match verb {
        Verb::Up => &[
            "file",
            "images",
            "name",
            "backend",
            "init",
            "eif",
            "cpus",
            "memory",
            "accel",
            "cid",
            "debug-mode",
            "publish",
            "ingress-address",
            "http-address",
            "log-format",
            "state-dir",
            "help",
        ],
        Verb::Serve => &[
            "enclave",
            "file",
            "images",
            "name",
            "publish",
            "ingress-address",
            "http-address",
            "log-format",
            "state-dir",
            "help",
        ],
        Verb::Apply => &["file", "images", "name", "state-dir", "help"],
        Verb::Status => &["output", "watch", "name", "state-dir", "help"],
        Verb::Logs => &["follow", "name", "state-dir", "help"],
        Verb::Stop => &["grace", "name", "state-dir", "help"],
    }
}

/// The long name of a short flag of `verb`.
fn long_of(verb: Verb, short: char) -> Option<&'static str> {
    let long = match (short, verb) {
        ('f', Verb::Logs) => "follow",
        ('f', _) => "file",
        ('p', _) => "publish",
        ('o', _) => "output",
        ('w', _) => "watch",
        ('h', _) => "help",
        _ => return None,
    };
    long_flags(verb).iter().copied().find(|flag| *flag == long)
}

/// Everything that any command can be told, before defaults.
#[derive(Default)]
struct Flags {
    mistakes: Vec<String>,
    help: bool,
    files: Vec<PathBuf>,
    images: Option<PathBuf>,
    target: Target,
    backend: Option<Kind>,
    machine: Machine,
    enclave: Option<String>,
    publish: Vec<Publish>,
    ingress_address: Option<IpAddr>,
    http_address: Option<Option<SocketAddr>>,
    log_format: Option<LogFormat>,
    output: Option<Output>,
    watch: bool,
    follow: bool,
    grace: Option<u32>,
    container: Option<String>,
}

/// `--backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    Qemu,
    Nitro,
}

/// Options that only some back-ends have.
#[derive(Default)]
struct Machine {
    init: Option<PathBuf>,
    eif: Option<PathBuf>,
    cpus: Option<u32>,
    memory_mib: Option<u64>,
    accelerator: Option<Accelerator>,
    cid: Option<u32>,
    debug: bool,
}

impl Machine {
    /// The back-end with its options. One that it does not have is a mistake: it would be ignored otherwise.
    fn finish(self, kind: Kind, mistakes: &mut Vec<String>) -> Backend {
        let (name, allowed): (_, &[&str]) = match kind {
            Kind::Local => ("local", &["init"]),
            Kind::Qemu => ("qemu", &["eif", "cpus", "memory", "accel"]),
            Kind::Nitro => ("nitro", &["eif", "cpus", "memory", "cid", "debug-mode"]),
        };
        for (flag, given) in [
            ("init", self.init.is_some()),
            ("eif", self.eif.is_some()),
            ("cpus", self.cpus.is_some()),
            ("memory", self.memory_mib.is_some()),
            ("accel", self.accelerator.is_some()),
            ("cid", self.cid.is_some()),
            ("debug-mode", self.debug),
        ] {
            if given && !allowed.contains(&flag) {
                mistakes.push(format!("--{flag}: the back-end {name} does not have it"));
            }
        }
        if kind != Kind::Local && self.eif.is_none() {
            mistakes.push(format!(
                "the enclave image is missing: the back-end {name} needs `--eif FILE`"
            ));
        }
        let eif = self.eif.unwrap_or_default();
        match kind {
            Kind::Local => Backend::Local { init: self.init },
            Kind::Qemu => Backend::Qemu(qemu::Options {
                eif,
                cpus: self.cpus,
                memory_mib: self.memory_mib,
                accelerator: self.accelerator.unwrap_or_default(),
            }),
            Kind::Nitro => Backend::Nitro {
                options: nitro::Options {
                    eif,
                    debug: self.debug,
                    cid: self.cid,
                    ..nitro::Options::default()
                },
                cpus: self.cpus,
                memory_mib: self.memory_mib,
            },
        }
    }
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
        } else if matches!(verb, Verb::Up | Verb::Apply) {
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
            "images" => self.images = Some(value.into()),
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
            "ingress-address" => {
                let address = text
                    .parse()
                    .map_err(|_| format!("`{text}` is not an IP address"))?;
                self.ingress_address = Some(address);
            }
            "http-address" => self.http_address = Some(http_address(&text)?),
            "log-format" => {
                self.log_format = Some(choice(
                    &text,
                    &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                )?);
            }
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

    fn finish(mut self, verb: Verb) -> Result<Command, UsageError> {
        if matches!(verb, Verb::Up | Verb::Apply) && self.files.is_empty() {
            self.mistakes
                .push("a manifest is missing: add `-f FILE`".to_owned());
        }
        if verb == Verb::Serve && self.enclave.is_none() {
            self.mistakes
                .push("the enclave is missing: add `--enclave vsock:CID`".to_owned());
        }
        for (index, one) in self.publish.iter().enumerate() {
            let twice = |other: &Publish| one.host != 0 && other.host == one.host;
            if self.publish.iter().take(index).any(twice) {
                self.mistakes
                    .push(format!("--publish: port {} outside is given twice", one.host));
            }
        }
        let kind = self.backend.unwrap_or(Kind::Local);
        let backend = std::mem::take(&mut self.machine).finish(kind, &mut self.mistakes);
        if !self.mistakes.is_empty() {
            return Err(UsageError {
                verb: Some(verb),
                mistakes: self.mistakes,
            });
        }
        let (files, images) = (self.files, self.images);
        let (ingress, http, format) = match verb {
            Verb::Serve => (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, LogFormat::Json),
            _ => (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, LogFormat::Text),
        };
        let serving = Serving {
            publish: self.publish,
            ingress_address: self.ingress_address.unwrap_or(ingress.into()),
            http_address: self.http_address.unwrap_or(Some((http, HTTP_PORT).into())),
            log_format: self.log_format.unwrap_or(format),
        };
        let target = self.target;
        Ok(match verb {
            Verb::Up => Command::Up(Up {
                files,
                images,
                target,
                backend,
                serving,
            }),
            Verb::Serve => Command::Serve(Serve {
                enclave: self.enclave.unwrap_or_default(),
                files,
                images,
                target,
                serving,
            }),
            Verb::Apply => Command::Apply {
                target,
                files,
                images,
            },
            Verb::Status => Command::Status {
                target,
                output: self.output.unwrap_or(Output::Table),
                watch: self.watch,
            },
            Verb::Logs => Command::Logs {
                target,
                container: self.container,
                follow: self.follow,
            },
            Verb::Stop => Command::Stop {
                target,
                grace: self.grace,
            },
        })
    }
}

/// Port of the read-only HTTP server.
const HTTP_PORT: u16 = 9090;

/// The name becomes a directory: a DNS label, as Kubernetes names are.
fn name(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = text.len() <= 63 && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-');
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a name: use a-z, 0-9 and -"))
    }
}

/// A number above 0, in decimal digits.
fn positive<T: std::str::FromStr + PartialOrd + Default>(text: &str) -> Result<T, String> {
    text.parse()
        .ok()
        .filter(|number| *number > T::default())
        .ok_or_else(|| format!("`{text}` is not a number above 0"))
}

fn publish(text: &str) -> Result<Publish, String> {
    let wrong = || format!("`{text}` is not HOST:CONTAINER, for instance 8080:80");
    let (host, container) = text.split_once(':').ok_or_else(wrong)?;
    let host = host.parse().map_err(|_| wrong())?;
    match container.parse() {
        Ok(container) if container > 0 => Ok(Publish { host, container }),
        _ => Err(wrong()),
    }
}

fn http_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "none" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| format!("`{text}` is not IP:PORT, for instance 127.0.0.1:9090, or none"))
}

fn choice<T: Copy>(text: &str, all: &[(&str, T)]) -> Result<T, String> {
    all.iter()
        .find(|(name, _)| *name == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
            format!("`{text}` is not one of: {}", names.join(", "))
        })
}

fn suggestion(typed: &str, known: &[&'static str]) -> String {
    nearest(typed, known)
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

/// The known word at an edit distance of at most 2, or one that starts with what was typed.
fn nearest(typed: &str, known: &[&'static str]) -> Option<&'static str> {
    let best = known.iter().map(|name| (distance(typed, name), *name)).min()?;
    if best.0 <= 2 && best.0 < typed.chars().count() {
        return Some(best.1);
    }
    known
        .iter()
        .copied()
        .find(|name| typed.len() >= 3 && name.starts_with(typed))
}

/// Levenshtein distance, one row at a time.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut diagonal = index;
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
        for (column, b) in right.iter().enumerate() {
            let substitute = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = substitute.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
