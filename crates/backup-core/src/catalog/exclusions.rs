//! Restore points that do not count, with one line for each reason.

use super::{CatalogEntry, CatalogError};
use crate::causes;
use crate::crypt::Verdict;
use crate::id::RestorePointId;

/// Unreadable restore points that are listed one by one.
const MAX_LISTED: usize = 5;

/// Restore points that a search passed over.
#[derive(Debug, Default)]
pub struct Exclusions {
    distrusted: usize,
    /// Newest restore point without a trusted signature.
    distrusted_newest: Option<(RestorePointId, Verdict)>,
    future: usize,
    /// Last restore point whose name lies in the future.
    future_last: Option<RestorePointId>,
    unreadable: usize,
    /// First restore points that cannot be read.
    pub unread: Vec<(CatalogEntry, CatalogError)>,
}

impl Exclusions {
    /// Adds a restore point without a trusted signature. The newest must come first.
    pub fn distrust(&mut self, id: &RestorePointId, verdict: Verdict) {
        self.distrusted = self.distrusted.saturating_add(1);
        self.distrusted_newest
            .get_or_insert_with(|| (id.clone(), verdict));
    }

    /// Adds a restore point whose name lies in the future. The last must come first.
    pub fn future(&mut self, id: &RestorePointId) {
        self.future = self.future.saturating_add(1);
        self.future_last.get_or_insert_with(|| id.clone());
    }

    /// Adds a restore point that cannot be read.
    pub fn unreadable(&mut self, entry: &CatalogEntry, error: CatalogError) {
        self.unreadable = self.unreadable.saturating_add(1);
        if self.unread.len() < MAX_LISTED {
            self.unread.push((entry.clone(), error));
        }
    }

    /// Returns the newest restore point without a trusted signature.
    #[must_use]
    pub fn distrusted_newest(&self) -> Option<&(RestorePointId, Verdict)> {
        self.distrusted_newest.as_ref()
    }

    /// Returns the number of restore points without a trusted signature.
    #[must_use]
    pub fn distrusted(&self) -> usize {
        self.distrusted
    }

    /// Returns one line about the restore points without a trusted signature.
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

    /// Returns one line about the restore points whose names lie in the future.
    #[must_use]
    pub fn future_line(&self) -> Option<String> {
        let last = self.future_last.as_ref()?;
        Some(match self.future {
            1 => {
                format!(
                    "the name of restore point {last} has a time in the future, so it does not count"
                )
            }
            n => format!(
                "{n} names of restore points have a time in the future and do not count: the last is {last}"
            ),
        })
    }

    /// Returns all lines for a person, one for each reason, with a word for the reason.
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
