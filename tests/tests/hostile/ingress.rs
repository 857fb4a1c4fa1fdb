//! Ports of the enclave that the Pod has not declared.

use manifest_sync::config::{CONTROL_PORT, DATA_PORT};
use manifest_sync::link::StreamReply;
use manifest_sync::trust::TrustPolicy;

use crate::controller::Controller;
use crate::enclave::Enclave;
use crate::stage::{PORT, against, refused};

#[test]
fn ports_that_the_pod_does_not_declare() {
    against(|stage| {
        for port in [0, 1, PORT - 1, PORT + 1, 22, 9000, u16::MAX] {
            let mut wire = stage.enclave.ingress(Some(stage.key()), port);
            wire.expect_only(StreamReply::NoPod);
        }
    });
}

#[test]
fn the_ports_of_the_link() {
    against(|stage| {
        for port in [CONTROL_PORT, DATA_PORT] {
            let port = u16::try_from(port).expect("small");
            let mut wire = stage.enclave.ingress(Some(stage.key()), port);
            wire.expect_only(StreamReply::NoPod);
        }
    });
}

#[test]
fn a_port_that_is_none() {
    against(|stage| {
        for port in ["65536", "-1", "7.0", "\"7\"", "null", "[7]"] {
            let mut wire = stage.enclave.dial(DATA_PORT);
            let key = stage.key();
            wire.frame(format!(
                r#"{{"version":1,"session":"{key}","stream":{{"kind":"ingress","port":{port}}}}}"#
            ));
            wire.expect_only(StreamReply::Malformed);
        }
    });
}

#[test]
fn a_port_before_there_is_a_pod() {
    refused(|product| {
        let enclave = Enclave::start(product, TrustPolicy::DEVELOPMENT);
        let mut host = Controller::connect(&enclave, None);
        assert_eq!(host.bundle, None);
        let mut wire = enclave.ingress(Some(&host.key), PORT);
        wire.expect_only(StreamReply::NoPod);
        host.ping();
    });
}
