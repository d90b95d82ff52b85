//! Lister of folders in the mirror's work tree.

use std::path::Path;

use super::MirrorError;

/// Returns the names in a folder in order, each with whether it is a folder; none if the folder is missing.
pub(super) fn list(folder: &Path) -> Result<Vec<(String, bool)>, MirrorError> {
    let failed = |source| MirrorError::file("read", folder, source);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        // A name that is not UTF-8 is not one of the mirror's; links are created as files.
        if let Ok(name) = entry.file_name().into_string()
            && (kind.is_dir() || kind.is_file())
        {
            found.push((name, kind.is_dir()));
        }
    }
    found.sort();
    Ok(found)
}
