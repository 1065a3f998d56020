//! gearmand's flags for what Gearpool does in another way or not at all: each is refused with one sentence, because a server that
//! quietly did something else with somebody's jobs would be worse than one that does not start.

use clap::{Arg, ArgMatches, Command};

use crate::cli::Failure;

/// The option families of gearmand's queue stores, of its versions from 0.14 on.
const QUEUE_STORES: &[&str] = &[
    "libdrizzle-db",
    "libdrizzle-host",
    "libdrizzle-mysql",
    "libdrizzle-password",
    "libdrizzle-port",
    "libdrizzle-table",
    "libdrizzle-uds",
    "libdrizzle-user",
    "libmemcached-prefix",
    "libmemcached-servers",
    "libpq-conninfo",
    "libpq-table",
    "libsqlite3-db",
    "libsqlite3-table",
    "libtokyocabinet-file",
    "libtokyocabinet-optimize",
    "mysql-db",
    "mysql-host",
    "mysql-password",
    "mysql-port",
    "mysql-table",
    "mysql-user",
    "redis-password",
    "redis-port",
    "redis-prefix",
    "redis-server",
    "store-queue-on-shutdown",
];

const NO_STORE: &str = "gearpool has one queue, builtin, which is in memory; leave the flag out, or stay with gearmand where waiting \
                        background jobs must outlive the server";
const NO_PROTOCOL: &str = "gearpool speaks Gearman's own protocol only; submit with any Gearman library, with `gearman` or with \
                           `gearpool submit`";

/// Those of these flags that were given.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused {
    flag: Option<String>,
    queue_type: Option<String>,
    protocol: Option<String>,
}

impl Refused {
    /// The sentence for the first of them.
    ///
    /// # Errors
    /// [`Failure::Usage`], when there is one.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let refuse = |flag: &str, why: &str| Err(Failure::Usage(format!("--{flag}: {why}")));
        if let Some(queue) = &self.queue_type
            && !queue.eq_ignore_ascii_case("builtin")
        {
            return refuse(&format!("queue-type {queue}"), NO_STORE);
        }
        if let Some(protocol) = &self.protocol {
            return refuse(&format!("protocol {protocol}"), NO_PROTOCOL);
        }
        match &self.flag {
            Some(flag) => refuse(flag, NO_STORE),
            None => Ok(()),
        }
    }

    /// These, and what a flag file says of those that are missing.
    pub(super) fn or(self, file: Refused) -> Refused {
        Refused {
            flag: self.flag.or(file.flag),
            queue_type: self.queue_type.or(file.queue_type),
            protocol: self.protocol.or(file.protocol),
        }
    }
}

impl clap::FromArgMatches for Refused {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Refused, clap::Error> {
        let mut given = QUEUE_STORES.iter();
        Ok(Refused {
            flag: given
                .find(|flag| matches.contains_id(flag))
                .map(|flag| (*flag).to_owned()),
            queue_type: matches.get_one("queue-type").cloned(),
            protocol: matches.get_one("protocol").cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Refused::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Refused {
    fn augment_args(command: Command) -> Command {
        let hidden = QUEUE_STORES.iter();
        command
            .arg(
                Arg::new("queue-type")
                    .short('q')
                    .long("queue-type")
                    .value_name("TYPE")
                    .help("The queue's store: builtin, which is in memory; gearmand's others are refused"),
            )
            .arg(
                Arg::new("protocol")
                    .short('r')
                    .long("protocol")
                    .value_name("NAME")
                    .hide(true),
            )
            // a value may follow or not: what matters is that the flag is there
            .args(hidden.map(|flag| Arg::new(*flag).long(*flag).num_args(0..=1).hide(true)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Refused::augment_args(command)
    }
}
