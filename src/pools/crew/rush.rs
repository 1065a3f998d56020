//! Known rushes: the bounds that a pool has by its schedule.

use std::fmt;

use jiff::{Timestamp, ToSpan as _, ZonedDateTime};
use serde::{Deserialize, Serialize};

use super::{Crew, Turn};
use crate::config::{Cron, Rush};
use crate::pools::event::Level;

/// In hours, more than any clock is put back by.
const PUT_BACK: i64 = 3;

/// The rush that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rushing {
    cron: String,
    min: u32,
    max: u32,
    /// When it ends, as people read it.
    until: String,
}

/// "schedule "0 8 * * mon-fri" has 10..50 until 10:00"
impl fmt::Display for Rushing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rushing {
            cron,
            min,
            max,
            until,
        } = self;
        write!(f, "schedule \"{cron}\" has {min}..{max} until {until}")
    }
}

impl Crew {
    /// What the clock on the wall shows now.
    pub(in crate::pools) fn clock(&mut self, wall: &ZonedDateTime, turn: &mut Turn<'_>) {
        if self.pool.scale.schedule.is_empty() && self.rush.is_none() {
            return;
        }
        let rush = in_force(&self.pool.scale.schedule, wall).map(|(rush, ends)| {
            let (min, max) = rush.bounds(&self.pool);
            Rushing {
                cron: rush.cron.to_string(),
                min,
                max,
                until: shown(&ends.to_zoned_datetime(wall.time_zone().clone()), wall),
            }
        });
        if rush == self.rush {
            return;
        }
        self.dirty = true;
        // one that begins again before it has ended goes on: there is nothing new to say
        let what =
            |rush: &Option<Rushing>| rush.as_ref().map(|it| (it.cron.clone(), it.min, it.max));
        if what(&rush) != what(&self.rush) {
            let text = match &rush {
                Some(rush) => rush.to_string(),
                None => format!(
                    "the rush of its schedule is over: {}..{} again",
                    self.pool.min, self.pool.max
                ),
            };
            self.tell(Level::Info, None, text, turn.out);
        }
        self.rush = rush;
    }

    /// `min` and `max` by the operator's command, else by the schedule, else by the file.
    pub(super) fn wanted_bounds(&self) -> (u32, u32) {
        let rush = self.rush.as_ref().map(|rush| (rush.min, rush.max));
        let own = (self.pool.min, self.pool.max);
        self.by_hand.bounds.or(rush).unwrap_or(own)
    }
}

/// The rush that counts at a moment, and when it ends: the one that began last, of several at once the last in the file.
fn in_force<'a>(schedule: &'a [Rush], wall: &ZonedDateTime) -> Option<(&'a Rush, Timestamp)> {
    let begun = schedule.iter().filter_map(|rush| {
        let began = last(&rush.cron, wall, rush)?;
        Some((began, rush))
    });
    let (began, rush) = begun.max_by_key(|(began, _)| *began)?;
    Some((rush, end(began, rush)?))
}

/// When it began last, if it has not ended since.
fn last(cron: &Cron, wall: &ZonedDateTime, rush: &Rush) -> Option<Timestamp> {
    let now = wall.timestamp();
    let zone = wall.time_zone();
    // what the clock showed before it was put back is not ahead
    let latest = wall.datetime().saturating_add(PUT_BACK.hours());
    let earliest = zone.to_datetime(now.checked_sub(rush.lasts).ok()?).date();
    let mut date = latest.date();
    while date >= earliest {
        if cron.fits(date) {
            let begun = cron.times().map(|time| date.to_datetime(time));
            let begun = begun.filter(|begins| *begins <= latest);
            // a time that a change of clocks leaves out is as much later; one that it repeats is meant the first time
            let begun =
                begun.filter_map(|begins| zone.to_ambiguous_timestamp(begins).compatible().ok());
            if let Some(began) = begun.into_iter().find(|began| *began <= now) {
                return end(began, rush).filter(|end| now < *end).map(|_| began);
            }
        }
        date = date.checked_sub(1.day()).ok()?;
    }
    None
}

fn end(began: Timestamp, rush: &Rush) -> Option<Timestamp> {
    began.checked_add(rush.lasts).ok()
}

