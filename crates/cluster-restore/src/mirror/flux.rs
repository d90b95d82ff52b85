//! Check that Flux does not apply the mirror's folder. Flux would apply the mirrored objects to the cluster
//! without any status, and delete there what the mirror removes, so nothing is committed to such a folder.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::destination::normal;
use super::place::{CRDS, MARK, RESOURCES};
use super::{Mirror, MirrorError, folder};
use crate::git::GitSource;
use backup_core::archive::{ObjectPath, read_json};
use backup_core::format::export::KindFacts;
use backup_core::format::manifest::Manifest;
use backup_core::id::ComponentName;
use backup_core::num::to_u64;

const KUSTOMIZATIONS: &str = "kustomizations.kustomize.toolkit.fluxcd.io";
const REPOSITORIES: &str = "gitrepositories.source.toolkit.fluxcd.io";
/// Folder into which `flux bootstrap` writes Flux itself.
const OWN: &str = "flux-system";
/// Prefix of the files in that folder.
const FILES: &str = "gotk-";
/// Branch that Flux uses if none is named.
const BRANCH: &str = "master";
/// File of the work folder that names the Kustomization that covers the mirror.
const COVERED: &str = "covered-by-flux";
/// Largest number of Kustomizations or repositories that are kept: a cluster has dozens.
const MAX_FLUX_OBJECTS: usize = 10_000;
/// Largest depth of folders that are searched.
const MAX_DEPTH: usize = 32;

/// Paths that Flux applies from Git, according to the cluster's Flux objects.
#[derive(Debug, Default)]
pub(super) struct FluxPaths {
    kustomizations: Vec<Kustomization>,
    repositories: BTreeMap<(String, String), FluxRepository>,
    /// Whether some are unknown: there are more than are kept, or one cannot be read.
    more: bool,
}

#[derive(Debug)]
struct Kustomization {
    name: String,
    path: PathBuf,
    source: (String, String),
}

#[derive(Debug)]
struct FluxRepository {
    address: String,
    /// Branch; `None` if it may be any.
    branch: Option<String>,
}

impl FluxPaths {
    /// Records an object if it is a Kustomization or a repository of Flux.
    pub(super) fn note(&mut self, path: &ObjectPath, json: &[u8]) {
        let kind = path.resource.as_str();
        if kind != KUSTOMIZATIONS && kind != REPOSITORIES {
            return;
        }
        let Ok(object) = read_json::<Value>(json) else {
            self.more = true;
            return;
        };
        let kept = self.kustomizations.len().max(self.repositories.len());
        if kept >= MAX_FLUX_OBJECTS {
            self.more = true;
            return;
        }
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let namespace = path.namespace.clone().unwrap_or_default();
        if kind == REPOSITORIES {
            let branch = match text("/spec/ref/name") {
                Some(name) => name.strip_prefix("refs/heads/").map(str::to_owned),
                None if ["tag", "semver", "commit"]
                    .iter()
                    .any(|field| text(&format!("/spec/ref/{field}")).is_some()) =>
                {
                    None
                }
                None => Some(text("/spec/ref/branch").unwrap_or(BRANCH).to_owned()),
            };
            let address = address(text("/spec/url").unwrap_or_default());
            let key = (namespace, path.name.clone());
            self.repositories
                .insert(key, FluxRepository { address, branch });
        } else if text("/spec/sourceRef/kind") == Some("GitRepository") {
            let of = text("/spec/sourceRef/namespace").unwrap_or(&namespace);
            let name = text("/spec/sourceRef/name").unwrap_or_default();
            self.kustomizations.push(Kustomization {
                name: format!("{namespace}/{}", path.name),
                path: normal(text("/spec/path").unwrap_or_default()),
                source: (of.to_owned(), name.to_owned()),
            });
        }
    }

    /// Returns the Kustomization that applies what `mirror` writes, if there is one.
    fn covers(&self, mirror: &Mirror) -> Option<&Kustomization> {
        let (own, root) = (address(&mirror.repository), normal(&mirror.path));
        let parts = [root.join(CRDS), root.join(RESOURCES)];
        self.kustomizations.iter().find(|one| {
            let there = self
                .repositories
                .get(&one.source)
                .is_some_and(|repository| {
                    let branch = repository.branch.as_ref();
                    repository.address == own && branch.is_none_or(|b| *b == mirror.branch)
                });
            let over = root.starts_with(&one.path);
            there && (over || parts.iter().any(|part| one.path.starts_with(part)))
        })
    }
}

/// Refuses a mirror that Flux applies, according to the cluster and to the work folder. A run that did not
/// read all objects of Flux has no `applied`, and uses the result of the last run that did.
pub(super) fn refuse(
    mirror: &Mirror,
    applied: Option<&FluxPaths>,
    work: &Path,
) -> Result<(), MirrorError> {
    let refused = |sign: String| MirrorError::Flux {
        path: mirror.path.clone(),
        sign,
    };
    let note = mirror.folder.join(COVERED);
    let covered = match applied {
        Some(applied) => {
            let found = applied.covers(mirror);
            let sign = found.map(|one| {
                let (name, path) = (&one.name, one.path.display());
                format!("its Kustomization {name} has the path ./{path}")
            });
            let unknown = applied.more && sign.is_none();
            let sign = sign.or_else(|| {
                unknown
                    .then(|| "not all of its Kustomizations and repositories are known".to_owned())
            });
            keep(&note, sign.as_deref())?;
            sign
        }
        None => match std::fs::read_to_string(&note) {
            Ok(sign) => Some(sign),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(MirrorError::file("read", &note, source)),
        },
    };
    if let Some(sign) = covered {
        return Err(refused(sign));
    }
    let root = normal(&mirror.path);
    for folder in root.ancestors() {
        for (name, is_folder) in list(&work.join(folder))? {
            if is_own(&name, is_folder) {
                let place = folder.join(name);
                return Err(refused(format!("{} is there", place.display())));
            }
        }
    }
    match below(work, &root)? {
        Some(place) => Err(refused(format!("{} is there", place.display()))),
        None => Ok(()),
    }
}

