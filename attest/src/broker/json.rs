//! Strict JSON for files that people write: no key twice, and every mistake is reported with the path of its field and, for
//! a typing error, the name that was probably meant.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// `rules[2].pcrs` and so on; empty for the file as a whole.
    pub path: String,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.what),
            path => write!(f, "{path}: {}", self.what),
        }
    }
}

/// A value in a tree, and where mistakes about it go.
#[derive(Clone)]
pub(super) struct Node<'a> {
    path: String,
    value: &'a Value,
    mistakes: &'a RefCell<Vec<Mistake>>,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value, mistakes: &'a RefCell<Vec<Mistake>>) -> Self {
        let path = String::new();
        Self {
            path,
            value,
            mistakes,
        }
    }

    pub(super) fn mistake(&self, what: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake {
            path: self.path.clone(),
            what: what.into(),
        });
    }

    fn child(&self, name: &str, value: &'a Value) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self {
            path: format!("{}{dot}{name}", self.path),
            value,
            mistakes: self.mistakes,
        }
    }

    /// Names and values of an object.
    pub(super) fn entries(&self) -> Vec<(&'a str, Self)> {
        let Some(map) = self.value.as_object() else {
            self.mistake("expected an object");
            return Vec::new();
        };
        map.iter()
            .map(|(name, value)| (name.as_str(), self.child(name, value)))
            .collect()
    }

    /// Checks the names of an object with fixed fields. Null is a mistake, not an omission.
    pub(super) fn only(&self, known: &[&str]) {
        for (name, field) in self.entries() {
            if !known.contains(&name) {
                let near = nearest(name, known).map(|near| format!("; did you mean `{near}`?"));
                field.mistake(format!("unknown field{}", near.unwrap_or_default()));
            } else if field.value.is_null() {
                field.mistake("is null: give it a value or remove it");
            }
        }
    }

    pub(super) fn field(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|value| !value.is_null());
        value.map(|value| self.child(name, value))
    }

    pub(super) fn required(&self, name: &str) -> Option<Self> {
        if self.value.is_object() && self.value.get(name).is_none() {
            self.child(name, &Value::Null).mistake("is required");
        }
        self.field(name)
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        let text = self.value.as_str();
        self.expected(text, "a text")
    }

    pub(super) fn flag(&self) -> Option<bool> {
        self.expected(self.value.as_bool(), "true or false")
    }

    pub(super) fn positive(&self) -> Option<u64> {
        let number = self.value.as_u64().filter(|number| *number > 0);
        self.expected(number, "a whole number above 0")
    }

    /// 1 to `most` elements.
    pub(super) fn list(&self, most: usize) -> Vec<Self> {
        let list = self.value.as_array();
        let list = list.filter(|list| (1..=most).contains(&list.len()));
        let element = |(index, value)| Self {
            path: format!("{}[{index}]", self.path),
            value,
            mistakes: self.mistakes,
        };
        let list = self.expected(list, &format!("a list of 1 to {most} entries"));
        list.into_iter().flatten().enumerate().map(element).collect()
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    fn expected<T>(&self, found: Option<T>, what: &str) -> Option<T> {
        if found.is_none() {
            self.mistake(format!("expected {what}"));
        }
        found
    }
}

/// The tree of one JSON text.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Mistake> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut reader);
    value
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| Mistake {
            path: String::new(),
            what: format!("not valid JSON: {error}"),
        })
}

/// As serde_json's own, which takes the last of two fields of one name.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format_args!("{name:?} is there twice")));
            }
            let value = fields.next_value_seed(Self)?;
            map.insert(name, value);
        }
        Ok(map.into())
    }
}

/// The known name that somebody probably meant: at most two letters are wrong, or it begins like that.
pub fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|name| (distance(typed, name), *name)).min();
    let best = best.filter(|(distance, _)| *distance <= 2 && *distance < typed.chars().count());
    let begins = |name: &&&str| typed.len() >= 3 && name.starts_with(typed);
    best.map(|(_, name)| name)
        .or_else(|| known.iter().find(begins).copied())
}

/// Levenshtein distance, one row at a time.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut next = vec![index + 1];
        for ((b, diagonal), above) in right.iter().zip(&row).zip(row.iter().skip(1)) {
            let before = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(a != *b)).min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_near() {
        let known = ["application", "secrets", "pcrs"];
        for (typed, near) in [
            ("secrest", Some("secrets")),
            ("pcr", Some("pcrs")),
            ("appl", Some("application")),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, &known), near, "{typed}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_key_twice_and_bytes_behind_are_refused() {
        assert!(parse(b"{\"a\": [1, -1, 1.5, null, true, \"x\"]}").is_ok());
        for text in [
            &b"{\"a\": 1, \"a\": 2}"[..],
            b"{} {}",
            b"",
            b"\xff",
            &[b'['; 100_000],
        ] {
            assert!(parse(text).is_err());
        }
    }
}
