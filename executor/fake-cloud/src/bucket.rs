//! EC2's request throttling: token buckets for each account and region.

/// A bucket in thousandths of tokens, so that refilling is exact.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    level: u64,
    burst: u64,
    per_second: u64,
    /// When it was last filled, in milliseconds.
    at: u64,
}

impl Bucket {
    pub(crate) fn new(per_second: u64, burst: u64) -> Bucket {
        Bucket { level: burst * 1000, burst: burst * 1000, per_second, at: 0 }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: u64) -> bool {
        // Tokens a second are thousandths of a token a millisecond.
        self.level = self.burst.min(self.level + now.saturating_sub(self.at) * self.per_second);
        self.at = self.at.max(now);
        let enough = self.level >= 1000;
        if enough {
            self.level -= 1000;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_the_rate() {
        let mut bucket = Bucket::new(2, 5);
        assert_eq!((0..10).filter(|_| bucket.take(0)).count(), 5);
        assert!(!bucket.take(499));
        assert!(bucket.take(500));
        assert_eq!(
            (0..100).filter(|_| bucket.take(1_000_000)).count(),
            5,
            "it never holds more than a burst"
        );
    }
}
