//! Kernel configurations: fragments, what they become together, and whether the kernel's own tools gave what was asked for.

/// An option and its value, from a line of a configuration; `n` for one that is not set.
fn option(line: &str) -> Option<(&str, &str)> {
    if let Some(name) = line
        .strip_prefix("# ")
        .and_then(|line| line.strip_suffix(" is not set"))
    {
        return name.starts_with("CONFIG_").then_some((name, "n"));
    }
    line.split_once('=')
        .filter(|(name, _)| name.starts_with("CONFIG_"))
}

fn options(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| option(line.trim_end()))
}

/// `base` without what the fragment speaks about, then the fragment.
pub(super) fn merge(base: &str, fragment: &str) -> String {
    let spoken: Vec<&str> = options(fragment).map(|(name, _)| name).collect();
    let kept = base
        .lines()
        .filter(|line| option(line).is_none_or(|(name, _)| !spoken.contains(&name)));
    let mut merged = String::new();
    for line in kept.chain(fragment.lines()) {
        merged.push_str(line);
        merged.push('\n');
    }
    merged
}

/// What `asked` wants and `got` does not have, in words. An option that does not exist is as good as one that is off.
pub(super) fn denied(asked: &str, got: &str) -> Vec<String> {
    let find = |wanted: &str| {
        options(got)
            .find(|(name, _)| *name == wanted)
            .map_or("n", |(_, value)| value)
    };
    options(asked)
        .filter(|(name, value)| find(name) != *value)
        .map(|(name, value)| format!("{name} is {}, not {value}", find(name)))
        .collect()
}

/// Modules that nobody asked for: they would be built and come into no image, and what they do would be missing.
pub(super) fn stray_modules(asked: &str, got: &str) -> Vec<String> {
    options(got)
        .filter(|option| option.1 == "m" && options(asked).all(|wanted| wanted != *option))
        .map(|(name, _)| format!("{name} is a module"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAGMENTS: [&str; 2] = [
        include_str!("../../../rootfs/kernel/cloister.config"),
        include_str!("../../../rootfs/kernel/modular.config"),
    ];

    #[test]
    fn a_fragment_replaces_what_it_speaks_about() {
        let base = "# Kernel\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_AB=y\n";
        let merged = merge(base, "# Reason\nCONFIG_B=y\n# CONFIG_A is not set\n");
        assert_eq!(
            merged,
            "# Kernel\nCONFIG_AB=y\n# Reason\nCONFIG_B=y\n# CONFIG_A is not set\n"
        );
    }

    #[test]
    fn every_option_that_did_not_come_out_is_named() {
        let asked = "CONFIG_A=y\nCONFIG_B=64\n# CONFIG_C is not set\n# CONFIG_D is not set\nCONFIG_E=y\n";
        let got = "CONFIG_A=y\nCONFIG_B=8\n# CONFIG_C is not set\nCONFIG_D=y\n";
        let denied = denied(asked, got);
        assert_eq!(
            denied,
            [
                "CONFIG_B is 8, not 64",
                "CONFIG_D is y, not n",
                "CONFIG_E is n, not y"
            ]
        );
    }

    #[test]
    fn every_option_of_the_fragment_has_its_reason_in_the_documentation() {
        let reasons = include_str!("../../../docs/kernel.md");
        let missing: Vec<String> = FRAGMENTS
            .into_iter()
            .flat_map(options)
            .map(|(name, value)| {
                let name = name.trim_start_matches("CONFIG_");
                match value {
                    "y" | "n" => format!("`{name}`"),
                    _ => format!("`{name}={value}`"),
                }
            })
            .filter(|name| !reasons.contains(name))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_fragment_asks_for_each_option_once() {
        for fragment in FRAGMENTS {
            let mut names: Vec<&str> = options(fragment).map(|(name, _)| name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
            let strange: Vec<&str> = fragment
                .lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#') && option(line).is_none())
                .collect();
            assert!(strange.is_empty(), "{strange:?}");
        }
    }

    #[test]
    fn a_module_that_nobody_asked_for_is_named() {
        let got = "CONFIG_A=m\nCONFIG_B=m\nCONFIG_C=y\n";
        assert_eq!(
            stray_modules("CONFIG_A=m\nCONFIG_C=y\n", got),
            ["CONFIG_B is a module"]
        );
        assert_eq!(stray_modules("CONFIG_A=m\nCONFIG_B=m\n", got), [""; 0]);
    }
}
