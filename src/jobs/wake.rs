//! Who sleeps, who is woken, and who may no longer be given jobs.
//!
//! A sleeping worker is woken with a NOOP when a job waits that nobody else is on the way to take. A NOOP that was sent is a
//! *ticket*: the jobs of a function count on as many workers as have one. So a job wakes one worker, not all; after every event
//! that takes away a ticket (it was used, its worker died, lost the function or was quiesced) the function is looked at again, and a
//! ticket that is not used within [`TICKET`] no longer counts. The most recently parked worker is woken first: its caches are warm,
//! and the others stay idle so that a pool can shrink.

use std::time::Duration;

use super::conn::{ConnId, ConnKey, Service, Ticket};
use super::outbox::Notice;
use super::server::JobServer;
use crate::proto::Response;
use crate::time::Time;

/// How long a worker that was sent a NOOP may take to come, before another one is woken too.
pub const TICKET: Duration = Duration::from_millis(50);

impl JobServer {
    /// Gives this connection no more jobs. [`Notice::Parked`] follows, at once if it is parked already.
    pub fn quiesce(&mut self, now: Time, conn: ConnId) {
        let Some(key) = self.conns.key(conn) else {
            return;
        };
        match self.conns[key].service {
            Service::Open => {}
            Service::Held { .. } => {
                return self.release(now, key, Service::Quiesced { told: false });
            }
            Service::Quiesced { .. } | Service::Refused => return,
        }
        self.leave_sleepers(key);
        self.conns[key].service = Service::Quiesced { told: false };
        // its NOOP is void: the job that counts on it needs another
        if self.void_ticket(key) {
            self.wake_for_all(now, key);
        }
        self.tell_if_parked(key);
    }

    /// Whether a quiesced connection is parked: no job, and nothing of the worker's code left to run. [`Notice::Parked`] may be old
    /// news by the time that it is read; this is not.
    pub fn is_parked(&self, conn: ConnId) -> bool {
        let key = self.conns.key(conn);
        key.is_some_and(|key| self.conns[key].service == Service::Quiesced { told: true })
    }

    /// Gives nobody a job any more: the daemon is ending.
    pub fn end_service(&mut self) {
        self.is_ending = true;
    }

    /// Tells of each job that this connection is given or loses, in [`Outbox::marks`](super::Outbox::marks). Of all others nothing is
    /// told, which costs them one look at a flag a job.
    pub fn trace(&mut self, conn: ConnId) {
        if let Some(key) = self.conns.key(conn) {
            self.conns[key].traced = true;
        }
    }

    /// Gives jobs to a connection that was held back as a newcomer, if it is not one that may have none.
    pub fn admit(&mut self, now: Time, conn: ConnId) {
        if let Some(key) = self.conns.key(conn) {
            self.release(now, key, Service::Open);
        }
    }

    /// Ends the holding back of a newcomer. What it has asked for meanwhile is done now, in the order in which it did.
    fn release(&mut self, now: Time, key: ConnKey, service: Service) {
        let Service::Held { asked } = self.conns[key].service else {
            return;
        };
        self.conns[key].service = service;
        // asking wakes it up: if it sleeps, it has gone to sleep after that
        let is_asleep = self.conns[key].asleep.is_some();
        if let Some(grab) = asked {
            self.grab(now, key, grab);
        }
        if is_asleep {
            self.sleep(now, key);
        }
    }

    /// Gives this connection jobs again.
    pub fn unquiesce(&mut self, now: Time, conn: ConnId) {
        let Some(key) = self.conns.key(conn) else {
            return;
        };
        if let Service::Open | Service::Held { .. } = self.conns[key].service {
            return;
        }
        self.conns[key].service = Service::Open;
        self.join_sleepers(key);
        self.wake_for_all(now, key);
    }

    /// Answers this connection's requests for a job with an ERROR from now on.
    pub fn refuse(&mut self, now: Time, conn: ConnId) {
        let Some(key) = self.conns.key(conn) else {
            return;
        };
        if let Service::Held { .. } = self.conns[key].service {
            return self.release(now, key, Service::Refused);
        }
        self.quiesce(now, conn);
        self.conns[key].service = Service::Refused;
        if self.conns[key].asleep.is_some() {
            // asleep it would never ask, and so never hear
            self.send(key, &Response::Noop);
        }
    }

    /// PRE_SLEEP.
    pub(super) fn sleep(&mut self, now: Time, key: ConnKey) {
        self.leave_sleepers(key);
        let lost_ticket = self.void_ticket(key);
        self.count += 1;
        self.conns[key].asleep = Some(self.count);
        match self.conns[key].service {
            Service::Open => {
                self.conns[key].settled = true;
                let has_work = !self.is_ending
                    && self.conns[key].abilities.iter().any(|a| {
                        let function = &self.functions[a.function];
                        function.queued() > 0 && !function.is_paused
                    });
                self.join_sleepers(key);
                if has_work {
                    self.call(now, key);
                }
            }
            // seen to when it is released
            Service::Held { .. } => {}
            Service::Quiesced { .. } => self.settle(key),
            Service::Refused => self.send(key, &Response::Noop),
        }
        if lost_ticket {
            self.wake_for_all(now, key);
        }
    }

