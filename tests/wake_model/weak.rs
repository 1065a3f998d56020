//! Servers that look less often than the real one, each of which the search has to find out.

use gearpool::jobs::Newcomers;

use super::search::search;
use super::{Harm, State, Weakness, setting};

/// The search finds what a server would do wrong that looks less often.
#[test]
fn every_look_at_the_sleepers_is_needed() {
    let held = setting(|it| (it.naps, it.newcomers) = (true, Newcomers::Held));
    for (weakness, mut setting) in [
        (Weakness::Grab, setting(|it| it.any_priority = true)),
        (Weakness::Sleep, setting(|_| {})),
        (Weakness::Death, setting(|it| it.crashes = 1)),
        (Weakness::Quiesce, setting(|it| it.orders = 1)),
        (Weakness::Unquiesce, setting(|it| it.orders = 1)),
        (Weakness::CantDo, setting(|it| it.changes = 1)),
        (Weakness::CanDo, setting(|it| it.changes = 1)),
        (Weakness::Admit, held),
        (Weakness::NoTimer, setting(|it| it.hangs = 1)),
    ] {
        setting.weakness = weakness;
        let found = search(State::start(setting));
        let (harm, way) = found
            .harm
            .unwrap_or_else(|| panic!("{weakness:?} is not found in {} states", found.states));
        println!("{weakness:?}: {harm:?} after {way:?}");
        assert_eq!(harm, Harm::Stranded, "{weakness:?}: after {way:?}");
    }
}
