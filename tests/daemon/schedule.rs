//! Bounds for known rushes.

use crate::support::Daemon;

/// A rush that begins anew every minute is always in force; one of a month that is half a year away is not.
#[test]
fn a_schedule_is_in_force_as_long_as_the_clock_says_so() {
    let file = |cron: &str| {
        format!(
            "sendEmail: {{cmd: php worker.php, min: 1, max: 2, scale: {{down_after: 0s, schedule: [{{cron: '{cron}', min: 3, max: 5}}]}}}}\n"
        )
    };
    let daemon = Daemon::start(&file("* * * * *"));
    daemon.ready("sendEmail", 3);
    let pool = daemon.pool("sendEmail").pool;
    assert_eq!((pool.min, pool.max), (3, 5));
    let says = "at min; schedule \"* * * * *\" has 3..5 until ";
    assert!(pool.reason.starts_with(says), "{}", pool.reason);
    let told = daemon.run(&["explain", "sendEmail"]).out;
    let begins = format!("sendEmail should have 3 of 3..5 processes: {says}");
    assert!(told.starts_with(&begins), "{told}");
    assert!(
        daemon
            .log()
            .contains("sendEmail: schedule \"* * * * *\" has 3..5 until ")
    );

    let six_months_on = jiff::ZonedDateTime::now()
        .saturating_add(jiff::Span::new().months(6))
        .month();
    let never = format!("0 0 1 {six_months_on} *");
    daemon.home.write("workers.yaml", &file(&never));
    daemon.ready("sendEmail", 1);
    let pool = daemon.pool("sendEmail").pool;
    assert_eq!((pool.min, pool.max, pool.reason.as_str()), (1, 2, "at min"));
    let log = daemon.log();
    assert!(log.contains("schedule \"* * * * *\" 1h 3..5 → "), "{log}");
    assert!(
        log.contains("the rush of its schedule is over: 1..2 again"),
        "{log}"
    );
}
