//! Names of signals, as Pods and images write them (K-143, K-150).

/// Those that have a name of their own, with their numbers (signal(7)).
const NAMED: [(&str, i32); 34] = [
    ("SIGABRT", 6),
    ("SIGALRM", 14),
    ("SIGBUS", 7),
    ("SIGCHLD", 17),
    ("SIGCLD", 17),
    ("SIGCONT", 18),
    ("SIGFPE", 8),
    ("SIGHUP", 1),
    ("SIGILL", 4),
    ("SIGINT", 2),
    ("SIGIO", 29),
    ("SIGIOT", 6),
    ("SIGKILL", 9),
    ("SIGPIPE", 13),
    ("SIGPOLL", 29),
    ("SIGPROF", 27),
    ("SIGPWR", 30),
    ("SIGQUIT", 3),
    ("SIGSEGV", 11),
    ("SIGSTKFLT", 16),
    ("SIGSTOP", 19),
    ("SIGSYS", 31),
    ("SIGTERM", 15),
    ("SIGTRAP", 5),
    ("SIGTSTP", 20),
    ("SIGTTIN", 21),
    ("SIGTTOU", 22),
    ("SIGURG", 23),
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGVTALRM", 26),
    ("SIGWINCH", 28),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
];
/// What programs may use of the real-time signals: the C library keeps the first two for itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of a signal that `lifecycle.stopSignal` may name (K-150); `None`: it may not.
pub fn number(name: &str) -> Option<i32> {
    if let Some((_, number)) = NAMED.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let offset = |text: &str, most: i32| {
        let is_plain = !text.starts_with(['0', '+', '-']);
        let offset = text.parse::<i32>().ok()?;
        (is_plain && (1..=most).contains(&offset)).then_some(offset)
    };
    match name.strip_prefix("SIGRT")? {
        "MIN" => Some(RTMIN),
        "MAX" => Some(RTMAX),
        rest => match (rest.strip_prefix("MIN+"), rest.strip_prefix("MAX-")) {
            (Some(up), _) => Some(RTMIN + offset(up, 15)?),
            (None, Some(down)) => Some(RTMAX - offset(down, 14)?),
            (None, None) => None,
        },
    }
}

/// The number of an image's `STOPSIGNAL`: a number, or a name with or without `SIG`. `None`: it is none.
pub fn of_image(text: &str) -> Option<i32> {
    let text = text.to_ascii_uppercase();
    match text.parse::<i32>() {
        Ok(number) => (1..=RTMAX).contains(&number).then_some(number),
        Err(_) if text.starts_with("SIG") => number(&text),
        Err(_) => number(&format!("SIG{text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{NAMED, number, of_image};

    #[test]
    fn a_pod_may_name_65_signals() {
        let up = (1..=15).map(|offset| format!("SIGRTMIN+{offset}"));
        let down = (1..=14).map(|offset| format!("SIGRTMAX-{offset}"));
        let named = NAMED.iter().map(|(name, _)| (*name).to_owned());
        let ends = ["SIGRTMIN", "SIGRTMAX"].map(str::to_owned);
        let all: Vec<String> = named.chain(up).chain(down).chain(ends).collect();
        assert_eq!(all.len(), 65);
        assert!(all.iter().all(|name| number(name).is_some()), "{all:?}");
        assert_eq!(number("SIGRTMIN+3"), Some(37));
        assert_eq!(number("SIGRTMAX-14"), Some(50));
        for name in [
            "",
            "TERM",
            "15",
            "SIGRTMIN+16",
            "SIGRTMIN+0",
            "SIGRTMIN+03",
            "SIGRTMAX-15",
            "SIGFOO",
        ] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    #[test]
    fn an_image_may_leave_the_prefix_out() {
        for (text, expected) in [
            ("SIGQUIT", Some(3)),
            ("QUIT", Some(3)),
            ("quit", Some(3)),
            ("3", Some(3)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMIN+3", Some(37)),
            ("64", Some(64)),
            ("65", None),
            ("0", None),
            ("nonsense", None),
        ] {
            assert_eq!(of_image(text), expected, "{text}");
        }
    }
}
