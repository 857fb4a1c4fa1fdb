//! What is known only when a release is signed: its application and generation, written into the EnclavePolicy, and the
//! broker's key, written into its SecretProviderClasses. What is not as it should
//! be in the objects is left to their validation.

use serde_json::{Value, json};

/// Sets what is given; adds an EnclavePolicy when there is none. Says what was replaced.
pub(super) fn stamp(
    items: &mut Vec<Value>,
    application: Option<&str>,
    generation: Option<u64>,
) -> Vec<String> {
    let values: Vec<(&str, Value)> = [
        ("application", application.map(Value::from)),
        ("generation", generation.map(Value::from)),
    ]
    .into_iter()
    .filter_map(|(field, value)| value.map(|value| (field, value)))
    .collect();
    if values.is_empty() {
        return Vec::new();
    }
    if !items.iter().any(is_policy) {
        let name = items
            .iter()
            .find(|item| item.get("kind").is_some_and(|kind| kind == "Pod"))
            .and_then(|pod| pod.pointer("/metadata/name").cloned())
            .unwrap_or_else(|| "release".into());
        items.push(
            json!({"apiVersion": "cloister.dev/v1", "kind": "EnclavePolicy", "metadata": {"name": name}}),
        );
    }
    let mut said = Vec::new();
    for policy in items.iter_mut().filter(|item| is_policy(item)) {
        let Some(policy) = policy.as_object_mut() else {
            continue;
        };
        let spec = policy.entry("spec").or_insert(Value::Null);
        if spec.is_null() {
            *spec = json!({});
        }
        let Some(spec) = spec.as_object_mut() else {
            continue;
        };
        for (field, value) in &values {
            match spec.insert((*field).to_owned(), value.clone()) {
                Some(old) if old != *value && !old.is_null() => {
                    said.push(format!("--{field}: {value} replaces {old} of the manifest"));
                }
                _ => {}
            }
        }
    }
    said
}

/// Sets the broker's key of every class that has none.
pub(super) fn broker_key(items: &mut [Value], key: &str) {
    let is_class = |item: &&mut Value| item.get("kind").is_some_and(|kind| kind == "SecretProviderClass");
    for class in items.iter_mut().filter(is_class) {
        if let Some(Value::Object(parameters)) = class.pointer_mut("/spec/parameters") {
            parameters.entry("brokerKey").or_insert_with(|| key.into());
        }
    }
}

fn is_policy(item: &Value) -> bool {
    item.get("kind").is_some_and(|kind| kind == "EnclavePolicy")
}
