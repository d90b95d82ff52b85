//! Tests of the way from etcd into S3 and back, bit for bit, checked by etcd's own tools.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{etcdutl, wait};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::bed::{Bed, tells};
use super::ground::Ground;

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_point_comes_back_as_etcd_itself_would_have_saved_it() -> Result<()> {
    let bed = Bed::on(Ground::own().await?).await?;
    let client = bed.ground.etcd.client().await?;
    // In its first seconds etcd writes versions of its own; they are in the hash.
    wait::until("the storage version", Duration::from_secs(60), async || {
        let status = client.status().await?;
        ensure!(!status.storage_version.is_empty(), "not yet");
        Ok(())
    })
    .await?;
    let id = bed.snapshot().await?;
    let own = bed.folder.join("own.db");
    client.snapshot(&own).await?;

    let fetched = bed.fetch(&id[..18]).args(["--output", "json"]);
    let fetched = fetched.output().await?.ended_with(0)?.json()?;
    let file = bed.folder.join("etcd.db");
    assert_eq!(file.metadata()?.permissions().mode() & 0o777, 0o600);
    // The file's length may differ by a page: etcd commits between the two.
    let (ours, own) = (etcdutl::status(&file).await?, etcdutl::status(&own).await?);
    assert_eq!(
        (ours.hash, ours.revision, ours.total_key, ours.version),
        (own.hash, own.revision, own.total_key, own.version)
    );
    assert_eq!(ours.total_size + 32, file.metadata()?.len());
    let sum = hex::encode(Sha256::digest(std::fs::read(&file)?));
    assert_eq!(fetched["sha256"], sum.as_str());
    let show = bed.restore_cli("show").args(["latest", "--output", "json"]);
    let show = show.output().await?.ended_with(0)?.json()?;
    assert_eq!(show["components"][0]["plainSha256"], sum.as_str());
    let mut left: Vec<_> = std::fs::read_dir(&bed.folder)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    left.sort();
    assert_eq!(left, ["butler.yaml", "etcd.db", "own.db", "talosconfig"]);

    // A second fetch does not destroy an existing file.
    let again = bed.fetch("latest").output().await?.ended_with(6)?;
    tells(&again, &["etcd.db is there already", "--force"]);
    bed.fetch("latest")
        .arg("--force")
        .output()
        .await?
        .ended_with(0)?;

    let verified = bed.verified("latest").await?;
    assert!(verified.stdout.contains("sound"), "{}", verified.stdout);
    let quick = bed.restore_cli("verify").args(["latest", "--quick"]);
    quick.output().await?.ended_with(0)?;
    assert!(bed.audit(0).await?.is_empty());
    assert_eq!(bed.talos.violations(), Vec::<String>::new());
    for key in bed.keys().await? {
        let sum = hex::encode(Sha256::digest(bed.get(&key).await?));
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
    let bed = Bed::on(Ground::own().await?).await?;
    let cost = async || {
        let taken = bed.backupd("snapshot").args(["--output", "json"]);
        let taken = taken.output().await?.ended_with(0)?.json()?;
        anyhow::Ok(taken["storedBytes"].as_u64().unwrap())
    };
    let first = cost().await?;
    let client = bed.ground.etcd.client().await?;
    client
        .put("/registry/configmaps/default/small", "little")
        .await?;
    let second = cost().await?;
    assert!(second * 10 < first, "{second} after {first}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_tool_wrote_is_imported_and_checked() -> Result<()> {
    let bed = Bed::new().await?;
    let file = bed.folder.join("manual.db");
    bed.ground.etcd.client().await?.snapshot(&file).await?;
    let import = |name: &str| bed.backupd("import").arg(name);
    let reason = ["--reason", "before the upgrade", "--pin"];
    import("manual.db")
        .args(reason)
        .output()
        .await?
        .ended_with(0)?;
    bed.fetch("latest").output().await?.ended_with(0)?;
    let bytes = std::fs::read(&file)?;
    assert!(
        std::fs::read(bed.folder.join("etcd.db"))? == bytes,
        "other bytes came back"
    );
    let list = bed.restore_cli("list").output().await?.ended_with(0)?;
    assert!(
        list.stdout.contains("pinned: before the upgrade"),
        "{}",
        list.stdout
    );

    // A copy of the database file itself has no trailer; a truncated or changed one is worthless.
    let damaged = |name: &str, bytes: &[u8]| std::fs::write(bed.folder.join(name), bytes);
    damaged("bare.db", &bytes[..bytes.len() - 32])?;
    damaged("cut.db", &bytes[..bytes.len() / 2])?;
    damaged("empty.db", b"")?;
    let mut flipped = bytes.clone();
    flipped[500_000] ^= 1;
    damaged("flipped.db", &flipped)?;
    for name in ["bare.db", "cut.db", "empty.db", "flipped.db"] {
        let output = import(name).output().await?.ended_with(1)?;
        tells(&output, &[name]);
    }
    let output = import("missing.db").output().await?.ended_with(1)?;
    tells(&output, &["missing.db", "No such file"]);
    assert_eq!(bed.listed().await?.len(), 1);

    // A file packed by gzip is accepted; other packings are named, with the command that unpacks them.
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes)?;
    let packed = packed.finish()?;
    damaged("manual.db.gz", &packed)?;
    let named = import("manual.db.gz").args(["--component", "etcd"]);
    named.output().await?.ended_with(0)?;
    std::fs::remove_file(bed.folder.join("etcd.db"))?;
    bed.fetch("latest").output().await?.ended_with(0)?;
    assert!(std::fs::read(bed.folder.join("etcd.db"))? == bytes);
    damaged("cut.db.gz", &packed[..packed.len() / 2])?;
    let output = import("cut.db.gz").output().await?.ended_with(1)?;
    tells(&output, &["cut.db.gz"]);
    damaged("manual.age", b"age-encryption.org/v1\n-> X25519 a\n")?;
    let output = import("manual.age").output().await?.ended_with(2)?;
    tells(
        &output,
        &["age encrypted", "age -d -i identity.key 'manual.age'"],
    );
    assert_eq!(bed.listed().await?.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_markers_of_a_console_are_told_once_and_stand_in_nobodys_way() -> Result<()> {
    let bed = Bed::new().await?;
    bed.snapshot().await?;
    for marker in ["", "manifests/", "packs/"] {
        bed.put(marker, Vec::new()).await?;
    }
    let findings = bed.audit(0).await?;
    let told: Vec<_> = findings.iter().map(|f| f["object"].as_str()).collect();
    assert_eq!(told, [Some("folder markers")], "{findings:?}");
    let cause = findings[0]["cause"].as_str().context("no cause")?;
    assert!(cause.starts_with("3 names of no bytes"), "{cause}");
    assert_eq!(bed.listed().await?.len(), 1);
    let sweep = bed.backupd("sweep").args(["--grace", "24h", "--dry-run"]);
    sweep.output().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_alone_are_enough() -> Result<()> {
    let bed = Bed::new().await?;
    let ground = &bed.ground;
    let bare = |command: e2e::run::Command| {
        let command = command.envs(ground.s3.keys().env());
        command.env("HOME", &bed.folder).in_folder(&bed.folder)
    };
    let store = bed.url(&bed.bucket, "by-flags");
    let snapshot = bare(ground.programs.backupd()).args(["snapshot", "--store", &store]);
    let snapshot = snapshot.args(["--cluster", "test", "--talosconfig", "talosconfig"]);
    let snapshot = snapshot.args(["--context", "lab", "--nodes", "10.5.0.3,10.5.0.4"]);
    let snapshot = snapshot.args(["--recipient", &ground.recipient, "--signing-key"]);
    snapshot
        .arg(ground.key("signing.key"))
        .output()
        .await?
        .ended_with(0)?;
    let verify = bare(ground.programs.restore_cli()).args(["verify", "latest", "--store", &store]);
    let verify = verify.arg("--identity").arg(ground.key("identity.key"));
    let verify = verify.arg("--trust").arg(ground.key("signing.pub"));
    verify.output().await?.ended_with(0)?;

    // And into a folder, unencrypted, both asked for by name.
    let store = format!("file://{}/folder", bed.folder.display());
    let snapshot = bare(ground.programs.backupd()).args(["snapshot", "--store", &store]);
    let snapshot = snapshot.args(["--cluster", "test", "--talosconfig", "talosconfig"]);
    let snapshot = snapshot.args(["--encryption", "none", "--signing-key"]);
    let output = snapshot
        .arg(ground.key("signing.key"))
        .output()
        .await?
        .ended_with(0)?;
    tells(&output, &["warning: encryption is none"]);
    let verify = bare(ground.programs.restore_cli()).args(["verify", "latest", "--store", &store]);
    let output = verify
        .args(["--trust", "none"])
        .output()
        .await?
        .ended_with(0)?;
    tells(&output, &["warning: signatures are not checked"]);
    Ok(())
}
