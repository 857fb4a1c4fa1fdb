//! `parameters.objects` of SecretProviderClasses: YAML in a text for people, JSON in a text for the enclave, which reads no
//! YAML.

use manifest_sync::secret_class::KIND;
use serde_json::Value;

use super::scan;

/// Rewrites the text of `object`, if it is a class. JSON is left as it is, to the byte; what it says is not judged here.
pub(super) fn convert(object: &mut Value) -> Result<(), String> {
    if object.get("kind").is_none_or(|kind| kind != KIND) {
        return Ok(());
    }
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    let place = format!("{KIND}/{}: spec.parameters.objects", name.unwrap_or_default());
    let Some(Value::String(text)) = object.pointer_mut("/spec/parameters/objects") else {
        return Ok(());
    };
    if serde_json::from_str::<Value>(text).is_ok() {
        return Ok(());
    }
    let failed = |what: &dyn std::fmt::Display| format!("{place}: {what}");
    scan::check(text).map_err(|what| failed(&what))?;
    let list: Value = serde_norway::from_str(text).map_err(|error| failed(&error))?;
    *text = list.to_string();
    Ok(())
}

#[cfg(test)]
mod tests {
    use manifest_sync::plan::Plan;
    use serde_json::json;

    use super::super::{bundle, parse};
    use super::*;

    fn converted(text: &str) -> Result<String, String> {
        let mut class =
            json!({"kind": KIND, "metadata": {"name": "c"}, "spec": {"parameters": {"objects": text}}});
        convert(&mut class)?;
        Ok(class["spec"]["parameters"]["objects"]
            .as_str()
            .expect("text")
            .to_owned())
    }

    #[test]
    fn yaml_becomes_json_and_json_stays() {
        let yaml = "- objectName: a\n  filePermission: \"0600\"\n- {objectName: b}\n";
        let json = r#"[{"filePermission":"0600","objectName":"a"},{"objectName":"b"}]"#;
        assert_eq!(converted(yaml).as_deref(), Ok(json));
        let spaced = "[ {\"objectName\" : \"a\"} ]\n";
        assert_eq!(converted(spaced).as_deref(), Ok(spaced));
        // What is no list is for the validation to refuse.
        assert_eq!(
            converted("array: |\n  - a\n").as_deref(),
            Ok(r#"{"array":"- a\n"}"#)
        );
    }

    #[test]
    fn other_objects_are_left_alone() {
        let map = json!({"kind": "ConfigMap", "spec": {"parameters": {"objects": "- a"}}});
        let mut same = map.clone();
        assert_eq!((convert(&mut same), same), (Ok(()), map));
    }

    #[test]
    fn errors_name_the_class() {
        for bad in [
            "- [a\n",
            "- objectName: no\n",
            &"[".repeat(9000),
            "- &a [*a]\n",
            "- a\n---\n- b\n",
        ] {
            let error = converted(bad).expect_err("refused");
            assert!(
                error.starts_with("SecretProviderClass/c: spec.parameters.objects: "),
                "{error}"
            );
        }
    }

    #[test]
    fn a_manifest_of_people_becomes_a_plan() {
        let text = include_str!("../../testdata/secret-class.yaml");
        let mut items = Vec::new();
        parse("secret-class.yaml", text, &mut items).expect("YAML");
        let loaded = bundle(items, None).expect("a bundle");
        let (plan, warnings) =
            Plan::from_bundle_bytes(&loaded.json).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(warnings, []);
        let class = &plan.secret_classes["web-secrets"];
        let files: Vec<_> = class
            .objects
            .iter()
            .map(|one| (one.file.as_str(), one.mode))
            .collect();
        assert_eq!(files, [("db/password", 0o400), ("tls.key", 0o644)]);
        assert_eq!(class.secrets[0].data, [("password".to_owned(), 0)]);
        assert_eq!(class.rotation_seconds, Some(120));
    }
}
