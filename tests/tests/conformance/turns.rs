//! Containers that do something else at each start, and a volume that remembers.

use serde_json::{Value, json};
use tests::guest;

/// Where the volume `data` is mounted: a count for each container, and a file `log` of starts and ends.
pub(crate) const DATA: &str = "/data";

/// A container that takes these turns (`tests/guests/turn.rs`); the Pod has to have a volume `data`.
pub(crate) fn turns(name: &str, steps: &[&str]) -> Value {
    let mut words = vec!["turns", DATA, name];
    words.extend(steps);
    let mut container = guest(name, &words);
    container["volumeMounts"] = json!([{"name": "data", "mountPath": DATA}]);
    container
}
