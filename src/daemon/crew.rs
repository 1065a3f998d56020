//! Who is who: the processes that were started, and which connections are theirs.
//!
//! A connection belongs to a process when the process, or one that it started, has its other end. What cannot be found out stays
//! unknown, and such a process is protected by its stop timeout alone.
//!
//! Here stands too what one of the two machines is told because of the other where a process has several connections: the
//! simulation does it by this file as well, so it has no tokio and no clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::Pool;
use crate::jobs::{ConnId, JobServer, Notice};
use crate::pools::{Event, ProcId, Slot};
use crate::time::Time;

/// A process of a pool.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) pool: Arc<Pool>,
    pub(super) slot: Slot,
    /// The leader of its session.
    pub(super) pid: u32,
    /// Its connections that can do something.
    pub(super) conns: Vec<ConnId>,
    pub(super) service: MemberService,
    /// Whether one of its pool's functions was registered.
    pub(super) registration: Registration,
}

/// Whether a process may be given jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum MemberService {
    /// Yes.
    Open,
    /// No, and it is to be told of when all of its connections are parked.
    Quiesced,
    /// No, and its new connections are refused jobs with an ERROR.
    Refused,
}

/// Whether a process has registered one of its functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Registration {
    /// Not yet.
    None,
    /// On a connection that is known to be its own.
    Mapped,
    /// On a connection that nobody else could have made; which one belongs to which process is not known.
    Guessed,
}

/// All processes.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Crew {
    members: BTreeMap<ProcId, Member>,
    owners: HashMap<ConnId, ProcId>,
    leaders: HashMap<u32, ProcId>,
}

impl Crew {
    pub(super) fn join(&mut self, proc: ProcId, pool: Arc<Pool>, slot: Slot, pid: u32) {
        let member = Member {
            pool,
            slot,
            pid,
            conns: Vec::new(),
            service: MemberService::Open,
            registration: Registration::None,
        };
        self.members.insert(proc, member);
        self.leaders.insert(pid, proc);
    }

    pub(super) fn leave(&mut self, proc: ProcId) -> Option<Member> {
        let member = self.members.remove(&proc)?;
        self.leaders.remove(&member.pid);
        for conn in &member.conns {
            self.owners.remove(conn);
        }
        Some(member)
    }

    pub(super) fn get(&self, proc: ProcId) -> Option<&Member> {
        self.members.get(&proc)
    }

    pub(super) fn get_mut(&mut self, proc: ProcId) -> Option<&mut Member> {
        self.members.get_mut(&proc)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ProcId, &Member)> {
        self.members.iter().map(|(&proc, member)| (proc, member))
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn owner(&self, conn: ConnId) -> Option<ProcId> {
        self.owners.get(&conn).copied()
    }

    /// The process whose session this process leads.
    pub(super) fn led_by(&self, pid: u32) -> Option<ProcId> {
        self.leaders.get(&pid).copied()
    }

    /// Those first whose connection is to be expected: the ones without any, the one that was started first before the others.
    pub(super) fn leader_pids(&self) -> Vec<u32> {
        let pids = |has_any: bool| {
            let members = self.members.values();
            let members = members.filter(move |member| member.conns.is_empty() != has_any);
            members.map(|member| member.pid)
        };
        pids(false).chain(pids(true)).collect()
    }

    /// A process of a pool with this function that has just been started and has not registered, if a connection that nothing is
    /// known of can only be its own: the one that has waited longest.
    pub(super) fn guess(&self, function: &[u8]) -> Option<ProcId> {
        let waiting = self.iter().filter(|(_, member)| {
            member.registration == Registration::None && member.does(function)
        });
        waiting.map(|(proc, _)| proc).min()
    }

    /// A connection is this process's. Returns what has to be done to it because of what the process already is.
    pub(super) fn adopt(&mut self, proc: ProcId, conn: ConnId) -> MemberService {
        let Some(member) = self.members.get_mut(&proc) else {
            return MemberService::Open;
        };
        member.conns.push(conn);
        self.owners.insert(conn, proc);
        member.service
    }

    /// What the supervisor is told because of this. That somebody may be parked is looked at again when its turn comes.
    pub(super) fn heed(&mut self, notice: &Notice) -> Option<Event> {
        Some(match notice {
            Notice::Worked(conn) => Event::Worked {
                proc: self.owner(*conn)?,
            },
            Notice::Parked(conn) => Event::Parked {
                proc: self.owner(*conn)?,
            },
            Notice::Cancelled(conn) => Event::Cancelled {
                proc: self.owner(*conn)?,
            },
            Notice::Overdue { conn, handle } => Event::Overdue {
                proc: self.owner(*conn)?,
                job: String::from_utf8_lossy(handle).into_owned(),
            },
            Notice::Closed(conn) => Event::Parked {
                proc: self.lose(*conn)?,
            },
            Notice::Registered { .. }
            | Notice::Lost { .. }
            | Notice::Failed { .. }
            | Notice::ShutDown(_) => return None,
        })
    }

    /// A connection is gone. Returns its process.
    fn lose(&mut self, conn: ConnId) -> Option<ProcId> {
        let proc = self.owners.remove(&conn)?;
        let member = self.members.get_mut(&proc)?;
        member.conns.retain(|&other| other != conn);
        Some(proc)
    }
}

impl Member {
    pub(super) fn does(&self, function: &[u8]) -> bool {
        self.pool
            .functions
            .iter()
            .any(|name| name.as_bytes() == function)
    }

    /// It is given no more jobs.
    pub(super) fn quiesce(&mut self, server: &mut JobServer, now: Time) {
        self.service = MemberService::Quiesced;
        for &conn in &self.conns {
            server.quiesce(now, conn);
        }
    }

    /// It is given jobs again.
    pub(super) fn unquiesce(&mut self, server: &mut JobServer, now: Time) {
        self.service = MemberService::Open;
        for &conn in &self.conns {
            server.unquiesce(now, conn);
        }
    }

    /// Whether it has nothing left to do, being quiesced: all of its connections are parked now, or it never had any and has not
    /// registered, so that nothing can have been given to it. Asked of the job server itself, since a notice may be old news.
    pub(super) fn is_parked(&self, server: &JobServer) -> bool {
        self.service != MemberService::Open
            && self.registration != Registration::Guessed
            && self.conns.iter().all(|&conn| server.is_parked(conn))
    }

    /// Whether it runs cancelled jobs and no others, so that stopping it cuts nothing that anybody wants. If so it is given no more
    /// under the same lock: a worker may be about to end such a job, and to ask for another.
    pub(super) fn works_for_nobody(&self, server: &mut JobServer, now: Time) -> bool {
        // what a process that was only guessed does may be on connections that are not known
        let is_so =
            self.registration != Registration::Guessed && server.works_for_nobody(&self.conns);
        for &conn in self.conns.iter().filter(|_| is_so) {
            server.quiesce(now, conn);
        }
        is_so
    }

    /// Whether it has a job past its limit. If it has ended that one after all, it is given others again.
    pub(super) fn is_overdue(&self, server: &mut JobServer, now: Time) -> bool {
        let is_so = server.is_overdue(&self.conns);
        if !is_so && self.service == MemberService::Open {
            for &conn in &self.conns {
                server.unquiesce(now, conn);
            }
        }
        is_so
    }
}

impl MemberService {
    /// A connection is found to be one of such a process's.
    pub(super) fn begin(self, server: &mut JobServer, now: Time, conn: ConnId) {
        match self {
            MemberService::Open => server.admit(now, conn),
            MemberService::Quiesced => server.quiesce(now, conn),
            MemberService::Refused => server.refuse(now, conn),
        }
    }
}
