//! Tests that memory and folders keep the contract of a store, and that a folder is safe as part of a file
//! system.
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use backup_core::digest::Digest;
use backup_core::store::local::LocalStore;
use backup_core::store::memory::MemoryStore;
use backup_core::store::url::StoreUrl;
use backup_core::store::{CreateOutcome, Key, OpenOptions, Store, StoreError, open};
use backup_core::testing::contract;
use backup_core::testing::fault::FaultStore;
use bytes::Bytes;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

async fn put(
    store: &dyn Store,
    name: &str,
    bytes: &'static [u8],
) -> Result<CreateOutcome, StoreError> {
    let digest = Digest::of(bytes);
    store.create(&key(name), bytes.into(), digest).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_keeps_the_contract() {
    contract::run(async || MemoryStore::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_fault_store_without_faults_keeps_the_contract() {
    let fresh = async || FaultStore::new(Arc::new(MemoryStore::new()));
    contract::run(fresh).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = async || {
        let root = tempfile::tempdir_in(&folder).unwrap().keep();
        LocalStore::open(root).await.unwrap().with_page(97)
    };
    contract::run(fresh).await.unwrap();
    // Only a crash may leave a temporary file.
    for path in files(folder.path()).unwrap() {
        assert!(!path.contains("/.tmp-"), "{path} was left");
    }
}

/// Returns all files below `folder`.
fn files(folder: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

#[tokio::test]
async fn files_and_folders_are_the_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new/root");
    let store = LocalStore::create(&root).await.unwrap();
    put(&store, "packs/00/object", b"bytes").await.unwrap();
    let mode = |path: &str| {
        let metadata = root.join(path).metadata().unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("packs/00/object"), 0o600);
    for folder in ["", "packs", "packs/00"] {
        assert_eq!(mode(folder), 0o700, "`{folder}`");
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_said_to_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = LocalStore::open(&missing).await.unwrap_err();
    assert!(matches!(error, StoreError::NoBucket { .. }), "{error}");
    assert!(error.to_string().contains("missing"), "{error}");

    // The folder vanishes while it is in use, as on a disk that is removed: nothing is written in its place.
    let store = LocalStore::create(&missing).await.unwrap();
    put(&store, "a/b", b"bytes").await.unwrap();
    std::fs::remove_dir_all(&missing).unwrap();
    for error in [
        put(&store, "a/c", b"bytes").await.unwrap_err(),
        store.get(&key("a/b")).await.unwrap_err(),
        store.head(&key("a/b")).await.unwrap_err(),
        store.list("", None).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NoBucket { .. }), "{error}");
    }
    assert!(!missing.exists());
}

#[tokio::test]
async fn leftovers_are_left_out_and_strange_names_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    put(&store, "packs/1", b"bytes").await.unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at(".tmp-1234"), b"half").unwrap();
    std::fs::write(at("packs/.tmp-1234"), b"half").unwrap();
    std::fs::write(at("packs/Readme.TXT"), b"hello").unwrap();
    std::fs::create_dir(at("lost+found")).unwrap();
    std::fs::write(at("lost+found/1"), b"hello").unwrap();
    symlink(at("packs/1"), at("packs/link")).unwrap();
    symlink(at("packs"), at("linked")).unwrap();
    for limit in [1, 2, 100] {
        let store = store.clone().with_page(limit);
        let (mut keys, mut foreign, mut from) = (Vec::new(), Vec::new(), None);
        loop {
            let page = store.list("", from).await.unwrap();
            keys.extend(page.objects.into_iter().map(|info| info.key.to_string()));
            foreign.extend(page.foreign);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(keys, ["packs/1"]);
        assert_eq!(
            foreign,
            ["linked", "lost+found/", "packs/Readme.TXT", "packs/link"]
        );
    }
}

#[tokio::test]
async fn a_pipe_a_device_or_a_link_is_not_opened() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    let at = |name: &str| folder.path().join(name);
    put(&store, "packs/1", b"bytes").await.unwrap();
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, at("packs/pipe"), FileType::Fifo, mode, 0).unwrap();
    symlink(at("packs/1"), at("packs/link")).unwrap();
    // It returns bytes without end.
    symlink("/dev/zero", at("packs/zero")).unwrap();
    for name in ["packs/pipe", "packs/link", "packs/zero"] {
        let key = key(name);
        let all = async {
            [
                store.get(&key).await.unwrap_err(),
                store.get_range(&key, 0..4).await.unwrap_err(),
                store.head(&key).await.unwrap_err(),
                put(&store, name, b"bytes").await.unwrap_err(),
            ]
        };
        let limit = std::time::Duration::from_secs(10);
        let errors = tokio::time::timeout(limit, all).await.unwrap();
        for error in errors {
            let causes = backup_core::causes::line(&error);
            assert!(causes.contains("not a regular file"), "{name}: {causes}");
        }
    }
}

#[tokio::test]
async fn a_file_that_grew_too_large_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    let file = std::fs::File::create(folder.path().join("grown")).unwrap();
    file.set_len((16 << 20) + 1).unwrap();
    let error = store.get(&key("grown")).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::TooLarge {
                size: 16_777_217,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn what_went_bad_on_the_disk_has_another_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    put(&store, "packs/1", b"bytes").await.unwrap();
    std::fs::write(folder.path().join("packs/1"), b"bytez").unwrap();
    let head = store.head(&key("packs/1")).await.unwrap();
    assert_eq!(head.recorded, Some(Digest::of(b"bytez")));

    let memory = MemoryStore::new();
    put(&memory, "packs/1", b"bytes").await.unwrap();
    assert!(memory.damage(&key("packs/1"), Bytes::from_static(b"bytez")));
    let error = memory.get(&key("packs/1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Checksum { .. }), "{error}");
}

#[tokio::test]
async fn a_url_opens_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let url: StoreUrl = format!("file://{}", root.display()).parse().unwrap();
    open(&url, OpenOptions::default()).await.unwrap_err();
    let create = OpenOptions {
        create: true,
        ..OpenOptions::default()
    };
    let store = open(&url, create).await.unwrap();
    put(&*store, "a", b"bytes").await.unwrap();
    let again = open(&url, OpenOptions::default()).await.unwrap();
    assert_eq!(&again.get(&key("a")).await.unwrap()[..], b"bytes");
}

#[tokio::test]
async fn a_bad_ca_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let url: StoreUrl = format!("s3://abc?endpoint=https://127.0.0.1:1&ca={}", ca.display())
        .parse()
        .unwrap();
    let missing = open(&url, OpenOptions::default()).await.unwrap_err();
    std::fs::write(&ca, "no certificate").unwrap();
    let wrong = open(&url, OpenOptions::default()).await.unwrap_err();
    for error in [missing, wrong] {
        assert!(error.to_string().contains("ca.pem"), "{error}");
    }
}
