//! The configuration file: what putting it in force changes.

use std::collections::BTreeSet;

use super::*;

/// What came of a new file.
pub(super) struct Applied {
    pub(super) answer: Result<String, String>,
    /// The pools whose check has to pass before that is so.
    pub(super) open: BTreeSet<String>,
}

impl Applied {
    fn at_once(text: String) -> Applied {
        Applied {
            answer: Ok(text),
            open: BTreeSet::new(),
        }
    }
}

impl Manager {
    pub(super) fn configure(&mut self) {
        self.look_at_the_clock();
        if let Some(file) = &self.parts.file {
            self.events
                .push_back(Event::Configured(file.pools().to_vec(), file.caps()));
            self.follow_code();
            self.govern();
            self.sample_soon();
        }
    }

    pub(super) fn reload(&mut self) -> Applied {
        self.parts.notifier.reloading();
        let applied = self.read_again().unwrap_or_else(|error| Applied {
            answer: Err(error),
            open: BTreeSet::new(),
        });
        self.say_ready();
        applied
    }

    fn read_again(&mut self) -> Result<Applied, String> {
        let renewed = self.parts.pem_files.as_ref().map(tls::server).transpose();
        let renewed = renewed.map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            for line in &lines {
                tracing::error!("{line}");
            }
            tracing::error!("TLS goes on with what it had");
            lines.join("\n")
        })?;
        let shown = renewed.map(|identity| self.show(identity).unwrap_or_else(nothing));
        if let Some(line) = &shown {
            tracing::info!("certificates: {line}");
        }
        match &mut self.parts.file {
            Some(file) => {
                let reading = file.read();
                self.follow_file();
                Ok(self.apply(reading))
            }
            None => shown.map(Applied::at_once).ok_or_else(|| {
                "this gearpool was started without a configuration file; start it with -c FILE"
                    .to_owned()
            }),
        }
    }

    /// Watches the folders of the files as they have been read last.
    pub(super) fn follow_file(&mut self) {
        if let (Some(file), Some(watch)) = (&self.parts.file, &mut self.parts.file_watch)
            && let Err(error) = watch.follow(file.folders())
        {
            tracing::warn!(%error, "not all of the configuration can be watched; use `gearpool reload` after a change");
        }
    }

    /// Shows a certificate to whoever connects from now on. Returns what there is to say about it.
    pub(super) fn show(&self, identity: Identity) -> Option<String> {
        let is_new = self.parts.certificates.replace(identity);
        is_new.then(|| "new connections get what is in the certificate's files now".to_owned())
    }

    pub(super) fn apply(&mut self, reading: Reading) -> Applied {
        match reading {
            Reading::Same => Applied::at_once("nothing has changed".to_owned()),
            Reading::New {
                plan,
                later,
                tls,
                checks,
            } => {
                self.sample_first();
                self.resume_changed(&plan);
                self.configure();
                let mut lines: Vec<_> = changes(&plan).lines().map(str::to_owned).collect();
                // flags win over the file for as long as the daemon runs
                if let (None, Some(identity)) = (&self.parts.pem_files, tls) {
                    lines.extend(self.show(identity));
                }
                lines.extend(later.iter().map(|key| {
                    format!("{key} has changed; it takes effect when gearpool is started again")
                }));
                if lines.is_empty() {
                    lines.push(nothing());
                }
                for line in &lines {
                    tracing::info!("configuration: {line}");
                }
                Applied {
                    answer: Ok(lines.join("\n")),
                    open: self.check_changed(checks),
                }
            }
            Reading::Wrong(error) => {
                for line in error.lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("the configuration file is wrong; the old one stays in force");
                Applied {
                    answer: Err(error),
                    open: BTreeSet::new(),
                }
            }
        }
    }

    /// What putting a file in force would change.
    pub(super) fn plan(&self, file: Option<&Path>) -> Result<String, String> {
        let own = self.parts.file.as_ref().map(ConfigFile::path);
        let Some(path) = file.or(own) else {
            return Err("this gearpool was started without a configuration file".to_owned());
        };
        let read = file::read(path).map_err(|error| error.to_string())?;
        let proposed: Vec<_> = read.config.pools.into_values().map(Arc::new).collect();
        Ok(changes(&Plan::between(self.pools(), &proposed)))
    }

    /// The pools that are in force.
    pub(super) fn pools(&self) -> &[Arc<Pool>] {
        let file = self.parts.file.as_ref();
        file.map(ConfigFile::pools).unwrap_or_default()
    }
}

pub(super) fn nothing() -> String {
    "nothing to change".to_owned()
}

/// A plan's lines. None for no changes: what that is called is for the one who asks.
pub(super) fn changes(plan: &Plan) -> String {
    match plan.is_empty() {
        true => String::new(),
        false => plan.to_string(),
    }
}
