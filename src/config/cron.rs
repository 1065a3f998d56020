//! The five fields of cron: which minutes they name.
//!
//! What crontab(5) has: lists, ranges, steps, names of months and days, `@daily` and its like. Where day of month and day of week are
//! both restricted, one of them is enough, as everywhere.

use std::fmt::{self, Display};
use std::str::FromStr;

use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What stands for five fields.
const SHORTHANDS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// A set of minutes, as cron writes it. Each field is a set of bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cron {
    /// As it was written, for people.
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Sunday is 0.
    weekdays: u64,
    /// Whether a day has to fit both of its fields: one of them is `*`.
    both: bool,
}

/// Why a text is no [`Cron`], to be read after its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoCron(String);

/// One of the five.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        least: 0,
        most: 59,
        names: &[],
    },
    Field {
        name: "hour",
        least: 0,
        most: 23,
        names: &[],
    },
    Field {
        name: "day of the month",
        least: 1,
        most: 31,
        names: &[],
    },
    Field {
        name: "month",
        least: 1,
        most: 12,
        names: &MONTHS,
    },
    Field {
        name: "day of the week",
        least: 0,
        most: 7,
        names: &DAYS,
    },
];

impl FromStr for Cron {
    type Err = NoCron;

    fn from_str(text: &str) -> Result<Cron, NoCron> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let meant = SHORTHANDS.iter().find(|(word, _)| *word == text);
        let fields = meant.map_or(text.as_str(), |(_, fields)| fields);
        let words: Vec<&str> = fields.split(' ').collect();
        let [minute, hour, day, month, weekday] = words[..] else {
            return Err(NoCron(format!(
                "must have five fields, like \"0 8 * * mon-fri\": minute, hour, day of the month, month, day of the week; here are {}",
                words.iter().filter(|word| !word.is_empty()).count()
            )));
        };
        let [minutes, hours, days, months, weekdays] = FIELDS;
        let weekday_bits = weekdays.read(weekday)?;
        let cron = Cron {
            minutes: minutes.read(minute)?,
            hours: hours.read(hour)?,
            days: days.read(day)?,
            months: months.read(month)?,
            // 7 is Sunday too
            weekdays: (weekday_bits | weekday_bits >> 7) & 0x7f,
            both: day.starts_with('*') || weekday.starts_with('*'),
            text,
        };
        // 2024 is a leap year; the day of the week comes round on every date
        let dates = (1..=12).flat_map(|month| (1..=31).map(move |day| (month, day)));
        let has_one = |(month, day): (i8, i8)| {
            has(cron.months, month) && has(cron.days, day) && Date::new(2024, month, day).is_ok()
        };
        if cron.both && !dates.into_iter().any(has_one) {
            return Err(NoCron("names a day that no month of it has".to_owned()));
        }
        Ok(cron)
    }
}

impl Field {
    fn read(&self, text: &str) -> Result<u64, NoCron> {
        let parts = text.split(',').map(|part| self.part(part));
        parts.sum::<Option<Bits>>().map(|bits| bits.0).ok_or_else(|| {
            let names = match self.names {
                [first, .., last] => format!(", {first} to {last}"),
                _ => String::new(),
            };
            NoCron(format!(
                "has {} for the {}, which is *, a number from {} to {}{names}, a range like 1-5, a list like 1,3 or a step like */2",
                super::problem::quote(text),
                self.name,
                self.least,
                self.most
            ))
        })
    }

    /// `*`, `5`, `1-5`, and each of them with `/step`.
    fn part(&self, text: &str) -> Option<Bits> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|&n| n > 0)?)),
            None => (text, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most),
            Some((first, last)) => (self.number(first)?, self.number(last)?),
            // `5/15` goes on to the end
            None if step.is_some() => (self.number(range)?, self.most),
            None => (self.number(range)?, self.number(range)?),
        };
        let step = usize::try_from(step.unwrap_or(1)).ok()?;
        let bits = (first..=last)
            .step_by(step)
            .fold(0, |bits, n| bits | 1 << n);
        (bits != 0).then_some(Bits(bits))
    }

    fn number(&self, text: &str) -> Option<u32> {
        let text = text.to_ascii_lowercase();
        let named = self.names.iter().position(|name| *name == text);
        let number = match named {
            Some(at) => u32::try_from(at).ok()? + self.least,
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok()?,
            None => return None,
        };
        (self.least..=self.most).contains(&number).then_some(number)
    }
}

