//! The scaler in simulation: the ratios that it has to keep beside other systems' rules, and single cases. `cargo bench --bench scale`
//! prints the whole table.

#[path = "../benches/scale/ours.rs"]
mod ours;
#[path = "../benches/scale/report.rs"]
mod report;
#[path = "../benches/scale/rivals.rs"]
mod rivals;
#[path = "../benches/scale/workloads.rs"]
mod workloads;
#[path = "../benches/scale/world.rs"]
mod world;

use ours::Ours;
use report::{fixed_costs, one, ours, percentile, policies, print, row, summarize};
use world::{Arrival, Policy, Pool, World};

#[test]
fn the_table_of_all_loads() {
    let fixed = fixed_costs(1);
    let it = summarize(ours, &fixed, true, 1);
    print(std::slice::from_ref(&it));
    assert_eq!(it.cut, 0, "stopped while busy");
    // what the design's own simulation reached, and a tenth more
    assert!(it.p95 <= 0.15 * 1.1, "p95 {}", it.p95);
    assert!(it.p99 <= 0.86 * 1.1, "p99 {}", it.p99);
    assert!(it.cost <= 0.41 * 1.1, "cost {}", it.cost);
    assert!(it.starts <= 1352 * 11 / 10, "starts {}", it.starts);
}

#[test]
fn others_wait_longer_or_cut_jobs() {
    let fixed = fixed_costs(1);
    let all: Vec<_> = policies()
        .into_iter()
        .map(|policy| summarize(policy, &fixed, false, 1))
        .collect();
    print(&all);
    let (ours, others) = all.split_last().unwrap();
    for other in &others[1..] {
        assert!(ours.p95 <= other.p95, "{}", other.policy);
        assert_eq!(other.policy == "always max", other.starts == 0);
    }
}

#[test]
fn a_spike_is_met_at_once() {
    let world = one("spike", &mut *ours(), 1);
    let pool = &world.pools[0];
    let last = pool.waits.iter().copied().fold(0.0, f64::max);
    assert!(last <= 36.0, "the last began after {last} s");
    let came = workloads::load("spike", 1).arrivals[0].at;
    let full = pool.full_at.unwrap() - came;
    assert!(full <= 1.5, "all were up after {full} s");
    assert_eq!(pool.cut, 0);
    // back at `min` in the end
    assert_eq!(pool.staffed(), 2);
}

#[test]
fn a_step_and_a_rhythm() {
    let fixed = fixed_costs(1);
    let of = |name| {
        let place = workloads::NAMES.iter().position(|&it| it == name).unwrap();
        let row = row(&one(name, &mut *ours(), 1).pools[0]);
        (row.p95, row.cost / fixed[place], row.starts)
    };
    let (p95, cost, starts) = of("step");
    assert!(
        p95 <= 0.1 && cost <= 0.55 && starts <= 45,
        "{p95} {cost} {starts}"
    );
    let (p95, cost, _) = of("on/off");
    assert!(p95 <= 0.6 && cost <= 0.5, "{p95} {cost}");
}

#[test]
fn a_rate_that_wanders() {
    let of = |policy: &mut dyn Policy| row(&one("random walk", policy, 1).pools[0]);
    let (ours, fixed) = (of(&mut *ours()), of(&mut rivals::AlwaysMax));
    let cost = ours.cost / fixed.cost;
    println!(
        "p95 {} p99 {} cost {cost} starts {}",
        ours.p95, ours.p99, ours.starts
    );
    assert!(ours.p95 <= 0.37 && cost <= 0.75, "{} {cost}", ours.p95);
    assert_eq!(ours.cut, 0);
}

#[test]
fn a_crash_loop_never_scales_up() {
    let mut pool = Pool::new(0, 30, 0.3);
    pool.broken_until = 310.0;
    let job = |at| Arrival {
        at,
        takes: 1.0,
        pool: 0,
    };
    let mut arrivals = vec![job(10.0); 200];
    arrivals.extend((0..280).map(|i| job(10.5 + f64::from(i))));
    let world = World::run(vec![pool], arrivals, &mut *ours(), 900.0);
    let pool = &world.pools[0];
    println!("{} crashes, {} starts", pool.crashes, pool.starts);
    // one at a time, and the waits of 0.5 s doubling to 30 s, which jitter makes a little shorter
    assert!(pool.crashes <= 16, "{}", pool.crashes);
    assert_eq!(pool.waits.len(), 480);
}

#[test]
fn a_steady_pool_beside_a_flood_keeps_its_share() {
    let (arrivals, end) = workloads::beside_a_flood();
    let pools = vec![Pool::new(1, 30, 0.3); 3];
    let mut ours = Ours::new(Some(30), |_| {});
    let world = World::run(pools, arrivals, &mut ours, end);
    println!("{}", ours.reason(&world, 0));
    for pool in &world.pools {
        println!(
            "p95 {} starts {}",
            percentile(&pool.waits, 95.0),
            pool.starts
        );
        assert_eq!(pool.cut, 0);
    }
    // it takes spares in turns and does not start for what it keeps
    assert!(world.pools[0].starts <= 60, "{}", world.pools[0].starts);
    let steady = percentile(&world.pools[1].waits, 95.0);
    assert!(steady <= 0.3, "{steady}");
}
