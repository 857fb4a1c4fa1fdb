//! The rules of PCRs and the bytes of answers.

mod document;

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::nsm::{Nsm, NsmError, Pcr};

const IMAGE: [PcrValue; 3] = [[1; PCR_BYTES], [2; PCR_BYTES], [3; PCR_BYTES]];
/// 2026-01-01.
const TIME: u64 = 1_767_225_600;

fn at_time() -> UnixTime {
    UnixTime::from_seconds(TIME)
}

fn platform() -> Platform {
    Platform {
        clock: at_time,
        ..Platform::of_image(IMAGE)
    }
}

fn booted() -> (Arc<SoftwareModule>, Nsm) {
    let module = Arc::new(SoftwareModule::boot(&platform()).expect("a module"));
    (module.clone(), Nsm::new(module))
}

fn refusal<T: std::fmt::Debug>(result: Result<T, NsmError>) -> ErrorCode {
    match result {
        Err(NsmError::Refused(code)) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn at_boot_the_platforms_pcrs_are_locked_and_the_others_open_and_zero() {
    let (module, nsm) = booted();
    let description = nsm.describe().expect("a description");
    assert_eq!(description.locked_pcrs, (0..16).collect::<Vec<_>>());
    assert_eq!(
        (description.max_pcrs, description.digest.as_str()),
        (32, "SHA384")
    );
    assert_eq!(description.module_id, module.module_id());
    let (instance, enclave) = module.module_id().split_once("-enc").expect("both");
    assert_eq!((instance.len(), enclave.len()), (2 + 17, 16));
    let parent = extended(&ZERO, instance.as_bytes());
    for index in 0..32 {
        let value = match index {
            0..=2 => IMAGE[usize::from(index)],
            4 => parent,
            _ => ZERO,
        };
        let locked = index < 16;
        assert_eq!(
            nsm.describe_pcr(index).expect("a PCR"),
            Pcr { locked, value },
            "{index}"
        );
    }
}

/// The same facts that `examples/nsm-probe.rs` finds on the emulated device.
#[test]
fn locks_follow_the_rules_of_the_device() {
    let (_, nsm) = booted();
    let new = nsm.extend_pcr(16, b"measured").expect("it is open");
    assert_eq!(new, extended(&ZERO, b"measured"));
    let again = nsm.extend_pcr(16, b"more").expect("it is open");
    assert_eq!(again, extended(&new, b"more"));
    nsm.lock_pcr(16).expect("it is open");
    assert_eq!(refusal(nsm.extend_pcr(16, b"more")), ErrorCode::ReadOnlyIndex);
    assert_eq!(nsm.describe_pcr(16).expect("a PCR").value, again);
    for index in [0, 15, 16] {
        assert_eq!(refusal(nsm.lock_pcr(index)), ErrorCode::ReadOnlyIndex);
        assert_eq!(refusal(nsm.extend_pcr(index, b"")), ErrorCode::ReadOnlyIndex);
    }
    for index in [32, 255, 256, u16::MAX] {
        assert_eq!(refusal(nsm.describe_pcr(index)), ErrorCode::InvalidIndex);
        assert_eq!(refusal(nsm.lock_pcr(index)), ErrorCode::InvalidIndex);
        assert_eq!(refusal(nsm.extend_pcr(index, b"")), ErrorCode::InvalidIndex);
    }
    assert_eq!(refusal(nsm.lock_pcrs(33)), ErrorCode::InvalidIndex);
    nsm.lock_pcrs(0).expect("none");
    assert_eq!(nsm.describe().expect("a description").locked_pcrs.len(), 17);
    nsm.lock_pcrs(18).expect("locked ones are no error");
    nsm.lock_pcrs(32).expect("all");
    assert_eq!(nsm.describe().expect("a description").locked_pcrs.len(), 32);
    assert_eq!(refusal(nsm.extend_pcr(31, b"more")), ErrorCode::ReadOnlyIndex);
    let (one, other) = (nsm.random().expect("random"), nsm.random().expect("random"));
    assert!(one.len() == 256 && one != other);
}

#[test]
fn requests_that_cannot_be_read_are_refused() {
    let (module, _) = booted();
    let refused = |request: &[u8]| {
        let answer = module.exchange(request).expect("an answer");
        refusal(Response::decode(&answer))
    };
    for request in [
        &b""[..],
        b"\xff",
        b"\x67Unknown",
        b"\x6bDescribePCR",
        b"\xa1\x6bDescribePCR\xa0",
        b"\xa1\x6bDescribePCR\xa1\x65index\x20",
        b"\xa1\x6bDescribePCR\xa1\x65index\x1a\x00\x01\x00\x00",
        b"\xa1\x69ExtendPCR\xa2\x65index\x10\x64data\x61a",
        b"\xa1\x6bAttestation\xa1\x65nonce\x01",
        b"\xa0",
    ] {
        assert_eq!(refused(request), ErrorCode::InvalidOperation, "{request:02x?}");
    }
}

#[test]
fn every_answer_is_the_bytes_of_the_reference() {
    let Some(vectors) = crate::nsm::message::tests::vectors() else {
        return;
    };
    let mut seen = 0;
    for (name, bytes) in &vectors {
        if name.starts_with("req ") {
            let request = read_request(bytes).expect("a request");
            assert_eq!(&request.encode(), bytes, "{name}");
        } else {
            let answer = match Response::decode(bytes) {
                Ok(response) => Ok(response),
                Err(NsmError::Refused(code)) => Err(code),
                Err(error) => panic!("{name}: {error}"),
            };
            assert_eq!(&write_answer(&answer), bytes, "{name}");
        }
        seen += 1;
    }
    assert_eq!(seen, 24);
}

fn any_change() -> impl Strategy<Value = (u8, u16, Vec<u8>)> {
    (0..3u8, 0..36u16, prop::collection::vec(any::<u8>(), 0..4))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_locked_pcr_never_changes_and_an_open_one_is_what_was_extended(
        changes in prop::collection::vec(any_change(), 0..60),
    ) {
        let mut pcrs = Pcrs::boot(&[(0, [1; PCR_BYTES])]);
        let mut model: Vec<(bool, PcrValue)> =
            (0..32).map(|index| (index < 16, if index == 0 { [1; PCR_BYTES] } else { ZERO })).collect();
        for (what, index, data) in changes {
            let known = model.get(usize::from(index)).copied();
            let (done, expected) = match what {
                0 => (pcrs.extend(index, &data).map(|_| ()), match known {
                    None => Err(ErrorCode::InvalidIndex),
                    Some((true, _)) => Err(ErrorCode::ReadOnlyIndex),
                    Some((false, value)) => {
                        model[usize::from(index)].1 = extended(&value, &data);
                        Ok(())
                    }
                }),
                1 => (pcrs.lock(index), match known {
                    None => Err(ErrorCode::InvalidIndex),
                    Some((true, _)) => Err(ErrorCode::ReadOnlyIndex),
                    Some((false, _)) => {
                        model[usize::from(index)].0 = true;
                        Ok(())
                    }
                }),
                _ => (pcrs.lock_below(index), match model.get_mut(..usize::from(index)) {
                    None => Err(ErrorCode::InvalidIndex),
                    Some(below) => {
                        below.iter_mut().for_each(|(locked, _)| *locked = true);
                        Ok(())
                    }
                }),
            };
            prop_assert_eq!(done, expected);
            let locked: Vec<_> = pcrs.locked().map(|(index, value)| (index, *value)).collect();
            let expected: Vec<_> =
                (0..).zip(&model).filter(|(_, (locked, _))| *locked).map(|(index, (_, value))| (index, *value)).collect();
            prop_assert_eq!(locked, expected);
        }
    }

    #[test]
    fn any_request_is_answered(bytes: Vec<u8>, tail: Vec<u8>) {
        thread_local!(static MODULE: SoftwareModule = SoftwareModule::boot(&platform()).expect("a module"));
        for request in [bytes, [b"\xa1\x69ExtendPCR", tail.as_slice()].concat()] {
            let answer = MODULE.with(|module| module.exchange(&request)).expect("an answer");
            let read = Response::decode(&answer);
            prop_assert!(!matches!(read, Err(NsmError::Malformed(_) | NsmError::Unexpected(_))));
        }
    }
}
