//! Repeated health query of members that were well before a snapshot was taken from one of them.

use futures::StreamExt as _;

use backup_core::source::{Members, UnusableMember};

/// Members queried at once; each query is one small call.
const ASKED_AT_ONCE: usize = 8;

/// Cause reported for a member without a leader.
pub(crate) const NO_LEADER: &str = "it has no leader";

/// Queries again each member that had no warnings. `ask` returns the member's problem, if it has one.
pub(crate) async fn ask_again<'m, A>(
    members: &'m Members,
    ask: impl Fn(&'m str) -> A,
) -> Vec<UnusableMember>
where
    A: Future<Output = Option<String>>,
{
    let well = members.candidates.iter().filter(|c| c.warnings.is_empty());
    let questions: Vec<_> = well
        .map(|candidate| {
            let asked = ask(&candidate.node);
            async move {
                let node = candidate.node.clone();
                asked.await.map(|cause| UnusableMember { node, cause })
            }
        })
        .collect();
    let answers: Vec<Option<UnusableMember>> = futures::stream::iter(questions)
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await;
    answers.into_iter().flatten().collect()
}
