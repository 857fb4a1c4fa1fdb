//! Quantities against the tables of apimachinery's own tests (`resource/quantity_test.go`).

use super::{NANO, Quantity};

const KI: i128 = 1 << 10;
const MI: i128 = 1 << 20;
const GI: i128 = 1 << 30;
const TI: i128 = 1 << 40;
const PI: i128 = 1 << 50;
const EI: i128 = 1 << 60;
const MOST: i128 = i64::MAX as i128;

/// Text, and the value as a whole number times a power of ten.
const VALID: &[(&str, i128, i32)] = &[
    ("0", 0, 0),
    ("0n", 0, 0),
    ("0u", 0, 0),
    ("0m", 0, 0),
    ("0Ki", 0, 0),
    ("0k", 0, 0),
    ("0Mi", 0, 0),
    ("0M", 0, 0),
    ("0Gi", 0, 0),
    ("0G", 0, 0),
    ("0Ti", 0, 0),
    ("0T", 0, 0),
    ("1", 1, 0),
    // Binary suffixes.
    ("1Ki", KI, 0),
    ("8Ki", 8 * KI, 0),
    ("7Mi", 7 * MI, 0),
    ("6Gi", 6 * GI, 0),
    ("5Ti", 5 * TI, 0),
    ("4Pi", 4 * PI, 0),
    ("3Ei", 3 * EI, 0),
    ("10Ti", 10 * TI, 0),
    ("100Ti", 100 * TI, 0),
    // Decimal suffixes.
    ("5n", 5, -9),
    ("4u", 4, -6),
    ("3m", 3, -3),
    ("9", 9, 0),
    ("8k", 8, 3),
    ("50k", 5, 4),
    ("7M", 7, 6),
    ("6G", 6, 9),
    ("5T", 5, 12),
    ("40T", 4, 13),
    ("300T", 3, 14),
    ("2P", 2, 15),
    ("1E", 1, 18),
    // Exponents.
    ("1E-3", 1, -3),
    ("1e3", 1, 3),
    ("1E6", 1, 6),
    ("1e9", 1, 9),
    ("1E12", 1, 12),
    ("1e15", 1, 15),
    ("1E18", 1, 18),
    ("1e14", 1, 14),
    ("1e13", 1, 13),
    ("100.035k", 100_035, 0),
    // What looks like floating point.
    ("0.001", 1, -3),
    ("0.0005k", 5, -1),
    ("0.005", 5, -3),
    ("0.05", 5, -2),
    ("0.5", 5, -1),
    ("0.00050k", 5, -1),
    ("0.00500", 5, -3),
    ("0.05000", 5, -2),
    ("0.50000", 5, -1),
    ("0.5e0", 5, -1),
    ("0.5e-1", 5, -2),
    ("0.5e-2", 5, -3),
    ("10.035M", 10_035, 3),
    ("1.2e3", 12, 2),
    ("1.3E+6", 13, 5),
    ("1.40e9", 14, 8),
    ("1.53E12", 153, 10),
    ("1.6e15", 16, 14),
    ("1.7E18", 17, 17),
    ("9.01", 901, -2),
    ("8.1k", 81, 2),
    ("7.123456M", 7_123_456, 0),
    ("6.987654321G", 6_987_654_321, 0),
    ("5.444T", 5444, 9),
    ("40.1T", 401, 11),
    ("300.2T", 3002, 11),
    ("2.5P", 25, 14),
    ("1.01E", 101, 16),
    // What is rounded, always up, and what is cut.
    ("3.001n", 4, -9),
    ("1.1E-9", 2, -9),
    ("0.0000000001", 1, -9),
    ("0.0000000005", 1, -9),
    ("0.00000000050", 1, -9),
    ("0.5e-9", 1, -9),
    ("0.9n", 1, -9),
    ("0.00000012345", 124, -9),
    ("0.00000012354", 124, -9),
    ("9Ei", MOST, 0),
    ("9223372036854775807Ki", MOST, 0),
    ("12E", 12, 18),
    // Fractions of binary suffixes.
    ("100.035Ki", 10_243_584, -2),
    ("0.5Mi", MI / 2, 0),
    ("0.05Gi", 536_870_912, -1),
    ("0.025Ti", 274_877_906_944, -1),
    // What nobody should write.
    ("0.000000000001Ki", 2, -9),
    (".001", 1, -3),
    (".0001k", 100, -3),
    ("1.", 1, 0),
    ("1.G", 1, 9),
    // From the tables of canonical forms.
    ("1000E", 1, 21),
    ("5000E", 5, 21),
    ("1000000E", 1, 24),
    (".001Ki", 1024, -3),
    (".000001Ki", 1024, -6),
    (".000000001Ki", 1024, -9),
    (".000000000001Ki", 2, -9),
    ("1080000000n", 108, -2),
    (".001e12", 1, 9),
    ("1000e-12", 1, -9),
    ("00", 0, 0),
];

