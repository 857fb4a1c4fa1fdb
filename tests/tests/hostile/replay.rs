//! What was said to another boot, said again.

use manifest_sync::link::{StreamKind, StreamReply};
use manifest_sync::protocol::RefusedReason;
use manifest_sync::trust::TrustPolicy;
use serde_json::json;
use tests::pod;

use crate::controller::{Controller, hello};
use crate::enclave::Enclave;
use crate::stage::{PORT, against, bundle, container, refused};

/// Key of a boot that is over.
fn old_key(product: &tests::Product) -> String {
    Controller::connect(&Enclave::start(product, TrustPolicy::DEVELOPMENT), None).key
}

#[test]
fn the_first_conversation_of_another_boot() {
    against(|stage| {
        // Header, Hello, Apply and bundle, as they were once good.
        let other = container(&stage.product, "intruder", &["sleep"]);
        let other = bundle(&[pod(json!({"containers": [other]}))]);
        let _connected = stage.honest();
        let mut wire = stage.enclave.control();
        wire.say(&hello(None));
        wire.say(&json!({"type": "apply", "size": other.len()}));
        wire.frame(&other);
        wire.expect_refused(RefusedReason::NotYourSession, "another controller");
        assert!(!stage.enclave.runs("sleep"), "it ran");
    });
}

#[test]
fn the_session_key_of_another_boot() {
    against(|stage| {
        let key = old_key(&stage.product);
        let mut wire = stage.enclave.control();
        wire.say(&hello(Some(&key)));
        wire.expect_refused(RefusedReason::NotYourSession, "another controller");
    });
}

#[test]
fn the_session_key_of_another_boot_before_anybody_is_there() {
    refused(|product| {
        let key = old_key(product);
        let enclave = Enclave::start(product, TrustPolicy::DEVELOPMENT);
        let mut wire = enclave.control();
        wire.say(&hello(Some(&key)));
        wire.expect_refused(RefusedReason::NotYourSession, "another controller");
        // Nothing was claimed with it: the first controller still comes in without a key, and gets a new one.
        let mut host = Controller::connect(&enclave, None);
        assert_ne!(host.key, key);
        host.ping();
    });
}

#[test]
fn the_streams_of_another_boot() {
    against(|stage| {
        let key = old_key(&stage.product);
        for kind in [
            StreamKind::Blob { request: 1, size: 1 },
            StreamKind::Logs {
                container: None,
                after: 0,
                follow: true,
            },
        ] {
            let mut wire = stage.enclave.stream(Some(&key), kind);
            wire.expect_only(StreamReply::NotYourSession);
        }
        let mut wire = stage.enclave.ingress(Some(&key), PORT);
        wire.expect_only(StreamReply::NotYourSession);
    });
}
