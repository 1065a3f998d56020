//! "Did you mean": the name that is meant when there is none like the one that was typed.

/// The end of a sentence about a name that there is not: `; did you mean "fetchURL"?`, else those there are, else that there is none.
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    let likeness = |name: &str| strsim::jaro_winkler(&wrong.to_lowercase(), &name.to_lowercase());
    let best = names
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best {
        None => "; there is none at all".to_owned(),
        Some(best) if likeness(best) > 0.85 => format!("; did you mean \"{best}\"?"),
        Some(_) if names.len() > SHOWN => {
            format!(
                "; there are {} and {} more",
                names[..SHOWN].join(", "),
                names.len() - SHOWN
            )
        }
        Some(_) if names.len() == 1 => format!("; there is only {}", names[0]),
        Some(_) => format!("; there are {}", names.join(", ")),
    }
}

/// So many names still make a sentence.
const SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_near_or_what_there_is() {
        let names = ["fetchURL", "sendEmail"];
        for (wrong, hint) in [
            ("fetchurl", "; did you mean \"fetchURL\"?"),
            ("fetcURL", "; did you mean \"fetchURL\"?"),
            ("video", "; there are fetchURL, sendEmail"),
        ] {
            assert_eq!(nearest(wrong, names.into_iter()), hint);
        }
        assert_eq!(nearest("x", std::iter::empty()), "; there is none at all");
    }
}
