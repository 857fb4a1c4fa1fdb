//! Walks a JSON tree with the path in hand and collects every finding instead of stopping at the first.

use std::cell::RefCell;

use serde_json::Value;

use crate::reject::Finding;

/// All findings so far.
#[derive(Default)]
pub(crate) struct Report {
    pub errors: Vec<Finding>,
    pub warnings: Vec<Finding>,
}

/// One value of the tree and where it is.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    pub report: &'a RefCell<Report>,
    pub object: String,
    pub path: String,
    pub value: &'a Value,
}

impl<'a> Node<'a> {
    fn finding(&self, message: impl Into<String>) -> Finding {
        Finding::new(&self.object, &self.path, message)
    }

    /// Records an error here; beyond the bound of a rejection nothing is kept.
    pub(crate) fn error(&self, message: impl Into<String>) {
        let mut report = self.report.borrow_mut();
        if report.errors.len() < crate::reject::Rejection::MAX_FINDINGS {
            report.errors.push(self.finding(message));
        }
    }

    /// Records an error about a field of this object, which may be absent.
    pub(crate) fn error_at(&self, field: &str, message: impl Into<String>) {
        let path = if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        };
        let mut report = self.report.borrow_mut();
        if report.errors.len() < crate::reject::Rejection::MAX_FINDINGS {
            report.errors.push(Finding::new(&self.object, path, message));
        }
    }

    pub(crate) fn warn(&self, message: impl Into<String>) {
        let mut report = self.report.borrow_mut();
        if report.warnings.len() < crate::reject::Rejection::MAX_FINDINGS {
            report.warnings.push(self.finding(message));
        }
    }

    fn expected(&self, what: &str) {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.error(format!("expected {what}, found {found}"));
    }

    pub(crate) fn text(&self) -> Option<String> {
        match self.value.as_str() {
            Some(text) if text.contains('\0') => self.error("must not contain a NUL character"),
            Some(text) => return Some(text.to_owned()),
            None => self.expected("a string"),
        }
        None
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        if !self.value.is_boolean() {
            self.expected("a boolean");
        }
        self.value.as_bool()
    }

    pub(crate) fn int(&self, min: i64, max: i64) -> Option<i64> {
        match self.value.as_i64() {
            Some(number) if (min..=max).contains(&number) => return Some(number),
            Some(number) => self.error(format!("{number} is out of range: expected {min} to {max}")),
            None => self.expected("an integer"),
        }
        None
    }

    pub(crate) fn unsigned(&self, min: u32, max: u32) -> Option<u32> {
        self.int(min.into(), max.into())
            .and_then(|n| u32::try_from(n).ok())
    }

    pub(crate) fn list(&self, max: usize) -> Vec<Node<'a>> {
        let Some(list) = self.value.as_array() else {
            self.expected("a list");
            return Vec::new();
        };
        if list.len() > max {
            self.error(format!("has {} entries; at most {max} are accepted", list.len()));
            return Vec::new();
        }
        list.iter()
            .enumerate()
            .map(|(i, value)| Node {
                path: format!("{}[{i}]", self.path),
                value,
                ..self.clone()
            })
            .collect()
    }

    pub(crate) fn texts(&self, max: usize) -> Vec<String> {
        self.list(max).iter().filter_map(Node::text).collect()
    }

    /// The entries of a map with free keys.
    pub(crate) fn entries(&self) -> Vec<(String, Node<'a>)> {
        let Some(map) = self.value.as_object() else {
            self.expected("an object");
            return Vec::new();
        };
        map.iter()
            .map(|(key, value)| {
                (
                    key.clone(),
                    Node {
                        path: format!("{}['{key}']", self.path),
                        value,
                        ..self.clone()
                    },
                )
            })
            .collect()
    }

    /// Checks the keys of an object with fixed fields; use [`Node::get`] afterwards.
    pub(crate) fn fields(&self, known: &[&str], harmless: &[&str], unsupported: &[&str]) {
        let Some(map) = self.value.as_object() else {
            return self.expected("an object");
        };
        for (key, value) in map {
            let name = key.as_str();
            let node = self.child(name, value);
            if known.contains(&name) {
            } else if harmless.contains(&name) {
                node.warn("has no effect in an enclave and is ignored");
            } else if unsupported.contains(&name) {
                if !value.is_null() {
                    node.error("not supported by this release; remove it");
                }
            } else {
                let all = || known.iter().chain(harmless).chain(unsupported);
                match all().find(|candidate| close(candidate, name)) {
                    Some(near) => node.error(format!("unknown field; did you mean `{near}`?")),
                    None => node.error("unknown field"),
                }
            }
        }
    }

    fn child(&self, name: &str, value: &'a Value) -> Node<'a> {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        Node {
            path,
            value,
            ..self.clone()
        }
    }

    /// A field; null counts as absent, as in Kubernetes.
    pub(crate) fn get(&self, name: &str) -> Option<Node<'a>> {
        self.value
            .get(name)
            .filter(|value| !value.is_null())
            .map(|value| self.child(name, value))
    }

    /// A text field that must be there.
    pub(crate) fn required(&self, name: &str) -> Option<String> {
        match self.get(name) {
            Some(node) => node.text(),
            None => {
                self.child(name, &Value::Null).error("is required");
                None
            }
        }
    }

    pub(crate) fn text_of(&self, name: &str) -> Option<String> {
        self.get(name)?.text()
    }

    pub(crate) fn flag_of(&self, name: &str) -> Option<bool> {
        self.get(name)?.flag()
    }

    pub(crate) fn list_of(&self, name: &str, max: usize) -> Vec<Node<'a>> {
        self.get(name).map(|node| node.list(max)).unwrap_or_default()
    }
}

/// Same letters in another case, or one edit apart.
fn close(a: &str, b: &str) -> bool {
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    if a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let front = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let back = a
        .bytes()
        .rev()
        .zip(b.bytes().rev())
        .take_while(|(x, y)| x == y)
        .count();
    front + back + 1 >= a.len().max(b.len())
}
