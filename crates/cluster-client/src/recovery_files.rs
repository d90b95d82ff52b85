//! Recovery files (component `kit`): files from an operator that a restore needs and no API returns, such as machine configurations,
//! a secrets bundle, or the key of the encryption at rest.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use crate::at_rest;
use backup_core::format::export::ArchiveFacts;
use backup_core::id::ComponentName;
use backup_core::num::to_u64;
use backup_core::source::{ArchiveReport, ArchiveSink, ArchiveSource, SourceError};
use backup_core::text;

/// Largest file; it is held in memory together with the other files. Configurations are some kilobytes.
const MAX_FILE: u64 = 16 << 20;
/// Largest total size of all files.
const MAX_TOTAL: u64 = 64 << 20;
/// Maximum number of files; the manifest can name as many without becoming long.
const MAX_FILES: usize = 256;

/// Reason why files cannot become a kit. Each error names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryFilesError {
    /// The file cannot be read.
    #[error("read {}", .file.display())]
    Read {
        /// Path of the file.
        file: PathBuf,
        /// Cause of the failure.
        #[source]
        source: std::io::Error,
    },
    /// The path is a directory or another kind of file.
    #[error("{} is not a file; name the files in it one by one, or pack them with tar", .file.display())]
    NoFile {
        /// Path as given.
        file: PathBuf,
    },
    /// The file, or all files together, are too large.
    #[error("{} makes the kit too large: a file may have 16 MiB, all together 64 MiB", .file.display())]
    TooLarge {
        /// Path of the file.
        file: PathBuf,
    },
    /// Two files have the same name.
    #[error("two of the files are called `{name}`; rename one of them")]
    Twice {
        /// Name of the files.
        name: String,
    },
    /// The file has a name that cannot be kept.
    #[error(
        "{} has a name that cannot be kept: use letters, digits, `.`, `-` and `_`, at most 100 of \
         them",
        .file.display()
    )]
    Name {
        /// Path of the file.
        file: PathBuf,
    },
    /// There are too many files.
    #[error("a kit has at most {MAX_FILES} files; pack some of them with tar")]
    TooMany,
}

/// Files that were read and wait to be stored. The debug output contains no content.
pub struct RecoveryFiles {
    files: Vec<(String, Zeroizing<Vec<u8>>)>,
}

impl std::fmt::Debug for RecoveryFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl RecoveryFiles {
    /// Reads the files at `paths`.
    ///
    /// # Errors
    /// See [`RecoveryFilesError`].
    pub async fn read(paths: &[PathBuf]) -> Result<Self, RecoveryFilesError> {
        if paths.len() > MAX_FILES {
            return Err(RecoveryFilesError::TooMany);
        }
        let mut files = Vec::with_capacity(paths.len());
        let mut left = MAX_TOTAL;
        for path in paths {
            let name = name_of(path)?;
            let bytes = read(path, left.min(MAX_FILE)).await?;
            left = left.saturating_sub(to_u64(bytes.len()));
            files.push((name, bytes));
        }
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        let twice = files.iter().zip(files.iter().skip(1));
        if let Some(((name, _), _)) = twice.into_iter().find(|((a, _), (b, _))| a == b) {
            return Err(RecoveryFilesError::Twice { name: name.clone() });
        }
        Ok(Self { files })
    }

    /// Returns the files' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }
}

fn name_of(path: &Path) -> Result<String, RecoveryFilesError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let sound = |name: &&str| (1..=100).contains(&name.len()) && name.chars().all(allowed);
    let name = name.filter(sound).ok_or_else(|| RecoveryFilesError::Name {
        file: path.to_owned(),
    })?;
    Ok(name.to_owned())
}

async fn read(path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, RecoveryFilesError> {
    let file = || path.to_owned();
    let unread = |source| RecoveryFilesError::Read {
        file: file(),
        source,
    };
    // Checked first: opening a pipe would wait for its other end.
    let metadata = tokio::fs::metadata(path).await.map_err(unread)?;
    if !metadata.is_file() {
        return Err(RecoveryFilesError::NoFile { file: file() });
    }
    if metadata.len() > most {
        return Err(RecoveryFilesError::TooLarge { file: file() });
    }
    let opened = tokio::fs::File::open(path).await.map_err(unread)?;
    let size = usize::try_from(metadata.len()).unwrap_or(0);
    // Allocated at its final size, so that growing leaves no copy of a part behind in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.saturating_add(1)));
    let mut limited = opened.take(most.saturating_add(1));
    limited.read_to_end(&mut bytes).await.map_err(unread)?;
    if to_u64(bytes.len()) > most {
        return Err(RecoveryFilesError::TooLarge { file: file() });
    }
    Ok(bytes)
}

#[async_trait]
impl ArchiveSource for RecoveryFiles {
    async fn write(&self, out: &mut ArchiveSink) -> Result<ArchiveReport, SourceError> {
        let mut facts = ArchiveFacts::default();
        for (name, bytes) in &self.files {
            let path = format!("{}/{name}", ComponentName::kit());
            out.file(&path, bytes).await?;
            facts.objects = facts.objects.saturating_add(1);
            facts.files.push(name.clone());
            if let Ok(text) = text::decode(bytes) {
                let known = at_rest::examine(&text);
                facts.encryption_prefixes.extend(known.prefixes);
            }
        }
        facts.encryption_prefixes.sort();
        facts.encryption_prefixes.dedup();
        Ok(ArchiveReport {
            facts,
            findings: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_a_kit_is_told_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, size: u64| {
            let path = folder.path().join(name);
            let parent = path.parent().unwrap();
            std::fs::create_dir_all(parent).unwrap();
            let file = std::fs::File::create(&path).unwrap();
            file.set_len(size).unwrap();
            path
        };
        let (a, twin) = (write("a.yaml", 3), write("other/a.yaml", 3));
        let large = write("large", MAX_FILE + 1);
        let odd = write("odd name", 1);
        let mut told = Vec::new();
        for paths in [
            vec![a.clone(), folder.path().join("missing")],
            vec![folder.path().join("other")],
            vec![large],
            vec![odd],
            vec![a.clone(), twin],
        ] {
            told.push(RecoveryFiles::read(&paths).await.unwrap_err().to_string());
        }
        let told = told.join("\n");
        let told = told.replace(&folder.path().display().to_string(), "FOLDER");
        insta::assert_snapshot!(told);
        let kit = RecoveryFiles::read(&[a]).await.unwrap();
        assert_eq!(format!("{kit:?}"), r#"["a.yaml"]"#);
    }
}
