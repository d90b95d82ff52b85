//! Frozen prefixes that version 1 of the format wrote, and tests that every later version reads them.
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_core::audit;
use backup_core::backup::{Protection, Run};
use backup_core::catalog::Catalog;
use backup_core::clock::FixedClock;
use backup_core::crypt::{Identities, PublicKey, SigningKey, Trust, Verdict, new_identity};
use backup_core::digest::Digest;
use backup_core::format::VERSION;
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use backup_core::newfile::OverwritePolicy;
use backup_core::progress::SilentProgress;
use backup_core::read::{self, VerifyDepth};
use backup_core::store::Store;
use backup_core::store::local::LocalStore;
use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

/// Restore points of each prefix, oldest first. They never change.
const AGE: [&str; 2] = [
    "20261123t120000000z-f61abada2357",
    "20261123t130000000z-ab986af78cdd",
];
const NONE: [&str; 2] = [
    "20261123t120000000z-97a4a41a1724",
    "20261123t130000000z-b47814b56ffe",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Returns the two snapshots in the restore points: a real one of etcd 3.6.16, and the same with a few
/// changed values and a new trailer.
fn snapshots() -> [Vec<u8>; 2] {
    let file = std::fs::read(fixtures().join("etcd-3.6.16-snapshot.db.zst")).unwrap();
    let first = zstd::decode_all(&file[..]).unwrap();
    let (old, new) = (b"\"name\":\"obj-1", b"\"name\":\"new-1");
    let mut second = first[..first.len() - 32].to_vec();
    for at in 0..second.len() - old.len() {
        if second[at..].starts_with(old) {
            second[at..at + new.len()].copy_from_slice(new);
        }
    }
    let trailer = Digest::of(&second);
    second.extend_from_slice(trailer.as_bytes());
    assert!(first != second);
    [first, second]
}

/// Returns the value, or fails with a message that names the broken promise.
fn read<T, E: Error + 'static>(what: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| {
        panic!(
            "version 1 cannot be read any more: {what}: {}",
            chain(&error)
        )
    })
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

async fn reads(prefix: &str, ids: [&str; 2], identities: &Identities) -> audit::Report {
    let root = fixtures().join("v1").join(prefix);
    let store: Arc<dyn Store> = Arc::new(read("open", LocalStore::open(&root).await));
    let public = std::fs::read_to_string(fixtures().join("v1/signing.pub")).unwrap();
    let trust = Trust::Keys(vec![read("the public key", PublicKey::parse(&public))]);

    let catalog = Catalog::new(Arc::clone(&store));
    let entries = read("list", catalog.list().await);
    let found: Vec<&str> = entries.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(found, ids, "a frozen prefix was changed");
    for (entry, plain) in entries.iter().zip(snapshots()) {
        let point = read("load", catalog.load(entry, &trust).await);
        assert_eq!(point.verdict, Verdict::Trusted, "{}", entry.id);
        let unlock = || read::unlock(&store, &point, identities);
        let folder = tempfile::tempdir().unwrap();
        let verified = read::verify(
            Arc::clone(&store),
            &point,
            VerifyDepth::Full(read("unlock", unlock().await)),
            folder.path(),
            Arc::new(SilentProgress),
            CancellationToken::new(),
        );
        let verified = read("verify", verified.await);
        // The ConfigMaps and one Secret of these snapshots have no message that an API server can read.
        let others = verified.findings.iter();
        let others = others.filter(|f| !f.cause.starts_with("cut or overwritten: "));
        assert_eq!(others.count(), 0, "{:?}", verified.findings);
        assert_eq!(verified.plain_bytes, u64::try_from(plain.len()).unwrap());

        let (name, target) = (ComponentName::etcd(), folder.path().join("etcd.snapshot"));
        let fetched = read::fetch(
            Arc::clone(&store),
            &point,
            read("unlock", unlock().await),
            &name,
            (&target, OverwritePolicy::Replace),
            Arc::new(SilentProgress),
            CancellationToken::new(),
        );
        let fetched = read("fetch", fetched.await);
        let bytes = std::fs::read(fetched.file).unwrap();
        assert_eq!(Digest::of(&bytes), Digest::of(&plain), "{}", entry.id);
    }
    let options = audit::Options {
        trust,
        deep: true,
        max_age: None,
        now: "2026-11-23T14:00:00Z".parse().unwrap(),
    };
    read("audit", audit::run(store, &options, &SilentProgress).await)
}

