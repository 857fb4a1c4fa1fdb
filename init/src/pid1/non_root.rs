//! `runAsNonRoot` (K-413): whether a container may start, judged before it does by what plan and image say of its user. A
//! name could be anybody, since the image's files say who it is.

use manifest_sync::plan::{ContainerPlan, Plan};

/// Why it may not, in a kubelet's words.
pub(crate) fn verify(plan: &Plan, container: &ContainerPlan, image_user: &str) -> Result<(), String> {
    let security = &container.security;
    if !security.run_as_non_root {
        return Ok(());
    }
    let uid = plan.uid.as_deref().unwrap_or_default();
    let of = format!(
        "(pod: \"{}_{}({uid})\", container: {})",
        plan.name, plan.namespace, container.name
    );
    match (security.run_as_user, user_of_image(image_user)) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {of}")),
        (Some(_), _) => Ok(()),
        (None, ImageUser::Number(0)) => Err(format!(
            "container has runAsNonRoot and image will run as root {of}"
        )),
        (None, ImageUser::Number(_)) => Ok(()),
        (None, ImageUser::Name(name)) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {of}"
        )),
    }
}

/// The USER of an image without its group.
#[derive(Debug, PartialEq, Eq)]
enum ImageUser<'a> {
    Number(i64),
    Name(&'a str),
}

/// None is root.
fn user_of_image(user: &str) -> ImageUser<'_> {
    let name = user.split(':').next().unwrap_or_default();
    if name.is_empty() {
        return ImageUser::Number(0);
    }
    name.parse().map_or(ImageUser::Name(name), ImageUser::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(security: &Value, image_user: &str) -> Result<(), String> {
        let image = format!("a@sha256:{}", "a".repeat(64));
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "foo", "namespace": "new", "uid": "12345678"},
            "spec": {"containers": [{"name": "foo", "image": image, "securityContext": security}]}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod]});
        let (plan, _) = Plan::from_bundle_bytes(list.to_string().as_bytes()).expect("a plan");
        verify(&plan, &plan.containers[0], image_user)
    }

    /// `TestVerifyRunAsNonRoot` of security_context_others_test.go; the user is what an image can say.
    #[test]
    fn lc_304_run_as_non_root() {
        let of = "(pod: \"foo_new(12345678)\", container: foo)";
        let root = Err(format!(
            "container has runAsNonRoot and image will run as root {of}"
        ));
        let breaks = Err(format!("container's runAsUser breaks non-root policy {of}"));
        let name = Err(format!(
            "container has runAsNonRoot and image has non-numeric user (non-root), cannot verify user is non-root {of}"
        ));
        for (what, security, user, expected) in [
            ("Pass if SecurityContext is not set", json!(null), "0", Ok(())),
            (
                "Pass if RunAsNonRoot is not set",
                json!({"runAsUser": 0}),
                "0",
                Ok(()),
            ),
            (
                "Pass if RunAsNonRoot is false (image user is root)",
                json!({"runAsNonRoot": false}),
                "0",
                Ok(()),
            ),
            (
                "Pass if RunAsNonRoot is false (RunAsUser is root)",
                json!({"runAsNonRoot": false, "runAsUser": 0}),
                "0",
                Ok(()),
            ),
            (
                "Fail if container's RunAsUser is root and RunAsNonRoot is true",
                json!({"runAsNonRoot": true, "runAsUser": 0}),
                "0",
                breaks,
            ),
            (
                "Fail if image's user is root and RunAsNonRoot is true",
                json!({"runAsNonRoot": true}),
                "0",
                root.clone(),
            ),
            (
                "Fail if image has no user and RunAsNonRoot is true",
                json!({"runAsNonRoot": true}),
                "",
                root.clone(),
            ),
            (
                "Fail if image's user is non-numeric and RunAsNonRoot is true",
                json!({"runAsNonRoot": true}),
                "non-root",
                name.clone(),
            ),
            (
                "Pass if image's user is non-root and RunAsNonRoot is true",
                json!({"runAsNonRoot": true}),
                "123",
                Ok(()),
            ),
            (
                "Pass if container's user and image's user aren't set and RunAsNonRoot is false",
                json!({"runAsNonRoot": false}),
                "",
                Ok(()),
            ),
            (
                "Pass if RunAsUser is another user than the image's root",
                json!({"runAsNonRoot": true, "runAsUser": 1}),
                "0",
                Ok(()),
            ),
            // A group beside it changes nothing.
            ("root and a group", json!({"runAsNonRoot": true}), "0:100", root),
            (
                "a name and a group",
                json!({"runAsNonRoot": true}),
                "non-root:100",
                name,
            ),
        ] {
            assert_eq!(check(&security, user), expected, "{what}");
        }
    }
}
