//! Servers that look less often than the real one, each of which the search has to find out.

use gearpool::jobs::Newcomers;

use super::search::search;
use super::{Harm, SETTING, Setting, State, Weakness};

/// The search finds what a server would do wrong that looks less often.
#[test]
fn every_look_at_the_sleepers_is_needed() {
    let setting = Setting {
        jobs: [1, 1],
        ..SETTING
    };
    let table = [
        (
            Weakness::Grab,
            Setting {
                any_priority: true,
                ..setting
            },
        ),
        (Weakness::Sleep, setting),
        (
            Weakness::Death,
            Setting {
                crashes: 1,
                ..setting
            },
        ),
        (
            Weakness::Quiesce,
            Setting {
                orders: 1,
                ..setting
            },
        ),
        (
            Weakness::Unquiesce,
            Setting {
                orders: 1,
                ..setting
            },
        ),
        (
            Weakness::CantDo,
            Setting {
                changes: 1,
                ..setting
            },
        ),
        (
            Weakness::CanDo,
            Setting {
                changes: 1,
                ..setting
            },
        ),
        (
            Weakness::Admit,
            Setting {
                naps: true,
                newcomers: Newcomers::Held,
                ..setting
            },
        ),
        (
            Weakness::NoTimer,
            Setting {
                hangs: 1,
                ..setting
            },
        ),
    ];
    for (weakness, setting) in table {
        let found = search(State::start(Setting {
            weakness,
            ..setting
        }));
        let (harm, way) = found
            .harm
            .unwrap_or_else(|| panic!("{weakness:?} is not found in {} states", found.states));
        println!("{weakness:?}: {harm:?} after {way:?}");
        assert_eq!(harm, Harm::Stranded, "{weakness:?}: after {way:?}");
    }
}