#[tokio::test]
async fn a_prefix_of_version_1_with_two_epochs_is_read() {
    let text = std::fs::read_to_string(fixtures().join("v1/identity.txt")).unwrap();
    let mut identities = Identities::none();
    let added = identities.add("identity.txt", &SecretString::from(text));
    read("the identity", added);
    let report = reads("age", AGE, &identities).await;
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_prefix_of_version_1_without_encryption_is_read() {
    let report = reads("none", NONE, &Identities::none()).await;
    assert_eq!(report.worst(), Some(Severity::Warning));
    let only_that = |f: &str| f.contains("it is not encrypted");
    assert!(
        report.findings.iter().all(|f| only_that(&f.cause)),
        "{:?}",
        report.findings
    );
}

#[tokio::test]
async fn a_manifest_of_version_2_is_listed_and_refused_with_what_to_do() {
    let store = LocalStore::open(fixtures().join("v1/too-new")).await;
    let catalog = Catalog::new(Arc::new(store.unwrap()));
    let entry = catalog.list().await.unwrap().pop().unwrap();
    let refused = catalog.load(&entry, &Trust::Anyone).await.unwrap_err();
    let text = chain(&refused).replace(entry.id.as_str(), "ID");
    assert_eq!(
        text,
        "cannot read the manifest of restore point ID: this manifest has format version 2, and \
         this tool reads up to version 1; use a newer restore-cli"
    );
}

async fn import(
    store: &Arc<dyn Store>,
    clock: &Arc<FixedClock>,
    key: &SecretString,
    protection: Protection,
    plain: &[u8],
) {
    let run = Run {
        cluster: "butler-mgmt".parse().unwrap(),
        store: Arc::clone(store),
        protection,
        signing_key: Some(SigningKey::parse("frozen", key).unwrap()),
        tool: "backupd 0.1.0".to_owned(),
        reason: Some("a fixture".to_owned()),
        pinned: false,
        clock: Arc::<FixedClock>::clone(clock),
        progress: Arc::new(SilentProgress),
        cancel: CancellationToken::new(),
    };
    let block = Ok(Bytes::copy_from_slice(plain));
    let stream = Box::pin(futures::stream::iter([block]));
    let committed = run.import_etcd("etcd.snapshot", stream).await.unwrap();
    println!("{}", committed.id);
}

/// Writes the frozen prefixes. Run it once for each version of the format, and commit its output:
/// `cargo test --workspace --test frozen -- --ignored --nocapture`, then put the ids that it prints into this
/// file. The signing key is not kept.
#[tokio::test]
#[ignore = "writes the frozen prefixes of a new version of the format"]
async fn write_the_prefixes_of_this_version() {
    let root = fixtures().join(format!("v{VERSION}"));
    std::fs::create_dir(&root).expect("what is frozen is never written again");
    let key = SigningKey::generate().unwrap();
    std::fs::write(root.join("signing.pub"), key.public().to_text()).unwrap();
    let key = key.to_text().unwrap();
    let (secret, recipient) = new_identity();
    let text = format!(
        "# A key of the tests, which protects nothing.\n# public key: {recipient}\n{}\n",
        secret.expose_secret()
    );
    std::fs::write(root.join("identity.txt"), text).unwrap();
    let (_, dropped) = new_identity();

    let both = Protection::Recipients(vec![recipient.clone(), dropped]);
    let one = Protection::Recipients(vec![recipient]);
    for (prefix, protections) in [
        ("age", [both, one]),
        ("none", [Protection::None, Protection::None]),
    ] {
        println!("{prefix}");
        let store = LocalStore::create(root.join(prefix)).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let began = "2026-11-23T12:00:00Z".parse().unwrap();
        let clock = Arc::new(FixedClock::new(began));
        for (protection, plain) in protections.into_iter().zip(snapshots()) {
            import(&store, &clock, &key, protection, &plain).await;
            clock.advance(jiff::SignedDuration::from_hours(1));
        }
    }
    let next = VERSION + 1;
    let newer = format!("{{\"version\":{next},\"tool\":\"backupd of another day\"}}\n");
    let name = format!("20991231t235959000z-{}.json", Digest::of(newer.as_bytes()));
    let folder = root.join("too-new/manifests");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), newer).unwrap();
}
