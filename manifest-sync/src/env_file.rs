//! The file that `fileKeyRef` reads a variable from (K-360). It is written by a container, so it is only text with a
//! bound; nothing in it is expanded.
//!
//! ```text
//! file    = { blank | comment | entry }
//! entry   = NAME "=" [ "'" any text, also of several lines, "'" ] [ blanks ] [ comment ]
//! comment = "#" to the end of the line
//! ```

use std::fmt;

/// Most bytes of a file that are read: what all variables of a program may have is not much more (`execve(2)`).
pub const MAX_BYTES: usize = 1 << 20;

/// Where a file is not as it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Line, counted from 1.
    pub line: usize,
    what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Malformed {}

/// The value of `key`: that of its first entry, `None` without one. What follows that entry is not looked at, as in the
/// kubelet.
pub fn find<'a>(text: &'a str, key: &str) -> Result<Option<&'a str>, Malformed> {
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let malformed = |what| Malformed { line, what };
        let end = rest.find('\n').unwrap_or(rest.len());
        let (first, after_line) = rest.split_at(end);
        let after_line = after_line.strip_prefix('\n').unwrap_or(after_line);
        let start = first.trim_start();
        if start.is_empty() || start.starts_with('#') {
            (rest, line) = (after_line, line + 1);
            continue;
        }
        let (name, _) = start.split_once('=').ok_or(malformed("there is no `=`"))?;
        if name.is_empty() || name.ends_with(char::is_whitespace) {
            return Err(malformed("expected a name right before the `=`"));
        }
        let value_at = rest.len() - rest.trim_start().len() + name.len() + 1;
        let value = rest.get(value_at..).unwrap_or_default();
        // A blank right after the `=` ends the value before it has begun, whatever follows on the line.
        let (found, after) = match value.strip_prefix('\'') {
            Some(quoted) => quoted
                .split_once('\'')
                .ok_or(malformed("the quote is not closed"))?,
            None if value.starts_with([' ', '\t']) => (
                "",
                value
                    .get(value.find('\n').unwrap_or(value.len())..)
                    .unwrap_or_default(),
            ),
            None => ("", value),
        };
        let end = after.find('\n').unwrap_or(after.len());
        let (remainder, next) = after.split_at(end);
        let remainder = remainder.trim();
        if !remainder.is_empty() && !remainder.starts_with('#') {
            return Err(malformed(
                "expected the value in single quotes, and nothing but a comment after it",
            ));
        }
        if name == key {
            return Ok(Some(found));
        }
        line += 1 + found.matches('\n').count();
        rest = next.strip_prefix('\n').unwrap_or(next);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lc_302_values_are_found_as_the_kubelet_finds_them() {
        for (text, key, want) in [
            ("A='1'\n", "A", Some("1")),
            ("A='1'", "A", Some("1")),
            ("  A='1'\n\tB='2'\n", "B", Some("2")),
            ("# words\n\nA='1'\n   # more\n\t\nB='2'\n", "B", Some("2")),
            ("A='1'   \nB='2'\t\n", "A", Some("1")),
            ("A='1' # words\nB='2'#more\n", "B", Some("2")),
            (
                "A='one\ntwo\n\n# three'\nB='2'\n",
                "A",
                Some("one\ntwo\n\n# three"),
            ),
            ("A='one\ntwo'\nB='2'\n", "B", Some("2")),
            ("A=\nB='2'\n", "A", Some("")),
            ("A=   \nB='2'\n", "A", Some("")),
            ("A= 'x'\nB='2'\n", "A", Some("")),
            ("A= 'x'\nB='2'\n", "B", Some("2")),
            ("A=''\n", "A", Some("")),
            ("A=# words\n", "A", Some("")),
            ("A='x=y=z'\n", "A", Some("x=y=z")),
            ("A=' x '\n", "A", Some(" x ")),
            // No escape, no expansion.
            (
                "A='$B ${HOME} $(C) \\n \"'\n",
                "A",
                Some("$B ${HOME} $(C) \\n \""),
            ),
            ("A='first'\nA='second'\n", "A", Some("first")),
            ("A='1'\n", "B", None),
            ("A='1'\n", "a", None),
            ("", "A", None),
            // What comes later is not looked at.
            ("A='1'\nnonsense\n", "A", Some("1")),
        ] {
            assert_eq!(find(text, key), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn lc_302_what_is_malformed_is_named_by_its_line() {
        for (text, line) in [
            ("A='1'\nnonsense\nB='2'\n", 2),
            ("='1'\n", 1),
            ("A ='1'\n", 1),
            ("A='1'\nB =''\n", 2),
            ("A=bare\nB='2'\n", 1),
            ("A=\"double\"\n", 1),
            ("A='1' tail\n", 1),
            ("A='1''2'\n", 1),
            ("A='one\ntwo'\nnonsense\n", 3),
            ("A='never closed\nB=1\n", 1),
        ] {
            assert_eq!(find(text, "B").map_err(|error| error.line), Err(line), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_safe(text in "[A='# \n\\t$\\\\é]{0,60}") { let _ = find(&text, "A"); }
    }
}
