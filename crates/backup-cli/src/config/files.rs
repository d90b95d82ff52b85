//! Reader for a folder of configuration files, one for each cluster.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::problem::{ConfigError, Origin, Problem};
use super::{Config, ConfigFlags};
use crate::flags::StoreFlags;

/// Largest number of files. This is enough for a fleet; a folder with more files is the wrong folder.
pub const MAX_FILES: usize = 1_000;

/// One configuration file, read or refused.
#[derive(Debug)]
pub struct ConfigFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Configuration of the file, or its problems.
    pub config: Result<Config, ConfigError>,
}

/// Reads the file `path`, or each `*.yaml` and `*.yml` of the folder `path`, in the order of names. Refuses a
/// file with the cluster of an earlier file, or with a store that overlaps an earlier store, and a file that
/// a daemon cannot use.
///
/// # Errors
/// Fails when there is no such file or folder, or no file in the folder. Problems of one file are in its own
/// result.
pub fn read_files(path: &Path, now: Timestamp) -> Result<Vec<ConfigFile>, ConfigError> {
    let paths = if path.is_dir() {
        of_folder(path)?
    } else {
        vec![path.to_owned()]
    };
    let mut files: Vec<ConfigFile> = Vec::with_capacity(paths.len());
    for path in paths {
        let config = read(&path, now).and_then(|config| {
            let earlier = files.iter().filter_map(|file| file.config.as_ref().ok());
            match earlier.filter_map(|other| clash(&config, other)).next() {
                Some(message) => Err(problem(&path, message)),
                None => Ok(config),
            }
        });
        files.push(ConfigFile { path, config });
    }
    Ok(files)
}

fn of_folder(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let cannot = |e: std::io::Error| problem(folder, format!("cannot be read: {e}"));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let yaml = path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml");
        // Kubernetes mounts a ConfigMap as links to a folder whose name begins with a dot.
        let hidden = path
            .file_name()
            .is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if yaml && !hidden && path.is_file() {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            return Err(problem(folder, format!("has more than {MAX_FILES} files")));
        }
    }
    if paths.is_empty() {
        return Err(problem(
            folder,
            "has no file `*.yaml`; want one for each cluster",
        ));
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path, now: Timestamp) -> Result<Config, ConfigError> {
    let given = ConfigFlags {
        store: StoreFlags {
            config: Some(path.to_owned()),
            ..StoreFlags::default()
        },
        ..ConfigFlags::default()
    };
    let config = Config::load(&given, now)?;
    let lacking = [
        config.need_cluster().err(),
        config.need_store().err(),
        config.need_encryption().err(),
        config.need_signing_key().err(),
        config
            .git_mirror
            .as_ref()
            .and_then(|mirror| mirror.access().err()),
    ];
    let mut lacking = lacking.into_iter().flatten().peekable();
    if lacking.peek().is_some() {
        return Err(ConfigError::join(lacking));
    }
    Ok(config)
}

/// Reports the conflict between two files, if both name one cluster or overlapping stores.
fn clash(config: &Config, earlier: &Config) -> Option<String> {
    let file = earlier.file.as_deref().unwrap_or(Path::new("another file"));
    let file = file.display();
    let cluster = config.cluster.as_ref()?;
    if earlier.cluster.as_ref() == Some(cluster) {
        return Some(format!(
            "cluster `{cluster}` has the file {file} already; keep one of them"
        ));
    }
    let (store, other) = (config.store.as_ref()?, earlier.store.as_ref()?);
    if store.overlaps(other) {
        return Some(format!(
            "its store {store} and that of {file} overlap; give each cluster a prefix of its own"
        ));
    }
    let (mirror, other) = (config.git_mirror.as_ref()?, earlier.git_mirror.as_ref()?);
    mirror.mirror.overlaps(&other.mirror).then(|| {
        format!(
            "its Git mirror and that of {file} write to the same folder of one branch; give each \
             cluster a `path` of its own"
        )
    })
}

fn problem(path: &Path, message: impl Into<String>) -> ConfigError {
    let origin = Origin::File {
        path: path.to_owned(),
        line: 1,
        column: 1,
        field: String::new(),
    };
    Problem::new(origin, message).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn now() -> Timestamp {
        "2026-11-23T12:45:00Z".parse().unwrap()
    }

    fn file(cluster: &str, store: &str) -> String {
        format!("cluster: {cluster}\nstore: {store}\nencryption: none\nsigning: {{key: ../key}}\n")
    }

    #[test]
    fn each_file_stands_by_itself_and_no_two_share_a_place() {
        let folder = tempfile::TempDir::new().unwrap();
        let key = folder.path().join("key");
        let secret = backup_core::crypt::SigningKey::generate()
            .unwrap()
            .to_text()
            .unwrap();
        std::fs::write(&key, secrecy::ExposeSecret::expose_secret(&secret)).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let schedules = folder.path().join("schedules");
        std::fs::create_dir(&schedules).unwrap();
        for (name, text) in [
            ("a.yaml", file("a", "s3://bucket/a")),
            ("b.yaml", file("a", "s3://bucket/b")),
            ("c.yaml", file("c", "s3://bucket/a/deeper")),
            ("d.yaml", "cluster: d".to_owned()),
            ("e.yaml", "cluster: [".to_owned()),
            ("f.yml", file("f", "s3://bucket/ab")),
            (
                "g.yaml",
                format!(
                    "{}git-mirror: {{repository: /r, folder: /f}}\n",
                    file("g", "s3://bucket/g")
                ),
            ),
            (
                "h.yaml",
                format!(
                    "{}git-mirror: {{repository: /r, folder: /f, path: butler-backup}}\n",
                    file("h", "s3://bucket/h")
                ),
            ),
            (
                "i.yaml",
                format!(
                    "{}git-mirror: {{repository: /r, folder: /f, path: butler-backup/i}}\n",
                    file("i", "s3://bucket/i")
                ),
            ),
            (".g.yaml", "not read".to_owned()),
            ("notes.txt", "not read".to_owned()),
        ] {
            std::fs::write(schedules.join(name), text).unwrap();
        }
        let told = read_files(&schedules, now()).unwrap().into_iter().map(|f| {
            let name = f.path.file_name().unwrap().to_string_lossy().into_owned();
            let told = f
                .config
                .map_or_else(|e| e.to_string(), |_| "good".to_owned());
            format!("{name}: {told}")
        });
        let told = told.collect::<Vec<_>>().join("\n");
        let told = told.replace(&folder.path().display().to_string(), "");
        insta::assert_snapshot!(told);
    }

    #[test]
    fn an_empty_folder_is_told() {
        let folder = tempfile::TempDir::new().unwrap();
        let error = read_files(folder.path(), now()).unwrap_err();
        assert!(
            error.to_string().contains("has no file `*.yaml`"),
            "{error}"
        );
    }
}
