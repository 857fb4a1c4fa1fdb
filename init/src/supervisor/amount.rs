//! Amounts of resources as Kubernetes writes them: the shortest exact text (K-431).

const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [&str; 6] = ["k", "M", "G", "T", "P", "E"];

/// Thousandths of a CPU: `500m`, `2`.
pub(super) fn of_cpu(millis: u64) -> String {
    match millis % 1000 {
        0 => shortest(millis / 1000, 1000, DECIMAL),
        _ => format!("{millis}m"),
    }
}

/// Bytes: `64Mi`; `100M` where no binary unit fits.
pub(super) fn of_memory(bytes: u64) -> String {
    match bytes % 1024 {
        0 => shortest(bytes, 1024, BINARY),
        _ => shortest(bytes, 1000, DECIMAL),
    }
}

fn shortest(mut number: u64, base: u64, units: [&str; 6]) -> String {
    let mut unit = "";
    for next in units {
        if number == 0 || !number.is_multiple_of(base) {
            break;
        }
        (number, unit) = (number / base, next);
    }
    format!("{number}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_as_short_as_they_can_be() {
        for (millis, text) in [
            (0, "0"),
            (1, "1m"),
            (500, "500m"),
            (1500, "1500m"),
            (2000, "2"),
            (2_000_000, "2k"),
        ] {
            assert_eq!(of_cpu(millis), text);
        }
        let memory = [
            (0, "0"),
            (1, "1"),
            (1024, "1Ki"),
            (64 << 20, "64Mi"),
            (1536 << 20, "1536Mi"),
            (100_000_000, "100M"),
            (100_000_001, "100000001"),
        ];
        for (bytes, text) in memory {
            assert_eq!(of_memory(bytes), text);
        }
    }
}
