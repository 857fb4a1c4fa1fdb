//! The history of a Pod's bundles as one number: a hash chain over digests and generations, whose head attestation documents
//! carry. Whoever has a list of releases can compute the heads that it allows, and no host can leave one out.

use std::fmt;

use ring::digest::{Context, SHA256};

use crate::digest::{BundleDigest, hex};

/// What every link of the chain begins with.
const LABEL: &[u8; 32] = b"cloister.dev/history/v1\0\0\0\0\0\0\0\0\0";

/// What a link of the chain begins with that is a command of the host's.
const EXEC_LABEL: &[u8; 32] = b"cloister.dev/debug-exec/v1\0\0\0\0\0\0";

/// Head of a history. Each bundle makes a new one:
///
/// ```text
/// SHA-256( "cloister.dev/history/v1" and zeros (32 bytes) ‖ head before (32; zeros for the first bundle)
///          ‖ generation (8, big-endian) ‖ SHA-384 of the bundle (48) )
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct History([u8; 32]);

impl History {
    /// The history in which this bundle comes next; the first one follows [`History::default`].
    #[must_use]
    pub fn then(self, bundle: BundleDigest, generation: u64) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(LABEL);
        context.update(&self.0);
        context.update(&generation.to_be_bytes());
        context.update(bundle.as_bytes());
        let mut head = [0; 32];
        head.copy_from_slice(context.finish().as_ref());
        Self(head)
    }

    /// The history in which the host has a command executed in a container next. Only a policy with `allowDebugExec` lets
    /// it.
    ///
    /// ```text
    /// SHA-256( "cloister.dev/debug-exec/v1" and zeros (32 bytes) ‖ head before (32)
    ///          ‖ SHA-256 of the JSON text ["CONTAINER",["WORD",…]] without white space )
    /// ```
    #[must_use]
    pub fn then_exec(self, container: &str, command: &[String]) -> Self {
        let text = serde_json::to_vec(&(container, command)).unwrap_or_default();
        let mut context = Context::new(&SHA256);
        context.update(EXEC_LABEL);
        context.update(&self.0);
        context.update(ring::digest::digest(&SHA256, &text).as_ref());
        let mut head = [0; 32];
        head.copy_from_slice(context.finish().as_ref());
        Self(head)
    }

    /// The head.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_depends_on_every_bundle_its_generation_and_the_order() {
        let (one, two) = (BundleDigest::of(b"1"), BundleDigest::of(b"2"));
        let begin = History::default();
        let head = begin.then(one, 1).then(two, 2);
        for other in [
            begin.then(two, 2),
            begin.then(two, 2).then(one, 1),
            begin.then(one, 1).then(two, 3),
            begin.then(one, 1).then(one, 2).then(two, 2),
        ] {
            assert_ne!(head, other);
        }
    }

    #[test]
    fn a_command_of_the_hosts_is_part_of_the_history() {
        let head = History::default().then(BundleDigest::of(b"1"), 1);
        let command = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let next = head.then_exec("web", &command(&["sh", "-c", "id"]));
        for other in [
            head,
            head.then_exec("db", &command(&["sh", "-c", "id"])),
            head.then_exec("web", &command(&["sh", "-c id"])),
            next.then_exec("web", &command(&["sh", "-c", "id"])),
        ] {
            assert_ne!(next, other);
        }
        let text = ring::digest::digest(&SHA256, br#"["web",["sh","-c","id"]]"#);
        let bytes = [&EXEC_LABEL[..], head.as_bytes(), text.as_ref()].concat();
        assert_eq!(next.as_bytes(), ring::digest::digest(&SHA256, &bytes).as_ref());
    }

    #[test]
    fn the_first_head_is_what_the_documentation_says() {
        let bundle = BundleDigest::of(b"");
        let bytes = [&LABEL[..], &[0; 32], &[0, 0, 0, 0, 0, 0, 0, 7], bundle.as_bytes()].concat();
        let expected = ring::digest::digest(&SHA256, &bytes);
        assert_eq!(History::default().then(bundle, 7).as_bytes(), expected.as_ref());
    }
}
