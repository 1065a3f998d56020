//! `POOL` or `POOL/SLOT`, as a person writes it.

use std::str::FromStr;

/// A pool, or one slot of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PoolSlot {
    /// The pool's name.
    pub(super) pool: String,
    /// The slot; `None` is all of them.
    pub(super) slot: Option<u32>,
}

impl FromStr for PoolSlot {
    type Err = String;

    /// What follows the last `/` is a slot when it is a number; else it belongs to the name.
    fn from_str(text: &str) -> Result<PoolSlot, String> {
        let (pool, slot) = match text.rsplit_once('/') {
            Some((pool, number)) if !number.is_empty() => match number.parse::<u32>() {
                Ok(0) => return Err("slots are counted from 1".to_owned()),
                Ok(slot) => (pool, Some(slot)),
                Err(_) => (text, None),
            },
            _ => (text, None),
        };
        if pool.is_empty() {
            return Err("the pool's name is missing, as in fetchURL/3".to_owned());
        }
        Ok(PoolSlot {
            pool: pool.to_owned(),
            slot,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_after_the_last_slash_is_a_slot() {
        for (text, pool, slot) in [
            ("fetchURL", "fetchURL", None),
            ("fetchURL/3", "fetchURL", Some(3)),
            ("mail/out", "mail/out", None),
            ("mail/out/12", "mail/out", Some(12)),
            ("mail/", "mail/", None),
        ] {
            let parsed: PoolSlot = text.parse().unwrap();
            assert_eq!((parsed.pool.as_str(), parsed.slot), (pool, slot));
        }
        for wrong in ["", "/3", "fetchURL/0"] {
            assert!(wrong.parse::<PoolSlot>().is_err(), "{wrong}");
        }
    }
}
