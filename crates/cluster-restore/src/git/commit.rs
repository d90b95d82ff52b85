//! Commit of another person's repository, read through a private Git folder.
//!
//! The settings of a repository may name programs: filters, file monitors, hooks, ssh commands. So
//! no command ever runs in another repository. A remote repository is fetched. From a folder on
//! this machine only the names and the objects are taken, and its settings are not read.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::GitError;
use super::runner::{self, CallLimits};
use backup_core::format::manifest::Finding;
use backup_core::num::to_u64;
use backup_core::proxy::Proxies;

/// Largest number of bytes that are fetched. Packed they are a fraction of the files.
const MAX_FETCHED: u64 = 1 << 30;
/// Interval at which the fetched bytes are measured.
const MEASURE: std::time::Duration = std::time::Duration::from_millis(250);
/// Largest file with the names of all branches and tags.
const MAX_NAMES: u64 = 64 << 20;
/// Largest file with one name.
const MAX_NAME: u64 = 4 << 10;
/// Largest list of the files of a work tree.
const MAX_INDEX: u64 = 256 << 20;
/// Largest number of files with names.
const MAX_FILES: usize = 100_000;
/// Deepest nesting of folders.
const MAX_DEPTH: usize = 16;

/// Commit that can be read through a private Git folder.
#[derive(Debug)]
pub(super) struct Commit {
    /// Private Git folder.
    pub(super) git: PathBuf,
    /// Hash of the commit.
    pub(super) hash: String,
    /// Findings about the repository.
    pub(super) findings: Vec<Finding>,
}

/// Locations of the parts of a repository on this machine.
#[derive(Debug)]
struct RepositoryFolders {
    /// Folder that belongs to one work tree.
    own: PathBuf,
    /// Folder that all work trees share.
    common: PathBuf,
    /// Work tree, if there is one.
    tree: Option<PathBuf>,
}

/// Fetches the newest commit of `reference` into `git`, a folder that is created.
pub(super) async fn fetch(
    git: &Path,
    repository: &str,
    reference: &str,
    proxies: &Proxies,
) -> Result<Commit, GitError> {
    init(git, &[]).await?;
    let mut fetch = runner::git_of_person(git);
    fetch.env("GIT_DIR", git);
    runner::through(&mut fetch, proxies, repository)?;
    // The fetch stays one pack, whose size is measured; large files go to disk piece by piece.
    fetch.args([
        "-c",
        "fetch.unpackLimit=1",
        "-c",
        "core.bigFileThreshold=16m",
    ]);
    fetch.args(["fetch", "--quiet", "--depth=1", "--no-tags"]);
    fetch.args(["--no-recurse-submodules", "--", repository, reference]);
    let what = format!("fetch {reference} of {repository}");
    let ended = runner::run(fetch, &what, CallLimits::FETCH);
    let packs = git.join("objects/pack");
    tokio::select! {
        ended = ended => drop(ended?),
        () = wait_until_too_large(&packs) => return Err(GitError::TooLarge {
            repository: repository.to_owned(),
            most: MAX_FETCHED,
            what: "packed bytes",
        }),
    }
    let hash = hash(git, "FETCH_HEAD", "read the commit").await?;
    let (git, findings) = (git.to_owned(), Vec::new());
    Ok(Commit {
        git,
        hash,
        findings,
    })
}

/// Reads the commit of `reference` in the repository in `folder`, through `git`, a folder that is
/// created.
pub(super) async fn borrow(git: &Path, folder: &Path, reference: &str) -> Result<Commit, GitError> {
    let parts = parts(folder)?;
    let own_refs = parts.common.join("reftable");
    let format = object_format(&parts).await;
    let mut options = vec![format!("--object-format={format}")];
    if own_refs.is_dir() {
        options.push("--ref-format=reftable".to_owned());
    }
    init(git, &options).await?;
    let (from, to) = (parts.common.clone(), git.to_owned());
    let own = parts.own.clone();
    let copied = tokio::task::spawn_blocking(move || copy_names(&from, &own, &to));
    copied
        .await
        .map_err(|e| GitError::read(folder, e.into()))??;
    let what = format!("find {reference} of {}", folder.display());
    let hash = hash(git, reference, &what).await;
    let hash = hash.map_err(|error| match error {
        GitError::Failed { what, .. } => GitError::Failed {
            what,
            said: "no branch, tag or commit there has that name".to_owned(),
        },
        error => error,
    })?;
    let mut findings = Vec::new();
    if let Some(tree) = &parts.tree {
        findings.extend(uncommitted(git, &parts, tree).await?);
    }
    let git = git.to_owned();
    Ok(Commit {
        git,
        hash,
        findings,
    })
}

