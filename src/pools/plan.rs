//! What a reload would change, pool by pool.
//!
//! `gearpool check` prints it, the daemon's log tells it, and the supervisor acts on the same comparison, so that what is announced
//! is what happens.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::scale::Seconds;
use crate::config::units::{show_duration, show_size};
use crate::config::{Command, Pool, Restart};

/// What is different between two versions of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Keys of what is started: its processes have to be replaced.
    pub rolled: Vec<&'static str>,
    /// Keys that restart nothing, each as "max 30 → 10".
    pub scaled: Vec<String>,
    /// Whether all of it waits for the pool's check, because processes have to be replaced.
    pub waits: bool,
}

impl Change {
    /// Compares two versions of a pool.
    pub fn between(old: &Pool, new: &Pool) -> Change {
        let mut change = Change::default();
        if old == new {
            return change;
        }
        if !old.starts_the_same(new) {
            change.rolled = rolled_keys(old, new);
            change.waits = new.check.is_some();
        }
        let scaled = [
            ("min", old.min.to_string(), new.min.to_string()),
            ("max", old.max.to_string(), new.max.to_string()),
            (
                "target_wait",
                maybe(old.scale.target_wait),
                maybe(new.scale.target_wait),
            ),
            (
                "down_after",
                maybe(old.scale.down_after),
                maybe(new.scale.down_after),
            ),
            (
                "service_level",
                old.scale.service_level.to_string(),
                new.scale.service_level.to_string(),
            ),
            (
                "step",
                count(old.scale.step.map(u64::from)),
                count(new.scale.step.map(u64::from)),
            ),
            (
                "scale",
                switch(old.scale.off).to_owned(),
                switch(new.scale.off).to_owned(),
            ),
            ("schedule", schedule(old), schedule(new)),
            ("check", check(old), check(new)),
            (
                "check_timeout",
                time(old.check_timeout),
                time(new.check_timeout),
            ),
            ("watch", globs(&old.watch.globs), globs(&new.watch.globs)),
            (
                "priority",
                old.priority.to_string(),
                new.priority.to_string(),
            ),
            ("max_jobs", count(old.max_jobs), count(new.max_jobs)),
            (
                "max_lifetime",
                maybe(old.max_lifetime),
                maybe(new.max_lifetime),
            ),
            ("max_memory", size(old.max_memory), size(new.max_memory)),
            ("timeout", maybe(old.timeout), maybe(new.timeout)),
            (
                "attempts",
                old.attempts.to_string(),
                new.attempts.to_string(),
            ),
            ("retries", old.retries.to_string(), new.retries.to_string()),
            ("retry_delay", time(old.retry_delay), time(new.retry_delay)),
            (
                "start_timeout",
                time(old.start_timeout),
                time(new.start_timeout),
            ),
            (
                "stop_timeout",
                time(old.stop_timeout),
                time(new.stop_timeout),
            ),
            (
                "stop_signal",
                old.stop_signal.name().to_owned(),
                new.stop_signal.name().to_owned(),
            ),
            (
                "restart",
                restart(old.restart).to_owned(),
                restart(new.restart).to_owned(),
            ),
            (
                "exit_on_failure",
                old.exit_on_failure.to_string(),
                new.exit_on_failure.to_string(),
            ),
        ];
        change.scaled = scaled
            .into_iter()
            .filter(|(_, old, new)| old != new)
            .map(|(key, old, new)| format!("{key} {old} → {new}"))
            .collect();
        if change.rolled.is_empty() && change.scaled.is_empty() {
            change.scaled.push("other settings".to_owned());
        }
        change
    }

    /// Whether nothing is different.
    pub fn is_none(&self) -> bool {
        self.rolled.is_empty() && self.scaled.is_empty()
    }
}

fn rolled_keys(old: &Pool, new: &Pool) -> Vec<&'static str> {
    let key = |pool: &Pool| match pool.command {
        Command::Exec(_) | Command::Shell(_) => "cmd",
        Command::Run(_) | Command::RunShell(_) => "run",
    };
    let mut keys: Vec<&'static str> = [
        (key(new), old.command != new.command),
        ("functions", old.functions != new.functions),
        ("cwd", old.cwd != new.cwd),
        ("env", old.env != new.env),
        ("env_file", old.env_file != new.env_file),
        ("user", old.user != new.user),
        ("group", old.group != new.group),
        ("umask", old.umask != new.umask),
        ("nice", old.nice != new.nice),
        ("limits", old.limits != new.limits),
        (
            "no_new_privileges",
            old.no_new_privileges != new.no_new_privileges,
        ),
        ("log", old.log != new.log),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect();
    if keys.is_empty() {
        keys.push("other settings");
    }
    keys
}

