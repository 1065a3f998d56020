//! The invariants of the job server, counted again from scratch. For the simulation and the tests: it costs time in the number
//! of jobs.

use std::collections::HashMap;

use super::conn::{Conn, Service, Ticket};
use super::job::{Job, Place};
use super::server::JobServer;
use crate::proto::Priority;

impl JobServer {
    /// Checks everything that must hold between two calls.
    ///
    /// # Panics
    /// With a sentence that says which invariant is broken.
    pub fn assert_invariants(&self) {
        self.assert_places();
        self.assert_clients();
        self.assert_functions();
        self.assert_nobody_is_stranded();
        self.assert_failed();
    }

    /// The state without the names of jobs and the time: two servers of the same shape do the same from here on, as long as
    /// nothing falls due. For a search through every order of events, which need not look at a shape twice.
    pub fn shape(&self) -> Vec<u64> {
        let mut shape = Vec::new();
        let rank = |asleep: Option<u64>| {
            asleep.map_or(0, |it| {
                let before = |conn: &&Conn| conn.asleep.is_some_and(|other| other < it);
                1 + self.conns.iter().filter(before).count() as u64
            })
        };
        let look = |shape: &mut Vec<u64>, job: &Job| {
            shape.extend([
                u64::from(job.function) << 32 | u64::from(job.lost) << 16 | u64::from(job.failed),
                u64::from(job.background) << 32
                    | u64::from(job.cancelled) << 33
                    | u64::from(job.is_overdue) << 34
                    | job.clients.len() as u64,
            ]);
        };
        for conn in self.conns.iter() {
            let ticket = match conn.ticket {
                Ticket::None => 0,
                Ticket::Out(_) => 1,
                Ticket::Late => 2,
            };
            let service = match conn.service {
                Service::Open => 0,
                Service::Quiesced { told: false } => 1,
                Service::Quiesced { told: true } => 2,
                Service::Refused => 3,
                Service::Held { asked: None } => 4,
                Service::Held { asked: Some(_) } => 5,
            };
            shape.extend([conn.id.0, rank(conn.asleep), ticket, service]);
            shape.extend([u64::from(conn.settled), conn.excepted.len() as u64]);
            shape.extend([conn.turn as u64, conn.abilities.len() as u64]);
            shape.extend(conn.abilities.iter().map(|it| u64::from(it.function)));
            shape.push(conn.held.len() as u64);
            for &job in &conn.held {
                look(&mut shape, &self.jobs[job]);
            }
        }
        for function in self.functions.iter() {
            shape.push(u64::from(function.is_paused));
            for priority in [Priority::High, Priority::Normal, Priority::Low] {
                shape.push(function.queued_by_priority()[priority as usize]);
                for job in function.waiting(&self.jobs, priority) {
                    look(&mut shape, &self.jobs[job]);
                }
            }
        }
        shape.push(self.later.len() as u64);
        shape.push(self.failed.len() as u64);
        shape
    }

