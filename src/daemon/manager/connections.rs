//! What the job server tells of its connections, and whose they are.

use super::*;

impl Manager {
    pub(super) fn notice(&mut self, notice: Notice, registered: &mut Vec<(ConnId, Box<[u8]>)>) {
        match &notice {
            Notice::Registered { conn, function } => {
                if let Some(peer) = self.parts.hub.peer(*conn) {
                    tracing::debug!(peer = %peer.address, function = %String::from_utf8_lossy(function), "a worker registered");
                }
                registered.push((*conn, function.clone()));
            }
            // a connection may register, take a job and end it before it has been looked at
            Notice::Worked(_) | Notice::Cancelled(_) | Notice::Overdue { .. } => {
                self.adopt(std::mem::take(registered));
            }
            Notice::Parked(_) => {}
            Notice::ShutDown(Ending::Now) => self.shut_down(Stop::Gracefully),
            Notice::ShutDown(Ending::Graceful) => self.shut_down(Stop::WhenIdle),
            Notice::Lost {
                conn,
                handle,
                attempts,
                of,
                is_set_aside,
            } => self.lost(*conn, handle, (*attempts, *of), *is_set_aside),
            Notice::Failed { conn, handle } => self.failed(*conn, handle),
            Notice::Closed(conn) => {
                self.losses.closed(*conn);
                registered.retain(|(other, _)| other != conn);
            }
        }
        self.events.extend(self.crew.heed(&notice));
    }

    /// Finds the processes of connections that have registered functions.
    pub(super) fn adopt(&mut self, registered: Vec<(ConnId, Box<[u8]>)>) {
        if registered.is_empty() {
            return;
        }
        let mut owners: HashMap<ConnId, Option<ProcId>> = HashMap::new();
        let leaders = self.crew.leader_pids();
        let mut unknown = Vec::new();
        for (conn, _) in &registered {
            if owners.contains_key(conn) {
                continue;
            }
            let owner = self.crew.owner(*conn);
            owners.insert(*conn, owner);
            if let (None, Some(peer)) = (owner, self.parts.hub.peer(*conn)) {
                match peer.origin {
                    Origin::Tcp { local, remote } => unknown.push((*conn, (local, remote))),
                    Origin::Unix { pid } => {
                        let leader = pid.and_then(|pid| peer::leader_of_pid(pid, &leaders));
                        owners.insert(*conn, leader.and_then(|pid| self.crew.led_by(pid)));
                    }
                }
            }
        }
        let pairs: Vec<_> = unknown.iter().map(|(_, pair)| *pair).collect();
        for ((conn, _), leader) in unknown.iter().zip(peer::leaders_of(&pairs, &leaders)) {
            owners.insert(*conn, leader.and_then(|pid| self.crew.led_by(pid)));
        }
        for (conn, function) in registered {
            self.register(conn, &function, owners.get(&conn).copied().flatten());
        }
        self.sample_soon();
    }

    pub(super) fn register(&mut self, conn: ConnId, function: &[u8], owner: Option<ProcId>) {
        let registration = match owner {
            Some(_) => Registration::Mapped,
            None => Registration::Guessed,
        };
        if owner.is_none() {
            self.parts.hub.with(|server, now| server.admit(now, conn));
        }
        let Some(proc) = owner.or_else(|| self.guess(conn, function)) else {
            return;
        };
        if owner.is_some() && self.crew.owner(conn).is_none() {
            let service = self.crew.adopt(proc, conn);
            // before it is given its first job
            if let (Some(peer), Some(marks)) = (self.parts.hub.peer(conn), self.marks.get(&proc)) {
                peer.trace(marks.clone());
                let limit = self.limit_of(proc);
                self.parts.hub.with(|server, _| {
                    server.trace(conn);
                    server.limit(conn, limit);
                });
            }
            self.parts
                .hub
                .with(|server, now| service.begin(server, now, conn));
        }
        let Some(member) = self.crew.get_mut(proc) else {
            return;
        };
        if member.registration == Registration::None && !member.does(function) {
            let function = String::from_utf8_lossy(function).into_owned();
            self.events
                .push_back(Event::RegisteredOther { proc, function });
        } else if member.registration == Registration::None {
            member.registration = registration;
            self.sample_first();
            self.events.push_back(Event::Registered { proc });
        }
    }

    /// A connection from this machine belongs to whom the kernel says, or to nobody of ours. Of one that comes through an address
    /// translation nothing can be known; it is one of ours when one of ours is expected.
    pub(super) fn guess(&self, conn: ConnId, function: &[u8]) -> Option<ProcId> {
        match self.parts.hub.peer(conn)?.origin {
            Origin::Tcp { remote, .. } if !remote.ip().to_canonical().is_loopback() => {
                self.crew.guess(function)
            }
            Origin::Tcp { .. } | Origin::Unix { .. } => None,
        }
    }
}
