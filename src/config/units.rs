//! Durations, sizes and file modes as people write them, and back.

use std::time::Duration;

/// The longest duration that is believed, ten years; beyond it lies a typing error.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The units of a duration, largest first, in milliseconds.
const DURATIONS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The units of a size, largest first. A `K` is 1024 here with or without the `i`: what it limits is memory and files.
const SIZES: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// Reads `30s`, `500ms`, `1m30s`, `2h`, `1.5s`, `7d`, or a plain number of seconds. `None` when it is no such thing, or over ten years.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    // A unit may only follow a larger one, so that `30s1m` and `5m5m` are the mistakes that they look like.
    let mut units = &DURATIONS[..];
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let millis = if unit.is_empty() && number.len() == text.len() {
            1000
        } else {
            let at = units.iter().position(|(name, _)| *name == unit)?;
            let millis = units[at].1;
            units = &units[at + 1..];
            millis
        };
        total = total.checked_add(scaled(number, millis)?)?;
        rest = after;
    }
    (total <= MAX_DURATION).then_some(total)
}

/// The decimal number that a text begins with, and what follows it.
fn number(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = !whole.is_empty() && !part.is_empty() && !part.contains('.');
    digits.then_some((number, rest))
}

fn scaled(number: &str, millis: u64) -> Option<Duration> {
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let nanos = u128::from(millis) * 1_000_000;
    let mut total = whole.parse::<u128>().ok()?.checked_mul(nanos)?;
    // Nine digits behind the point are nanoseconds of a second; more would be false precision.
    let part = part.get(..part.len().min(9))?;
    total += part.parse::<u128>().ok()? * nanos / 10_u128.pow(u32::try_from(part.len()).ok()?);
    Some(Duration::from_nanos(u64::try_from(total).ok()?))
}

/// Writes a duration as [`parse_duration`] reads it, to the millisecond: `1m30s`, `500ms`, `0s`.
pub fn show_duration(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    let mut shown = String::new();
    for (unit, size) in DURATIONS {
        let count = millis / u128::from(size);
        millis %= u128::from(size);
        if count > 0 {
            shown.push_str(&format!("{count}{unit}"));
        }
    }
    if shown.is_empty() {
        shown.push_str("0s");
    }
    shown
}

/// Reads `10MiB`, `10MB`, `512k`, `1G`, `1.5GiB`, or a plain number of bytes. `None` when it is no such thing, or over 2⁶⁴ bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number(text.trim())?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" | "b" => 1,
        unit => {
            SIZES
                .iter()
                .find(|(name, _)| {
                    let letter = &name[..1].to_ascii_lowercase();
                    [letter, &format!("{letter}b"), &format!("{letter}ib")]
                        .iter()
                        .any(|spelling| spelling.as_str() == unit)
                })?
                .1
        }
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if factor == 1 && number.contains('.') {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let part = part.get(..part.len().min(9))?;
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let part = part.parse::<u128>().ok()? * u128::from(factor) / scale;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// Writes a size as [`parse_size`] reads it, exactly when it is a whole number of a unit and else to one decimal: `10MiB`, `1.5GiB`, `512B`.
pub fn show_size(bytes: u64) -> String {
    for (unit, size) in SIZES {
        if bytes >= size {
            return if bytes.is_multiple_of(size) {
                format!("{}{unit}", bytes / size)
            } else {
                format!("{:.1}{unit}", bytes as f64 / size as f64)
            };
        }
    }
    format!("{bytes}B")
}

/// Reads an octal file mode mask as umask(1) does: `022`, `0022`, `22`, `0o22`. `None` when it is none, or above 0777.
pub fn parse_umask(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = text
        .strip_prefix("0o")
        .or_else(|| text.strip_prefix("0O"))
        .unwrap_or(text);
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mask| *mask <= 0o777)
}

/// Writes a mask as umask(1) does: `0022`.
pub fn show_umask(mask: u32) -> String {
    format!("{mask:04o}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("1h0m5s20ms", 3_605_020),
            ("90", 90_000),
            ("0", 0),
            ("0.25", 250),
            ("1.5s", 1500),
            (" 10s ", 10_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            " ",
            "s",
            "-1s",
            "1x",
            "1 s",
            "1m30",
            "30s1m",
            "5m5m",
            "1.s",
            ".5s",
            "1..5s",
            "1e3",
            "1S",
            "10min",
            "99999999999999999999999s",
            "11y",
            "4000d",
            "ms",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("10MiB", 10 << 20),
            ("10MB", 10 << 20),
            ("10m", 10 << 20),
            ("512k", 512 << 10),
            ("1G", 1 << 30),
            ("2 TiB", 2 << 40),
            ("1.5GiB", 3 << 29),
            ("100", 100),
            ("100B", 100),
            ("0", 0),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "M",
            "-1",
            "1.5",
            "1.5B",
            "1P",
            "1KiBs",
            "1k5",
            "18446744073709551616",
            "99999999999G",
            "1.5.5k",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn masks() {
        for (text, mask) in [
            ("022", 0o22),
            ("0022", 0o22),
            ("22", 0o22),
            ("0o77", 0o77),
            ("0", 0),
            ("777", 0o777),
        ] {
            assert_eq!(parse_umask(text), Some(mask), "{text}");
        }
        for text in ["", "8", "1000", "-1", "+7", "u=rwx", "0x12"] {
            assert_eq!(parse_umask(text), None, "{text}");
        }
        assert_eq!(show_umask(0o22), "0022");
    }

    #[test]
    fn shown() {
        for text in ["0s", "500ms", "1s", "1m30s", "2h", "1d1h1m1s1ms"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["0B", "512B", "10KiB", "10MiB", "1.5GiB", "3TiB"] {
            assert_eq!(show_size(parse_size(text).unwrap()), text);
        }
    }

    proptest! {
        #[test]
        fn a_duration_survives_the_round_trip(millis in 0_u64..315_360_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_panics(text in "[0-9.]{0,40}[a-zA-Zé]{0,4}|.*") {
            let _ = (parse_duration(&text), parse_size(&text), parse_umask(&text));
        }
    }
}
