use super::*;

#[test]
fn what_is_written_is_read() {
    let mut writer = Writer::new();
    writer
        .map(3)
        .text("a")
        .unsigned(70_000)
        .text("b")
        .bytes(&[1, 2])
        .text("c");
    writer.array(2).null().integers(&[0, 255]);
    let bytes = writer.finish();
    let value = decode(&bytes).expect("valid");
    assert_eq!(value.get("a").and_then(Value::as_unsigned), Some(70_000));
    assert_eq!(value.get("b").and_then(Value::as_bytes), Some(&[1, 2][..]));
    let list = value.get("c").and_then(Value::as_array).expect("a list");
    assert_eq!(list[0], Value::Null);
    assert_eq!(list[1].as_integers(), Some(vec![0, 255]));
}

#[test]
fn integers_are_written_in_their_shortest_form() {
    for (value, length) in [
        (0, 1),
        (23, 1),
        (24, 2),
        (255, 2),
        (256, 3),
        (65_536, 5),
        (1 << 32, 9),
    ] {
        let mut writer = Writer::new();
        writer.unsigned(value);
        let bytes = writer.finish();
        assert_eq!(bytes.len(), length, "{value}");
        assert_eq!(decode(&bytes), Ok(Value::Unsigned(value)));
    }
}

#[test]
fn indefinite_maps_and_arrays_are_read() {
    // {_ "a": [_ 1, 2]}
    let value = decode(&[0xbf, 0x61, b'a', 0x9f, 1, 2, 0xff, 0xff]).expect("valid");
    assert_eq!(
        value.get("a"),
        Some(&Value::Array(vec![Value::Unsigned(1), Value::Unsigned(2)]))
    );
}

#[test]
fn hostile_input_is_refused_without_harm() {
    use CborError::{DuplicateKey, TooDeep, Trailing, Truncated, Unsupported};
    for (bytes, error) in [
        (&[][..], Truncated),
        (&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Truncated),
        (&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Truncated),
        (
            &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
            Truncated,
        ),
        (&[0x9f, 1], Truncated),
        (&[0x81; 100], TooDeep),
        (&[0, 0], Trailing),
        (&[0xa2, 1, 1, 1, 2], DuplicateKey),
        (&[0xff], Unsupported),
        (&[0x1c], Unsupported),
        (&[0xc1, 0], Unsupported),
        (&[0xfb, 0, 0, 0, 0, 0, 0, 0, 0], Unsupported),
        (&[0x61, 0xff], Unsupported),
        (&[0x5f, 0xff], Unsupported),
    ] {
        assert_eq!(decode(bytes), Err(error), "{bytes:02x?}");
    }
}

#[test]
fn strict_reading_wants_the_shortest_form() {
    for (long, short) in [
        (&[0x18, 23][..], &[23][..]),
        (&[0x19, 0, 255], &[0x18, 255]),
        (&[0x1a, 0, 0, 0xff, 0xff], &[0x19, 0xff, 0xff]),
        (&[0x1b, 0, 0, 0, 0, 0, 0, 1, 0], &[0x19, 1, 0]),
        (&[0x58, 1, 7], &[0x41, 7]),
        (&[0x78, 1, b'a'], &[0x61, b'a']),
        (&[0x98, 0], &[0x80]),
        (&[0xb8, 0], &[0xa0]),
    ] {
        assert_eq!(
            Reader::strict(long).item(),
            Err(CborError::NotShortest),
            "{long:02x?}"
        );
        assert_eq!(
            Reader::strict(short).item(),
            Reader::new(long).item(),
            "{long:02x?}"
        );
    }
}

#[test]
fn a_map_of_very_many_keys_is_refused_before_it_takes_time() {
    let mut writer = Writer::new();
    writer.map(100_000);
    for key in 0..100_000 {
        writer.unsigned(key).null();
    }
    assert_eq!(decode(&writer.finish()), Err(CborError::TooManyKeys));
}
