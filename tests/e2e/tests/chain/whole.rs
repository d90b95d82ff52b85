//! Tests of the way from etcd into S3 and back, bit for bit, checked by etcd's own tools.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::folder::mode;
use e2e::run::tells;
use e2e::{etcdutl, wait};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::site::ChainSite;

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_point_comes_back_as_etcd_itself_would_have_saved_it() -> Result<()> {
    let site = ChainSite::own().await?;
    let client = site.etcd.client().await?;
    // In its first seconds etcd writes versions of its own; they are in the hash.
    wait::until("the storage version", Duration::from_secs(60), async || {
        let status = client.status().await?;
        ensure!(!status.storage_version.is_empty(), "not yet");
        Ok(())
    })
    .await?;
    let id = site.snapshot().await?;
    let own = site.folder.join("own.db");
    client.snapshot(&own).await?;

    let fetched = site.fetch(&id[..18]).args(["--output", "json"]);
    let fetched = fetched.json().await?;
    let file = site.folder.join("etcd.db");
    assert_eq!(mode(&file)?, 0o600);
    // The file's length may differ by a page: etcd commits between the two.
    let (ours, own) = (etcdutl::status(&file).await?, etcdutl::status(&own).await?);
    assert_eq!(
        (ours.hash, ours.revision, ours.total_key, ours.version),
        (own.hash, own.revision, own.total_key, own.version)
    );
    assert_eq!(ours.total_size + 32, file.metadata()?.len());
    let sum = hex::encode(Sha256::digest(std::fs::read(&file)?));
    assert_eq!(fetched["sha256"], sum.as_str());
    let show = site
        .restore_cli("show")
        .args(["latest", "--output", "json"]);
    let show = show.json().await?;
    assert_eq!(show["components"][0]["plainSha256"], sum.as_str());
    let left = ["butler.yaml", "etcd.db", "keys", "own.db", "talosconfig"];
    assert_eq!(site.folder.names()?, left);

    // A second fetch does not destroy an existing file.
    let again = site.fetch("latest").ended_with(6).await?;
    tells(&again, &["etcd.db is there already", "--force"]);
    site.fetch("latest").arg("--force").ended_with(0).await?;

    let verified = site.verified("latest").await?;
    assert!(verified.stdout.contains("sound"), "{}", verified.stdout);
    let quick = site.restore_cli("verify").args(["latest", "--quick"]);
    quick.ended_with(0).await?;
    assert!(site.audit(0).await?.is_empty());
    assert_eq!(site.talos.violations(), Vec::<String>::new());
    for key in site.keys().await? {
        let sum = hex::encode(Sha256::digest(site.get(&key).await?));
        let name = key.rsplit('/').next().unwrap();
        assert!(
            name.contains(&sum) || name == "claim.json",
            "{key} is not {sum}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_restore_point_costs_what_is_new() -> Result<()> {
    let site = ChainSite::own().await?;
    let cost = async || {
        let taken = site.backupd("snapshot").args(["--output", "json"]);
        let taken = taken.json().await?;
        anyhow::Ok(taken["storedBytes"].as_u64().unwrap())
    };
    let first = cost().await?;
    let client = site.etcd.client().await?;
    client
        .put("/registry/configmaps/default/small", "little")
        .await?;
    let second = cost().await?;
    assert!(second * 10 < first, "{second} after {first}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_tool_wrote_is_imported_and_checked() -> Result<()> {
    let site = ChainSite::new().await?;
    let file = site.folder.join("manual.db");
    site.etcd.client().await?.snapshot(&file).await?;
    let import = |name: &str| site.backupd("import").arg(name);
    let reason = ["--reason", "before the upgrade", "--pin"];
    import("manual.db").args(reason).ended_with(0).await?;
    site.fetch("latest").ended_with(0).await?;
    let bytes = std::fs::read(&file)?;
    assert!(
        std::fs::read(site.folder.join("etcd.db"))? == bytes,
        "other bytes came back"
    );
    let list = site.restore_cli("list").ended_with(0).await?;
    assert!(
        list.stdout.contains("pinned: before the upgrade"),
        "{}",
        list.stdout
    );

    // A copy of the database file itself has no trailer; a truncated or changed one is worthless.
    let damaged = |name: &str, bytes: &[u8]| std::fs::write(site.folder.join(name), bytes);
    damaged("bare.db", &bytes[..bytes.len() - 32])?;
    damaged("cut.db", &bytes[..bytes.len() / 2])?;
    damaged("empty.db", b"")?;
    let mut flipped = bytes.clone();
    flipped[500_000] ^= 1;
    damaged("flipped.db", &flipped)?;
    for name in ["bare.db", "cut.db", "empty.db", "flipped.db"] {
        let output = import(name).ended_with(1).await?;
        tells(&output, &[name]);
    }
    let output = import("missing.db").ended_with(1).await?;
    tells(&output, &["missing.db", "No such file"]);
    assert_eq!(site.listed().await?.len(), 1);

    // A file packed by gzip is accepted; other packings are named, with the command that unpacks them.
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes)?;
    let packed = packed.finish()?;
    damaged("manual.db.gz", &packed)?;
    let named = import("manual.db.gz").args(["--component", "etcd"]);
    named.ended_with(0).await?;
    std::fs::remove_file(site.folder.join("etcd.db"))?;
    site.fetch("latest").ended_with(0).await?;
    assert!(std::fs::read(site.folder.join("etcd.db"))? == bytes);
    damaged("cut.db.gz", &packed[..packed.len() / 2])?;
    let output = import("cut.db.gz").ended_with(1).await?;
    tells(&output, &["cut.db.gz"]);
    damaged("manual.age", b"age-encryption.org/v1\n-> X25519 a\n")?;
    let output = import("manual.age").ended_with(2).await?;
    tells(
        &output,
        &["age encrypted", "age -d -i identity.key 'manual.age'"],
    );
    assert_eq!(site.listed().await?.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_markers_of_a_console_are_told_once_and_stand_in_nobodys_way() -> Result<()> {
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    for marker in ["", "manifests/", "packs/"] {
        site.put(marker, Vec::new()).await?;
    }
    let findings = site.audit(0).await?;
    let told: Vec<_> = findings.iter().map(|f| f["object"].as_str()).collect();
    assert_eq!(told, [Some("folder markers")], "{findings:?}");
    let cause = findings[0]["cause"].as_str().context("no cause")?;
    assert!(cause.starts_with("3 names of no bytes"), "{cause}");
    assert_eq!(site.listed().await?.len(), 1);
    let sweep = site.backupd("sweep").args(["--grace", "24h", "--dry-run"]);
    sweep.ended_with(0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_alone_are_enough() -> Result<()> {
    let site = ChainSite::new().await?;
    let bare = |command: e2e::run::Command| {
        let command = command.envs(site.s3.keys().env());
        command
            .env("HOME", site.folder.path())
            .in_folder(site.folder.path())
    };
    let store = site.url(&site.bucket, "by-flags");
    let snapshot = bare(site.programs.backupd()).args(["snapshot", "--store", &store]);
    let snapshot = snapshot.args(["--cluster", "test", "--talosconfig", "talosconfig"]);
    let snapshot = snapshot.args(["--context", "lab", "--nodes", "10.5.0.3,10.5.0.4"]);
    let snapshot = snapshot.args(["--recipient", &site.recipient, "--signing-key"]);
    snapshot.arg(site.key("signing.key")).ended_with(0).await?;
    let verify = bare(site.programs.restore_cli()).args(["verify", "latest", "--store", &store]);
    let verify = verify.arg("--identity").arg(site.key("identity.key"));
    let verify = verify.arg("--trust").arg(site.key("signing.pub"));
    verify.ended_with(0).await?;

    // And into a folder, unencrypted, both asked for by name.
    let store = format!("file://{}/folder", site.folder.path().display());
    let snapshot = bare(site.programs.backupd()).args(["snapshot", "--store", &store]);
    let snapshot = snapshot.args(["--cluster", "test", "--talosconfig", "talosconfig"]);
    let snapshot = snapshot.args(["--encryption", "none", "--signing-key"]);
    let output = snapshot.arg(site.key("signing.key")).ended_with(0).await?;
    tells(&output, &["warning: encryption is none"]);
    let verify = bare(site.programs.restore_cli()).args(["verify", "latest", "--store", &store]);
    let output = verify.args(["--trust", "none"]).ended_with(0).await?;
    tells(&output, &["warning: signatures are not checked"]);
    Ok(())
}
