//! The reference, `aws-nitro-enclaves-nsm-api`, against our codec and our module: it reads what we write, and writes what we
//! write. In tests only: it encodes with an unmaintained crate.

use aws_nitro_enclaves_nsm_api::api;
use proptest::prelude::*;
use serde_bytes::ByteBuf;

use super::message::{ErrorCode, Request, Response};
use super::software::{read_request, write_answer};
use super::{Nsm, NsmError, Platform, SecurityModule as _, SoftwareModule};

fn reference(request: &Request<'_>) -> api::Request {
    let own = |bytes: Option<&[u8]>| bytes.map(|bytes| ByteBuf::from(bytes.to_vec()));
    match *request {
        Request::DescribeNsm => api::Request::DescribeNSM,
        Request::DescribePcr { index } => api::Request::DescribePCR { index },
        Request::ExtendPcr { index, data } => api::Request::ExtendPCR {
            index,
            data: data.to_vec(),
        },
        Request::LockPcr { index } => api::Request::LockPCR { index },
        Request::LockPcrs { range } => api::Request::LockPCRs { range },
        Request::Attestation {
            user_data,
            nonce,
            public_key,
        } => api::Request::Attestation {
            user_data: own(user_data),
            nonce: own(nonce),
            public_key: own(public_key),
        },
        Request::GetRandom => api::Request::GetRandom,
    }
}

/// Each request that these arguments make.
fn requests<'a>(index: u16, data: &'a [u8], other: Option<&'a [u8]>) -> [Request<'a>; 7] {
    [
        Request::DescribeNsm,
        Request::DescribePcr { index },
        Request::ExtendPcr { index, data },
        Request::LockPcr { index },
        Request::LockPcrs { range: index },
        Request::Attestation {
            user_data: Some(data),
            nonce: other,
            public_key: None,
        },
        Request::GetRandom,
    ]
}

fn module() -> SoftwareModule {
    SoftwareModule::boot(&Platform::of_image([[1; 48]; 3])).expect("a module")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_are_the_bytes_of_the_reference(index: u16, data: Vec<u8>, other: Option<Vec<u8>>) {
        for request in requests(index, &data, other.as_deref()) {
            let bytes = serde_cbor::to_vec(&reference(&request)).expect("bytes");
            prop_assert_eq!(&request.encode(), &bytes);
            prop_assert_eq!(read_request(&bytes), Ok(request));
        }
    }

    #[test]
    fn answers_are_the_bytes_of_the_reference(index in 0..40u16, data: Vec<u8>, other: Option<Vec<u8>>) {
        thread_local!(static MODULE: SoftwareModule = module());
        for request in requests(index, &data, other.as_deref()) {
            let answer = MODULE.with(|module| module.exchange(&request.encode())).expect("an answer");
            let read: api::Response = serde_cbor::from_slice(&answer).expect("an answer of the reference");
            prop_assert_eq!(serde_cbor::to_vec(&read).expect("bytes"), answer.clone());
            match (Response::decode(&answer), read) {
                (Err(NsmError::Refused(code)), api::Response::Error(known)) => {
                    prop_assert_eq!(format!("{code:?}"), format!("{known:?}"));
                }
                (Ok(ours), _) => prop_assert_eq!(write_answer(&Ok(ours)), answer),
                (ours, read) => prop_assert!(false, "{ours:?} {read:?}"),
            }
        }
    }
}

#[test]
fn every_error_of_the_reference_is_known() {
    for code in ErrorCode::ALL {
        let bytes = write_answer(&Err(code));
        let read: api::Response = serde_cbor::from_slice(&bytes).expect("an answer of the reference");
        let api::Response::Error(known) = read else {
            panic!("{read:?}");
        };
        assert_eq!(format!("{known:?}"), code.name());
    }
}

#[test]
fn the_reference_reads_our_documents() {
    let module = module();
    let module_id = module.module_id().to_owned();
    let nsm = Nsm::new(module);
    nsm.lock_pcr(16).expect("it is open");
    let document = nsm
        .attest(Some(b"user data"), None, Some(b"key"))
        .expect("a document");
    let (_, _, payload, _): (ByteBuf, serde_cbor::Value, ByteBuf, ByteBuf) =
        serde_cbor::from_slice(&document).expect("a COSE_Sign1");
    let read = api::AttestationDoc::from_binary(&payload).expect("a document of the reference");
    assert_eq!((read.module_id, read.digest), (module_id, api::Digest::SHA384));
    assert_eq!(
        read.pcrs.keys().copied().collect::<Vec<_>>(),
        (0..17).collect::<Vec<_>>()
    );
    assert_eq!(read.cabundle.len(), 4);
    let bytes = |field: Option<ByteBuf>| field.map(ByteBuf::into_vec);
    assert_eq!(bytes(read.user_data), Some(b"user data".to_vec()));
    assert_eq!(bytes(read.public_key), Some(b"key".to_vec()));
    assert_eq!(bytes(read.nonce), None);
}