    /// A worker has come: it is awake, and its ticket is used. Returns whether a job may have counted on it.
    pub(super) fn wake_up(&mut self, key: ConnKey) -> bool {
        self.leave_sleepers(key);
        self.conns[key].asleep = None;
        self.void_ticket(key)
    }

    /// The worker has asked for a job after its last one, so all of its code for that one has run.
    pub(super) fn settle(&mut self, key: ConnKey) {
        self.conns[key].settled = true;
        self.tell_if_parked(key);
    }

    fn tell_if_parked(&mut self, key: ConnKey) {
        let conn = &mut self.conns[key];
        if conn.service == (Service::Quiesced { told: false })
            && conn.settled
            && conn.held.is_empty()
        {
            conn.service = Service::Quiesced { told: true };
            let id = conn.id;
            self.out.tell(Notice::Parked(id));
        }
    }

    /// Wakes as many of a function's sleepers as it has jobs that count on nobody.
    pub(super) fn wake(&mut self, now: Time, function: u32) {
        if self.is_ending {
            return;
        }
        loop {
            let it = &self.functions[function];
            let queued = it.queued();
            if queued == 0
                || it.is_paused
                || it.expected >= queued.max(u64::from(self.options.wakeup))
            {
                return;
            }
            match it.sleepers.last_key_value() {
                Some((_, &key)) => self.call(now, key),
                None => {
                    if it.expected < queued {
                        self.out.want_workers();
                    }
                    return;
                }
            }
        }
    }

    /// Looks at every function of a worker, because it no longer is on its way.
    pub(super) fn wake_for_all(&mut self, now: Time, key: ConnKey) {
        for at in 0..self.conns[key].abilities.len() {
            let function = self.conns[key].abilities[at].function;
            self.wake(now, function);
        }
    }

    /// Sends a NOOP.
    fn call(&mut self, now: Time, key: ConnKey) {
        self.leave_sleepers(key);
        self.count += 1;
        let conn = &mut self.conns[key];
        conn.ticket = Ticket::Out(self.count);
        self.tickets.push_back((now + TICKET, conn.id, self.count));
        for ability in &self.conns[key].abilities {
            self.functions[ability.function].expected += 1;
        }
        self.send(key, &Response::Noop);
    }

    /// Stops counting on workers that were called and did not come.
    pub(super) fn call_late_tickets(&mut self, now: Time) {
        while let Some(&(due, conn, number)) = self.tickets.front() {
            let key = self
                .conns
                .key(conn)
                .filter(|&key| self.conns[key].ticket == Ticket::Out(number));
            match key {
                // used long ago: no reason to come back for it
                None => {
                    self.tickets.pop_front();
                }
                Some(_) if due > now => return,
                Some(key) => {
                    self.tickets.pop_front();
                    self.void_ticket(key);
                    self.conns[key].ticket = Ticket::Late;
                    self.wake_for_all(now, key);
                }
            }
        }
    }

    /// Takes a ticket back that has not been used. Returns whether there was one.
    fn void_ticket(&mut self, key: ConnKey) -> bool {
        let conn = &mut self.conns[key];
        match std::mem::replace(&mut conn.ticket, Ticket::None) {
            Ticket::None | Ticket::Late => false,
            Ticket::Out(_) => {
                for ability in &self.conns[key].abilities {
                    self.functions[ability.function].expected -= 1;
                }
                true
            }
        }
    }

    fn join_sleepers(&mut self, key: ConnKey) {
        let conn = &self.conns[key];
        if let (Some(place), Service::Open, Ticket::None) = (conn.asleep, conn.service, conn.ticket)
        {
            for ability in &conn.abilities {
                self.functions[ability.function].sleepers.insert(place, key);
            }
        }
    }

    fn leave_sleepers(&mut self, key: ConnKey) {
        let conn = &self.conns[key];
        if let Some(place) = conn.asleep {
            for ability in &conn.abilities {
                self.functions[ability.function].sleepers.remove(&place);
            }
        }
    }

    /// The bookkeeping of an ability that has been taken from the connection.
    pub(super) fn lose_ability(&mut self, now: Time, key: ConnKey, function: u32) {
        let (asleep, ticket) = (self.conns[key].asleep, self.conns[key].ticket);
        let it = &mut self.functions[function];
        it.workers -= 1;
        if let Some(place) = asleep {
            it.sleepers.remove(&place);
        }
        if let Ticket::Out(_) = ticket {
            it.expected -= 1;
            self.wake(now, function);
        }
    }
}
