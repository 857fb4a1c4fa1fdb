//! Kubernetes quantities (K-430 to K-432), held in nano units.

/// A parsed quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

const NANO: i128 = 1_000_000_000;

impl Quantity {
    /// Integer value, rounded away from zero, capped to 63 bits (K-432).
    pub fn value(self) -> i64 {
        round_up(self.0, NANO)
    }

    /// Value in thousandths, rounded away from zero, capped to 63 bits.
    pub fn milli_value(self) -> i64 {
        round_up(self.0, NANO / 1000)
    }
}

fn round_up(nano: i128, unit: i128) -> i64 {
    let away = i128::from(nano % unit != 0) * nano.signum();
    let capped = (nano / unit + away).clamp(-i128::from(i64::MAX), i128::from(i64::MAX));
    i64::try_from(capped).unwrap_or(i64::MAX)
}

impl std::str::FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is not a quantity: expected a number and a suffix, such as 500m, 2 or 64Mi");
        if text.len() > 64 {
            return Err("the quantity is longer than 64 characters".to_owned());
        }
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(bad());
        }
        let (base, power) = scale(suffix).ok_or_else(bad)?;
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let places = i32::try_from(fraction.len()).map_err(|_| bad())?;
        let nano = nano(digits, places, base, power);
        Ok(Self(if text.starts_with('-') { -nano } else { nano }))
    }
}

/// Binary multiplier and power of ten of a suffix.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    let decimal = |power| Some((1, power));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => Some((1 << 10, 0)),
        "Mi" => Some((1 << 20, 0)),
        "Gi" => Some((1 << 30, 0)),
        "Ti" => Some((1 << 40, 0)),
        "Pi" => Some((1 << 50, 0)),
        "Ei" => Some((1 << 60, 0)),
        _ => decimal(suffix.strip_prefix(['e', 'E'])?.parse::<i16>().ok()?.into()),
    }
}

/// Digits × base × 10^(power − places) in nano units, rounded up. Saturates: binary suffixes at 63 bits, as Kubernetes does,
/// others at what can be held, which is more than any machine has.
fn nano(digits: &str, places: i32, base: i128, power: i32) -> i128 {
    let limit = if base > 1 {
        i128::from(i64::MAX) * NANO
    } else {
        i128::MAX
    };
    if digits.is_empty() {
        return 0;
    }
    let Some(number) = digits.parse::<i128>().ok().and_then(|n| n.checked_mul(base)) else {
        return limit;
    };
    let shift = power - places + 9;
    let factor = 10i128.checked_pow(shift.unsigned_abs());
    match (shift >= 0, factor) {
        (true, Some(factor)) => number.checked_mul(factor).unwrap_or(limit).min(limit),
        (true, None) => limit,
        (false, Some(factor)) => (number / factor + i128::from(number % factor != 0)).min(limit),
        (false, None) => 1,
    }
}

#[cfg(test)]
mod tests;
