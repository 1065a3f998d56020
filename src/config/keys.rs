//! The keys of the file, and what is said of a key that is none of them.

use super::problem::quote;

/// The keys of one kind of map.
pub(super) struct Section {
    /// Where its keys belong, as a message says it.
    pub(super) name: &'static str,
    /// The keys that it has.
    pub(super) known: &'static [&'static str],
    /// The keys that the design has and this version does not.
    pub(super) later: &'static [&'static str],
    /// Words that people bring from elsewhere, and ours.
    synonyms: &'static [(&'static str, &'static str)],
}

pub(super) const TOP: Section = Section {
    name: "the top of the file",
    known: &["include", "server", "defaults", "functions"],
    later: &[],
    synonyms: &[
        ("imports", "include"),
        ("includes", "include"),
        ("pools", "functions"),
        ("programs", "functions"),
        ("services", "functions"),
        ("workers", "functions"),
    ],
};

pub(super) const SERVER: Section = Section {
    name: "\"server\"",
    known: &[
        "listen",
        "tls",
        "state_dir",
        "log_dir",
        "max_processes",
        "exit_on_failure",
        "limits",
    ],
    later: &["durable", "http", "priority"],
    synonyms: &[
        ("address", "listen"),
        ("bind", "listen"),
        ("host", "listen"),
        ("port", "listen"),
        ("ssl", "tls"),
    ],
};

pub(super) const SERVER_LIMITS: Section = Section {
    name: "the \"limits\" of \"server\"",
    known: &[
        "connections",
        "packet_size",
        "mailbox",
        "buffers",
        "queued_bytes",
        "queue_length",
    ],
    later: &[],
    synonyms: &[
        ("clients", "connections"),
        ("max_connections", "connections"),
        ("max_queue", "queue_length"),
        ("maxqueue", "queue_length"),
        ("memory", "queued_bytes"),
        ("queue", "queue_length"),
    ],
};

pub(super) const TLS: Section = Section {
    name: "\"tls\"",
    known: &["listen", "cert", "key", "client_ca"],
    later: &[],
    synonyms: &[
        ("address", "listen"),
        ("ca", "client_ca"),
        ("cacert", "client_ca"),
        ("certificate", "cert"),
        ("port", "listen"),
        ("private_key", "key"),
    ],
};

pub(super) const POOL: Section = Section {
    name: "a function",
    known: &[
        "cmd",
        "run",
        "shell",
        "min",
        "max",
        "count",
        "functions",
        "cwd",
        "env",
        "env_file",
        "user",
        "group",
        "umask",
        "nice",
        "limits",
        "no_new_privileges",
        "max_jobs",
        "max_lifetime",
        "max_memory",
        "timeout",
        "attempts",
        "retries",
        "retry_delay",
        "start_timeout",
        "stop_signal",
        "stop_timeout",
        "restart",
        "exit_on_failure",
        "check",
        "check_timeout",
        "watch",
        "priority",
        "scale",
        "log",
    ],
    later: &["drain_timeout"],
    synonyms: &[
        ("autorestart", "restart"),
        ("command", "cmd"),
        ("directory", "cwd"),
        ("environment", "env"),
        ("exec", "cmd"),
        ("instances", "count"),
        ("job_retries", "attempts"),
        ("job_timeout", "timeout"),
        ("max_attempts", "attempts"),
        ("max_retries", "retries"),
        ("numprocs", "count"),
        ("processes", "count"),
        ("replicas", "count"),
        ("no_new_privs", "no_new_privileges"),
        ("rlimits", "limits"),
        ("max_memory_restart", "max_memory"),
        ("startsecs", "start_timeout"),
        ("stopwaitsecs", "stop_timeout"),
        ("workers", "count"),
        ("weight", "priority"),
        ("working_dir", "cwd"),
        ("working_directory", "cwd"),
    ],
};

pub(super) const LIMITS: Section = Section {
    name: "\"limits\"",
    known: &[
        "nofile",
        "nproc",
        "core",
        "address_space",
        "cpu",
        "data",
        "stack",
        "fsize",
        "memlock",
    ],
    later: &[],
    synonyms: &[
        ("as", "address_space"),
        ("file_size", "fsize"),
        ("files", "nofile"),
        ("memory", "address_space"),
    ],
};

pub(super) const LIMIT: Section = Section {
    name: "a limit",
    known: &["soft", "hard"],
    later: &[],
    synonyms: &[("maximum", "hard")],
};

