//! The host plays against the enclave. Every test is an attack, named after what the host does; it passes when the enclave
//! refuses precisely as `docs/threat-model.md` says, runs nothing of the attacker's, and still serves the honest host.
//!
//! The attacks speak the link's own bytes ([`wire`]); the enclave is started without an honest `host-proxy` ([`enclave`]).

mod blob;
mod bundle;
mod controller;
mod enclave;
mod flood;
mod ingress;
mod inside;
mod logs;
mod messages;
mod replay;
mod slow;
mod stage;
mod stranger;
mod update;
mod wire;

/// The sources of the attacks, by theme.
const THEMES: [(&str, &str); 11] = [
    ("blob", include_str!("blob.rs")),
    ("bundle", include_str!("bundle.rs")),
    ("flood", include_str!("flood.rs")),
    ("ingress", include_str!("ingress.rs")),
    ("inside", include_str!("inside.rs")),
    ("logs", include_str!("logs.rs")),
    ("messages", include_str!("messages.rs")),
    ("replay", include_str!("replay.rs")),
    ("slow", include_str!("slow.rs")),
    ("stranger", include_str!("stranger.rs")),
    ("update", include_str!("update.rs")),
];

/// Names of all attacks, as the test harness prints them.
fn attacks() -> Vec<String> {
    let mut attacks = Vec::new();
    for (theme, source) in THEMES {
        let mut lines = source.lines();
        while lines.by_ref().any(|line| line == "#[test]") {
            let name = lines
                .next()
                .and_then(|line| line.strip_prefix("fn ")?.strip_suffix("() {"));
            attacks.push(format!("{theme}::{}", name.expect("a test function")));
        }
    }
    attacks
}

#[test]
fn every_attack_is_in_the_threat_model() {
    let page = include_str!("../../../docs/threat-model.md");
    let listed: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix("` |")?.rsplit_once('`'))
        .map(|(_, name)| name)
        .filter(|name| {
            THEMES
                .iter()
                .any(|(theme, _)| name.split("::").next() == Some(theme))
        })
        .collect();
    let attacks = attacks();
    for attack in &attacks {
        assert!(
            listed.contains(&attack.as_str()),
            "docs/threat-model.md lacks {attack}"
        );
    }
    assert_eq!(
        listed.len(),
        attacks.len(),
        "docs/threat-model.md lists attacks that are not there"
    );
}
