//! Values that many objects have in common and few change: the specs and labels of a Deployment's pods.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A value that is stored once for all its clones, and copied where one of them is changed. It reads, compares and serialises as the
/// value does.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// Whether both are the same value in memory, which says more than equality and costs nothing.
    #[must_use]
    pub fn is_same(&self, other: &Shared<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Shared<T> {
        Shared(Arc::new(value))
    }
}

impl<const N: usize> From<[(String, String); N]> for Shared<BTreeMap<String, String>> {
    fn from(entries: [(String, String); N]) -> Shared<BTreeMap<String, String>> {
        Shared::from(BTreeMap::from(entries))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        self.is_same(other) || self.0 == other.0
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Ord> PartialOrd for Shared<T> {
    fn partial_cmp(&self, other: &Shared<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> Ord for Shared<T> {
    fn cmp(&self, other: &Shared<T>) -> Ordering {
        if self.is_same(other) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shared<T>, D::Error> {
        T::deserialize(deserializer).map(Shared::from)
    }
}

/// All different values seen so far.
#[derive(Debug)]
pub struct Interner<T>(BTreeSet<Shared<T>>);

impl<T> Default for Interner<T> {
    fn default() -> Interner<T> {
        Interner(BTreeSet::new())
    }
}

impl<T: Ord> Interner<T> {
    /// Makes `value` share memory with the first of its equals.
    pub fn share(&mut self, value: &mut Shared<T>) {
        match self.0.get(&*value) {
            Some(known) => *value = known.clone(),
            None => {
                self.0.insert(value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_share_memory_until_one_is_changed() {
        let mut interner = Interner::default();
        let mut first = Shared::from(vec![1, 2]);
        let mut second = Shared::from(vec![1, 2]);
        assert!(first == second && !first.is_same(&second));
        interner.share(&mut first);
        interner.share(&mut second);
        assert!(first.is_same(&second));
        second.push(3);
        assert_eq!((first.len(), second.len()), (2, 3));
        assert!(first < second);
    }

    #[test]
    fn it_reads_and_writes_as_its_value() {
        let shared: Shared<Vec<u32>> = serde_json::from_str("[4,5]").unwrap();
        assert_eq!(*shared, [4, 5]);
        assert_eq!(serde_json::to_string(&shared).unwrap(), "[4,5]");
    }
}
