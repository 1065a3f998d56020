//! PURE. The job server: packets in, packets out.
pub mod conn;
pub mod load;
