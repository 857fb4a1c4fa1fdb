//! What released values become.

use super::*;

fn class() -> SecretClassPlan {
    let object = |name: &str, file: &str, mode| SecretObjectPlan {
        name: name.to_owned(),
        file: file.to_owned(),
        mode,
    };
    SecretClassPlan {
        broker_key: [0; 32],
        objects: vec![
            object("db-password", "db/password", 0o600),
            object("tls", "tls", 0o644),
        ],
        secrets: vec![SyncedSecretPlan {
            name: "db".to_owned(),
            data: vec![
                ("pass".to_owned(), 0),
                ("also".to_owned(), 0),
                ("key".to_owned(), 1),
            ],
        }],
        rotation_seconds: None,
    }
}

fn values(texts: &[&str]) -> Vec<Content> {
    texts
        .iter()
        .map(|text| Content::new(text.as_bytes().to_vec()))
        .collect()
}

#[test]
fn values_become_files_and_secrets() {
    let values = values(&["one", "two"]);
    let files = class().files(&values);
    let file = |name: &str| files.get(name).map(|(content, mode)| (content.to_vec(), *mode));
    assert_eq!(file("db/password"), Some((b"one".to_vec(), 0o600)));
    assert_eq!(file("tls"), Some((b"two".to_vec(), 0o644)));
    assert_eq!(files.len(), 2);
    let mut released = Released::default();
    released.put(&class(), &values);
    let keys: Vec<_> = released.0["db"]
        .data
        .iter()
        .map(|(key, value)| (key.as_str(), &**value))
        .collect();
    assert_eq!(keys, [("also", &b"one"[..]), ("key", b"two"), ("pass", b"one")]);
}

#[test]
fn a_later_release_replaces_the_secret_and_a_short_one_leaves_keys_out() {
    let mut released = Released::default();
    released.put(&class(), &values(&["one", "two"]));
    released.put(&class(), &values(&["three"]));
    assert_eq!(released.0["db"].data.keys().collect::<Vec<_>>(), ["also", "pass"]);
    assert_eq!(&*released.0["db"].data["pass"], b"three");
    assert_eq!(class().files(&[]).len(), 0);
}