    /// A job is in exactly one place, and that place knows it.
    fn assert_places(&self) {
        let mut in_lanes = 0;
        for function in self.functions.keys() {
            for priority in [Priority::High, Priority::Normal, Priority::Low] {
                let waiting: Vec<_> = self.functions[function]
                    .waiting(&self.jobs, priority)
                    .collect();
                let counted = self.functions[function].queued_by_priority()[priority as usize];
                assert_eq!(
                    waiting.len() as u64,
                    counted,
                    "a lane's length is the number of its jobs"
                );
                for job in waiting {
                    assert!(self.jobs.is_queued(job), "a lane holds waiting jobs only");
                    assert_eq!(
                        self.jobs[job].function, function,
                        "a lane holds jobs of its function"
                    );
                    assert_eq!(
                        self.jobs[job].priority, priority,
                        "a lane holds jobs of its priority"
                    );
                    in_lanes += 1;
                }
            }
        }
        let (jobs, numbers) = self.jobs.counts();
        assert_eq!(numbers, jobs, "each job has a number, and nobody else");
        let bytes: u64 = self.jobs.iter().map(|(_, job)| job.bytes()).sum();
        assert_eq!(self.jobs.bytes(), bytes, "the bytes of all jobs");
        let mut held = 0;
        for (_, job) in self.jobs.iter() {
            assert!(
                job.is_running() || !job.is_overdue,
                "a job is overdue while a worker has it"
            );
        }
        for conn in self.conns.iter() {
            for &job in &conn.held {
                let holder = match self.jobs[job].place {
                    Place::Worker { conn, .. } => Some(self.conns[conn].id),
                    Place::Lane { .. } | Place::Later { .. } => None,
                };
                assert_eq!(holder, Some(conn.id), "a job that a worker holds says so");
                held += 1;
            }
        }
        let (mut lanes, mut workers) = (0, 0);
        for (key, job) in self.jobs.iter() {
            assert_eq!(
                self.jobs.by_number(job.number),
                Some(key),
                "a job is found by its handle"
            );
            assert!(
                !self.is_unwanted(key) || job.is_running(),
                "a job that nobody wants is dropped unless it runs"
            );
            match job.place {
                Place::Lane { .. } => lanes += 1,
                Place::Later { due } => {
                    assert!(
                        self.later.contains(&(due, job.number)),
                        "a job that waits for its time has an alarm"
                    );
                }
                Place::Worker { deadline, .. } => {
                    workers += 1;
                    if let Some(deadline) = deadline {
                        assert!(
                            self.deadlines.contains(&(deadline, job.number)),
                            "a time limit has an alarm"
                        );
                    }
                }
            }
        }
        assert_eq!(
            (lanes, workers),
            (in_lanes, held),
            "every job is where it says it is"
        );
    }

    /// Jobs and the connections that wait for them know each other.
    fn assert_clients(&self) {
        let mut waiting: HashMap<_, u32> = HashMap::new();
        for (key, job) in self.jobs.iter() {
            for &client in &job.clients {
                *waiting.entry((client, key)).or_default() += 1;
            }
        }
        let mut known = 0;
        for (&(client, job), &times) in &waiting {
            let conn = self
                .conns
                .get(client)
                .expect("a client that waits is connected");
            assert_eq!(
                conn.waits.get(&job),
                Some(&times),
                "a client knows how often it waits for a job"
            );
            known += 1;
        }
        let all: usize = self.conns.iter().map(|conn| conn.waits.len()).sum();
        assert_eq!(all, known, "a client waits for jobs that know it");
    }

    /// A function's counters are what its jobs and workers say.
    fn assert_functions(&self) {
        for key in self.functions.keys() {
            let function = &self.functions[key];
            let able = || {
                self.conns
                    .iter()
                    .filter(move |conn| conn.abilities.iter().any(|a| a.function == key))
            };
            assert_eq!(function.workers, able().count() as u64, "workers");
            let expected = able()
                .filter(|conn| matches!(conn.ticket, Ticket::Out(_)))
                .count();
            assert_eq!(function.expected, expected as u64, "expected");
            let sleepers = able().filter(|conn| {
                conn.asleep.is_some()
                    && conn.service == Service::Open
                    && conn.ticket == Ticket::None
            });
            assert_eq!(function.sleepers.len(), sleepers.count(), "sleepers");
            let running = self
                .jobs
                .iter()
                .filter(|(_, job)| job.function == key && job.is_running());
            assert_eq!(function.running, running.count() as u64, "running");
            let jobs = self.jobs.iter().filter(|(_, job)| job.function == key);
            assert_eq!(function.jobs, jobs.count() as u64, "jobs");
        }
    }

    /// What is set aside is nowhere else, and within its bounds.
    fn assert_failed(&self) {
        for job in self.failed.iter() {
            assert_eq!(
                self.jobs.by_number(job.number),
                None,
                "a job that is set aside is in no queue"
            );
        }
        self.failed.assert_bounds();
        for function in self.functions.iter() {
            let is_held = self.functions.paused().contains(&function.name);
            assert_eq!(function.is_paused, is_held, "a function that is held");
        }
    }

    /// No job waits for nobody while somebody who could take it sleeps.
    fn assert_nobody_is_stranded(&self) {
        if self.is_ending {
            return;
        }
        for function in self.functions.iter() {
            // what is held is meant to wait
            let is_covered = function.is_paused
                || function.expected >= function.queued()
                || function.sleepers.is_empty();
            assert!(
                is_covered,
                "a job waits, and a worker that could take it is left asleep"
            );
        }
    }
}
