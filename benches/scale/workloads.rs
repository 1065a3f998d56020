//! What comes in: the ten loads of the table and a few more, each drawn from a seed.

use crate::world::Arrival;

/// A small generator of random numbers (SplitMix64), so that a run is the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to 1, neither of them.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }
}

/// How long jobs take.
#[derive(Clone, Copy)]
pub(crate) enum Service {
    Exponential(f64),
    /// A Pareto distribution of shape 1.5 and mean 1 s, cut at 300 s.
    HeavyTail,
}

impl Service {
    fn draw(self, random: &mut Random) -> f64 {
        match self {
            Service::Exponential(mean) => random.exponential(mean),
            Service::HeavyTail => (random.unit().powf(-1.0 / 1.5) / 3.0).min(300.0),
        }
    }
}

pub(crate) struct Load {
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) end: f64,
    pub(crate) startup: f64,
}

struct Draft {
    random: Random,
    arrivals: Vec<Arrival>,
}

impl Draft {
    fn poisson(&mut self, rate: f64, from: f64, to: f64, service: Service) {
        self.varying(rate, |_| rate, from, to, service);
    }

    /// Poisson arrivals at a rate that changes, by thinning those of the highest.
    fn varying(
        &mut self,
        highest: f64,
        rate: impl Fn(f64) -> f64,
        from: f64,
        to: f64,
        service: Service,
    ) {
        let mut at = from;
        loop {
            at += self.random.exponential(1.0 / highest);
            if at >= to {
                return;
            }
            if self.random.unit() * highest <= rate(at) {
                let takes = service.draw(&mut self.random);
                self.arrivals.push(Arrival { at, takes, pool: 0 });
            }
        }
    }
}

pub(crate) const NAMES: [&str; 10] = [
    "constant",
    "step",
    "spike",
    "diurnal",
    "on/off",
    "heavy tail",
    "short",
    "long",
    "slow start",
    "slowdown",
];

pub(crate) fn load(name: &'static str, seed: u64) -> Load {
    let number = NAMES.iter().position(|&it| it == name);
    let number = number.unwrap_or(NAMES.len()) as u64;
    let mut it = Draft {
        random: Random::new(seed * 1000 + number),
        arrivals: Vec::new(),
    };
    let one = Service::Exponential(1.0);
    let mut startup = 0.3;
    let end = match name {
        "constant" => {
            it.poisson(12.0, 0.0, 1200.0, one);
            1200.0
        }
        "step" => {
            for (rate, from, to) in [
                (2.0, 0.0, 300.0),
                (20.0, 300.0, 900.0),
                (2.0, 900.0, 1800.0),
            ] {
                it.poisson(rate, from, to, one);
            }
            1800.0
        }
        "spike" => {
            let at = 60.0 + 30.0 * it.random.unit();
            let job = Arrival {
                at,
                takes: 1.0,
                pool: 0,
            };
            it.arrivals = vec![job; 1000];
            900.0
        }
        "diurnal" => {
            let rate = |at: f64| 10.5 - 9.5 * (std::f64::consts::TAU * at / 3600.0).cos();
            it.varying(20.0, rate, 0.0, 7200.0, one);
            7200.0
        }
        "on/off" => {
            for round in 0..20 {
                let at = f64::from(round) * 120.0 + 30.0 * it.random.unit();
                it.poisson(25.0, at, at + 20.0, one);
            }
            2400.0
        }
        "heavy tail" => {
            it.poisson(12.0, 0.0, 1800.0, Service::HeavyTail);
            1800.0
        }
        "short" => {
            let short = Service::Exponential(0.02);
            it.poisson(60.0, 0.0, 600.0, short);
            it.poisson(240.0, 120.0, 150.0, short);
            it.poisson(240.0, 420.0, 450.0, short);
            600.0
        }
        "long" => {
            it.poisson(0.1, 0.0, 14_400.0, Service::Exponential(120.0));
            14_400.0
        }
        "slow start" => {
            startup = 8.0;
            for (rate, from, to) in [
                (2.0, 0.0, 300.0),
                (14.0, 300.0, 900.0),
                (2.0, 900.0, 1500.0),
                (14.0, 1500.0, 2100.0),
                (2.0, 2100.0, 2700.0),
            ] {
                it.poisson(rate, from, to, one);
            }
            2700.0
        }
        "random walk" => {
            let mut rate = 10.0_f64;
            for round in 0..720 {
                rate = (rate + 6.0 * it.random.unit() - 3.0).clamp(0.5, 24.0);
                let from = f64::from(round) * 5.0;
                it.poisson(rate, from, from + 5.0, one);
            }
            3600.0
        }
        _ => {
            for (mean, from, to) in [(0.1, 0.0, 300.0), (2.0, 300.0, 600.0), (0.1, 600.0, 900.0)] {
                it.poisson(10.0, from, to, Service::Exponential(mean));
            }
            900.0
        }
    };
    Load {
        arrivals: it.arrivals,
        end,
        startup,
    }
}

/// Three pools under a shared cap of 30: a flood of 40 jobs a second for two minutes, a steady load, and a rare one.
pub(crate) fn beside_a_flood() -> (Vec<Arrival>, f64) {
    let mut it = Draft {
        random: Random::new(7),
        arrivals: Vec::new(),
    };
    let loads = [
        (40.0, 120.0, 240.0, 1.0),
        (3.0, 0.0, 600.0, 0.5),
        (0.2, 0.0, 600.0, 2.0),
    ];
    for (pool, (rate, from, to, mean)) in loads.into_iter().enumerate() {
        let before = it.arrivals.len();
        it.poisson(rate, from, to, Service::Exponential(mean));
        for arrival in &mut it.arrivals[before..] {
            arrival.pool = pool;
        }
    }
    (it.arrivals, 600.0)
}
