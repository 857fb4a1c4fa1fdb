//! From flags to the command: what is missing, what does not go together, defaults.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use manifest_sync::exec::Request;
use manifest_sync::protocol::GateCondition;
use manifest_sync::status::ConditionStatus;

use super::machine::Kind;
use super::parse::{Flags, UsageError};
use super::values::choice;
use super::{
    Command, Image, Inspect, LogFormat, Output, Print, Publish, Serve, Serving, Sign, Source, Unseal, Up,
    Verb,
};

/// Port of the read-only HTTP server.
const HTTP_PORT: u16 = 9090;

impl Flags {
    /// Manifests or a bundle; both would leave open what is meant.
    fn source(&mut self, verb: Verb) -> Option<Source> {
        let files = std::mem::take(&mut self.files);
        match (self.bundle.take(), files.is_empty()) {
            (Some(bundle), true) => Some(Source::Bundle(bundle)),
            (None, false) => Some(Source::Manifests(files)),
            (Some(bundle), false) => {
                self.mistakes
                    .push("give either manifests (`-f`) or a bundle (`--bundle`), not both".to_owned());
                Some(Source::Bundle(bundle))
            }
            (None, true) => {
                match verb {
                    Verb::Up | Verb::Apply | Verb::Update => self
                        .mistakes
                        .push("a manifest is missing: add `-f FILE`, or `--bundle FILE`".to_owned()),
                    Verb::Sign => self.mistakes.push(
                        "what to sign is missing: add `-f FILE` for manifests, or `--bundle FILE`".to_owned(),
                    ),
                    Verb::Inspect => self.mistakes.push(
                        "what to inspect is missing: add the file, or `-f FILE` for manifests".to_owned(),
                    ),
                    _ => {}
                }
                None
            }
        }
    }

    fn check_sign(&mut self, source: Option<&Source>) {
        if self.keys.is_empty() {
            self.mistakes
                .push("the key is missing: add `--key FILE` (a private key, PEM)".to_owned());
        }
        if matches!(source, Some(Source::Bundle(_))) {
            for (flag, given) in [
                ("generation", self.generation.is_some()),
                ("application", self.application.is_some()),
                ("images", self.images.is_some()),
            ] {
                if given {
                    self.mistakes
                        .push(format!("--{flag}: a bundle that is ready cannot be changed"));
                }
            }
        }
    }

    fn check_condition(&mut self) {
        match self.words.as_slice() {
            [kind, status] => {
                let all = [
                    ConditionStatus::True,
                    ConditionStatus::False,
                    ConditionStatus::Unknown,
                ];
                match choice(status, &all.map(|status| (status.name(), status))) {
                    Ok(status) => self.condition = Some((kind.clone(), status)),
                    Err(mistake) => self.mistakes.push(mistake),
                }
            }
            _ => self
                .mistakes
                .push("expected the type of a condition and True, False or Unknown".to_owned()),
        }
    }

    /// What `inspect` prints.
    fn print(&mut self, verb: Verb) -> Print {
        let report = Print::Report(self.output.unwrap_or(Output::Table));
        if verb != Verb::Inspect {
            return report;
        }
        let images = (self.measurements.take(), self.machine.init.take());
        if !self.broker_policy {
            if images != (None, None) {
                self.mistakes
                    .push("--measurements and --init go with --broker-policy".to_owned());
            }
            return report;
        }
        if self.policy.is_none() {
            self.mistakes
                .push("--broker-policy needs --policy: the broker asks who may say what runs".to_owned());
        }
        match images {
            (Some(measured), None) => Print::BrokerPolicy(Image::Measured(measured)),
            (None, Some(init)) => Print::BrokerPolicy(Image::Local(init)),
            _ => {
                let mistake = "--broker-policy needs the image: --measurements FILE (as `cargo xtask eif` writes it), or \
                               --init PATH for the local back-end";
                self.mistakes.push(mistake.to_owned());
                report
            }
        }
    }

    fn finish_unseal(mut self) -> Result<Command, UsageError> {
        let key = self.keys.pop();
        if key.is_none() || !self.keys.is_empty() {
            let mistake = "one key is needed: add `--key FILE` (the private key of spec.logs.sealTo, PEM)";
            self.mistakes.push(mistake.to_owned());
        }
        match key {
            Some(key) if self.mistakes.is_empty() => Ok(Command::Unseal(Unseal {
                key,
                files: self.files,
                format: self.log_format.unwrap_or(LogFormat::Json),
            })),
            _ => Err(UsageError {
                verb: Some(Verb::Unseal),
                mistakes: self.mistakes,
            }),
        }
    }

