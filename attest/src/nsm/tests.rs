use super::*;

/// Line of the vectors → bytes. The vectors are not part of the repository: `CLOISTER_VECTORS` says where they are.
pub(in crate::nsm) fn vectors() -> Option<Vec<(String, Vec<u8>)>> {
    let Some(directory) = std::env::var_os("CLOISTER_VECTORS") else {
        println!("SKIPPED: CLOISTER_VECTORS is not set: the NSM codec is not compared with the reference");
        return None;
    };
    let path = std::path::Path::new(&directory).join("nsm-cbor.tsv");
    let text = std::fs::read_to_string(&path).expect("the vectors");
    let line = |line: &str| {
        let (name, hex) = line.split_once('\t').expect("name and bytes");
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        (name.to_owned(), (0..hex.len()).step_by(2).map(byte).collect())
    };
    Some(text.lines().map(line).collect())
}

#[test]
fn requests_are_the_bytes_of_the_reference() {
    let Some(vectors) = vectors() else { return };
    let none = Request::Attestation {
        user_data: None,
        nonce: None,
        public_key: None,
    };
    let all = Request::Attestation {
        user_data: Some(&[0xaa]),
        nonce: Some(&[0xbb]),
        public_key: Some(&[0xcc]),
    };
    let requests = [
        ("req DescribePCR(0)", Request::DescribePcr { index: 0 }),
        ("req DescribePCR(31)", Request::DescribePcr { index: 31 }),
        (
            "req ExtendPCR(16, 010203)",
            Request::ExtendPcr {
                index: 16,
                data: &[1, 2, 3],
            },
        ),
        ("req LockPCR(16)", Request::LockPcr { index: 16 }),
        ("req LockPCRs(32)", Request::LockPcrs { range: 32 }),
        ("req DescribeNSM", Request::DescribeNsm),
        ("req GetRandom", Request::GetRandom),
        ("req Attestation(None,None,None)", none),
        ("req Attestation(ud=aa,nonce=bb,pk=cc)", all),
    ];
    let known: Vec<_> = vectors
        .iter()
        .filter(|(name, _)| name.starts_with("req "))
        .collect();
    assert_eq!(known.len(), requests.len());
    for (name, request) in requests {
        let (_, expected) = known.iter().find(|(known, _)| known == name).expect("a vector");
        assert_eq!(&request.encode(), expected, "{name}");
    }
}

#[test]
fn answers_of_the_reference_are_understood() {
    let Some(vectors) = vectors() else { return };
    let mut seen = 0;
    for (name, bytes) in vectors.iter().filter(|(name, _)| name.starts_with("resp ")) {
        let answer = Response::decode(bytes);
        match (name.as_str(), answer) {
            ("resp DescribePCR", Ok(Response::DescribePcr(pcr))) => {
                assert!(pcr.locked && pcr.value == [0; 48]);
            }
            ("resp ExtendPCR", Ok(Response::ExtendPcr(value))) => assert_eq!(value, [0x11; 48]),
            ("resp LockPCR", Ok(Response::LockPcr)) | ("resp LockPCRs", Ok(Response::LockPcrs)) => {}
            ("resp DescribeNSM", Ok(Response::DescribeNsm(description))) => {
                assert_eq!(description.version, [1, 0, 0]);
                assert_eq!(description.module_id, "i-0-enc0");
                assert_eq!(description.max_pcrs, 32);
                assert_eq!(description.locked_pcrs, (0..16).collect::<Vec<_>>());
                assert_eq!(description.digest, "SHA384");
            }
            ("resp Attestation", Ok(Response::Attestation(document))) => assert_eq!(document, [0xde, 0xad]),
            ("resp GetRandom", Ok(Response::GetRandom(random))) => assert_eq!(random, [0x42; 4]),
            (name, Err(NsmError::Refused(code))) => assert_eq!(name, format!("resp Error {code:?}")),
            (name, answer) => panic!("{name}: {answer:?}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 15);
}

#[test]
fn an_answer_of_another_shape_is_refused() {
    for bytes in [
        &b"\x67LockPCX"[..],
        b"\xa1\x65Error\x61x",
        b"\xa1\x69ExtendPCR\xa1\x64data\x41\x00",
        b"\xa1\x6bDescribePCR\xa0",
        b"\xa0",
        b"\x00",
    ] {
        assert!(Response::decode(bytes).is_err(), "{bytes:02x?}");
    }
}
