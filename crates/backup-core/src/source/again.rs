//! Second look at members that were well before a snapshot was taken of one of them.

use futures::StreamExt as _;

use super::{Members, Unwell};

/// Members asked at once; each is one small call.
const ASKED_AT_ONCE: usize = 8;

/// What a member says without a leader.
pub(super) const NO_LEADER: &str = "it has no leader";

/// Asks each member that was well once more. `ask` gives what is wrong with it now, if anything is.
pub(super) async fn ask_again<'m, A>(
    members: &'m Members,
    ask: impl Fn(&'m str) -> A,
) -> Vec<Unwell>
where
    A: Future<Output = Option<String>>,
{
    let well = members.candidates.iter().filter(|c| c.warnings.is_empty());
    let questions: Vec<_> = well
        .map(|candidate| {
            let asked = ask(&candidate.node);
            async move {
                let node = candidate.node.clone();
                asked.await.map(|cause| Unwell { node, cause })
            }
        })
        .collect();
    let answers: Vec<Option<Unwell>> = futures::stream::iter(questions)
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await;
    answers.into_iter().flatten().collect()
}
