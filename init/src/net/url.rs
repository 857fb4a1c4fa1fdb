//! Where a request goes, what of it goes onto the wire, and where a redirect leads (K-260, K-262). Pure.

use super::http::HOST;
use super::message::Scheme;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    pub(super) port: u16,
    /// Path and query, as they go onto the wire.
    pub(super) path: String,
}

/// Where a redirect leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    Follow(Target),
    /// To somewhere else, which is not followed.
    Elsewhere,
}

impl Target {
    /// Of a path as a Pod gives it.
    pub(super) fn new(scheme: Scheme, port: u16, path: &str) -> Self {
        Self {
            scheme,
            port,
            path: on_the_wire(path),
        }
    }

    /// As people write it.
    pub(super) fn url(&self) -> String {
        let Self { scheme, port, path } = self;
        format!("{}://{HOST}:{port}{path}", scheme.name())
    }

    /// What a `Location` of the answer means. Only the host has to be the same.
    pub(super) fn redirect(&self, location: &str) -> Redirect {
        let location = location.split('#').next().unwrap_or_default();
        let follow = |scheme, port, path: &str| Redirect::Follow(Self::new(scheme, port, path));
        let (scheme, rest) = match (location.strip_prefix("http:"), location.strip_prefix("https:")) {
            (Some(rest), _) => (Scheme::Http, rest),
            (None, Some(rest)) => (Scheme::Https, rest),
            (None, None) => (self.scheme, location),
        };
        if let Some(rest) = rest.strip_prefix("//") {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let (host, port) = match authority.split_once(':') {
                Some((host, port)) => (host, port.parse().ok()),
                None => (authority, Some(scheme.default_port())),
            };
            return match port {
                Some(port) if host == HOST => follow(scheme, port, path),
                _ => Redirect::Elsewhere,
            };
        }
        // Another scheme; a colon further back belongs to the path.
        let before_path = location.split(['/', '?']).next().unwrap_or_default();
        if before_path.contains(':') {
            return Redirect::Elsewhere;
        }
        let path = self.path.split('?').next().unwrap_or_default();
        if location.starts_with('/') {
            follow(self.scheme, self.port, location)
        } else if location.is_empty() || location.starts_with('?') {
            follow(self.scheme, self.port, &format!("{path}{location}"))
        } else {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            follow(self.scheme, self.port, &format!("{directory}/{location}"))
        }
    }
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(super) fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A path that is no URL is taken literally, so that nothing in it has a meaning (K-262); otherwise what may not stand
/// in a request line is escaped and the query kept. Either way no character ends the line.
fn on_the_wire(path: &str) -> String {
    let is_literal = path.contains(|c: char| c.is_ascii_control()) || !escapes_are_valid(path);
    let path = if is_literal {
        path
    } else {
        path.split('#').next().unwrap_or_default()
    };
    let mut text = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        text.push('/');
    }
    for byte in path.bytes() {
        let kept = byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if kept && !(is_literal && b"?#%".contains(&byte)) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Whether each `%` is followed by two hexadecimal digits. A query may hold anything.
fn escapes_are_valid(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_at_the_pod() {
        let from = Target::new(Scheme::Http, 8080, "/a/b?c=d");
        let follow = |scheme, port, path: &str| Redirect::Follow(Target::new(scheme, port, path));
        let (http, https) = (Scheme::Http, Scheme::Https);
        for (location, expected) in [
            ("/healthz", follow(http, 8080, "/healthz")),
            ("x?y#z", follow(http, 8080, "/a/x?y")),
            ("?e=f", follow(http, 8080, "/a/b?e=f")),
            ("http://127.0.0.1:9090/z", follow(http, 9090, "/z")),
            ("http://127.0.0.1", follow(http, 80, "/")),
            ("https://127.0.0.1/", follow(https, 443, "/")),
            ("https://127.0.0.1:8443/s", follow(https, 8443, "/s")),
            ("//127.0.0.1:1/", follow(http, 1, "/")),
            ("/a b\r\nEvil: x", follow(http, 8080, "/a b\r\nEvil: x")),
            ("http://0.0.0.0/", Redirect::Elsewhere),
            ("//example.org/", Redirect::Elsewhere),
            ("ftp://127.0.0.1/", Redirect::Elsewhere),
            ("http://127.0.0.1.example.org/", Redirect::Elsewhere),
            ("http://127.0.0.1:port/", Redirect::Elsewhere),
        ] {
            assert_eq!(from.redirect(location), expected, "{location}");
        }
    }

    #[test]
    fn a_path_is_a_url_or_taken_literally() {
        for (path, wire) in [
            ("", "/"),
            ("healthz", "/healthz"),
            ("/healthz?verbose=1&a=%zz", "/healthz?verbose=1&a=%zz"),
            ("/a b", "/a%20b"),
            ("/ä", "/%C3%A4"),
            ("/a#b", "/a"),
            ("/100%", "/100%25"),
            ("/100%?x", "/100%25%3Fx"),
            ("/a%20b", "/a%20b"),
            ("/x\r\nHost: evil", "/x%0D%0AHost:%20evil"),
        ] {
            assert_eq!(Target::new(Scheme::Http, 1, path).path, wire, "{path:?}");
        }
    }
}