fn time(duration: Duration) -> String {
    Seconds(duration).to_string()
}

/// `scale: off`, or not.
fn switch(off: bool) -> &'static str {
    if off { "off" } else { "on" }
}

fn maybe(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "none".to_owned(), time)
}

fn count(count: Option<u64>) -> String {
    count.map_or_else(|| "none".to_owned(), |count| count.to_string())
}

fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "none".to_owned(), show_size)
}

/// "0 8 * * mon-fri 2h 10..50", several with commas.
fn schedule(pool: &Pool) -> String {
    let rushes = pool.scale.schedule.iter().map(|rush| {
        let (min, max) = rush.bounds(pool);
        format!(
            "\"{}\" {} {min}..{max}",
            rush.cron,
            show_duration(rush.lasts)
        )
    });
    match rushes.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "none".to_owned(),
        some => some,
    }
}

fn check(pool: &Pool) -> String {
    let check = pool.check.as_ref().map(Command::to_string);
    check.unwrap_or_else(|| "none".to_owned())
}

fn globs(globs: &[String]) -> String {
    match globs {
        [] => "none".to_owned(),
        globs => globs.join(" "),
    }
}

/// When it happens.
const fn when(waits: bool) -> &'static str {
    match waits {
        true => ", when its check has passed",
        false => "",
    }
}

const fn restart(restart: Restart) -> &'static str {
    match restart {
        Restart::Always => "always",
        Restart::OnFailure => "on-failure",
        Restart::Never => "never",
    }
}

/// What is different between two files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Pools that are new.
    pub added: Vec<Arc<Pool>>,
    /// Names of pools that are drained and go.
    pub removed: Vec<String>,
    /// Pools of which only bounds, times and such are different: nothing is restarted.
    pub scaled: Vec<(String, Change)>,
    /// Pools of which what is started is different: their processes are replaced, new before old.
    pub rolled: Vec<(String, Change)>,
    /// Names of pools that are not touched.
    pub unchanged: Vec<String>,
}

impl Plan {
    /// Compares two files' pools, in the order of the new file.
    pub fn between(old: &[Arc<Pool>], new: &[Arc<Pool>]) -> Plan {
        let mut before: BTreeMap<&str, &Arc<Pool>> =
            old.iter().map(|pool| (pool.name.as_str(), pool)).collect();
        let mut plan = Plan::default();
        for pool in new {
            let Some(was) = before.remove(pool.name.as_str()) else {
                plan.added.push(Arc::clone(pool));
                continue;
            };
            let change = Change::between(was, pool);
            let name = pool.name.clone();
            if change.is_none() {
                plan.unchanged.push(name);
            } else if change.rolled.is_empty() {
                plan.scaled.push((name, change));
            } else {
                plan.rolled.push((name, change));
            }
        }
        plan.removed = old
            .iter()
            .filter(|pool| before.contains_key(pool.name.as_str()))
            .map(|pool| pool.name.clone())
            .collect();
        plan
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.scaled.is_empty()
            && self.rolled.is_empty()
    }
}

/// What of a new file is put in force at once, and what has to pass its check before.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// In the order of the new file: its pools, but those that would start something else and have a check as they are now.
    pub in_force: Vec<Arc<Pool>>,
    /// Those, and the new ones with a check, which are in force and start nothing before.
    pub to_check: Vec<Arc<Pool>>,
}

impl Admission {
    /// Compares two files' pools.
    pub fn between(old: &[Arc<Pool>], new: &[Arc<Pool>]) -> Admission {
        let before: BTreeMap<&str, &Arc<Pool>> =
            old.iter().map(|pool| (pool.name.as_str(), pool)).collect();
        let mut admission = Admission {
            in_force: Vec::new(),
            to_check: Vec::new(),
        };
        for pool in new {
            let was = before.get(pool.name.as_str());
            let has_check = pool.check.is_some();
            if has_check && was.is_none_or(|was| !was.starts_the_same(pool)) {
                admission.to_check.push(Arc::clone(pool));
            }
            admission.in_force.push(match was {
                Some(was) if has_check && !was.starts_the_same(pool) => Arc::clone(was),
                Some(_) | None => Arc::clone(pool),
            });
        }
        admission
    }
}

