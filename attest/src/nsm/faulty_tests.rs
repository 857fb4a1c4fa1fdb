use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::nsm::{MeasureError, Nsm, NsmError, Platform, SoftwareModule};

fn faulty(fault: Fault) -> (Arc<FaultyModule<SoftwareModule>>, Nsm) {
    let module = SoftwareModule::boot(&Platform::of_image([[1; 48]; 3])).expect("a module");
    let module = Arc::new(FaultyModule::new(module, fault));
    (module.clone(), Nsm::new(module))
}

#[test]
fn without_a_fault_a_measurement_is_written_once() {
    let (_, nsm) = faulty(Fault::None);
    let value = nsm.measure(16, b"bundle").expect("measured");
    let pcr = nsm.describe_pcr(16).expect("a PCR");
    assert!(pcr.locked && pcr.value == value);
    assert!(matches!(
        nsm.measure(16, b"bundle"),
        Err(MeasureError::NotFresh(16))
    ));
    nsm.extend_pcr(17, b"before").expect("it is open");
    assert!(matches!(
        nsm.measure(17, b"bundle"),
        Err(MeasureError::NotFresh(17))
    ));
    nsm.lock_all().expect("locked");
    assert!(matches!(
        nsm.measure(18, b"late"),
        Err(MeasureError::NotFresh(18))
    ));
    assert!(matches!(
        nsm.measure(32, b"none"),
        Err(MeasureError::Module(
            32,
            NsmError::Refused(ErrorCode::InvalidIndex)
        ))
    ));
}

#[test]
fn a_measurement_that_is_not_there_is_noticed() {
    let measured = |fault| faulty(fault).1.measure(16, b"bundle").map(|_| ());
    assert!(matches!(
        measured(Fault::WrongPcr(16)),
        Err(MeasureError::NotFresh(16))
    ));
    assert!(matches!(
        measured(Fault::NoLock),
        Err(MeasureError::NotLocked(16))
    ));
    assert!(matches!(
        measured(Fault::OpenPcr(16)),
        Err(MeasureError::NotLocked(16))
    ));
    measured(Fault::WrongPcr(17)).expect("another one");
    assert!(matches!(
        faulty(Fault::NoLock).1.lock_all(),
        Err(MeasureError::NotLocked(16))
    ));
    assert!(matches!(
        measured(Fault::Refusal(ErrorCode::InternalError)),
        Err(MeasureError::Module(
            16,
            NsmError::Refused(ErrorCode::InternalError)
        ))
    ));
}

#[test]
fn a_device_that_fails_is_an_error_of_the_device() {
    let (module, nsm) = faulty(Fault::InputOutput);
    let error = nsm.attest(None, None, None).expect_err("a failure");
    assert!(matches!(&error, NsmError::Device(error) if error.raw_os_error() == Some(EIO)));
    assert!(error.to_string().contains("/dev/nsm"), "{error}");
    module.set(Fault::None);
    nsm.attest(None, None, None).expect("it works again");
}

#[test]
fn a_slow_device_answers_in_the_end() {
    let wait = Duration::from_millis(30);
    let (_, nsm) = faulty(Fault::Slow(wait));
    let start = Instant::now();
    nsm.describe().expect("an answer");
    assert!(start.elapsed() >= wait);
}

#[test]
fn garbage_is_never_taken_for_an_answer() {
    let (module, nsm) = faulty(Fault::None);
    let fails = || {
        assert!(nsm.describe().is_err());
        assert!(nsm.describe_pcr(0).is_err());
        assert!(nsm.extend_pcr(16, b"").is_err());
        assert!(nsm.lock_pcrs(0).is_err());
        assert!(nsm.attest(None, None, None).is_err());
        assert!(nsm.random().is_err());
    };
    for garbage in [
        &b""[..],
        b"\xff",
        b"\x67LockPCR",
        b"\xa1\x65Error\x67Success",
        b"\xa1\x69GetRandom\xa1\x66random\x40",
        b"\xa1\x69ExtendPCR\xa1\x64data\x41\x00",
        &[0; 0x3000],
    ] {
        module.set(Fault::Garbage(garbage.to_vec()));
        fails();
    }
    for length in [0, 1, 8, 20] {
        module.set(Fault::Cut(length));
        assert!(nsm.describe().is_err() && nsm.describe_pcr(0).is_err());
        assert!(nsm.attest(None, None, None).is_err() && nsm.random().is_err());
    }
}

#[test]
fn randomness_that_is_none_is_refused() {
    let (_, nsm) = faulty(Fault::ZeroRandom);
    let error = nsm.random().expect_err("zeros").to_string();
    assert!(error.contains("all the same"), "{error}");
}