/// Whether a run read all Flux objects that say what is applied. A cluster without Flux has none.
pub(super) fn is_known(manifest: &Manifest) -> bool {
    let resources = manifest.component(&ComponentName::resources());
    let resources = resources.filter(|component| component.carried_from.is_none());
    let facts = resources.and_then(|component| component.archive.as_ref());
    facts.is_some_and(|facts| are_whole(&facts.kinds))
}

/// Whether all objects of the relevant Flux kinds were read.
fn are_whole(kinds: &[KindFacts]) -> bool {
    let is_flux =
        |kind: &&KindFacts| [KUSTOMIZATIONS, REPOSITORIES].contains(&kind.resource.as_str());
    let mut kinds = kinds.iter().filter(is_flux);
    kinds.all(|kind| kind.failed.is_none() && kind.lost.is_empty())
}

/// Records for the next run why the mirror is refused, or that it is not refused.
fn keep(note: &Path, sign: Option<&str>) -> Result<(), MirrorError> {
    let kept = match sign {
        Some(sign) => std::fs::write(note, sign),
        None => match std::fs::remove_file(note) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        },
    };
    kept.map_err(|source| MirrorError::file("note in", note, source))
}

/// Whether `flux bootstrap` creates a file or folder with this name.
fn is_own(name: &str, is_folder: bool) -> bool {
    let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
    (is_folder && name == OWN) || (!is_folder && yaml && name.starts_with(FILES))
}

/// Returns a file of Flux itself in `root` of `work` or below. Mirrored copies of objects in Flux's namespace
/// are in a folder of that name too, and do not count.
fn below(work: &Path, root: &Path) -> Result<Option<PathBuf>, MirrorError> {
    let mut open = vec![(root.to_owned(), false, 0_usize)];
    while let Some((folder, within, depth)) = open.pop() {
        for (name, is_folder) in list(&work.join(&folder))? {
            let place = folder.join(&name);
            let own = within || is_own(&name, is_folder);
            if is_folder {
                if depth < MAX_DEPTH {
                    open.push((place, own, depth.saturating_add(1)));
                }
            } else if own && !is_mirrored(&work.join(&place)) {
                return Ok(Some(place));
            }
        }
    }
    Ok(None)
}

/// Whether the folder of a mirror contains a file that begins like a file of a mirror.
pub(super) fn holds_mirrored(folder: &Path) -> Result<bool, MirrorError> {
    let mut open = vec![(folder.join(CRDS), 0_usize), (folder.join(RESOURCES), 0)];
    while let Some((folder, depth)) = open.pop() {
        for (name, is_folder) in list(&folder)? {
            let place = folder.join(name);
            if is_folder && depth < MAX_DEPTH {
                open.push((place, depth.saturating_add(1)));
            } else if !is_folder && is_mirrored(&place) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether a file begins like a file of a mirror.
fn is_mirrored(file: &Path) -> bool {
    let length = to_u64(MARK.len());
    let mut begins = Vec::new();
    let opened = std::fs::File::open(file);
    let read = opened.and_then(|file| file.take(length).read_to_end(&mut begins));
    read.is_ok() && begins == MARK.as_bytes()
}

/// Returns the names in a folder of the work tree, without Git's own.
fn list(folder: &Path) -> Result<Vec<(String, bool)>, MirrorError> {
    let mut names = folder::list(folder)?;
    names.retain(|(name, _)| name != ".git");
    Ok(names)
}

/// Returns a repository's address without parts that may differ for the same one: scheme, user, port, suffix,
/// case.
fn address(text: &str) -> String {
    let source = GitSource::parse(text);
    let local = text.strip_prefix("file://").unwrap_or(text);
    let (host, path) = if text.starts_with("file://") || source.is_folder() {
        let folder = Path::new(local);
        let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        (String::new(), folder.display().to_string())
    } else {
        let (scheme, rest) = text
            .split_once("://")
            .map_or((false, text), |(_, rest)| (true, rest));
        let end = if scheme { '/' } else { ':' };
        let (host, path) = rest.split_once(end).unwrap_or((rest, ""));
        let host = host.rsplit('@').next().unwrap_or_default();
        let host = match host.strip_prefix('[') {
            Some(six) => six.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let host = host.to_ascii_lowercase();
        let bare = ["ssh.", "altssh."]
            .iter()
            .find_map(|front| host.strip_prefix(front));
        (bare.unwrap_or(&host).to_owned(), path.to_ascii_lowercase())
    };
    let path = path.trim_matches('/');
    format!(
        "{host}/{}",
        path.strip_suffix(".git")
            .unwrap_or(path)
            .trim_end_matches('/')
    )
}

#[cfg(test)]
mod tests;
