//! The two messages of `grpc.health.v1.Health/Check` in protobuf, which is so little that a crate would be more.

/// `HealthCheckRequest { string service = 1; }` with its prefix.
pub(super) fn message(service: &str) -> Vec<u8> {
    let mut protobuf = Vec::new();
    if !service.is_empty() {
        protobuf.push(1 << 3 | LENGTH_DELIMITED);
        push_varint(&mut protobuf, service.len());
        protobuf.extend_from_slice(service.as_bytes());
    }
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(protobuf.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&protobuf);
    bytes
}

/// `HealthCheckResponse { ServingStatus status = 1; }`; unknown fields are passed over. `None`: it is something else.
pub(super) fn status(message: &[u8]) -> Option<u64> {
    let mut rest = message;
    let mut status = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let kind = u8::try_from(tag & 7).ok()?;
        match (tag >> 3, kind) {
            (1, VARINT) => status = varint(&mut rest)?,
            (_, VARINT) => drop(varint(&mut rest)?),
            (_, FIXED64) => rest = rest.get(8..)?,
            (_, LENGTH_DELIMITED) => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, FIXED32) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// Wire types of protobuf.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn push_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        bytes.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap_or_default());
}
