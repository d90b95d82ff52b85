//! Ranking of the members of an etcd for a snapshot: a healthy follower first, the same through both APIs.

use backup_core::source::Candidate;

use super::status::printable;

/// Largest acceptable lag, in raft entries. Members are queried within a second or two, in which a busy
/// etcd writes some hundred entries.
const LAG: u64 = 1_000;
/// Maximum number of a member's own error messages in the warnings.
const MAX_ERRORS: usize = 8;

/// Rank of a member; the order of the fields is the order in which they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct MemberRank {
    /// Whether its data is known to be damaged: such a member is the last resort.
    corrupt: bool,
    /// Whether it did not answer.
    pub(crate) silent: bool,
    /// Whether it has no leader, or is behind the others: its data is older.
    behind: bool,
    /// Whether its state could not be queried.
    pub(crate) unknown: bool,
    /// Whether it is the leader; a follower spares the leader the work.
    pub(crate) leader: bool,
}

/// State that a member reports about itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MemberState<'a> {
    /// Id of the member; 0 if it reports none.
    pub(crate) id: u64,
    /// Id of the leader that it follows; 0 for none.
    pub(crate) leader: u64,
    /// Last raft entry that it has.
    pub(crate) raft_index: u64,
    /// Last raft entry that it applied.
    pub(crate) raft_applied_index: u64,
    /// Its own error messages.
    pub(crate) errors: &'a [String],
}

/// Alarm that a member reports about itself or another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberAlarm {
    /// The data of the member with this id differs from the others'; 0 stands for any member.
    Corrupt(u64),
    /// The etcd takes no more writes.
    NoSpace,
}

/// Ranking of one etcd's members.
pub(crate) struct Ranking {
    /// Newest raft entry that any member has applied.
    newest: u64,
    alarms: Vec<MemberAlarm>,
    ranked: Vec<(MemberRank, Candidate)>,
}

impl Ranking {
    /// Creates an empty ranking of members that have `applied` these raft entries.
    pub(crate) fn new(
        applied: impl Iterator<Item = u64>,
        alarms: impl Iterator<Item = MemberAlarm>,
    ) -> Self {
        Self {
            newest: applied.max().unwrap_or_default(),
            alarms: alarms.collect(),
            ranked: Vec::new(),
        }
    }

    /// Judges the member with the id `id` by its state and by all alarms, and adds what counts to `rank` and
    /// `warnings`. `subject` stands for the member in the warnings.
    pub(crate) fn judge(
        &self,
        subject: &str,
        id: Option<u64>,
        state: Option<MemberState<'_>>,
        (rank, warnings): (&mut MemberRank, &mut Vec<String>),
    ) {
        if let Some(state) = state {
            rank.leader = state.leader != 0 && state.leader == state.id;
            if state.leader == 0 {
                rank.behind = true;
                warnings.push(format!(
                    "{subject} knows no leader: its data may be older than others'"
                ));
            }
            let applied = state.raft_applied_index;
            let unapplied = state.raft_index.saturating_sub(applied);
            let lag = self.newest.saturating_sub(applied).max(unapplied);
            if lag > LAG {
                rank.behind = true;
                warnings.push(format!("{subject} is {lag} raft entries behind"));
            }
            let errors = state.errors.iter().take(MAX_ERRORS);
            warnings.extend(errors.map(|error| format!("{subject} says: {}", printable(error))));
        }
        // An alarm counts for a member whose id is unknown.
        rank.corrupt = self.alarms.iter().any(|alarm| match alarm {
            MemberAlarm::Corrupt(whose) => *whose == 0 || id.is_none_or(|id| id == *whose),
            MemberAlarm::NoSpace => false,
        });
        if rank.corrupt {
            warnings.push(format!(
                "{subject} has the alarm CORRUPT: its data differs from the others'; replace it"
            ));
        }
    }

    /// Adds a member, unless it is there already: two names with one member id are one member.
    pub(crate) fn add(&mut self, rank: MemberRank, candidate: Candidate) {
        let id = candidate.member_id;
        if id.is_none() || self.ranked.iter().all(|(_, other)| other.member_id != id) {
            self.ranked.push((rank, candidate));
        }
    }

    /// Reports whether no member can be tried.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranked.is_empty()
    }

    /// Returns a warning if the etcd takes no more writes; `subject` stands for the etcd.
    pub(crate) fn no_space(&self, subject: &str) -> Option<String> {
        self.alarms.contains(&MemberAlarm::NoSpace).then(|| {
            format!(
                "{subject} has the alarm NOSPACE: it takes no writes until it is compacted, \
                 defragmented and disarmed"
            )
        })
    }

    /// Returns the members in the order in which they should be tried, best first.
    pub(crate) fn candidates(mut self) -> Vec<Candidate> {
        // The sort is stable, so equals stay in the order of the configuration.
        self.ranked.sort_by_key(|(rank, _)| *rank);
        self.ranked.into_iter().map(|(_, c)| c).collect()
    }
}

