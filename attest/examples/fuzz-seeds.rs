//! Makes the seeds of the fuzz targets of `attest` anew, with the throw-away root and signer that they need:
//! `cargo run --package attest --features software --example fuzz-seeds -- attest/fuzz`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use attest::UnixTime;
use attest::cbor::Writer;
use attest::document::issue::{Authority, Draft};
use attest::release::{Application, Binding, Names, SecretName, SecretsRequest};

/// 2026-06-01T12:00:00Z, as in the target.
const NOW: UnixTime = UnixTime::from_seconds(1_780_315_200);
const MODULE: &str = "i-0123456789abcdef0-enc0123456789abcdef";

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args_os().nth(1).map(PathBuf::from);
    let out = out.ok_or("where to? Give the directory of the fuzz targets")?;
    for directory in [
        "identity",
        "seeds/broker_request",
        "seeds/cbor",
        "seeds/document",
        "seeds/http",
    ] {
        fs::create_dir_all(out.join(directory))?;
    }
    documents(&out)?;
    requests(&out.join("seeds/broker_request"))?;
    messages(&out.join("seeds/http"))?;
    items(&out.join("seeds/cbor"))
}

/// Bodies of requests for secrets: right ones, and some that are nearly.
fn requests(out: &Path) -> Result<(), Box<dyn Error>> {
    let request = |generation: u64, list: &[&str]| -> Result<SecretsRequest, Box<dyn Error>> {
        let names: Result<Vec<_>, _> = list
            .iter()
            .map(|name| SecretName::try_from((*name).to_owned()))
            .collect();
        let secrets = Names::try_from(names?)?;
        let application = Application::try_from("web".to_owned())?;
        let binding = Binding {
            bundle: [0xb0; 48],
            generation,
            names: secrets.digest(),
            application: application.clone(),
        };
        Ok(SecretsRequest {
            document: binding.encode(),
            application,
            generation,
            secrets,
        })
    };
    let good = request(7, &["password", "tls.key"])?;
    let text = String::from_utf8(good.to_json())?;
    let other = SecretsRequest {
        application: Application::try_from("shop".to_owned())?,
        ..good
    };
    for (name, bytes) in [
        ("good", text.clone().into_bytes()),
        ("none", request(0, &["password"])?.to_json()),
        ("largest", request(u64::MAX, &["tls.key"])?.to_json()),
        ("foreign-name", request(7, &["password", "other"])?.to_json()),
        ("other-application", other.to_json()),
        ("twice", text.replace("\"tls.key\"", "\"password\"").into_bytes()),
        ("path", text.replace("tls.key", "../key").into_bytes()),
        (
            "unknown-field",
            text.replacen('{', "{\"more\":1,", 1).into_bytes(),
        ),
        ("list", b"[\"AQID\",\"web\",1,[\"a\"]]".to_vec()),
    ] {
        fs::write(out.join(name), bytes)?;
    }
    Ok(())
}

/// Heads and answers; the first byte of the target's input says into which pieces the rest is cut.
fn messages(out: &Path) -> Result<(), Box<dyn Error>> {
    for (name, text) in [
        (
            "answer",
            "\x07HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        ),
        (
            "closing",
            "\x01HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "chunked",
            "\x00HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("interim", "\x3fHTTP/1.1 100 Continue\r\n\r\n"),
        (
            "get",
            "GET /v1/attestation?nonce=AA&data=BB HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        ("get-body", "GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"),
        (
            "post",
            "POST /v1/nonce HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        ),
    ] {
        fs::write(out.join(name), text)?;
    }
    Ok(())
}

fn documents(out: &Path) -> Result<(), Box<dyn Error>> {
    let authority = Authority::new(NOW)?;
    let signer = authority.signer(MODULE, NOW)?;
    fs::write(out.join("identity/root.der"), authority.root())?;
    fs::write(out.join("identity/signer.pkcs8"), signer.key().pkcs8().expose())?;
    let pcrs = |count: u8, first: [u8; 48]| {
        let mut pcrs: BTreeMap<u8, [u8; 48]> = (0..count).map(|index| (index, [index; 48])).collect();
        pcrs.insert(0, first);
        pcrs
    };
    let plain = |pcrs| Draft {
        time: NOW,
        pcrs,
        public_key: None,
        user_data: None,
        nonce: None,
    };
    let (boot, all) = (pcrs(16, [0xa0; 48]), pcrs(32, [0xa0; 48]));
    let (few, debug) = (pcrs(1, [0xa0; 48]), pcrs(16, [0; 48]));
    let full = Draft {
        public_key: Some(&[1; 294]),
        user_data: Some(&[2; 64]),
        nonce: Some(&[3; 32]),
        ..plain(&boot)
    };
    let empty = Draft {
        user_data: Some(&[]),
        nonce: Some(&[]),
        ..plain(&few)
    };
    for (name, draft) in [
        ("nulls", plain(&boot)),
        ("all-fields", full),
        ("empty-fields", empty),
        ("32-pcrs", plain(&all)),
        ("debug", plain(&debug)),
    ] {
        fs::write(out.join("seeds/document").join(name), signer.document(&draft)?)?;
    }
    Ok(())
}

/// In the shape of the security module's requests and answers.
fn items(out: &Path) -> Result<(), Box<dyn Error>> {
    let item = |write: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::new();
        write(&mut writer);
        writer.finish()
    };
    let describe = item(&|writer| {
        writer.map(1).text("DescribeNSM").map(4);
        writer
            .text("version_major")
            .unsigned(1)
            .text("digest")
            .text("SHA384");
        writer.text("max_pcrs").unsigned(32);
        writer.text("locked_pcrs").integers(&[0, 1, 2, 3]);
    });
    let pcr = item(&|writer| {
        writer.map(1).text("DescribePCR").map(2);
        writer.text("lock").encoded(&[0xf5]).text("data").bytes(&[7; 48]);
    });
    let indefinite = item(&|writer| {
        writer.open_map().text("nonce").null().text("list");
        writer.encoded(&[0x9f, 0x20, 0x38, 0x22, 0xf4, 0xff]).end();
    });
    let numbers = item(&|writer| {
        writer.array(5).unsigned(23).unsigned(255).unsigned(65_535);
        writer.unsigned(u64::from(u32::MAX)).unsigned(u64::MAX);
    });
    let error = item(&|writer| {
        writer.map(1).text("Error").text("InvalidIndex");
    });
    let nested = vec![0x81; 15];
    for (name, bytes) in [
        ("describe", describe),
        ("pcr", pcr),
        ("indefinite", indefinite),
        ("numbers", numbers),
        ("error", error),
        ("nested", [nested, vec![0]].concat()),
    ] {
        fs::write(out.join(name), bytes)?;
    }
    Ok(())
}
