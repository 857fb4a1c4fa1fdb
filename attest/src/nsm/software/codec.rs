//! The other side of the protocol: reads requests and writes answers. Both are the bytes of the reference.

use super::super::message::{Description, ErrorCode, Request, Response};
use crate::cbor::{Value, Writer, decode};

/// `true` and `false` (RFC 8949 section 3.3).
const TRUE: &[u8] = &[0xf5];
const FALSE: &[u8] = &[0xf4];

/// Reads a request. What cannot be read is `InvalidOperation`, as from QEMU's module.
pub(in crate::nsm) fn read_request(bytes: &[u8]) -> Result<Request<'_>, ErrorCode> {
    let value = decode(bytes).map_err(|_| ErrorCode::InvalidOperation)?;
    request(&value).ok_or(ErrorCode::InvalidOperation)
}

fn request<'a>(value: &Value<'a>) -> Option<Request<'a>> {
    let (name, body) = match value {
        Value::Text("DescribeNSM") => return Some(Request::DescribeNsm),
        Value::Text("GetRandom") => return Some(Request::GetRandom),
        Value::Map(entries) => match entries.as_slice() {
            [(Value::Text(name), body)] => (*name, body),
            _ => return None,
        },
        _ => return None,
    };
    let number = |field| u16::try_from(body.get(field)?.as_unsigned()?).ok();
    Some(match name {
        "DescribePCR" => Request::DescribePcr {
            index: number("index")?,
        },
        "LockPCR" => Request::LockPcr {
            index: number("index")?,
        },
        "LockPCRs" => Request::LockPcrs {
            range: number("range")?,
        },
        "ExtendPCR" => Request::ExtendPcr {
            index: number("index")?,
            data: body.get("data")?.as_bytes()?,
        },
        "Attestation" => Request::Attestation {
            user_data: optional(body, "user_data")?,
            nonce: optional(body, "nonce")?,
            public_key: optional(body, "public_key")?,
        },
        _ => return None,
    })
}

/// Bytes, null or nothing.
#[expect(
    clippy::option_option,
    reason = "malformed, absent and present are three things"
)]
fn optional<'a>(body: &Value<'a>, name: &str) -> Option<Option<&'a [u8]>> {
    match body.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(value) => value.as_bytes().map(Some),
    }
}

/// Writes an answer, in the order of the reference.
pub(in crate::nsm) fn write_answer(answer: &Result<Response, ErrorCode>) -> Vec<u8> {
    let mut writer = Writer::new();
    match answer {
        Err(code) => writer.map(1).text("Error").text(code.name()),
        Ok(Response::LockPcr) => writer.text("LockPCR"),
        Ok(Response::LockPcrs) => writer.text("LockPCRs"),
        Ok(Response::DescribePcr(pcr)) => {
            writer.map(1).text("DescribePCR").map(2);
            writer
                .text("lock")
                .encoded(if pcr.locked { TRUE } else { FALSE })
                .text("data")
                .bytes(&pcr.value)
        }
        Ok(Response::ExtendPcr(value)) => one(&mut writer, "ExtendPCR", "data", value),
        Ok(Response::Attestation(document)) => one(&mut writer, "Attestation", "document", document),
        Ok(Response::GetRandom(random)) => one(&mut writer, "GetRandom", "random", random),
        Ok(Response::DescribeNsm(description)) => describe(&mut writer, description),
    };
    writer.finish()
}

fn one<'a>(writer: &'a mut Writer, name: &str, field: &str, bytes: &[u8]) -> &'a mut Writer {
    writer.map(1).text(name).map(1).text(field).bytes(bytes)
}

fn describe<'a>(writer: &'a mut Writer, description: &Description) -> &'a mut Writer {
    writer.map(1).text("DescribeNSM").map(7);
    for (name, number) in ["version_major", "version_minor", "version_patch"]
        .into_iter()
        .zip(description.version)
    {
        writer.text(name).unsigned(number);
    }
    writer.text("module_id").text(&description.module_id);
    writer.text("max_pcrs").unsigned(description.max_pcrs);
    writer.text("locked_pcrs").array(description.locked_pcrs.len());
    for index in &description.locked_pcrs {
        writer.unsigned(*index);
    }
    writer.text("digest").text(&description.digest)
}