fn nano(value: i128, power: i32) -> i128 {
    value * 10i128.pow(u32::try_from(power + 9).expect("no finer than nano"))
}

#[test]
fn lc_298_quantities_are_read_as_kubernetes_reads_them() {
    for (text, value, power) in VALID {
        let expected = nano(*value, *power);
        for (sign, expected) in [("", expected), ("-", -expected), ("+", expected)] {
            let text = format!("{sign}{text}");
            assert_eq!(text.parse(), Ok(Quantity(expected)), "{text}");
        }
    }
}

#[test]
fn lc_298_what_is_no_quantity_is_refused() {
    for text in [
        "",
        "1.1.M",
        "1+1.0M",
        "0.1mi",
        "0.1am",
        "aoeu",
        ".5i",
        "1i",
        "-3.01i",
        "-3.01e-",
        " 1",
        "1 ",
        // K-431.
        "K",
        "1K",
        "1ki",
        "1mi",
        "1.2.3",
        ".",
        "-.",
        "+",
        "e3",
        "1e",
        "--1",
        "+-1",
        "1e1.5",
        "1Kii",
        "Non-Numeric",
    ] {
        let message = text.parse::<Quantity>().expect_err(text);
        assert!(message.contains(&format!("`{text}`")), "{message}");
    }
}

#[test]
fn lc_298_values_are_rounded_away_from_zero() {
    // Text, value, thousandths.
    for (text, value, milli) in [
        ("9.01", 10, 9010),
        ("-9.01", -10, -9010),
        ("0.0001", 1, 1),
        ("1", 1, 1000),
        ("0.1", 1, 100),
        ("100m", 1, 100),
        ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
        ("123Mi", 128_974_848, 128_974_848_000),
        ("1E", 1_000_000_000_000_000_000, i64::MAX),
        ("12E6", 12_000_000, 12_000_000_000),
        ("1e-30", 1, 1),
        ("9e30", i64::MAX, i64::MAX),
        ("-9e300", -i64::MAX, -i64::MAX),
    ] {
        let quantity: Quantity = text.parse().expect(text);
        assert_eq!(
            (quantity.value(), quantity.milli_value()),
            (value, milli),
            "{text}"
        );
    }
    assert_eq!(Quantity(NANO + 1).value(), 2);
}

#[test]
fn lc_298_quantities_compare_by_value() {
    let ordered = ["-10", "-9.01", "0", "50m", "100m", "0.8", "1", "100Gi", "10000T"];
    let read = ordered.map(|text| text.parse::<Quantity>().expect(text));
    assert!(read.is_sorted());
    assert_eq!("1024Mi".parse::<Quantity>(), "1Gi".parse());
}

proptest::proptest! {
    #[test]
    fn any_text_is_safe(text in ".{0,70}") { let _ = text.parse::<Quantity>(); }
}
