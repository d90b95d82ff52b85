//! Export of kubeconfigs that are files: those of the management cluster.

use std::io::Read as _;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::super::kubeconfig::examine;
use backup_core::format::export::{KubeconfigFacts, Lack};
use backup_core::format::manifest::Finding;
use backup_core::source::{ArchiveSink, SourceError};

/// Largest kubeconfig. It is some KiB; a larger file is something else.
const MAX_FILE: u64 = 1 << 20;
/// Remaining validity below which a warning is given: time enough to create a new one.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Writes the files to `out` as `files/NAME`, in the order of their names. Adds findings for files that
/// cannot be read and for those that expire soon after `now`. Returns the facts of the written files,
/// without secrets, and the missing ones.
pub(super) async fn write(
    files: &[std::path::PathBuf],
    out: &mut ArchiveSink,
    findings: &mut Vec<Finding>,
    now: Timestamp,
) -> Result<(Vec<KubeconfigFacts>, Vec<Lack>), SourceError> {
    let mut named: Vec<(String, &Path)> = files.iter().map(|f| (name(f), f.as_path())).collect();
    named.sort();
    let (mut written, mut lacks) = (Vec::new(), Vec::new());
    let mut last = String::new();
    for (name, path) in named {
        let problem = match read(path) {
            Ok(_) if name == last => "another file of the same name is kept already".to_owned(),
            Ok(bytes) => {
                out.file(&format!("files/{name}"), &bytes).await?;
                let facts = examine(&name, &bytes).facts;
                findings.extend(expiry_finding(path, &facts, now));
                written.push(facts);
                last = name;
                continue;
            }
            Err(e) => e.to_string(),
        };
        lacks.push(Lack {
            what: path.display().to_string(),
            cause: format!("the kubeconfig was not kept: {problem}"),
        });
        findings.push(Finding::error(
            path.display().to_string(),
            format!("the kubeconfig was not kept: {problem}"),
            "see `kubernetes.keep-kubeconfigs` in the configuration",
        ));
    }
    Ok((written, lacks))
}

fn expiry_finding(path: &Path, facts: &KubeconfigFacts, now: Timestamp) -> Option<Finding> {
    let until = facts.client_not_after?;
    let soon = now.checked_add(SOON).unwrap_or(now);
    (until < soon).then(|| {
        Finding::warning(
            path.display().to_string(),
            format!("its client certificate is valid until {until:.0}"),
            "make a new one, for example with `talosctl kubeconfig`",
        )
    })
}

fn name(path: &Path) -> String {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_default()
}

fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|n| n > MAX_FILE) {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            "it is larger than 1 MiB, so it is not a kubeconfig",
        ));
    }
    Ok(bytes)
}
