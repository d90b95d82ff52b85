//! Writer of a commit's files, which counts and measures them before it writes one.

use std::path::Path;

use super::commit::Commit;
use super::runner::{self, CallLimits};
use super::{GitError, is_inside};

/// Largest number of files in a commit. Four times what is read, because other files lie beside
/// manifests.
pub(super) const MAX_FILES: u64 = 4 * super::MAX_OBJECTS;
/// Largest total size of these files.
pub(super) const MAX_BYTES: u64 = 2 << 30;
/// Limits of the list of these files, with 160 bytes for each.
const LIST: CallLimits = CallLimits {
    output: 64 << 20,
    ..CallLimits::LOCAL
};

/// Limits for writing.
#[derive(Debug, Clone, Copy)]
pub(super) struct TreeLimits {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl TreeLimits {
    pub(super) const ALL: Self = Self {
        files: MAX_FILES,
        bytes: MAX_BYTES,
    };
}

/// Writes the files of the commit into the folder `into`. Links become files, submodules become
/// empty folders.
pub(super) async fn write(
    commit: &Commit,
    repository: &str,
    into: &Path,
    most: TreeLimits,
) -> Result<(), GitError> {
    let mut list = runner::git(&commit.git);
    list.env("GIT_DIR", &commit.git);
    list.args(["ls-tree", "-r", "-l", "-z", "--full-tree", &commit.hash]);
    let listed = runner::run(list, "list the commit's files", LIST).await;
    let listed = listed.map_err(|error| match error {
        GitError::Failed { said, .. } if said.contains("wrote more than") => GitError::TooLarge {
            repository: repository.to_owned(),
            most: most.files,
            what: "files",
        },
        error => error,
    })?;
    measure(&listed, repository, most)?;
    std::fs::create_dir_all(into).map_err(|e| GitError::read(into, e))?;
    let index = commit.git.join("index-of-commit");
    let call = |words: &[&str]| {
        let mut git = runner::git(into);
        git.env("GIT_DIR", &commit.git)
            .env("GIT_WORK_TREE", into)
            .env("GIT_INDEX_FILE", &index);
        git.args(["-c", "core.bare=false"]).args(words);
        git
    };
    let read = call(&["read-tree", &commit.hash]);
    runner::run(read, "read the commit's files", CallLimits::FETCH).await?;
    let out = call(&["checkout-index", "--all", "--quiet"]);
    runner::run(out, "check the commit out", CallLimits::FETCH).await?;
    Ok(())
}

/// Refuses a commit with too many files, too many bytes, or a path that points elsewhere.
fn measure(listed: &[u8], repository: &str, most: TreeLimits) -> Result<(), GitError> {
    let (mut files, mut bytes) = (0_u64, 0_u64);
    let too_large = |most, what| GitError::TooLarge {
        repository: repository.to_owned(),
        most,
        what,
    };
    for line in listed.split(|b| *b == 0).filter(|line| !line.is_empty()) {
        let tab = line.iter().position(|b| *b == b'\t').unwrap_or(line.len());
        let (head, path) = line.split_at(tab);
        let head = String::from_utf8_lossy(head);
        let size = head.split_ascii_whitespace().nth(3).unwrap_or_default();
        files = files.saturating_add(1);
        bytes = bytes.saturating_add(size.parse().unwrap_or(0));
        if files > most.files {
            return Err(too_large(most.files, "files"));
        }
        if bytes > most.bytes {
            return Err(too_large(most.bytes, "bytes of files"));
        }
        let path = String::from_utf8_lossy(path.get(1..).unwrap_or_default());
        let own = path
            .split('/')
            .any(|part| part.eq_ignore_ascii_case(".git"));
        if own || !is_inside(&path.replace(char::is_control, "_")) {
            return Err(GitError::Refused {
                given: path.replace(char::is_control, "_"),
                why: "a commit with such a path is not written",
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_measured_before_it_is_written() {
        let line = |size: &str, path: &str| format!("100644 blob 0123abcd {size:>7}\t{path}\0");
        let most = TreeLimits {
            files: 3,
            bytes: 100,
        };
        let check = |text: &str| measure(text.as_bytes(), "fleet", most);
        let two = line("60", "a.yaml") + &line("40", "b/c.yaml");
        check(&two).unwrap();
        check(&(two.clone() + "160000 commit 0123abcd       -\tmodule\0")).unwrap();
        let more = check(&(two.clone() + &line("1", "d")))
            .unwrap_err()
            .to_string();
        assert!(more.contains("100 bytes of files"), "{more}");
        let many = two + &line("0", "d") + &line("0", "e");
        let many = check(&many).unwrap_err().to_string();
        assert!(many.contains("3 files"), "{many}");
        for bad in ["../a", "a/.GIT/config", "/etc/passwd"] {
            check(&line("1", bad)).unwrap_err();
        }
        // A size that is not a number counts as 0, and such a file cannot be written.
        check(&line("BAD", "a")).unwrap();
    }
}
