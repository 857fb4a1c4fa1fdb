//! DNS messages (RFC 1035, RFC 6891): queries with one question in, answers with at most one record out. Nothing else is
//! needed, so nothing else is read: a question's name has no compression, and records of a query are skipped but for OPT.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Header of a message.
const HEADER: usize = 12;
/// The name of the question, by its place after the header (RFC 1035, section 4.1.4).
const QUESTION: [u8; 2] = [0xc0, 12];
/// Largest message that is looked at. A query with one question and EDNS options needs a tenth of it.
pub const MAX_QUERY: usize = 4096;
/// Bytes of a name as it travels (RFC 1035, section 3.1).
const MAX_WIRE_NAME: usize = 255;
/// Records of a query that are skipped: OPT, and a signature or a cookie.
const MAX_RECORDS: u16 = 8;
/// What we take over UDP, for EDNS: every query fits.
const OUR_UDP_SIZE: u16 = 1232;

/// `IN`.
const CLASS_IN: u16 = 1;
/// `OPT`.
const TYPE_OPT: u16 = 41;
/// `QR`: this is an answer.
const FLAG_ANSWER: u16 = 0x8000;
/// Authoritative.
const FLAG_AUTHORITATIVE: u16 = 0x0400;
/// Recursion desired; returned as it came.
const FLAG_DESIRED: u16 = 0x0100;
/// Recursion available: a resolver that lacks it is not used by some programs.
const FLAG_AVAILABLE: u16 = 0x0080;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// The name of an address.
    Ptr,
    /// `AXFR`, `IXFR` and `ANY`: more than one record, which nobody gets.
    Many,
    /// Another single type.
    Other(u16),
}

impl RecordType {
    fn of(number: u16) -> Self {
        match number {
            1 => Self::A,
            28 => Self::Aaaa,
            12 => Self::Ptr,
            251..=255 => Self::Many,
            other => Self::Other(other),
        }
    }
}

/// A query that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    id: u16,
    desired: u16,
    /// The question as it came: the answer repeats it.
    question: Vec<u8>,
    /// The name in small letters without a final dot; empty: the root. Bytes that are not of a host name are written `\DDD`.
    pub name: String,
    /// What of it is asked for.
    pub record: RecordType,
    /// Whether the class is `IN`.
    pub internet: bool,
    edns: Option<u8>,
}

/// What is not a query that makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not worth an answer: too short for a header, or an answer itself. To answer answers would be a loop.
    Silence,
    /// A message with this id and flags that is no query with one question.
    Malformed {
        /// To be returned.
        id: u16,
        /// Flags as they came.
        flags: u16,
    },
    /// Another operation than a query.
    NotImplemented {
        /// To be returned.
        id: u16,
        /// Flags as they came.
        flags: u16,
    },
}

impl Fault {
    /// The answer, when there is one.
    pub fn answer(self) -> Option<Vec<u8>> {
        let (id, flags, code) = match self {
            Self::Silence => return None,
            Self::Malformed { id, flags } => (id, flags, 1),
            Self::NotImplemented { id, flags } => (id, flags, 4),
        };
        // Operation and recursion-desired come back.
        let flags = FLAG_ANSWER | FLAG_AVAILABLE | flags & (0x7800 | FLAG_DESIRED) | code;
        let mut out = Vec::with_capacity(HEADER);
        for word in [id, flags, 0, 0, 0, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        Some(out)
    }
}

/// What a query is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An IPv4 address, and for how many seconds it may be kept.
    Address(Ipv4Addr, u32),
    /// An IPv6 address, likewise.
    Address6(Ipv6Addr, u32),
    /// The name of an address, likewise.
    Pointer(String, u32),
    /// The name exists and has nothing of that type.
    Nothing,
    /// `NXDOMAIN`.
    NoSuchName,
    /// `REFUSED`.
    Refused,
    /// `SERVFAIL`.
    Failed,
}

