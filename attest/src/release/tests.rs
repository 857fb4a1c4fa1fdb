//! Helpers of the release protocol's tests.

mod message;
mod pending;
mod property;

use super::*;

fn broker() -> BrokerKey {
    BrokerKey::generate().expect("a key")
}

fn sealed(value: Vec<u8>) -> SealedSet {
    let signature = [0x5a; SIGNATURE_BYTES];
    SealedSet { value, signature }
}

fn application(name: &str) -> Application {
    Application::try_from(name.to_owned()).expect("a name")
}

fn name(name: &str) -> SecretName {
    SecretName::try_from(name.to_owned()).expect("a name")
}

fn names(list: &[&str]) -> Names {
    Names::try_from(list.iter().map(|text| name(text)).collect::<Vec<_>>()).expect("names")
}
