//! The API's small bodies. Daemon and client share them, so they cannot drift apart.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The sizes between which a pool is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// At least so many processes.
    pub min: u32,
    /// At most so many.
    pub max: u32,
}

impl FromStr for Bounds {
    type Err = String;

    /// `10`, or `5..40`, as an operator writes it.
    fn from_str(text: &str) -> Result<Bounds, String> {
        let number = |text: &str| {
            let error = |_| format!("\"{text}\" is not a number of processes; write 10, or 5..40");
            text.trim().parse::<u32>().map_err(error)
        };
        let (min, max) = match text.split_once("..") {
            Some((min, max)) => (number(min)?, number(max)?),
            None => (number(text)?, number(text)?),
        };
        if min > max {
            return Err(format!("{min} is more than {max}; write {max}..{min}"));
        }
        Ok(Bounds { min, max })
    }
}

/// An order was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done, in a sentence; for a reload the plan, in several lines.
    pub message: String,
}

/// An order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why, and what to do about it.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_one_number_or_two() {
        assert_eq!("10".parse(), Ok(Bounds { min: 10, max: 10 }));
        assert_eq!("5..40".parse(), Ok(Bounds { min: 5, max: 40 }));
        for wrong in ["", "x", "-1", "5..", "..4", "40..5", "5...40"] {
            assert!(wrong.parse::<Bounds>().is_err(), "{wrong}");
        }
    }
}