struct Bits(u64);

impl std::iter::Sum for Bits {
    fn sum<I: Iterator<Item = Bits>>(all: I) -> Bits {
        Bits(all.fold(0, |sum, bits| sum | bits.0))
    }
}

impl Cron {
    /// Whether it names a minute of this day.
    pub fn fits(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month())
            && match self.both {
                true => day && weekday,
                false => day || weekday,
            }
    }

    /// The minutes that it names of a day that fits, the latest first.
    pub fn times(&self) -> impl Iterator<Item = Time> + '_ {
        let hours = (0..24).rev().filter(|&hour| has(self.hours, hour));
        hours.flat_map(|hour| {
            let minutes = (0..60).rev().filter(|&minute| has(self.minutes, minute));
            minutes.map(move |minute| Time::constant(hour, minute, 0, 0))
        })
    }
}

fn has(bits: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| bits >> number & 1 == 1)
}

/// As it was written.
impl Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap()
    }

    fn times(text: &str) -> String {
        let cron = cron(text);
        let times: Vec<_> = cron
            .times()
            .map(|it| it.strftime("%H:%M").to_string())
            .collect();
        times.join(" ")
    }

    #[test]
    fn minutes_and_hours() {
        for (text, expected) in [
            ("0 8 * * *", "08:00"),
            ("5,35 8-9 * * *", "09:35 09:05 08:35 08:05"),
            ("*/20 23 * * *", "23:40 23:20 23:00"),
            ("10-30/10 0,1 * * *", "01:30 01:20 01:10 00:30 00:20 00:10"),
            ("50/5 7 * * *", "07:55 07:50"),
            ("  0   0 1 jan  mon ", "00:00"),
            ("@daily", "00:00"),
        ] {
            assert_eq!(times(text), expected, "{text}");
        }
        assert_eq!(cron("* * * * *").times().count(), 1440);
    }

    #[test]
    fn days() {
        // 2026-11-24 is a Tuesday
        let fits = |text: &str, day: &str| cron(text).fits(day.parse().unwrap());
        for (text, day, expected) in [
            ("0 0 * * *", "2026-11-24", true),
            ("0 0 * * 2", "2026-11-24", true),
            ("0 0 * * tue", "2026-11-24", true),
            ("0 0 * * Mon-Fri", "2026-11-24", true),
            ("0 0 * * mon-fri", "2026-11-22", false),
            ("0 0 * * 0", "2026-11-22", true),
            ("0 0 * * 7", "2026-11-22", true),
            ("0 0 * * fri-7", "2026-11-22", true),
            ("0 0 24 * *", "2026-11-24", true),
            ("0 0 24 12 *", "2026-11-24", false),
            ("0 0 24 nov *", "2026-11-24", true),
            // both restricted: one is enough
            ("0 0 13 * fri", "2026-11-27", true),
            ("0 0 13 * fri", "2026-11-13", true),
            ("0 0 12 * fri", "2026-11-12", true),
            ("0 0 13 * fri", "2026-11-24", false),
            // a step over all is no restriction of its own
            ("0 0 */2 * tue", "2026-11-24", false),
            ("0 0 */2 * tue", "2026-11-17", true),
            ("@monthly", "2026-11-01", true),
            ("@yearly", "2026-11-01", false),
            ("0 0 29 feb *", "2028-02-29", true),
        ] {
            assert_eq!(fits(text, day), expected, "{text} {day}");
        }
    }

    #[test]
    fn no_crons() {
        let said: Vec<String> = [
            "",
            "8",
            "0 8 * *",
            "0 0 8 * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "* * * * monday",
            "5-1 * * * *",
            "*/0 * * * *",
            "1,,2 * * * *",
            "-1 * * * *",
            "+1 * * * *",
            "@reboot",
            "0 0 30 2 *",
            "0 0 31 apr,jun *",
        ]
        .iter()
        .map(|text| format!("{text:?} {}", text.parse::<Cron>().unwrap_err()))
        .collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