pub(super) const SCALE: Section = Section {
    name: "\"scale\"",
    known: &[
        "target_wait",
        "service_level",
        "down_after",
        "step",
        "schedule",
    ],
    later: &["headroom", "reserve"],
    synonyms: &[
        ("rushes", "schedule"),
        ("cooldown", "down_after"),
        ("keepalive", "down_after"),
        ("percentile", "service_level"),
    ],
};

pub(super) const RUSH: Section = Section {
    name: "an entry of \"schedule\"",
    known: &["cron", "for", "min", "max"],
    later: &[],
    synonyms: &[
        ("at", "cron"),
        ("begin", "cron"),
        ("duration", "for"),
        ("lasts", "for"),
        ("start", "cron"),
    ],
};

pub(super) const LOG: Section = Section {
    name: "\"log\"",
    known: &[
        "file",
        "stderr",
        "max_size",
        "keep",
        "compress",
        "format",
        "timestamps",
        "max_line",
    ],
    later: &[],
    synonyms: &[
        ("backups", "keep"),
        ("errors", "stderr"),
        ("gzip", "compress"),
        ("json", "format"),
        ("path", "file"),
        ("size", "max_size"),
        ("stderr_logfile", "stderr"),
        ("stdout_logfile", "file"),
    ],
};

/// Every kind of map.
pub(super) const ALL: [&Section; 10] = [
    &TOP,
    &SERVER,
    &SERVER_LIMITS,
    &TLS,
    &POOL,
    &LIMITS,
    &LIMIT,
    &SCALE,
    &RUSH,
    &LOG,
];

impl Section {
    /// The sentence about a key that this section does not have.
    pub(super) fn unknown(&self, key: &str) -> String {
        if self.later.contains(&key) {
            return format!("{} is not in this version of gearpool", quote(key));
        }
        if let Some(meant) = self.nearest(key) {
            return format!("unknown key {}, did you mean \"{meant}\"?", quote(key));
        }
        if let Some(home) = ALL.iter().find(|section| section.known.contains(&key)) {
            return format!("{} belongs under {}", quote(key), home.name);
        }
        // A long list helps nobody; those sections are in the example file.
        if self.known.len() > 9 {
            return format!(
                "unknown key {}, {} has no such option",
                quote(key),
                self.name
            );
        }
        format!(
            "unknown key {}, {} has {}",
            quote(key),
            self.name,
            self.known.join(", ")
        )
    }

    /// The key of this section that was probably meant.
    pub(super) fn nearest(&self, key: &str) -> Option<&'static str> {
        // Edit distance takes the product of the lengths; no key is nearly this long.
        if key.len() > 40 {
            return None;
        }
        let plain = key.to_lowercase().replace(['-', ' '], "_");
        let synonym = self.synonyms.iter().find(|(word, _)| *word == plain);
        if let Some((_, meant)) = synonym {
            return Some(meant);
        }
        // A key that is right elsewhere is in the wrong place, not misspelt.
        if ALL.iter().any(|section| section.known.contains(&key)) {
            return None;
        }
        let squeezed = plain.replace('_', "");
        let own = self.known.iter().map(|known| (*known, *known));
        own.chain(self.synonyms.iter().copied())
            .map(|(word, meant)| {
                let distance = strsim::damerau_levenshtein(&word.replace('_', ""), &squeezed);
                (distance, word, meant)
            })
            // Two slips in a long word, one in a short one, and something must be left of it.
            .filter(|(distance, word, _)| {
                let slips = if word.len() < 6 { 1 } else { 2 };
                *distance <= slips && *distance < squeezed.chars().count()
            })
            .min()
            .map(|(_, _, meant)| meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        let said = [
            (&POOL, "maxx"),
            (&POOL, "Max"),
            (&POOL, "max-jobs"),
            (&POOL, "maxJobs"),
            (&POOL, "comand"),
            (&POOL, "command"),
            (&POOL, "numprocs"),
            (&POOL, "drain_timeout"),
            (&POOL, "target_wait"),
            (&POOL, "listen"),
            (&POOL, "x"),
            (&POOL, ""),
            (&SERVER, "durable"),
            (&SERVER, "port"),
            (&LOG, "stdout_logfile"),
            (&LOG, "kept"),
            (&LIMITS, "rss"),
            (&LIMIT, "maximum"),
            (&SERVER, "ssl"),
            (&TLS, "certificate"),
            (&TLS, "ciphers"),
            (&TOP, "funtions"),
            (&TOP, "include"),
            (&TOP, "wor\nkers"),
        ]
        .map(|(section, key)| section.unknown(key));
        insta::assert_snapshot!(said.join("\n"));
    }
}
