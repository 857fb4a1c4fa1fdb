//! The server name that a TLS client asks for (RFC 8446, section 4.1.2; RFC 6066, section 3), in the first bytes of a
//! connection. Reads no more than it has to: anything that is not the beginning of a ClientHello is none of our business.

/// Largest ClientHello that is waited for. Browsers and Go send less than 2 KiB, with post-quantum keys.
pub const MAX_HELLO: usize = 16 * 1024;

/// Record type `handshake`.
const HANDSHAKE: u8 = 22;
/// Handshake type `client_hello`.
const CLIENT_HELLO: u8 = 1;
/// Largest record (RFC 5246, section 6.2.3, allows the most).
const MAX_RECORD: usize = (1 << 14) + 2048;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// Perhaps the beginning of a ClientHello: more bytes will tell.
    Incomplete,
    /// Not TLS.
    Other,
    /// A ClientHello with this server name, in small letters without a final dot.
    Named(String),
    /// A ClientHello without one.
    Nameless,
    /// TLS, and wrong: no server would answer it.
    Malformed,
}

/// What these bytes are, the first of a connection.
pub fn inspect(bytes: &[u8]) -> Hello {
    let mut rest = bytes;
    let mut message = Vec::new();
    loop {
        let first = message.is_empty();
        match fragment(rest) {
            // What begins as TLS and goes on as something else is an attempt to be taken for it.
            Fragment::Foreign if first => return Hello::Other,
            Fragment::Foreign => return Hello::Malformed,
            Fragment::Incomplete(begun) => {
                message.extend_from_slice(begun);
                return if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
                    Hello::Other
                } else if bytes.len() > MAX_HELLO {
                    Hello::Malformed
                } else {
                    Hello::Incomplete
                };
            }
            Fragment::Whole(body, after) => {
                message.extend_from_slice(body);
                rest = after;
            }
        }
        match message.as_slice() {
            [kind, ..] if *kind != CLIENT_HELLO => return Hello::Other,
            [_, a, b, c, body @ ..] => {
                let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                if length > MAX_HELLO {
                    return Hello::Malformed;
                }
                if let Some(body) = body.get(..length) {
                    return match server_name(body) {
                        Some(Some(name)) => Hello::Named(name),
                        Some(None) => Hello::Nameless,
                        None => Hello::Malformed,
                    };
                }
            }
            _ => {}
        }
    }
}

enum Fragment<'a> {
    /// No handshake record.
    Foreign,
    /// One that is not all there; what there is of its body.
    Incomplete(&'a [u8]),
    /// Its body, and what follows.
    Whole(&'a [u8], &'a [u8]),
}

fn fragment(bytes: &[u8]) -> Fragment<'_> {
    // Type, version 3.0 to 3.4, length.
    let plausible = [|byte| byte == HANDSHAKE, |byte| byte == 3, |byte| byte <= 4];
    if !bytes.iter().zip(plausible).all(|(byte, fits)| fits(*byte)) {
        return Fragment::Foreign;
    }
    let Some(([_, _, _, high, low], rest)) = bytes.split_first_chunk::<5>() else {
        return Fragment::Incomplete(&[]);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    // An empty record could be repeated for ever (RFC 8446, section 5.1).
    if length == 0 || length > MAX_RECORD {
        return Fragment::Foreign;
    }
    match rest.split_at_checked(length) {
        Some((body, after)) => Fragment::Whole(body, after),
        None => Fragment::Incomplete(rest),
    }
}

/// Outer `None`: malformed. Inner: there is no name.
fn server_name(body: &[u8]) -> Option<Option<String>> {
    // legacy_version, random.
    let (_, rest) = body.split_at_checked(34)?;
    let (_session, rest) = vector(rest, 1)?;
    let (_suites, rest) = vector(rest, 2)?;
    let (_compression, rest) = vector(rest, 1)?;
    if rest.is_empty() {
        return Some(None);
    }
    let (mut extensions, after) = vector(rest, 2)?;
    if !after.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.is_empty() {
        let (kind, rest) = extensions.split_first_chunk::<2>()?;
        let (data, rest) = vector(rest, 2)?;
        extensions = rest;
        if *kind == [0, 0] && found.replace(host_name(data)?).is_some() {
            return None;
        }
    }
    Some(found)
}

/// The one entry of a server name list.
fn host_name(data: &[u8]) -> Option<String> {
    let (list, after) = vector(data, 2)?;
    let (kind, rest) = list.split_first()?;
    let (name, more) = vector(rest, 2)?;
    if !after.is_empty() || !more.is_empty() || *kind != 0 || name.is_empty() || !name.is_ascii() {
        return None;
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Some(name.strip_suffix('.').unwrap_or(&name).to_owned())
}

/// A vector whose length is in its first `size` bytes, and what follows it.
fn vector(bytes: &[u8], size: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(size)?;
    let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;
