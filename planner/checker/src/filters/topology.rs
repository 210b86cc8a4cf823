//! Nodes by the value of a label.

use super::Place;
use std::collections::{BTreeMap, BTreeSet};

/// Domains of some topology keys, numbered.
#[derive(Clone, Debug, Default)]
pub(super) struct Topology<'a> {
    /// Sorted.
    keys: Vec<&'a str>,
    /// By key and place: the number of the place's domain; `None` without the label.
    domains: Vec<Vec<Option<usize>>>,
    /// Domains by key.
    count: Vec<usize>,
}

impl<'a> Topology<'a> {
    pub(super) fn new(places: &[Place<'_>], keys: BTreeSet<&'a str>) -> Topology<'a> {
        let mut topology = Topology { keys: keys.into_iter().collect(), ..Topology::default() };
        for key in &topology.keys {
            let mut names: BTreeMap<&str, usize> = BTreeMap::new();
            let mut of_place = Vec::with_capacity(places.len());
            for place in places {
                of_place.push(place.labels.get(*key).map(|value| {
                    let next = names.len();
                    *names.entry(value).or_insert(next)
                }));
            }
            topology.count.push(names.len());
            topology.domains.push(of_place);
        }
        topology
    }

    /// Number of a key.
    pub(super) fn key(&self, key: &str) -> usize {
        self.keys.binary_search(&key).expect("all keys of the constraints were collected")
    }

    /// The domain of a place.
    pub(super) fn domain(&self, key: usize, place: usize) -> Option<usize> {
        self.domains[key][place]
    }

    /// How many domains there are.
    pub(super) fn domains(&self, key: usize) -> usize {
        self.count[key]
    }
}
