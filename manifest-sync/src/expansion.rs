//! `$(VAR)` expansion (K-365 to K-369): one pass, left to right, the result is not scanned again.

/// Expands `text`; a reference that `lookup` does not know stays as written.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    #[test]
    fn grammar_of_k368() {
        let lookup = |name: &str| (name == "A" || name == "a b").then(|| "$(A)".to_owned());
        for (text, want) in [
            ("$(A)", "$(A)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$$(A)"),
            ("$(B)", "$(B)"),
            ("$(", "$("),
            ("$A ${A}", "$A ${A}"),
            ("x$", "x$"),
            ("$$", "$"),
            ("$(a b)", "$(A)"),
            ("\\$(A)", "\\$(A)"),
            ("$é", "$é"),
        ] {
            assert_eq!(super::expand(text, lookup), want, "{text}");
        }
    }
}