async fn init(git: &Path, options: &[String]) -> Result<(), GitError> {
    std::fs::create_dir(git).map_err(|e| GitError::read(git, e))?;
    let mut init = runner::git(git);
    init.args([
        "init",
        "--quiet",
        "--bare",
        "--template=",
        "--initial-branch=main",
    ]);
    init.args(options).env("GIT_DIR", git);
    runner::run(init, "make a folder for Git", CallLimits::LOCAL)
        .await
        .map(drop)
}

async fn hash(git: &Path, name: &str, what: &str) -> Result<String, GitError> {
    let mut parse = runner::git(git);
    parse.env("GIT_DIR", git);
    parse.args(["rev-parse", "--verify", "--end-of-options"]);
    parse.arg(format!("{name}^{{commit}}"));
    let hash = runner::run(parse, what, CallLimits::LOCAL).await?;
    Ok(String::from_utf8_lossy(&hash).trim().to_owned())
}

/// Returns once the files in `folder` have more bytes than the limit.
async fn wait_until_too_large(folder: &Path) {
    loop {
        tokio::time::sleep(MEASURE).await;
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let sizes = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
        if sizes.fold(0, u64::saturating_add) > MAX_FETCHED {
            return;
        }
    }
}

/// Finds the parts of the repository in `folder`.
fn parts(folder: &Path) -> Result<RepositoryFolders, GitError> {
    let missing = |said: &str| GitError::Failed {
        what: format!("find a repository in {}", folder.display()),
        said: said.to_owned(),
    };
    let dot = folder.join(".git");
    let (own, tree) = if dot.is_dir() {
        (dot, Some(folder.to_owned()))
    } else if dot.is_file() {
        let text = name_in(&dot)?;
        let named = text.strip_prefix("gitdir:").map(str::trim);
        let named = named.ok_or_else(|| missing("its file .git names no folder"))?;
        (folder.join(named), Some(folder.to_owned()))
    } else {
        (folder.to_owned(), None)
    };
    let shared = own.join("commondir");
    let common = if shared.is_file() {
        own.join(name_in(&shared)?.trim())
    } else {
        own.clone()
    };
    let is = own.join("HEAD").symlink_metadata().is_ok()
        && common.join("objects").is_dir()
        && (common.join("refs").is_dir() || common.join("packed-refs").is_file());
    if !is {
        return Err(missing("it is neither a work tree nor a bare repository"));
    }
    Ok(RepositoryFolders { own, common, tree })
}

/// Returns the format of the object names; the usual one if the repository does not set it.
async fn object_format(parts: &RepositoryFolders) -> String {
    let mut ask = runner::git(&parts.common);
    // Only this file is read, without the files that it includes.
    ask.args(["config", "--no-includes", "--file"]);
    ask.arg(parts.common.join("config"));
    ask.args(["--get", "extensions.objectformat"]);
    // Makes `git` look in no repository.
    ask.env("GIT_DIR", "/dev/null");
    let answer = match is_small(&parts.common.join("config"), CallLimits::LOCAL.output) {
        true => runner::run(ask, "read how objects are named", CallLimits::LOCAL).await,
        false => Ok(Vec::new()),
    };
    match answer.unwrap_or_default().trim_ascii() {
        b"sha256" => "sha256".to_owned(),
        _ => "sha1".to_owned(),
    }
}

/// Copies the names of commits, and points Git to the objects.
fn copy_names(common: &Path, own: &Path, to: &Path) -> Result<(), GitError> {
    let objects = common.join("objects");
    let objects = std::fs::canonicalize(&objects).map_err(|e| GitError::read(&objects, e))?;
    let info = to.join("objects/info");
    std::fs::create_dir_all(&info).map_err(|e| GitError::read(&info, e))?;
    write(&info.join("alternates"), &quoted(&objects))?;
    for (file, most) in [("packed-refs", MAX_NAMES), ("shallow", MAX_NAMES)] {
        copy(&common.join(file), &to.join(file), most)?;
    }
    if common.join("reftable").is_dir() {
        if own != common {
            return Err(GitError::Refused {
                given: own.display().to_string(),
                why: "it is a further work tree of a repository with reftables; name its main one",
            });
        }
        return copy_folder(&common.join("reftable"), &to.join("reftable"), MAX_NAMES);
    }
    copy(&own.join("HEAD"), &to.join("HEAD"), MAX_NAME)?;
    copy_folder(&common.join("refs"), &to.join("refs"), MAX_NAME)
}

