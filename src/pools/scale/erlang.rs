//! How many processes Poisson arrivals need so that few of them wait long: Erlang C, stretched for service times that vary more or
//! less than an exponential distribution (Allen and Cunneen's approximation).

/// What [`staff`] is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Traffic {
    /// Arrivals a second.
    pub(super) rate: f64,
    /// Seconds that a job takes.
    pub(super) service: f64,
    /// The squared coefficient of variation of the service times; 1 for an exponential distribution.
    pub(super) cv2: f64,
}

/// Below this many busy processes on average, nothing is kept in reserve.
const LEAST_LOAD: f64 = 0.02;

/// The smallest number of processes on which a share `within` of the jobs waits less than `wait` seconds, at most `max`.
pub(super) fn staff(traffic: Traffic, wait: f64, within: f64, max: u32) -> u32 {
    let load = traffic.rate * traffic.service;
    if load <= LEAST_LOAD {
        return 0;
    }
    if load >= f64::from(max) {
        return max;
    }
    let stretch = ((1.0 + traffic.cv2) / 2.0).max(0.5);
    let mut n = load as u32 + 1;
    // Erlang B by its recursion, which overflows nowhere, and C from it
    let mut blocked = 1.0;
    for k in 1..=n {
        blocked = load * blocked / (f64::from(k) + load * blocked);
    }
    while n < max {
        let servers = f64::from(n);
        let waits = servers * blocked / (servers - load * (1.0 - blocked));
        let waits_longer = waits * (-(servers - load) * wait / (traffic.service * stretch)).exp();
        if waits_longer <= 1.0 - within {
            return n;
        }
        n += 1;
        blocked = load * blocked / (f64::from(n) + load * blocked);
    }
    max
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(rate: f64, cv2: f64) -> Traffic {
        Traffic {
            rate,
            service: 1.0,
            cv2,
        }
    }

    #[test]
    fn tables_of_erlang_c() {
        // 10 erlang: C(11) = 0.682, C(14) = 0.174, C(16) = 0.061, C(17) = 0.033
        assert_eq!(staff(traffic(10.0, 1.0), 0.0, 0.80, 100), 14);
        assert_eq!(staff(traffic(10.0, 1.0), 0.0, 0.95, 100), 17);
        // who may wait needs fewer, and steadier jobs fewer still
        assert_eq!(staff(traffic(10.0, 1.0), 0.5, 0.95, 100), 14);
        assert!(staff(traffic(10.0, 0.0), 0.5, 0.95, 100) < 14);
        assert!(staff(traffic(10.0, 4.0), 0.5, 0.95, 100) > 14);
    }

    #[test]
    fn the_ends() {
        assert_eq!(staff(traffic(0.0, 1.0), 0.5, 0.95, 30), 0);
        assert_eq!(staff(traffic(50.0, 1.0), 0.5, 0.95, 30), 30);
        assert_eq!(staff(traffic(5.0, 1.0), 0.5, 0.95, 0), 0);
    }
}
