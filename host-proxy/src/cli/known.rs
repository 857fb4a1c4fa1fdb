//! Which flags each command has.

use super::Verb;

/// Long flags of a command: `backend` and so on.
pub(super) fn long_flags(verb: Verb) -> &'static [&'static str] {
    match verb {
        Verb::Up => &[
            "file",
            "bundle",
            "images",
            "name",
            "backend",
            "init",
            "policy",
            "eif",
            "cpus",
            "memory",
            "accel",
            "cid",
            "debug-mode",
            "publish",
            "broker",
            "egress-allow",
            "egress-local",
            "resolve",
            "ingress-address",
            "ingress-when",
            "http-address",
            "log-format",
            "log-sink",
            "log-spool",
            "log-spool-bytes",
            "state-dir",
            "help",
        ],
        Verb::Serve => &[
            "enclave",
            "file",
            "bundle",
            "images",
            "name",
            "publish",
            "broker",
            "egress-allow",
            "egress-local",
            "resolve",
            "ingress-address",
            "ingress-when",
            "http-address",
            "log-format",
            "log-sink",
            "log-spool",
            "log-spool-bytes",
            "state-dir",
            "help",
        ],
        Verb::Apply | Verb::Update => &["file", "bundle", "images", "name", "state-dir", "help"],
        Verb::Status => &["output", "watch", "name", "state-dir", "help"],
        Verb::Logs => &["follow", "name", "state-dir", "help"],
        Verb::Stop => &["grace", "name", "state-dir", "help"],
        Verb::Condition => &["reason", "message", "name", "state-dir", "help"],
        Verb::Sign => &[
            "file",
            "bundle",
            "images",
            "key",
            "application",
            "generation",
            "broker-key",
            "out",
            "help",
        ],
        Verb::Unseal => &["key", "log-format", "help"],
        Verb::Inspect => &[
            "file",
            "bundle",
            "images",
            "policy",
            "key",
            "output",
            "broker-policy",
            "measurements",
            "init",
            "help",
        ],
    }
}

/// The long name of a short flag of `verb`.
pub(super) fn long_of(verb: Verb, short: char) -> Option<&'static str> {
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
