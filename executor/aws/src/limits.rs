//! Our own token buckets, smaller than EC2's, so that it is us who wait and not EC2 who refuses: others use the account too.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Which of EC2's buckets a call takes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Describes: EC2 has 20 a second after a burst of 100.
    Read,
    /// Fleets and launch templates: EC2 has 5 a second after 50.
    Write,
    /// TerminateInstances: EC2 has 5 a second after 100.
    Terminate,
    /// Services with limits of their own that we never come near: SSM, Pricing, ARC.
    Other,
    /// SQS, which takes nearly any number of calls for a queue: more than we make.
    Queue,
}

#[derive(Debug)]
struct Level {
    /// Thousandths of tokens; negative when calls wait for what is yet to come.
    tokens: i64,
    at: Instant,
}

/// A bucket. Whoever takes is told how long to wait, so calls go in the order they came.
#[derive(Debug)]
pub struct Bucket {
    level: Mutex<Level>,
    burst: i64,
    per_second: i64,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn new(per_second: i64, burst: i64) -> Bucket {
        let level = Level { tokens: burst * 1000, at: Instant::now() };
        Bucket { level: Mutex::new(level), burst: burst * 1000, per_second: per_second.max(1) }
    }

    /// Takes a token that is there within `patience`: how long to wait for it; `None` if it takes longer, and nothing is taken.
    #[must_use]
    pub fn take(&self, patience: Duration) -> Option<Duration> {
        self.take_at(Instant::now(), patience)
    }

    fn take_at(&self, now: Instant, patience: Duration) -> Option<Duration> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = i64::try_from(now.saturating_duration_since(level.at).as_millis()).unwrap_or(i64::MAX);
        // Tokens a second are thousandths of a token a millisecond. What is left of a millisecond is not lost.
        if passed > 0 {
            level.tokens =
                level.tokens.saturating_add(passed.saturating_mul(self.per_second)).min(self.burst);
            level.at = now;
        }
        let short = 1000 - level.tokens;
        let wait =
            Duration::from_millis(u64::try_from(short.max(0)).unwrap_or(0).div_ceil(self.per_second as u64));
        if wait > patience {
            return None;
        }
        level.tokens -= 1000;
        Some(wait)
    }

    /// EC2 has refused: somebody else has emptied its bucket, so ours is empty too.
    pub fn drain(&self) {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        level.tokens = level.tokens.min(0);
        level.at = Instant::now();
    }
}

/// The buckets of an account and region.
#[derive(Debug)]
pub struct Limits {
    read: Bucket,
    write: Bucket,
    terminate: Bucket,
    other: Bucket,
    queue: Bucket,
}

impl Default for Limits {
    /// Four fifths of EC2's.
    fn default() -> Limits {
        Limits {
            read: Bucket::new(16, 80),
            write: Bucket::new(4, 40),
            terminate: Bucket::new(4, 80),
            other: Bucket::new(10, 20),
            queue: Bucket::new(2000, 2000),
        }
    }
}

impl Limits {
    /// The bucket of a class.
    #[must_use]
    pub fn of(&self, class: Class) -> &Bucket {
        match class {
            Class::Read => &self.read,
            Class::Write => &self.write,
            Class::Terminate => &self.terminate,
            Class::Other => &self.other,
            Class::Queue => &self.queue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_burst_then_a_queue_then_patience_ends() {
        let (bucket, now) = (Bucket::new(4, 3), Instant::now());
        assert_eq!((0..3).filter_map(|_| bucket.take_at(now, NOW)).count(), 3);
        assert_eq!(bucket.take_at(now, NOW), None);
        let waits: Vec<u128> = (0..3)
            .filter_map(|_| bucket.take_at(now, Duration::from_secs(1)))
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits, [250, 500, 750], "each behind the other");
        assert_eq!(bucket.take_at(now, Duration::from_millis(900)), None, "and nothing is taken");
        let later = now + Duration::from_secs(100);
        assert_eq!((0..10).filter_map(|_| bucket.take_at(later, NOW)).count(), 3, "never more than a burst");
    }

    #[test]
    fn a_refusal_empties_it() {
        let bucket = Bucket::new(2, 10);
        bucket.drain();
        assert_eq!(bucket.take(NOW), None);
        let later = Instant::now() + Duration::from_millis(501);
        assert_eq!(bucket.take_at(later, NOW), Some(NOW));
    }
}
