//! The table of packets: number, name, how many arguments.
//!
//! Source: the Gearman protocol document, and what libgearman and the other libraries send where it is silent.

/// Which side a packet says it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Magic {
    /// `\0REQ`, to the server.
    Request,
    /// `\0RES`, from the server.
    Response,
}

impl Magic {
    /// The four bytes at the head of a packet.
    pub const fn bytes(self) -> [u8; 4] {
        match self {
            Magic::Request => *b"\0REQ",
            Magic::Response => *b"\0RES",
        }
    }
}

macro_rules! packets {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $arguments:literal;)*) => {
        /// A packet's type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Kind { $($(#[$doc])* $variant = $number,)* }

        impl Kind {
            /// Every type, in the order of the numbers.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The type with this number, if the protocol has one.
            pub const fn from_number(number: u32) -> Option<Kind> {
                match number { $($number => Some(Kind::$variant),)* _ => None }
            }

            /// The name that the protocol document uses.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }

            /// How many arguments the packet has. The last one takes the rest of the body, NULs and all.
            pub const fn arguments(self) -> usize {
                match self { $(Kind::$variant => $arguments,)* }
            }
        }
    };
}

packets! {
    /// A worker can do a function.
    CanDo = 1, "CAN_DO", 1;
    /// A worker no longer does a function.
    CantDo = 2, "CANT_DO", 1;
    /// A worker no longer does anything.
    ResetAbilities = 3, "RESET_ABILITIES", 0;
    /// A worker goes to sleep until a NOOP.
    PreSleep = 4, "PRE_SLEEP", 0;
    /// Wakes a sleeping worker.
    Noop = 6, "NOOP", 0;
    /// Foreground, normal priority.
    SubmitJob = 7, "SUBMIT_JOB", 3;
    /// A job was accepted.
    JobCreated = 8, "JOB_CREATED", 1;
    /// A worker asks for a job.
    GrabJob = 9, "GRAB_JOB", 0;
    /// There is none.
    NoJob = 10, "NO_JOB", 0;
    /// Here is one.
    JobAssign = 11, "JOB_ASSIGN", 3;
    /// A job's progress.
    WorkStatus = 12, "WORK_STATUS", 3;
    /// A job is done.
    WorkComplete = 13, "WORK_COMPLETE", 2;
    /// A job has failed.
    WorkFail = 14, "WORK_FAIL", 1;
    /// A client asks for a job's state.
    GetStatus = 15, "GET_STATUS", 1;
    /// Bytes to be sent back.
    EchoReq = 16, "ECHO_REQ", 1;
    /// The same bytes.
    EchoRes = 17, "ECHO_RES", 1;
    /// Background, normal priority.
    SubmitJobBg = 18, "SUBMIT_JOB_BG", 3;
    /// A request was refused.
    Error = 19, "ERROR", 2;
    /// A job's state.
    StatusRes = 20, "STATUS_RES", 5;
    /// Foreground, high priority.
    SubmitJobHigh = 21, "SUBMIT_JOB_HIGH", 3;
    /// The name that `workers` shows.
    SetClientId = 22, "SET_CLIENT_ID", 1;
    /// A worker can do a function, within a time.
    CanDoTimeout = 23, "CAN_DO_TIMEOUT", 2;
    /// Reserved by the protocol, refused by every server.
    AllYours = 24, "ALL_YOURS", 0;
    /// A job ended in an exception.
    WorkException = 25, "WORK_EXCEPTION", 2;
    /// Switches an option on.
    OptionReq = 26, "OPTION_REQ", 1;
    /// It is on.
    OptionRes = 27, "OPTION_RES", 1;
    /// A part of a result.
    WorkData = 28, "WORK_DATA", 2;
    /// A warning of a job.
    WorkWarning = 29, "WORK_WARNING", 2;
    /// A worker asks for a job and its unique.
    GrabJobUniq = 30, "GRAB_JOB_UNIQ", 0;
    /// Here it is.
    JobAssignUniq = 31, "JOB_ASSIGN_UNIQ", 4;
    /// Background, high priority.
    SubmitJobHighBg = 32, "SUBMIT_JOB_HIGH_BG", 3;
    /// Foreground, low priority.
    SubmitJobLow = 33, "SUBMIT_JOB_LOW", 3;
    /// Background, low priority.
    SubmitJobLowBg = 34, "SUBMIT_JOB_LOW_BG", 3;
    /// Background, at the times of a calendar.
    SubmitJobSched = 35, "SUBMIT_JOB_SCHED", 8;
    /// Background, not before a time.
    SubmitJobEpoch = 36, "SUBMIT_JOB_EPOCH", 4;
    /// Foreground, with a reducer.
    SubmitReduceJob = 37, "SUBMIT_REDUCE_JOB", 5;
    /// Background, with a reducer.
    SubmitReduceJobBackground = 38, "SUBMIT_REDUCE_JOB_BACKGROUND", 5;
    /// A worker asks for a job, its unique and its reducer.
    GrabJobAll = 39, "GRAB_JOB_ALL", 0;
    /// Here it is.
    JobAssignAll = 40, "JOB_ASSIGN_ALL", 5;
    /// A client asks for the state of the job with a unique.
    GetStatusUnique = 41, "GET_STATUS_UNIQUE", 1;
    /// A job's state, by its unique.
    StatusResUnique = 42, "STATUS_RES_UNIQUE", 6;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_agree() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(*kind as u32), Some(*kind));
        }
        for number in [0, 5, 43, u32::MAX] {
            assert_eq!(Kind::from_number(number), None);
        }
    }
}
