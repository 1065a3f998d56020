//! Sharing: the machine's processes among pools that want more than `server.max_processes` together, and a function's jobs among
//! the pools that serve it.

/// What a pool asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// It always gets so many.
    pub(super) min: u32,
    /// It wants so many now; what it merely keeps does not count.
    pub(super) want: u32,
    /// `priority`: a pool of 2 gets two for each one that a pool of 1 gets.
    pub(super) weight: u32,
}

/// Weighted max-min fair shares of `cap`: nobody gets more than it wants, and nobody could get more without taking it from one that
/// has less for its weight. `min` is given even where all of them together are more than the cap.
pub(super) fn fair(claims: &[Claim], cap: u32) -> Vec<u32> {
    let mut shares: Vec<u32> = claims.iter().map(|it| it.min.min(it.want)).collect();
    let mut left = cap.saturating_sub(shares.iter().sum());
    while left > 0 {
        let poorest = (0..claims.len())
            .filter(|&i| shares[i] < claims[i].want)
            .min_by(|&a, &b| {
                // (share + 1) ÷ weight, without dividing
                let size = |i: usize, other: usize| {
                    u64::from(shares[i] + 1) * u64::from(claims[other].weight.max(1))
                };
                size(a, b).cmp(&size(b, a))
            });
        let Some(poorest) = poorest else {
            break;
        };
        shares[poorest] += 1;
        left -= 1;
    }
    shares
}

/// Splits `jobs` in proportion to the weights, without losing or doubling one. With no weight at all the first gets them.
pub fn split(jobs: u64, weights: &[u32]) -> Vec<u64> {
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    let mut parts = Vec::with_capacity(weights.len());
    let (mut before, mut given) = (0, 0);
    for &weight in weights {
        before += u64::from(weight);
        // the sum of the parts so far, rounded; their differences add up to the whole
        let until = match total {
            0 => jobs,
            _ => (u128::from(jobs) * u128::from(before)).div_ceil(u128::from(total)) as u64,
        };
        parts.push(until - given);
        given = until;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(min: u32, want: u32, weight: u32) -> Claim {
        Claim { min, want, weight }
    }

    #[test]
    fn shares() {
        let cases: [(&[Claim], u32, &[u32]); 6] = [
            // room for all
            (&[claim(1, 5, 1), claim(1, 3, 1)], 30, &[5, 3]),
            // a flood does not take what another wants
            (
                &[claim(1, 40, 1), claim(1, 3, 1), claim(1, 1, 1)],
                30,
                &[26, 3, 1],
            ),
            (&[claim(0, 40, 1), claim(0, 40, 1)], 30, &[15, 15]),
            (&[claim(0, 40, 2), claim(0, 40, 1)], 30, &[20, 10]),
            // `min` is never taken
            (&[claim(10, 40, 1), claim(2, 40, 9)], 11, &[10, 2]),
            (&[], 5, &[]),
        ];
        for (claims, cap, expected) in cases {
            assert_eq!(fair(claims, cap), expected, "{claims:?} {cap}");
        }
    }

    #[test]
    fn no_job_is_lost_or_doubled() {
        assert_eq!(split(10, &[1, 1]), [5, 5]);
        assert_eq!(split(1, &[2, 30]), [1, 0]);
        assert_eq!(split(100, &[0, 30]), [0, 100]);
        assert_eq!(split(7, &[0, 0]), [7, 0]);
        assert_eq!(split(3, &[]), [0; 0]);
        for jobs in 0..50 {
            for weights in [[1, 2, 3], [5, 0, 7], [30, 30, 30]] {
                assert_eq!(split(jobs, &weights).iter().sum::<u64>(), jobs);
            }
        }
    }
}