/// Reads a message.
pub fn read(message: &[u8]) -> Result<Query, Fault> {
    let mut reader = Reader { rest: message };
    let header = [(); 6].map(|()| reader.word());
    let [
        Some(id),
        Some(flags),
        Some(questions),
        Some(answers),
        Some(authorities),
        Some(additional),
    ] = header
    else {
        return Err(Fault::Silence);
    };
    if flags & FLAG_ANSWER != 0 {
        return Err(Fault::Silence);
    }
    if flags & 0x7800 != 0 {
        return Err(Fault::NotImplemented { id, flags });
    }
    let malformed = Fault::Malformed { id, flags };
    if message.len() > MAX_QUERY
        || questions != 1
        || answers != 0
        || authorities != 0
        || additional > MAX_RECORDS
    {
        return Err(malformed);
    }
    let name = reader.name().ok_or(malformed)?;
    let record = reader.word().ok_or(malformed)?;
    let class = reader.word().ok_or(malformed)?;
    let length = message.len() - HEADER - reader.rest.len();
    let question = message.get(HEADER..HEADER + length).ok_or(malformed)?.to_vec();
    let mut edns = None;
    for _ in 0..additional {
        let (kind, version) = reader.record().ok_or(malformed)?;
        if kind == TYPE_OPT && edns.replace(version).is_some() {
            return Err(malformed);
        }
    }
    if !reader.rest.is_empty() {
        return Err(malformed);
    }
    Ok(Query {
        id,
        desired: flags & FLAG_DESIRED,
        question,
        name,
        record: RecordType::of(record),
        internet: class == CLASS_IN,
        edns,
    })
}

impl Query {
    /// The message that answers it. Fits into every UDP datagram: 512 bytes.
    pub fn answer(&self, answer: &Answer) -> Vec<u8> {
        // EDNS of a version that does not exist yet has an answer of its own (RFC 6891, section 6.1.3): BADVERS is 16.
        let (code, extended) = match (self.edns, answer) {
            (Some(1..), _) => (0, 1),
            (_, Answer::NoSuchName) => (3, 0),
            (_, Answer::Refused) => (5, 0),
            (_, Answer::Failed) => (2, 0),
            _ => (0, 0),
        };
        let data = if extended > 0 { None } else { data_of(answer) };
        let flags = FLAG_ANSWER | FLAG_AUTHORITATIVE | FLAG_AVAILABLE | self.desired | code;
        let words = [
            self.id,
            flags,
            1,
            u16::from(data.is_some()),
            0,
            u16::from(self.edns.is_some()),
        ];
        let mut out = Vec::with_capacity(512);
        for word in words {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&self.question);
        if let Some((kind, seconds, data)) = data {
            out.extend_from_slice(&QUESTION);
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&CLASS_IN.to_be_bytes());
            out.extend_from_slice(&seconds.to_be_bytes());
            out.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
            out.extend_from_slice(&data);
        }
        if self.edns.is_some() {
            out.push(0);
            out.extend_from_slice(&TYPE_OPT.to_be_bytes());
            out.extend_from_slice(&OUR_UDP_SIZE.to_be_bytes());
            out.extend_from_slice(&[extended, 0, 0, 0, 0, 0]);
        }
        out
    }

    /// The address whose name is asked for (`PTR`), when it is an IPv4 one.
    pub fn reverse(&self) -> Option<Ipv4Addr> {
        let mut bytes = [0; 4];
        let mut labels = self.name.strip_suffix(".in-addr.arpa")?.split('.');
        for byte in bytes.iter_mut().rev() {
            *byte = labels.next()?.parse().ok()?;
        }
        labels.next().is_none().then(|| bytes.into())
    }
}

/// Type, seconds and data of the one record.
fn data_of(answer: &Answer) -> Option<(u16, u32, Vec<u8>)> {
    match answer {
        Answer::Address(address, seconds) => Some((1, *seconds, address.octets().to_vec())),
        Answer::Address6(address, seconds) => Some((28, *seconds, address.octets().to_vec())),
        Answer::Pointer(name, seconds) => {
            let mut data = Vec::with_capacity(name.len() + 2);
            for label in name.split('.') {
                data.push(u8::try_from(label.len()).ok().filter(|length| *length < 64)?);
                data.extend_from_slice(label.as_bytes());
            }
            data.push(0);
            Some((12, *seconds, data))
        }
        _ => None,
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn word(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A name without compression: in a query there is nothing before it to point at, so a pointer is a mistake or an attack,
    /// and without pointers there is no loop.
    fn name(&mut self) -> Option<String> {
        let (mut name, mut wire) = (String::new(), 0);
        loop {
            let length = usize::from(self.byte()?);
            wire += 1 + length;
            if length > 63 || wire > MAX_WIRE_NAME {
                return None;
            }
            if length == 0 {
                return Some(name);
            }
            if !name.is_empty() {
                name.push('.');
            }
            for byte in self.take(length)? {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {
                        name.push(char::from(byte.to_ascii_lowercase()));
                    }
                    // A dot within a label must not look like one between labels.
                    other => drop(write!(name, "\\{other:03}")),
                }
            }
        }
    }

    /// Skips a record; its type and, for OPT, the version.
    fn record(&mut self) -> Option<(u16, u8)> {
        self.name()?;
        let kind = self.word()?;
        self.word()?;
        let [_, version, _, _] = self.take(4)?.try_into().ok()?;
        let length = usize::from(self.word()?);
        self.take(length)?;
        Some((kind, version))
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