/// Quotes a folder's path as Git expects it in a list of object folders.
fn quoted(path: &Path) -> Vec<u8> {
    let mut line = vec![b'"'];
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'"' | b'\\' => line.extend([b'\\', *byte]),
            b'\n' => line.extend(b"\\n"),
            other => line.push(*other),
        }
    }
    line.extend(b"\"\n");
    line
}

/// Copies plain files, also those in subfolders. Links are not followed.
fn copy_folder(from: &Path, to: &Path, most: u64) -> Result<(), GitError> {
    let mut open = vec![(from.to_owned(), to.to_owned(), 0_usize)];
    let mut files: usize = 0;
    while let Some((from, to, depth)) = open.pop() {
        std::fs::create_dir_all(&to).map_err(|e| GitError::read(&to, e))?;
        for entry in std::fs::read_dir(&from).map_err(|e| GitError::read(&from, e))? {
            let entry = entry.map_err(|e| GitError::read(&from, e))?;
            let kind = entry.file_type().map_err(|e| GitError::read(&from, e))?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            files = files.saturating_add(1);
            if files > MAX_FILES || depth > MAX_DEPTH {
                let (repository, what) = (from.display().to_string(), "branches and tags");
                let most = to_u64(MAX_FILES);
                return Err(GitError::TooLarge {
                    repository,
                    most,
                    what,
                });
            }
            if kind.is_dir() {
                open.push((from, to, depth.saturating_add(1)));
            } else {
                copy(&from, &to, most)?;
            }
        }
    }
    Ok(())
}

fn is_small(file: &Path, most: u64) -> bool {
    let found = file.symlink_metadata();
    found.is_ok_and(|found| found.is_file() && found.len() <= most)
}

/// Copies a plain file of at most `most` bytes; skips anything else.
fn copy(from: &Path, to: &Path, most: u64) -> Result<(), GitError> {
    if !is_small(from, most) {
        return Ok(());
    }
    let file = std::fs::File::open(from).map_err(|e| GitError::read(from, e))?;
    let failed = |e| GitError::read(from, e);
    let changed = file.metadata().and_then(|m| m.modified()).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    write(to, &bytes)?;
    // Git notices a change only by the time in seconds, or in a file as new as the index: the copy
    // keeps its time.
    let copy = std::fs::File::options()
        .append(true)
        .open(to)
        .map_err(failed)?;
    copy.set_modified(changed).map_err(failed)
}

fn write(to: &Path, bytes: &[u8]) -> Result<(), GitError> {
    std::fs::write(to, bytes).map_err(|e| GitError::read(to, e))
}

/// Returns the text of a small file.
fn name_in(file: &Path) -> Result<String, GitError> {
    let opened = std::fs::File::open(file).map_err(|e| GitError::read(file, e))?;
    let mut text = String::new();
    let read = opened.take(MAX_NAME).read_to_string(&mut text);
    read.map_err(|e| GitError::read(file, e))?;
    Ok(text)
}

/// Returns a finding about uncommitted changes in a work tree. Filters of the repository are not
/// known, so files are compared as they are on disk.
async fn uncommitted(
    git: &Path,
    parts: &RepositoryFolders,
    tree: &Path,
) -> Result<Option<Finding>, GitError> {
    let index = git.join("index-of-folder");
    copy(&parts.own.join("index"), &index, MAX_INDEX)?;
    let entries = std::fs::read_dir(&parts.own).map_err(|e| GitError::read(&parts.own, e))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        // The index may be split into two files.
        if name.as_encoded_bytes().starts_with(b"sharedindex.") {
            copy(&entry.path(), &git.join(name), MAX_INDEX)?;
        }
    }
    let exclude = git.join("info");
    std::fs::create_dir_all(&exclude).map_err(|e| GitError::read(&exclude, e))?;
    copy(
        &parts.common.join("info/exclude"),
        &exclude.join("exclude"),
        MAX_NAMES,
    )?;
    let mut status = runner::git(tree);
    status
        .env("GIT_DIR", git)
        .env("GIT_WORK_TREE", tree)
        .env("GIT_INDEX_FILE", &index);
    status.args(["-c", "core.bare=false", "-c", "core.fileMode=false"]);
    status.args(["status", "--porcelain", "--ignore-submodules=all"]);
    let what = format!("see what is not committed in {}", tree.display());
    let changed = runner::run(status, &what, CallLimits::LOCAL).await?;
    let files = changed.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    let files = files.count();
    Ok((files > 0).then(|| {
        Finding::warning(
            tree.display().to_string(),
            format!("{files} files there are changed or new and not committed"),
            "only what is committed is restored; commit them and plan again if they are meant",
        )
    }))
}
