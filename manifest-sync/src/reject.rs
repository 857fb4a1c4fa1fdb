//! Why a bundle was refused, in words the host may see: every error at once, each with its object and path.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One finding about one field of one object of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The object as people name it: `Pod/web`, `ConfigMap/settings`, `document 2`.
    pub object: String,
    /// Path of the field: `spec.containers[1].image`; empty when it is about the whole object.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.object, self.message)
        } else {
            write!(f, "{}: {}: {}", self.object, self.path, self.message)
        }
    }
}

/// A bundle that may not run: all that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// At least one finding, in document order, at most [`Rejection::MAX_FINDINGS`].
    pub errors: Vec<Finding>,
}

impl Rejection {
    /// A hostile bundle must not turn into an answer larger than a frame.
    pub const MAX_FINDINGS: usize = 100;

    /// One finding about the whole of `object`.
    pub fn of(object: &str, message: impl Into<String>) -> Self {
        Self {
            errors: vec![Finding {
                object: object.to_owned(),
                path: String::new(),
                message: message.into(),
            }],
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejection {}
