//! Samples, and what is made of several of them.

use std::time::Duration;

/// One run of one load against one server.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub per_second: f64,
    /// Requests that failed or had another status than 200.
    pub errors: u64,
    /// Microseconds of the server's CPU for each request.
    pub cpu: f64,
    /// Microseconds until 50, 99, 99.9 % of the answers were there.
    pub latency: [f64; 3],
}

#[allow(clippy::cast_precision_loss, reason = "counts and microseconds are far below 2^52")]
impl Sample {
    pub fn new(requests: u64, errors: u64, time: Duration, cpu: Duration, latency: [u64; 3]) -> Self {
        Self {
            per_second: requests as f64 / time.as_secs_f64(),
            errors,
            cpu: cpu.as_secs_f64() * 1e6 / requests as f64,
            latency: latency.map(|micros| micros as f64),
        }
    }
}

/// The middle one; of an even number, the mean of the two middle ones.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// The value that `share` of all are not above. Sorts them.
pub fn percentile(micros: &mut [u64], share: f64) -> u64 {
    micros.sort_unstable();
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let index = ((micros.len() as f64 * share).ceil() as usize).saturating_sub(1);
    micros.get(index).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut micros: Vec<u64> = (1..=1000).rev().collect();
        assert_eq!(percentile(&mut micros, 0.5), 500);
        assert_eq!(percentile(&mut micros, 0.999), 999);
        assert_eq!(percentile(&mut [], 0.5), 0);
    }
}
