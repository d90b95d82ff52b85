//! Shards of the clusters by rendezvous hashing, so that a change of the number of shards moves as few
//! clusters as possible.

use std::fmt;
use std::str::FromStr;

use backup_core::digest::Digest;
use backup_core::id::ClusterName;

/// Largest number of shards. More shards than files in a folder are a mistake.
const MAX_SHARDS: u32 = 1_000;

/// One of several shards, counted from 0 as Kubernetes does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    index: u32,
    of: u32,
}

impl Shard {
    /// Only shard, which has all clusters.
    pub(crate) const ALL: Self = Self { index: 0, of: 1 };

    /// Returns the number of this shard.
    pub(crate) fn index(self) -> u32 {
        self.index
    }

    /// Reports whether there are other shards.
    pub(crate) fn is_one_of_many(self) -> bool {
        self.of > 1
    }

    /// Reports whether `cluster` belongs to this shard; it belongs to exactly one.
    pub(crate) fn has(self, cluster: &ClusterName) -> bool {
        let weight = |index: u32| *Digest::of(format!("{index}/{cluster}").as_bytes()).as_bytes();
        (0..self.of).max_by_key(|index| weight(*index)) == Some(self.index)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// Error for text that is not a shard.
#[derive(Debug, thiserror::Error)]
#[error("want I/N with I from 0 to N-1 and N up to {MAX_SHARDS}, as in `0/3`")]
pub(crate) struct ParseShardError;

impl FromStr for Shard {
    type Err = ParseShardError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (index, of) = text.split_once('/').ok_or(ParseShardError)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| ParseShardError);
        let shard = Self {
            index: number(index)?,
            of: number(of)?,
        };
        if shard.index < shard.of && shard.of <= MAX_SHARDS {
            Ok(shard)
        } else {
            Err(ParseShardError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters() -> Vec<ClusterName> {
        (0..300)
            .map(|n| format!("c-{n}").parse().unwrap())
            .collect()
    }

    fn owner(cluster: &ClusterName, of: u32) -> u32 {
        let owners: Vec<u32> = (0..of)
            .filter(|index| Shard { index: *index, of }.has(cluster))
            .collect();
        assert_eq!(owners.len(), 1, "{cluster}");
        owners[0]
    }

    #[test]
    fn each_cluster_has_one_owner_and_few_move() {
        let clusters = clusters();
        let three: Vec<u32> = clusters.iter().map(|c| owner(c, 3)).collect();
        let four: Vec<u32> = clusters.iter().map(|c| owner(c, 4)).collect();
        for shard in 0..3 {
            let share = three.iter().filter(|s| **s == shard).count();
            assert!((60..=140).contains(&share), "{shard}: {share}");
        }
        for (before, after) in three.iter().zip(&four) {
            assert!(before == after || *after == 3);
        }
    }

    #[test]
    fn only_shards_are_read() {
        assert_eq!("2/3".parse::<Shard>().unwrap(), Shard { index: 2, of: 3 });
        for bad in ["", "3", "3/3", "0/0", "-1/3", "0/1001", "a/b", "1/2/3"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
