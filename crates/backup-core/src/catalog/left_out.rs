//! Restore points that do not count, with one line for each reason.

use super::{CatalogError, Entry};
use crate::causes;
use crate::crypt::Verdict;
use crate::id::RestorePointId;

/// Unreadable restore points that are named one by one.
const TOLD: usize = 5;

/// What a look at restore points passed over.
#[derive(Debug, Default)]
pub struct LeftOut {
    distrusted: usize,
    /// The newest of them.
    distrusted_newest: Option<(RestorePointId, Verdict)>,
    future: usize,
    /// The last of them.
    future_last: Option<RestorePointId>,
    unreadable: usize,
    /// The first of them.
    pub unread: Vec<(Entry, CatalogError)>,
}

impl LeftOut {
    /// Takes in one that nobody trusted vouches for. The newest comes first.
    pub fn distrust(&mut self, id: &RestorePointId, verdict: Verdict) {
        self.distrusted = self.distrusted.saturating_add(1);
        self.distrusted_newest
            .get_or_insert_with(|| (id.clone(), verdict));
    }

    /// Takes in one whose name lies in the future. The last comes first.
    pub fn future(&mut self, id: &RestorePointId) {
        self.future = self.future.saturating_add(1);
        self.future_last.get_or_insert_with(|| id.clone());
    }

    /// Takes in one that cannot be read.
    pub fn unreadable(&mut self, entry: &Entry, error: CatalogError) {
        self.unreadable = self.unreadable.saturating_add(1);
        if self.unread.len() < TOLD {
            self.unread.push((entry.clone(), error));
        }
    }

    /// The newest that nobody trusted vouches for.
    #[must_use]
    pub fn distrusted_newest(&self) -> Option<&(RestorePointId, Verdict)> {
        self.distrusted_newest.as_ref()
    }

    /// How many nobody trusted vouches for.
    #[must_use]
    pub fn distrusted(&self) -> usize {
        self.distrusted
    }

    /// Of those that nobody trusted vouches for, one line.
    #[must_use]
    pub fn distrusted_line(&self) -> Option<String> {
        let (newest, verdict) = self.distrusted_newest.as_ref()?;
        Some(match self.distrusted {
            1 => format!(
                "restore point {newest} does not count, as it is not signed by a key of --trust: its \
                 manifest is {verdict}"
            ),
            n => format!(
                "{n} restore points do not count, as they are not signed by a key of --trust: the newest is \
                 {newest}, whose manifest is {verdict}"
            ),
        })
    }

    /// Of those whose names lie in the future, one line.
    #[must_use]
    pub fn future_line(&self) -> Option<String> {
        let last = self.future_last.as_ref()?;
        Some(match self.future {
            1 => {
                format!("the name of restore point {last} lies in the future, so it does not count")
            }
            n => format!(
                "{n} names of restore points lie in the future and do not count: the last is {last}"
            ),
        })
    }

    /// Everything, for a person: a line for each reason, with a word for the reason.
    #[must_use]
    pub fn lines(&self) -> Vec<(String, String)> {
        let distrusted = self.distrusted_line();
        let distrusted = distrusted.map(|line| ("distrusted".to_owned(), line));
        let future = self.future_line().map(|line| ("future".to_owned(), line));
        let mut lines: Vec<(String, String)> = distrusted.into_iter().chain(future).collect();
        lines.extend(self.unread.iter().map(|(entry, error)| {
            let why = causes::line(error);
            let line = format!("passed over {}, which cannot be read: {why}", entry.id);
            (entry.id.to_string(), line)
        }));
        let more = self.unreadable.saturating_sub(self.unread.len());
        if more > 0 {
            let line = format!("passed over {more} more that cannot be read");
            lines.push(("unreadable".to_owned(), line));
        }
        lines
    }
}