impl fmt::Display for Plan {
    /// A line for each pool that is different, and none for the others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<(&str, &str, String)> = Vec::new();
        for pool in &self.added {
            lines.push((
                "add",
                &pool.name,
                format!(
                    "(min {}, max {}){}",
                    pool.min,
                    pool.max,
                    when(pool.check.is_some())
                ),
            ));
        }
        for (name, change) in &self.scaled {
            lines.push(("scale", name, change.scaled.join(", ")));
        }
        for (name, change) in &self.rolled {
            let mut what = vec![format!("{} changed", change.rolled.join(", "))];
            what.extend(change.scaled.iter().cloned());
            let what = what.join(", ") + when(change.waits);
            lines.push(("roll", name, what));
        }
        for name in &self.removed {
            lines.push(("remove", name, String::new()));
        }
        if lines.is_empty() {
            return write!(f, "no changes");
        }
        let width = lines
            .iter()
            .map(|(_, name, _)| name.chars().count())
            .max()
            .unwrap_or_default();
        for (number, (verb, name, what)) in lines.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            let line = format!("{verb:<6}  {name:<width$}  {what}");
            write!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Limit, Limits, Resource, Rush, Signal};

    fn pool(name: &str) -> Pool {
        Pool::new(name, Command::Exec(vec![name.to_owned()]))
    }

    fn arcs(pools: Vec<Pool>) -> Vec<Arc<Pool>> {
        pools.into_iter().map(Arc::new).collect()
    }

    #[test]
    fn the_lines_of_a_reload() {
        let old = arcs(vec![
            Pool {
                max: 30,
                ..pool("fetchURL")
            },
            pool("sendEmail"),
            pool("old"),
            pool("same"),
        ]);
        let mut email = pool("sendEmail");
        email.env.insert("SMTP".to_owned(), "mx".to_owned());
        email.nice = Some(5);
        email.min = 2;
        email.max = 2;
        let new = arcs(vec![
            Pool {
                max: 4,
                ..pool("resize")
            },
            Pool {
                max: 10,
                stop_timeout: Duration::from_secs(90),
                ..pool("fetchURL")
            },
            pool("same"),
            email,
        ]);
        let plan = Plan::between(&old, &new);
        let checked = |pool: &Arc<Pool>| Pool {
            check: Some(Command::Exec(vec!["check".to_owned()])),
            ..pool.as_ref().clone()
        };
        let new_checked: Vec<_> = new.iter().map(checked).map(Arc::new).collect();
        assert_eq!(
            Plan::between(&old, &new_checked).to_string(),
            "add     resize     (min 1, max 4), when its check has passed\n\
             scale   fetchURL   max 30 → 10, check none → check, stop_timeout 30 s → 90 s\n\
             scale   same       check none → check\n\
             roll    sendEmail  env, nice changed, min 1 → 2, max 1 → 2, check none → check, when its check has passed\n\
             remove  old"
        );
        assert_eq!(plan.unchanged, ["same"]);
        assert_eq!(
            plan.to_string(),
            "add     resize     (min 1, max 4)\n\
             scale   fetchURL   max 30 → 10, stop_timeout 30 s → 90 s\n\
             roll    sendEmail  env, nice changed, min 1 → 2, max 1 → 2\n\
             remove  old"
        );
        let nothing = Plan::between(&new, &new);
        assert!(nothing.is_empty());
        assert_eq!(nothing.to_string(), "no changes");
    }

    #[test]
    fn what_a_check_holds_back() {
        let checked = |pool: Pool| Pool {
            check: Some(Command::Exec(vec!["check".to_owned()])),
            ..pool
        };
        let max = |max, pool: Pool| Pool { max, ..pool };
        let nice = |pool: Pool| Pool {
            nice: Some(1),
            ..pool
        };
        let old = arcs(vec![
            checked(pool("rolled")),
            pool("gets a check and is rolled"),
            checked(pool("scaled")),
            nice(pool("rolled without")),
            checked(pool("gone")),
            checked(pool("loses its check")),
        ]);
        let new = arcs(vec![
            checked(pool("new")),
            pool("new without"),
            max(9, checked(nice(pool("rolled")))),
            checked(nice(pool("gets a check and is rolled"))),
            max(9, checked(pool("scaled"))),
            pool("rolled without"),
            nice(pool("loses its check")),
        ]);
        let Admission { in_force, to_check } = Admission::between(&old, &new);
        let names: Vec<_> = to_check.iter().map(|pool| pool.name.as_str()).collect();
        assert_eq!(names, ["new", "rolled", "gets a check and is rolled"]);
        for (at, (pool, wanted)) in in_force.iter().zip(&new).enumerate() {
            let held = at == 2 || at == 3;
            assert_eq!(pool.name, wanted.name);
            assert_eq!(pool != wanted, held, "{}", pool.name);
            assert_eq!(old.contains(pool), held, "{}", pool.name);
        }
    }

    /// Each setting of a pool changed alone: it is named, and it restarts processes exactly when they would start differently.
    #[test]
    fn every_key_is_named() {
        type Edit = fn(&mut Pool);
        let changes: Vec<(&str, Edit)> = vec![
            ("cmd changed", |p| {
                p.command = Command::Exec(vec!["b".into()])
            }),
            ("run changed", |p| {
                p.command = Command::Run(vec!["b".into()])
            }),
            ("functions changed", |p| p.functions.push("b".into())),
            ("cwd changed", |p| p.cwd = Some("b".into())),
            ("env changed", |p| {
                drop(p.env.insert("A".into(), "b".into()))
            }),
            ("env_file changed", |p| p.env_file = Some("b".into())),
            ("user changed", |p| p.user = Some("b".into())),
            ("group changed", |p| p.group = Some("b".into())),
            ("umask changed", |p| p.umask = Some(0o22)),
            ("nice changed", |p| p.nice = Some(1)),
            ("limits changed", |p| {
                p.limits = Limits([(Resource::Nofile, Limit::of(9))].into());
            }),
            ("log changed", |p| p.log.keep = 1),
            ("min 1 → 0", |p| p.min = 0),
            ("max 1 → 9", |p| p.max = 9),
            ("max_jobs none → 100", |p| p.max_jobs = Some(100)),
            ("max_lifetime none → 60 s", |p| {
                p.max_lifetime = Some(Duration::from_secs(60))
            }),
            ("start_timeout 10 s → 60 s", |p| {
                p.start_timeout = Duration::from_secs(60)
            }),
            ("stop_timeout 30 s → 60 s", |p| {
                p.stop_timeout = Duration::from_secs(60)
            }),
            ("stop_signal TERM → INT", |p| p.stop_signal = Signal::Int),
            ("restart always → never", |p| p.restart = Restart::Never),
            ("target_wait none → 0.5 s", |p| {
                p.scale.target_wait = Some(Duration::from_millis(500))
            }),
            ("schedule none → \"@daily\" 2h 1..5", |p| {
                p.scale.schedule.push(Rush {
                    cron: "@daily".parse().unwrap(),
                    lasts: Duration::from_secs(7200),
                    min: None,
                    max: Some(5),
                })
            }),
            ("check none → php -l a.php", |p| {
                p.check = Some(Command::Exec(vec![
                    "php".into(),
                    "-l".into(),
                    "a.php".into(),
                ]))
            }),
            ("check_timeout 30 s → 5 s", |p| {
                p.check_timeout = Duration::from_secs(5)
            }),
            ("watch none → *.php lib/**", |p| {
                p.watch.globs = vec!["*.php".into(), "lib/**".into()]
            }),
            ("down_after none → 60 s", |p| {
                p.scale.down_after = Some(Duration::from_secs(60))
            }),
        ];
        for (says, change) in changes {
            let old = pool("a");
            let mut new = pool("a");
            change(&mut new);
            let rolls = !old.starts_the_same(&new);
            let plan = Plan::between(&[Arc::new(old)], &[Arc::new(new)]);
            let verb = if rolls { "roll    a" } else { "scale   a" };
            assert_eq!(plan.to_string(), format!("{verb}  {says}"));
        }
    }
}
