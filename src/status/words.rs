//! PURE. Durations, sizes and names as a person reads them.
//!
//! Short enough for a column, and always with the unit. Whatever came over the wire goes through [`printable`] before it reaches a
//! terminal: a function's name may hold any bytes, and an escape sequence in it must not be obeyed.

use std::fmt::Write as _;
use std::time::Duration;

/// A duration with one or two units: `40 ms`, `1.4 s`, `12 s`, `3 min`, `3 h 12 min`, `4 d 3 h`.
pub fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match millis {
        0 => "0 s".to_owned(),
        1..=999 => format!("{millis} ms"),
        1000..=9_999 if millis % 1000 >= 100 => format!("{seconds}.{} s", millis % 1000 / 100),
        _ if minutes == 0 => format!("{seconds} s"),
        _ if hours == 0 => format!("{minutes} min"),
        _ if days == 0 => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// A number of bytes in the largest unit that it fills: `900 B`, `48 MiB`, `1.2 GiB`. One decimal below ten, none above.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    // Tenths of the unit, in integers: no rounding can then show "1024 MiB" where "1.0 GiB" is meant.
    let mut tenths = u128::from(bytes) * 10 / 1024;
    while tenths >= 10_240 {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS[unit];
    if tenths < 100 && !tenths.is_multiple_of(10) {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", tenths / 10)
    }
}

/// `1 job`, `2 jobs`: the number with its noun.
pub fn count(number: u64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{number} {noun}")
}

/// The text with every character that a terminal would act on written out: `\t`, `\x1b`, and the ones that turn the direction of
/// writing as `\u{202e}`. A backslash stays as it is: PHP's class names are full of them.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large} {large_unit}")
    } else {
        format!("{large} {large_unit} {small} {small_unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (millis, text) in [
            (0, "0 s"),
            (40, "40 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (1_460, "1.4 s"),
            (9_999, "9.9 s"),
            (12_345, "12 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (3_599_999, "59 min"),
            (3_600_000, "1 h"),
            (11_520_000, "3 h 12 min"),
            (86_400_000, "1 d"),
            (356_400_000, "4 d 3 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(duration(Duration::from_micros(900)), "0 s");
        assert_eq!(duration(Duration::MAX), "213503982334601 d 7 h");
    }

    #[test]
    fn sizes_are_short() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (48 << 20, "48 MiB"),
            ((1 << 30) - 1, "1023 MiB"),
            (1_288_490_189, "1.2 GiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        for (raw, text) in [
            ("a\tb", "a\\tb"),
            ("a\nb\r", "a\\nb\\r"),
            ("\u{1b}[31mred", "\\x1b[31mred"),
            ("\u{9b}2J", "\\x9b2J"),
            ("exe\u{202e}gpj", "exe\\u{202e}gpj"),
            ("App\\Jobs\\Fetch", "App\\Jobs\\Fetch"),
            ("grüße", "grüße"),
        ] {
            assert_eq!(printable(raw), text);
        }
    }
}
