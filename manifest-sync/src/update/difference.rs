//! Where two JSON documents differ, as field paths.

use std::collections::BTreeSet;

use serde_json::Value;

/// One field that differs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference<'a> {
    /// `spec.containers[0].image`.
    pub(super) path: String,
    /// `None`: it was not there.
    pub(super) old: Option<&'a Value>,
    /// `None`: it is not there any more.
    pub(super) new: Option<&'a Value>,
}

/// Every field that differs, in the order of paths. Lists of different lengths differ as a whole; null, an empty list and
/// an empty object are as good as nothing, as for an API server.
pub(super) fn differences<'a>(old: &'a Value, new: &'a Value) -> Vec<Difference<'a>> {
    let mut found = Vec::new();
    walk(String::new(), Some(old), Some(new), &mut found);
    found
}

fn walk<'a>(path: String, old: Option<&'a Value>, new: Option<&'a Value>, found: &mut Vec<Difference<'a>>) {
    let something = |value: &&Value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    let (old, new) = (old.filter(something), new.filter(something));
    let entries = |value: Option<&'a Value>| value.and_then(Value::as_object);
    match (old, new) {
        // An object that comes or goes differs in each of its fields.
        (Some(Value::Object(_)) | None, Some(Value::Object(_)) | None) => {
            let (before, after) = (entries(old), entries(new));
            let keys: BTreeSet<&String> = before
                .into_iter()
                .chain(after)
                .flat_map(|map| map.keys())
                .collect();
            for key in keys {
                let field =
                    |map: Option<&'a serde_json::Map<String, Value>>| map.and_then(|map| map.get(key));
                walk(join(&path, key), field(before), field(after), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                walk(format!("{path}[{index}]"), Some(before), Some(after), found);
            }
        }
        _ if old == new => {}
        _ => found.push(Difference { path, old, new }),
    }
}

/// Keys that are no field names are written as Kubernetes writes map keys.
fn join(path: &str, key: &str) -> String {
    let is_field = key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match (path.is_empty(), is_field) {
        (true, _) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (false, false) => format!("{path}['{key}']"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_difference_has_its_path() {
        let old = json!({"a": {"b": [1, 2]}, "c": "x", "e": [1], "f": null, "g": {}, "labels": {"x/y": "1"}});
        let new = json!({"a": {"b": [1, 3]}, "d": "y", "e": [1, 2], "labels": {"x/y": "2"}});
        let paths: Vec<String> = differences(&old, &new).into_iter().map(|one| one.path).collect();
        assert_eq!(paths, ["a.b[1]", "c", "d", "e", "labels['x/y']"]);
    }

    #[test]
    fn equal_documents_do_not_differ() {
        let one = json!({"a": [], "b": {"c": null}});
        assert_eq!(differences(&one, &json!({})), []);
        assert_eq!(differences(&one, &one), []);
    }
}
