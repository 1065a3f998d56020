#![expect(
    unsafe_code,
    reason = "setpriority(2) for one thread, which has no safe form"
)]
//! How much of the processors a thread of ours asks for.

/// Lets every other thread and process go before the calling thread. On Linux a nice value is a thread's own, sched(7).
pub fn step_back() {
    // SAFETY: takes three numbers. 0 is the calling thread. That it should fail changes nothing but the order of things.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
    }
}