/// "10:00", with the date when it is another day's.
fn shown(moment: &ZonedDateTime, wall: &ZonedDateTime) -> String {
    let format = match moment.date() == wall.date() {
        true => "%H:%M",
        false => "%Y-%m-%d %H:%M",
    };
    moment.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Command, Pool};
    use crate::pools::{Action, Caps, Event, Supervisor};
    use crate::time::Time;

    fn rush(cron: &str, hours: f64) -> Rush {
        Rush {
            cron: cron.parse().unwrap(),
            lasts: Duration::from_secs_f64(hours * 3600.0),
            min: Some(1),
            max: None,
        }
    }

    fn at(utc: &str) -> ZonedDateTime {
        // as tzdata has it for the years since 1996, without needing tzdata
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        utc.parse::<Timestamp>().unwrap().to_zoned_datetime(zone)
    }

    #[test]
    fn which_counts_and_until_when() {
        let cases = [
            // 2026-11-24 is a Tuesday; Berlin is an hour ahead
            ("2026-11-24T06:59:59Z", None),
            ("2026-11-24T07:00:00Z", Some(("0 8 * * mon-fri", "10:00"))),
            ("2026-11-24T08:59:59Z", Some(("0 8 * * mon-fri", "10:00"))),
            ("2026-11-24T09:00:00Z", None),
            // a shorter one within a longer one, which goes on after it
            ("2026-11-27T07:30:00Z", Some(("0 8 * * mon-fri", "10:00"))),
            ("2026-11-27T08:15:00Z", Some(("0 9 * * fri", "09:30"))),
            ("2026-11-27T08:30:00Z", Some(("0 8 * * mon-fri", "10:00"))),
            // over midnight, on a Saturday
            (
                "2026-11-28T22:30:00Z",
                Some(("30 23 * * sat", "2026-11-29 02:30")),
            ),
            ("2026-11-29T01:29:59Z", Some(("30 23 * * sat", "02:30"))),
            ("2026-11-29T01:30:00Z", None),
            // days long, over the end of a month
            (
                "2026-12-24T12:00:00Z",
                Some(("0 0 24 12 *", "2026-12-27 00:00")),
            ),
            (
                "2026-12-26T22:29:00Z",
                Some(("0 0 24 12 *", "2026-12-27 00:00")),
            ),
            ("2026-12-26T23:00:00Z", Some(("30 23 * * sat", "02:30"))),
            // two that begin at once: the last in the file
            ("2027-01-01T12:30:00Z", Some(("30 13 1 1 *", "14:00"))),
        ];
        let schedule = [
            rush("0 8 * * mon-fri", 2.0),
            rush("0 9 * * fri", 0.5),
            rush("30 23 * * sat", 3.0),
            rush("0 0 24 12 *", 72.0),
            rush("30 13 * 1 *", 1.0),
            rush("30 13 1 1 *", 0.5),
        ];
        for (now, expected) in cases {
            let now = at(now);
            let found = in_force(&schedule, &now);
            let found = found.map(|(rush, ends)| {
                let ends = ends.to_zoned_datetime(now.time_zone().clone());
                (rush.cron.to_string(), shown(&ends, &now))
            });
            let expected =
                expected.map(|(cron, ends): (&str, &str)| (cron.to_owned(), ends.to_owned()));
            assert_eq!(found, expected, "{now}");
        }
    }

    #[test]
    fn changes_of_the_clock() {
        let is_on =
            |cron: &str, hours: f64, utc: &str| in_force(&[rush(cron, hours)], &at(utc)).is_some();
        // 02:30 does not exist on 28 March 2027: it is at 03:30, which is 01:30 UTC
        assert!(!is_on("30 2 * * *", 1.0, "2027-03-28T01:29:59Z"));
        assert!(is_on("30 2 * * *", 1.0, "2027-03-28T01:30:00Z"));
        assert!(is_on("30 2 * * *", 1.0, "2027-03-28T02:29:59Z"));
        assert!(!is_on("30 2 * * *", 1.0, "2027-03-28T02:30:00Z"));
        // and is there twice on 31 October: the first is meant, 00:30 UTC, and an hour is an hour
        assert!(!is_on("30 2 * * *", 1.0, "2027-10-31T00:29:59Z"));
        assert!(is_on("30 2 * * *", 1.0, "2027-10-31T00:30:00Z"));
        assert!(is_on("30 2 * * *", 1.0, "2027-10-31T01:29:59Z"));
        assert!(!is_on("30 2 * * *", 1.0, "2027-10-31T01:30:00Z"));
        // two hours from 01:30 on end at the second 02:30
        assert!(is_on("30 1 * * *", 2.0, "2027-10-31T01:29:59Z"));
        assert!(!is_on("30 1 * * *", 2.0, "2027-10-31T01:30:00Z"));
    }

    proptest! {
        /// Against a search that knows nothing but the minutes before, around the changes of the clock too.
        #[test]
        fn the_last_beginning_is_the_last_minute_that_fits(
            minutes in "\\*|\\*/(7|20)|[0-5]?[0-9]|(5|10)-40",
            hours in "\\*/12|0|5|3,13|20-23",
            days in "\\*|\\*|31|1-9|29,30",
            weekdays in "\\*|sun|sat,mon|2-5",
            minute in 0_i64..(3 * 366 * 1440),
            lasts in 1_u64..4000,
        ) {
            let cron = format!("{minutes} {hours} {days} * {weekdays}");
            let rush = rush(&cron, lasts as f64 / 60.0);
            let now = at("2026-01-01T00:00:17Z").checked_add(minute.minutes()).unwrap();
            let zone = now.time_zone();
            let this = now.timestamp().as_second() / 60;
            let earliest = (now.timestamp().as_second() - i64::try_from(lasts * 60).unwrap()) / 60;
            let begins = |moment: &Timestamp| {
                let local = zone.to_datetime(*moment);
                let first = zone.to_ambiguous_timestamp(local).compatible().unwrap();
                rush.cron.fits(local.date())
                    && rush.cron.times().any(|time| time == local.time())
                    && first == *moment
            };
            let moments = (earliest + 1..=this).rev();
            let expected = moments
                .map(|minute| Timestamp::from_second(minute * 60).unwrap())
                .find(begins);
            prop_assert_eq!(last(&rush.cron, &now, &rush), expected, "{} at {}", cron, now);
        }

        #[test]
        fn no_text_panics(text in "[0-9a-z*/, @-]{0,30}|.*") {
            let _ = text.parse::<Cron>();
        }
    }

    #[test]
    fn every_minute_is_always() {
        for hour in 0..48 {
            let now = at("2026-11-24T00:00:30Z")
                .checked_add(hour.hours())
                .unwrap();
            assert!(
                in_force(&[rush("* * * * *", 0.02)], &now).is_some(),
                "{now}"
            );
        }
    }

    /// What the supervisor does with it, from the reload that brings the schedule to the end of the rush.
    #[test]
    fn a_rush_comes_and_goes() {
        let mut sup = Supervisor::new(1);
        let pool = Pool {
            min: 1,
            max: 4,
            ..Pool::new("a", Command::Exec(vec!["a".to_owned()]))
        };
        let with = |schedule: &[Rush]| {
            let mut pool = pool.clone();
            pool.scale.schedule = schedule.to_vec();
            Event::Configured(vec![Arc::new(pool)], Caps::default())
        };
        let morning = Rush {
            min: Some(3),
            ..rush("0 8 * * *", 2.0)
        };
        let seen = |sup: &Supervisor| {
            let view = sup.view(Time::ZERO).swap_remove(0);
            (view.min, view.max, view.processes.len(), view.reason)
        };
        let told = |actions: Vec<Action>| {
            let tells = actions.into_iter().filter_map(|action| match action {
                Action::Tell(tell) => Some(tell.text),
                _ => None,
            });
            tells.collect::<Vec<_>>()
        };
        let at_min = |more: &str| format!("at min{more}");

        let mut tell = |event| told(sup.handle(Time::ZERO, event));
        let nothing: [String; 0] = [];
        assert_eq!(tell(Event::Clock(at("2026-11-24T06:00:00Z"))), nothing);
        assert_eq!(tell(with(&[])), nothing);
        // the schedule comes within its rush, by a reload
        assert_eq!(tell(Event::Clock(at("2026-11-24T07:30:00Z"))), nothing);
        let begins = "schedule \"0 8 * * *\" has 3..4 until 10:00";
        assert_eq!(tell(with(std::slice::from_ref(&morning))), [begins]);
        assert_eq!(seen(&sup), (3, 4, 3, at_min(&format!("; {begins}"))));

        // the operator's word is worth more
        let by_hand = Event::Scale {
            pool: "a".to_owned(),
            min: 2,
            max: 2,
        };
        assert_eq!(told(sup.handle(Time::ZERO, by_hand)), nothing);
        let (min, max, _, reason) = seen(&sup);
        assert_eq!((min, max, reason.as_str()), (2, 2, "held at 2 by hand"));
        let again = Event::Start {
            pool: "a".to_owned(),
        };
        assert_eq!(told(sup.handle(Time::ZERO, again)), nothing);
        assert_eq!((seen(&sup).0, seen(&sup).1), (3, 4));

        // its end, with the next clock
        let ends = Event::Clock(at("2026-11-24T09:00:00Z"));
        let over = "the rush of its schedule is over: 1..4 again";
        assert_eq!(told(sup.handle(Time::ZERO, ends)), [over]);
        let (min, max, _, reason) = seen(&sup);
        assert_eq!((min, max, reason), (1, 4, at_min("")));
    }
}