    pub(super) fn finish(mut self, verb: Verb) -> Result<Command, UsageError> {
        if verb == Verb::Unseal {
            return self.finish_unseal();
        }
        let source = self.source(verb);
        match verb {
            Verb::Serve if self.enclave.is_none() => self
                .mistakes
                .push("the enclave is missing: add `--enclave vsock:CID`".to_owned()),
            Verb::Sign => self.check_sign(source.as_ref()),
            Verb::Condition => self.check_condition(),
            Verb::Exec if self.words.is_empty() => {
                self.mistakes
                    .push("the command is missing: `host-proxy exec -- COMMAND`".to_owned());
            }
            _ => {}
        }
        for (index, one) in self.publish.iter().enumerate() {
            let twice =
                |other: &Publish| one.host != 0 && (other.host, other.protocol) == (one.host, one.protocol);
            if self.publish.iter().take(index).any(twice) {
                self.mistakes
                    .push(format!("--publish: port {} outside is given twice", one.host));
            }
        }
        let kind = self.backend.unwrap_or(Kind::Local);
        if verb == Verb::Up {
            self.machine.policy = self.policy.take();
        }
        let print = self.print(verb);
        let backend = std::mem::take(&mut self.machine).finish(kind, &mut self.mistakes);
        let (ingress, http, format) = match verb {
            Verb::Serve => (
                IpAddr::from(Ipv6Addr::UNSPECIFIED),
                Ipv4Addr::UNSPECIFIED,
                LogFormat::Json,
            ),
            _ => (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST, LogFormat::Text),
        };
        let format_is_given = self.log_format.is_some();
        let format = self.log_format.unwrap_or(format);
        let logs = std::mem::take(&mut self.logs).finish(format, format_is_given, &mut self.mistakes);
        let wrong = |mistakes| UsageError {
            verb: Some(verb),
            mistakes,
        };
        if !self.mistakes.is_empty() {
            return Err(wrong(self.mistakes));
        }
        let images = self.images;
        // Where a command cannot do without one, its absence is a mistake that has been reported.
        let needed = |source: Option<Source>| source.ok_or_else(|| wrong(Vec::new()));
        let serving = Serving {
            publish: self.publish,
            broker: self.broker,
            egress: self.egress,
            ingress_address: self.ingress_address.unwrap_or(ingress),
            ingress_when: self.ingress_when.unwrap_or_default(),
            http_address: self.http_address.unwrap_or(Some((http, HTTP_PORT).into())),
            log_format: format,
            logs,
        };
        let target = self.target;
        Ok(match verb {
            Verb::Up => Command::Up(Up {
                source: needed(source)?,
                images,
                target,
                backend,
                serving,
            }),
            Verb::Serve => Command::Serve(Serve {
                enclave: self.enclave.unwrap_or_default(),
                source,
                images,
                target,
                serving,
            }),
            Verb::Apply => Command::Apply {
                target,
                source: needed(source)?,
                images,
            },
            Verb::Update => Command::Update {
                target,
                source: needed(source)?,
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
            Verb::Exec => Command::Exec {
                target,
                request: Request {
                    container: self.container,
                    command: self.words,
                    stdin: self.stdin,
                },
            },
            Verb::Stop => Command::Stop {
                target,
                grace: self.grace,
            },
            Verb::Condition => {
                let (kind, status) = self.condition.ok_or_else(|| wrong(Vec::new()))?;
                Command::Condition {
                    target,
                    condition: GateCondition {
                        r#type: kind,
                        status,
                        reason: self.reason,
                        message: self.message,
                    },
                }
            }
            Verb::Sign => Command::Sign(Sign {
                source: needed(source)?,
                images,
                keys: self.keys,
                application: self.application,
                generation: self.generation,
                broker_key: self.broker_key,
                out: self.out,
            }),
            Verb::Inspect => Command::Inspect(Inspect {
                source: needed(source)?,
                images,
                policy: self.policy,
                keys: self.keys,
                print,
            }),
            Verb::Unseal => return Err(wrong(Vec::new())),
        })
    }
}
