//! The moment that SUBMIT_JOB_SCHED means: the next minute that fits five fields, as in a crontab.
//!
//! The protocol document gives minute, hour, day of the month, month, and day of the week from 0, a Monday. A field that is empty or
//! `*` fits always. The job runs once. The minute that is running fits too: a client that says "now" means that.

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousTimestamp, TimeZone};
use jiff::{Error, Timestamp};

use crate::proto::Schedule;

/// A 29 February on a given day of the week comes back after 40 years at most, around a year like 2100.
const YEARS: i16 = 41;

/// The Unix second at which the next minute that fits begins, or `now` when it is running. An error says what is wrong, for the client.
pub(super) fn next(
    schedule: &Schedule<'_>,
    now: u64,
    zone: &TimeZone,
) -> Result<u64, &'static str> {
    const NO_NUMBER: &str = "a field of the schedule is not a number in its range, empty, or *";
    let minute = field(schedule.minute, 0..=59).ok_or(NO_NUMBER)?;
    let hour = field(schedule.hour, 0..=23).ok_or(NO_NUMBER)?;
    let day = field(schedule.day_of_month, 1..=31).ok_or(NO_NUMBER)?;
    let month = field(schedule.month, 1..=12).ok_or(NO_NUMBER)?;
    let weekday = field(schedule.day_of_week, 0..=6).ok_or(NO_NUMBER)?;

    let start = i64::try_from(now)
        .ok()
        .and_then(|now| Timestamp::from_second(now).ok())
        .ok_or("the clock of this server is out of range")?;
    let today = zone.to_datetime(start).date();
    let first_year = today.year();
    for year in first_year..first_year.saturating_add(YEARS) {
        for month in month.values(1..=12) {
            for day in day.values(1..=31) {
                let Ok(date) = Date::new(year, month, day) else {
                    continue;
                };
                if date < today || !weekday.fits(date.weekday().to_monday_zero_offset()) {
                    continue;
                }
                // an hour that a change of clocks leaves out is taken to be the one after it, and one that it repeats fits twice
                let first = minute_of(
                    date,
                    (hour, minute),
                    zone,
                    now,
                    AmbiguousTimestamp::compatible,
                );
                let again = minute_of(date, (hour, minute), zone, now, AmbiguousTimestamp::later);
                if let Some(begins) = first.into_iter().chain(again).min() {
                    return Ok(begins.max(now));
                }
            }
        }
    }
    Err("there is no such day")
}

/// What a field allows.
#[derive(Clone, Copy)]
enum Field {
    Any,
    Only(i8),
}

impl Field {
    fn fits(self, value: i8) -> bool {
        match self {
            Field::Any => true,
            Field::Only(only) => only == value,
        }
    }

    fn values(self, range: std::ops::RangeInclusive<i8>) -> std::ops::RangeInclusive<i8> {
        match self {
            Field::Any => range,
            Field::Only(only) => only..=only,
        }
    }
}

/// The first minute of a day that fits and has not ended, by the second in which it begins.
fn minute_of(
    date: Date,
    (hour, minute): (Field, Field),
    zone: &TimeZone,
    now: u64,
    choose: fn(AmbiguousTimestamp) -> Result<Timestamp, Error>,
) -> Option<u64> {
    times(hour, minute)
        .map(|(hour, minute)| date.to_datetime(Time::constant(hour, minute, 0, 0)))
        .filter_map(|local| choose(zone.to_ambiguous_timestamp(local)).ok())
        .filter_map(|begins| u64::try_from(begins.as_second()).ok())
        .find(|&begins| begins + 60 > now)
}

fn times(hour: Field, minute: Field) -> impl Iterator<Item = (i8, i8)> {
    hour.values(0..=23)
        .flat_map(move |hour| minute.values(0..=59).map(move |minute| (hour, minute)))
}

