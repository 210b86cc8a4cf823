//! Memory of offerings that had no capacity.

use crate::time::{MINUTE, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Longest an offering is left out.
const LONGEST: i64 = 30 * MINUTE;
/// After this long without a miss it counts as new.
const FORGET: i64 = 60 * MINUTE;

/// Type, zone, capacity type.
type Offering = (String, String, String);

/// Which offerings are left out, and until when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock(BTreeMap<Offering, (Time, u32)>);

impl Stock {
    /// The cloud had none. The first time that counts for `first` milliseconds, and for twice as long each further time.
    pub fn miss(&mut self, offering: Offering, first: i64, now: Time) {
        let (until, times) = self.0.entry(offering).or_insert((now, 0));
        // Several launches may be refused by the same lack: it counts once.
        if *times > 0 && now < *until {
            return;
        }
        *times += 1;
        *until = now.plus((first << (*times - 1).min(8)).min(LONGEST));
    }

    /// The cloud had one.
    pub fn hit(&mut self, offering: &Offering) {
        self.0.remove(offering);
    }

    /// Offerings to leave out now.
    #[must_use]
    pub fn missing(&self, now: Time) -> BTreeSet<Offering> {
        self.0.iter().filter(|(_, (until, _))| now < *until).map(|(offering, _)| offering.clone()).collect()
    }

    /// Forgets what is long past.
    pub fn decay(&mut self, now: Time) {
        self.0.retain(|_, (until, _)| now.since(*until) < FORGET);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: i64 = 3 * MINUTE;

    #[test]
    fn what_is_missing_comes_back_and_then_stays_away_longer() {
        let offering = ("m5.large".to_owned(), "a".to_owned(), "spot".to_owned());
        let mut stock = Stock::default();
        stock.miss(offering.clone(), FIRST, Time(0));
        stock.miss(offering.clone(), FIRST, Time(1));
        assert_eq!(stock.missing(Time(FIRST - 1)).len(), 1);
        assert!(stock.missing(Time(FIRST)).is_empty(), "one lack counts once");
        stock.miss(offering.clone(), FIRST, Time(FIRST));
        assert_eq!(stock.missing(Time(3 * FIRST - 1)).len(), 1);
        assert!(stock.missing(Time(3 * FIRST)).is_empty());
        stock.decay(Time(3 * FIRST + FORGET));
        assert_eq!(stock, Stock::default());
        stock.miss(offering.clone(), FIRST, Time(0));
        stock.hit(&offering);
        assert_eq!(stock, Stock::default());
    }
}
