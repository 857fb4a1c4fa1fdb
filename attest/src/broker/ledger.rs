//! The highest generation of each application that ever got a secret, and its bundle: what keeps a host from going back to
//! an older bundle that was right once. Pure; [`super::state`] keeps it on disk.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hex::{Hex, from_hex};
use crate::release::{Application, BUNDLE_DIGEST_BYTES, Binding};

/// The newest bundle of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Its generation, above 0.
    pub generation: u64,
    /// Its SHA-384.
    #[serde(with = "digest")]
    pub bundle: [u8; BUNDLE_DIGEST_BYTES],
}

/// Why a generation is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationError {
    /// Lower than the rule allows: what was found, and the rule's.
    BelowMinimum(u64, u64),
    /// Lower than the highest one seen: what was found, and that.
    RolledBack(u64, u64),
    /// The same as the highest one seen, of another bundle: that bundle.
    Equivocation(Seen),
}

impl fmt::Display for GenerationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowMinimum(0, least) => {
                write!(
                    f,
                    "the bundle has no generation, and the policy demands {least} at least"
                )
            }
            Self::BelowMinimum(found, least) => {
                write!(f, "generation {found}: the policy demands {least} at least")
            }
            Self::RolledBack(0, highest) => {
                write!(
                    f,
                    "the bundle has no generation, and generation {highest} was seen already"
                )
            }
            Self::RolledBack(found, highest) => {
                write!(
                    f,
                    "generation {found}: generation {highest} was seen already, and there is no way back"
                )
            }
            Self::Equivocation(seen) => write!(
                f,
                "generation {} was seen with another bundle, {}: sign each bundle with a generation of its own",
                seen.generation,
                Hex(&seen.bundle)
            ),
        }
    }
}

impl std::error::Error for GenerationError {}

/// What was seen of every application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger(BTreeMap<Application, Seen>);

impl Ledger {
    /// Whether this bundle may have secrets, and what has to be remembered before it gets any; `None` when that is known.
    ///
    /// # Errors
    ///
    /// [`GenerationError`] says why not.
    pub fn judge(&self, binding: &Binding, minimum: Option<u64>) -> Result<Option<Seen>, GenerationError> {
        let generation = binding.generation;
        if let Some(least) = minimum.filter(|least| generation < *least) {
            return Err(GenerationError::BelowMinimum(generation, least));
        }
        let seen = Seen {
            generation,
            bundle: binding.bundle,
        };
        match self.0.get(&binding.application) {
            Some(highest) if generation < highest.generation => {
                Err(GenerationError::RolledBack(generation, highest.generation))
            }
            Some(highest) if generation == highest.generation && binding.bundle != highest.bundle => {
                Err(GenerationError::Equivocation(*highest))
            }
            Some(highest) if *highest == seen => Ok(None),
            // Bundles without a generation have no order.
            None if generation == 0 => Ok(None),
            _ => Ok(Some(seen)),
        }
    }

    /// Remembers what [`Ledger::judge`] returned.
    pub fn remember(&mut self, application: &Application, seen: Seen) {
        self.0.insert(application.clone(), seen);
    }

    /// What was seen of an application.
    pub fn get(&self, application: &Application) -> Option<&Seen> {
        self.0.get(application)
    }

    /// How many applications were seen.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None was.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

mod digest {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{BUNDLE_DIGEST_BYTES, Hex, from_hex};

    type Digest = [u8; BUNDLE_DIGEST_BYTES];

    pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Hex(digest))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digest = from_hex(&text).and_then(|bytes| bytes.try_into().ok());
        digest.ok_or_else(|| D::Error::custom("not 96 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(generation: u64, bundle: u8) -> Binding {
        Binding {
            bundle: [bundle; BUNDLE_DIGEST_BYTES],
            generation,
            names: [0; 48],
            application: Application::try_from("web".to_owned()).expect("a name"),
        }
    }

    fn after(generation: u64, bundle: u8) -> Ledger {
        let mut ledger = Ledger::default();
        let binding = binding(generation, bundle);
        let seen = ledger.judge(&binding, None).expect("allowed").expect("new");
        ledger.remember(&binding.application, seen);
        ledger
    }

    #[test]
    fn generations_only_rise() {
        let ledger = after(7, 1);
        assert_eq!(ledger.judge(&binding(7, 1), None), Ok(None));
        assert_eq!(
            ledger.judge(&binding(6, 1), None),
            Err(GenerationError::RolledBack(6, 7))
        );
        assert_eq!(
            ledger.judge(&binding(0, 1), None),
            Err(GenerationError::RolledBack(0, 7))
        );
        let seen = Seen {
            generation: 7,
            bundle: [1; 48],
        };
        assert_eq!(
            ledger.judge(&binding(7, 2), None),
            Err(GenerationError::Equivocation(seen))
        );
        let next = ledger.judge(&binding(u64::MAX, 2), None).expect("allowed");
        assert_eq!(next.map(|seen| seen.generation), Some(u64::MAX));
    }

    #[test]
    fn without_a_generation_there_is_no_order_until_one_was_seen() {
        let ledger = Ledger::default();
        assert_eq!(ledger.judge(&binding(0, 1), None), Ok(None));
        assert_eq!(ledger.judge(&binding(0, 2), None), Ok(None));
        assert_eq!(
            ledger.judge(&binding(0, 1), Some(1)),
            Err(GenerationError::BelowMinimum(0, 1))
        );
    }

    #[test]
    fn the_minimum_counts_even_for_what_was_seen() {
        let ledger = after(7, 1);
        assert_eq!(
            ledger.judge(&binding(7, 1), Some(8)),
            Err(GenerationError::BelowMinimum(7, 8))
        );
        assert_eq!(ledger.judge(&binding(7, 1), Some(7)), Ok(None));
    }

    #[test]
    fn refusals_name_both_numbers() {
        let text = GenerationError::RolledBack(6, 7).to_string();
        assert!(text.contains('6') && text.contains('7'), "{text}");
    }
}
