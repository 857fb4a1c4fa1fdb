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
    use super::expand;

    /// The values of the table of K-368, and a name that no shell would take.
    fn value(name: &str) -> Option<String> {
        let value = match name {
            "A" => "A",
            "B" => "B",
            "C" => "C",
            "REF" => "$(A)",
            "E" => "",
            "a b.c-d" => "odd",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn lc_290_references_are_expanded_as_kubernetes_expands_them() {
        for (text, want) in [
            // Where a reference stands.
            ("$(A)", "A"),
            ("$(A)-$(A)", "A-A"),
            ("$(A)-1", "A-1"),
            ("___$(B)___", "___B___"),
            ("___$(C)", "___C"),
            ("$(A)_$(B)_$(C)", "A_B_C"),
            ("foo$(E)bar", "foobar"),
            // Names are taken as they are (K-369).
            ("$(a b.c-d)", "odd"),
            ("$()", "$()"),
            // Two operators are one.
            ("$$(B)_$(A)", "$(B)_A"),
            ("$$(A)_$$(B)", "$(A)_$(B)"),
            ("f000-$$A", "f000-$A"),
            ("$$$$$$(DNE)", "$$$(DNE)"),
            ("$$$$$$(A)", "$$$(A)"),
            ("$$$$$$$(DNE)", "$$$$(DNE)"),
            ("$$$$$$$(A)", "$$$A"),
            ("$$", "$"),
            // Backslashes mean nothing.
            ("foo\\$(C)bar", "foo\\Cbar"),
            ("foo\\\\$(C)bar", "foo\\\\Cbar"),
            ("foo\\\\\\\\$(A)bar", "foo\\\\\\\\Abar"),
            ("foo-\\$(A", "foo-\\$(A"),
            // What comes out is not looked at again.
            ("$(REF)", "$(A)"),
            ("%%$(REF)--$(REF)%%", "%%$(A)--$(A)%%"),
            ("$(A$(B))", "$(A$(B))"),
            ("$(A$(B)", "$(A$(B)"),
            ("$(foo$$var)", "$(foo$$var)"),
            // What is no reference, or one to nothing, stays.
            ("$(DNE)", "$(DNE)"),
            ("foo$(Awhoops!", "foo$(Awhoops!"),
            ("f00__(A)__", "f00__(A)__"),
            ("$?_boo_$!", "$?_boo_$!"),
            ("$A", "$A"),
            ("$A)", "$A)"),
            ("${A}", "${A}"),
            ("$é$(A)", "$éA"),
            ("$(B)_______$(A", "B_______$(A"),
            ("$(C)_______$(", "C_______$("),
            ("$(A)foobarzab$", "Afoobarzab$"),
            ("--$($($($($--", "--$($($($($--"),
            ("$($($($($--foo$(", "$($($($($--foo$("),
            ("foo0--$($($($(", "foo0--$($($($("),
            ("\n", "\n"),
            ("", ""),
        ] {
            assert_eq!(expand(text, value), want, "{text}");
        }
    }
}