/// Returns why a member without a vote is not tried; `subject` stands for the member.
pub(crate) fn learner(subject: &str) -> String {
    format!("{subject} is a learner: its data may be old until it is promoted")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(member: u64, warnings: Vec<String>) -> Candidate {
        Candidate {
            node: format!("10.0.0.{member}"),
            member_name: None,
            member_id: Some(member).filter(|id| *id != 0),
            etcd_version: None,
            talos_version: None,
            talos_authorities: Vec::new(),
            leader: None,
            warnings,
        }
    }

    fn state(member: u64) -> MemberState<'static> {
        MemberState {
            id: member,
            leader: 1,
            raft_index: 5_000,
            raft_applied_index: 5_000,
            errors: &[],
        }
    }

    fn judged(ranking: &mut Ranking, member: u64, state: Option<MemberState<'_>>) -> MemberRank {
        let (mut rank, mut warnings) = (MemberRank::default(), Vec::new());
        let id = Some(member).filter(|id| *id != 0);
        ranking.judge("it", id, state, (&mut rank, &mut warnings));
        ranking.add(rank, candidate(member, warnings));
        rank
    }

    fn order(ranking: Ranking) -> Vec<String> {
        let candidates = ranking.candidates().into_iter();
        candidates.map(|candidate| candidate.node).collect()
    }

    #[test]
    fn a_follower_is_first_and_damage_is_last() {
        let flags = |bits: u8| MemberRank {
            corrupt: bits & 16 != 0,
            silent: bits & 8 != 0,
            behind: bits & 4 != 0,
            unknown: bits & 2 != 0,
            leader: bits & 1 != 0,
        };
        assert!((0..31).all(|bits| flags(bits) < flags(bits + 1)));

        let mut ranking = Ranking::new([5_000; 3].into_iter(), [].into_iter());
        for member in 1..=3 {
            judged(&mut ranking, member, Some(state(member)));
        }
        assert_eq!(order(ranking), ["10.0.0.2", "10.0.0.3", "10.0.0.1"]);
    }

    #[test]
    fn a_lag_counts_from_the_newest_member_and_from_its_own_log() {
        let mut ranking = Ranking::new([5_000, 3_999].into_iter(), [].into_iter());
        assert!(!judged(&mut ranking, 1, Some(state(1))).behind);
        let at = |applied: u64, index: u64| MemberState {
            raft_applied_index: applied,
            raft_index: index,
            ..state(2)
        };
        assert!(!judged(&mut ranking, 2, Some(at(4_000, 4_000))).behind);
        assert!(judged(&mut ranking, 3, Some(at(3_999, 3_999))).behind);
        assert!(judged(&mut ranking, 4, Some(at(5_000, 6_001))).behind);
        let alone = MemberState {
            leader: 0,
            ..state(5)
        };
        assert!(judged(&mut ranking, 5, Some(alone)).behind);
        let warnings: Vec<_> = ranking
            .candidates()
            .into_iter()
            .flat_map(|candidate| candidate.warnings)
            .collect();
        let told = [
            "it is 1001 raft entries behind",
            "it is 1001 raft entries behind",
            "it knows no leader: its data may be older than others'",
        ];
        assert_eq!(warnings, told);
    }

    #[test]
    fn a_corrupt_alarm_is_of_its_member_and_of_those_without_an_id() {
        let alarms = [MemberAlarm::Corrupt(2), MemberAlarm::NoSpace];
        let mut ranking = Ranking::new([].into_iter(), alarms.into_iter());
        assert!(!judged(&mut ranking, 1, None).corrupt);
        assert!(judged(&mut ranking, 2, None).corrupt);
        assert!(judged(&mut ranking, 0, None).corrupt);
        let warning = ranking.no_space("etcd").unwrap();
        assert!(
            warning.starts_with("etcd has the alarm NOSPACE"),
            "{warning}"
        );
        assert_eq!(order(ranking), ["10.0.0.1", "10.0.0.2", "10.0.0.0"]);

        let of_any = [MemberAlarm::Corrupt(0)].into_iter();
        let mut ranking = Ranking::new([].into_iter(), of_any);
        assert!(judged(&mut ranking, 1, None).corrupt);
        assert_eq!(ranking.no_space("etcd"), None);
    }

    #[test]
    fn one_member_with_two_names_is_one() {
        let mut ranking = Ranking::new([].into_iter(), [].into_iter());
        assert!(ranking.is_empty());
        for member in [1, 1, 0, 0] {
            judged(&mut ranking, member, None);
        }
        assert_eq!(order(ranking), ["10.0.0.1", "10.0.0.0", "10.0.0.0"]);
    }
}
