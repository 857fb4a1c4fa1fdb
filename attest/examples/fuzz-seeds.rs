//! Makes the seeds of the fuzz targets `cbor` and `document` anew, with the throw-away root and signer that they need:
//! `cargo run --package attest --features software --example fuzz-seeds -- attest/fuzz`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use attest::UnixTime;
use attest::cbor::Writer;
use attest::document::issue::{Authority, Draft};

/// 2026-06-01T12:00:00Z, as in the target.
const NOW: UnixTime = UnixTime::from_seconds(1_780_315_200);
const MODULE: &str = "i-0123456789abcdef0-enc0123456789abcdef";

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args_os().nth(1).map(PathBuf::from);
    let out = out.ok_or("where to? Give the directory of the fuzz targets")?;
    for directory in ["identity", "seeds/cbor", "seeds/document"] {
        fs::create_dir_all(out.join(directory))?;
    }
    documents(&out)?;
    items(&out.join("seeds/cbor"))
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
