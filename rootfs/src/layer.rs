//! Names in a layer: which are accepted and what they mean. Pure.

/// Longest name, bytes (PATH_MAX).
pub const MAX_PATH: usize = 4095;
/// Longest component, bytes (NAME_MAX).
pub const MAX_NAME: usize = 255;

/// A name in a layer: its components, none of them empty, `.` or `..`; none at all is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Vec<Vec<u8>>);

/// What an entry does to the layers below.
#[derive(Debug, PartialEq, Eq)]
pub enum Mark<'a> {
    /// An ordinary entry.
    None,
    /// `.wh.NAME`: hides `NAME`.
    Whiteout(&'a [u8]),
    /// `.wh..wh..opq`: hides all that is below its directory.
    Opaque,
    /// Other `.wh..wh.` names: AUFS bookkeeping, without meaning.
    Ignored,
}

impl Name {
    /// Checks a name from an archive.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.is_empty() {
            return Err("empty name");
        }
        if bytes.len() > MAX_PATH {
            return Err("name is too long");
        }
        if bytes.contains(&0) {
            return Err("NUL in the name");
        }
        if bytes.starts_with(b"/") {
            return Err("absolute name");
        }
        let mut parts = Vec::new();
        for part in bytes.split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err("'..' in the name"),
                _ if part.len() > MAX_NAME => return Err("component is too long"),
                _ => parts.push(part.to_vec()),
            }
        }
        if parts.iter().rev().skip(1).any(|part| part.starts_with(b".wh.")) {
            return Err("a directory has a whiteout's name");
        }
        Ok(Self(parts))
    }

    /// Directory components and last component; `None` for the root.
    pub fn split(&self) -> Option<(&[Vec<u8>], &[u8])> {
        self.0
            .split_last()
            .map(|(last, parents)| (parents, last.as_slice()))
    }

    /// All components.
    pub fn parts(&self) -> &[Vec<u8>] {
        &self.0
    }
}

/// Reads the whiteout convention (image-spec, layer.md) out of a last component.
pub fn mark(last: &[u8]) -> Result<Mark<'_>, &'static str> {
    match last.strip_prefix(b".wh.") {
        None => Ok(Mark::None),
        Some(b".wh..opq") => Ok(Mark::Opaque),
        Some(rest) if rest.starts_with(b".wh.") => Ok(Mark::Ignored),
        Some(b"" | b"." | b"..") => Err("whiteout of nothing or of its own directory"),
        Some(hidden) => Ok(Mark::Whiteout(hidden)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused() {
        let long = vec![b'a'; 256];
        for bad in [&b""[..], b"/etc", b"..", b"a/../b", b"a\0b", b".wh.a/b", &long] {
            assert!(Name::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(Name::parse(b"./").is_ok_and(|name| name.split().is_none()));
    }

    #[test]
    fn whiteouts_are_recognised() {
        assert_eq!(mark(b".wh.a"), Ok(Mark::Whiteout(b"a")));
        assert_eq!(mark(b".wh..wh..opq"), Ok(Mark::Opaque));
        assert_eq!(mark(b".wh..wh.plnk"), Ok(Mark::Ignored));
        for bad in [&b".wh."[..], b".wh..", b".wh..."] {
            assert!(mark(bad).is_err());
        }
    }
}
