//! Listing of the files below a folder in key order, a page at a time.

use std::fs::{self, FileType};
use std::io;
use std::path::Path;

use super::write::TEMP_PREFIX;
use crate::store::{Access, Key, ObjectInfo, Page};

/// Returns one page of the files whose names begin with `prefix` and follow `from`. Only folders that can
/// contain such names are read.
pub(super) fn page(
    root: &Path,
    prefix: &str,
    from: Option<&str>,
    limit: usize,
) -> io::Result<Page> {
    let mut walk = FolderWalk {
        root,
        prefix,
        from,
        limit,
        names: 0,
        last: None,
        page: Page::default(),
    };
    walk.folder("")?;
    Ok(walk.page)
}

struct FolderWalk<'a> {
    root: &'a Path,
    prefix: &'a str,
    from: Option<&'a str>,
    limit: usize,
    /// Number of names in the page.
    names: usize,
    /// Last name in the page.
    last: Option<String>,
    page: Page,
}

impl FolderWalk<'_> {
    /// Adds the files below `folder`, which is "" or ends in a slash; returns `true` if the page is full.
    fn folder(&mut self, folder: &str) -> io::Result<bool> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.root.join(folder))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(TEMP_PREFIX) {
                continue;
            }
            let kind = entry.file_type()?;
            // With its slash a folder sorts among the files as the keys in it do.
            let slash = if kind.is_dir() { "/" } else { "" };
            entries.push((format!("{folder}{name}{slash}"), kind));
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (name, kind) in entries {
            if self.entry(name, kind)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds one entry; returns `true` if the page is full.
    fn entry(&mut self, name: String, kind: FileType) -> io::Result<bool> {
        let is_key = name.trim_end_matches('/').parse::<Key>();
        if kind.is_dir() && is_key.is_ok() {
            let may_match = name.starts_with(self.prefix) || self.prefix.starts_with(&name);
            let may_follow = self
                .from
                .is_none_or(|from| from < name.as_str() || from.starts_with(&name));
            if !may_match || !may_follow {
                return Ok(false);
            }
            return match self.folder(&name) {
                // The folder was removed after its parent was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                result => result,
            };
        }
        let wanted = name.starts_with(self.prefix) && self.from.is_none_or(|from| *from < *name);
        if !wanted {
            return Ok(false);
        }
        if self.names >= self.limit {
            self.page.next.clone_from(&self.last);
            return Ok(true);
        }
        match is_key {
            Ok(key) if kind.is_file() => {
                let metadata = match fs::symlink_metadata(self.root.join(&name)) {
                    Ok(metadata) => metadata,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                    Err(error) => return Err(error),
                };
                self.page.objects.push(ObjectInfo {
                    key,
                    size: metadata.len(),
                    recorded: None,
                    modified: super::modified(&metadata),
                    access: Access::AtOnce,
                });
            }
            // Links, sockets, odd names, and folders such as `lost+found` that may not be readable.
            _ => self.page.foreign.push(name.clone()),
        }
        self.names = self.names.saturating_add(1);
        self.last = Some(name);
        Ok(false)
    }
}
