//! CBOR: any bytes are an item or a clear refusal, and what was read is the same when it is written and read again.
#![no_main]

use attest::cbor::{Item, Reader, Value, Writer, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    count(Reader::new(bytes), bytes.len());
    count(Reader::strict(bytes), bytes.len());
    let Ok(value) = decode(bytes) else { return };
    let mut writer = Writer::new();
    write(&mut writer, &value);
    let written = writer.finish();
    // Never longer, but for the length of an array or a map of 256 items and more that was indefinite.
    assert!(written.len() <= bytes.len() + bytes.len() / 128);
    assert_eq!(decode(&written), Ok(value));
});

/// Every item takes a byte at least.
fn count(mut reader: Reader<'_>, most: usize) {
    let mut items = 0;
    while let Ok(item) = reader.item() {
        items += 1;
        if let Item::Bytes(content) = item {
            assert!(content.len() < most);
        }
    }
    assert!(items <= most);
}

fn write(writer: &mut Writer, value: &Value<'_>) {
    match value {
        Value::Unsigned(value) => writer.unsigned(*value),
        Value::Negative(value) => {
            // As unsigned, with another major type.
            let mut head = Writer::new();
            head.unsigned(*value);
            let mut head = head.finish();
            head[0] |= 1 << 5;
            writer.encoded(&head)
        }
        Value::Bytes(bytes) => writer.bytes(bytes),
        Value::Text(text) => writer.text(text),
        Value::Bool(value) => writer.encoded(&[if *value { 0xf5 } else { 0xf4 }]),
        Value::Null => writer.null(),
        Value::Array(items) => {
            writer.array(items.len());
            items.iter().for_each(|item| write(writer, item));
            writer
        }
        Value::Map(entries) => {
            writer.map(entries.len());
            for (key, value) in entries {
                write(writer, key);
                write(writer, value);
            }
            writer
        }
    };
}