fn field(text: &[u8], range: std::ops::RangeInclusive<i8>) -> Option<Field> {
    if text.is_empty() || text == b"*" {
        return Some(Field::Any);
    }
    let number: i8 = str::from_utf8(text).ok()?.parse().ok()?;
    range.contains(&number).then_some(Field::Only(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule<'_> {
        let fields: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        Schedule {
            minute: fields[0],
            hour: fields[1],
            day_of_month: fields[2],
            month: fields[3],
            day_of_week: fields[4],
        }
    }

    fn second(text: &str) -> u64 {
        let moment: Timestamp = text.parse().unwrap();
        u64::try_from(moment.as_second()).unwrap()
    }

    fn in_berlin(now: &str, fields: &str) -> Result<String, &'static str> {
        // as tzdata has it for the years since 1996, without needing tzdata
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let next = next(&schedule(fields), second(now), &zone)?;
        Ok(Timestamp::from_second(i64::try_from(next).unwrap())
            .unwrap()
            .to_string())
    }

    #[test]
    fn the_next_minute_that_fits() {
        let cases = [
            // any minute is this one
            ("2026-11-24T10:00:30Z", "* * * * *", "2026-11-24T10:00:30Z"),
            // the running minute fits, the one before does not
            ("2026-11-24T10:15:30Z", "15 * * * *", "2026-11-24T10:15:30Z"),
            ("2026-11-24T10:15:30Z", "14 * * * *", "2026-11-24T11:14:00Z"),
            // local time, and an empty field
            ("2026-11-24T10:00:00Z", "30 12   ", "2026-11-24T11:30:00Z"),
            (
                "2026-11-24T12:00:00Z",
                "30 12 * * *",
                "2026-11-25T11:30:00Z",
            ),
            // over the end of a month and of a year
            ("2026-11-30T23:30:00Z", "0 0 31 * *", "2026-12-30T23:00:00Z"),
            ("2026-12-31T12:00:00Z", "0 0 1 1 *", "2026-12-31T23:00:00Z"),
            // 0 is a Monday; the 24th is a Tuesday
            ("2026-11-24T10:00:00Z", "0 9 * * 0", "2026-11-30T08:00:00Z"),
            ("2026-11-24T10:00:00Z", "0 9 13 * 4", "2027-08-13T07:00:00Z"),
            // leap years
            ("2026-11-24T10:00:00Z", "0 0 29 2 *", "2028-02-28T23:00:00Z"),
            ("2026-11-24T10:00:00Z", "0 0 29 2 0", "2044-02-28T23:00:00Z"),
            // 02:30 does not exist when the clocks go forward, and exists twice when they go back
            (
                "2027-03-27T12:00:00Z",
                "30 2 28 3 *",
                "2027-03-28T01:30:00Z",
            ),
            (
                "2026-10-24T12:00:00Z",
                "30 2 25 10 *",
                "2026-10-25T00:30:00Z",
            ),
            // in the hour that comes twice, the first time and the second
            ("2026-10-25T00:10:00Z", "* * * * *", "2026-10-25T00:10:00Z"),
            ("2026-10-25T00:40:00Z", "30 * * * *", "2026-10-25T01:30:00Z"),
            (
                "2026-10-25T01:10:00Z",
                "10 2 25 10 *",
                "2026-10-25T01:10:00Z",
            ),
            ("2026-10-25T01:40:00Z", "30 * * * *", "2026-10-25T02:30:00Z"),
            // the days before and after it are as long as they are
            ("2026-10-24T22:30:00Z", "0 0 * * *", "2026-10-25T23:00:00Z"),
        ];
        for (now, fields, expected) in cases {
            assert_eq!(
                in_berlin(now, fields).as_deref(),
                Ok(expected),
                "{fields:?} after {now}"
            );
        }
    }

    #[test]
    fn what_never_comes_is_an_error() {
        for fields in [
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "x * * * *",
            "-1 * * * *",
        ] {
            let error = in_berlin("2026-11-24T10:00:00Z", fields).unwrap_err();
            assert!(error.contains("range"), "{fields}: {error}");
        }
        assert_eq!(
            in_berlin("2026-11-24T10:00:00Z", "0 0 30 2 *"),
            Err("there is no such day")
        );
    }
}
