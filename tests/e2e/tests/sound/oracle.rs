//! Tests of seeded damage: the real etcdutl restores, and the real etcd starts on, every snapshot that the
//! page walk calls sound.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use backup_core::etcd::{Inspector, SnapshotError, SnapshotFacts, TrailerCheck};
use e2e::Folder;
use e2e::data::{Cluster, Shape};
use e2e::etcd::{Etcd, EtcdClient, Options, delete, rpc};
use e2e::etcdutl::{self, RestoreOptions, Target};

use super::damage::Ground;

/// Number of damaged snapshots. Each one called sound costs a start of etcd.
const DAMAGED: u64 = 360;
/// Interval at which refused snapshots are tried too, for the figures, and to check that good snapshots are
/// not refused.
const TRIED: u64 = 6;
/// Number of concurrent etcds.
const WORKERS: u64 = 4;

fn judge(bytes: &[u8]) -> Result<SnapshotFacts, SnapshotError> {
    let mut pages = Inspector::new();
    let mut trailer = TrailerCheck::new();
    for piece in bytes.chunks(1 << 16) {
        pages.push(piece);
        trailer.push(piece);
    }
    SnapshotFacts::join(trailer.finish(), pages.finish())
}

async fn plain(folder: &Folder, name: &str) -> Result<Etcd> {
    let options = Options {
        tls: false,
        ..Options::default()
    };
    let started = Etcd::start_with(folder, name, options).await?;
    started.into_iter().next().context("no member")
}

/// Makes a snapshot with entries in every bucket that may have some, and with branches in the largest.
async fn snapshot(folder: &Folder) -> Result<Vec<u8>> {
    let etcd = plain(folder, "origin").await?;
    let client = etcd.client().await?;
    let shape = Shape {
        objects: 120,
        nodes: 2,
        seed: 3,
    };
    Cluster::fill(&client, shape).await?;
    for number in 0..40_i64 {
        client.put(&format!("/registry/more/{number}"), "x").await?;
        let lease = rpc::LeaseGrantRequest {
            ttl: 100_000,
            id: 700 + number,
        };
        client.leases().lease_grant(lease).await?;
    }
    let writes = (0..20).map(|number| delete(&format!("/registry/more/{number}")));
    let revision = client.txn(writes.collect()).await?;
    client.compact(revision - 5).await?;
    users(&client).await?;
    let file = folder.join("origin.db");
    client.snapshot(&file).await?;
    Ok(std::fs::read(&file)?)
}

async fn users(client: &EtcdClient) -> Result<()> {
    let mut auth = client.auth();
    for name in ["reader", "writer"] {
        let role = rpc::AuthRoleAddRequest { name: name.into() };
        auth.role_add(role).await?;
        let user = rpc::AuthUserAddRequest {
            name: format!("{name}-of-tenants"),
            password: "not a secret".into(),
            ..Default::default()
        };
        auth.user_add(user).await?;
    }
    Ok(())
}

/// Restores and starts as an operator would, reads everything, and writes.
async fn starts(etcd: &mut Etcd, file: &Path, data: &Path) -> Result<()> {
    let (name, initial, peer) = (
        etcd.name().to_owned(),
        etcd.initial_cluster().to_owned(),
        etcd.peer_url(),
    );
    let target = Target {
        data_dir: data,
        name: &name,
        initial_cluster: &initial,
        peer_url: &peer,
    };
    etcdutl::restore_to(file, &target, RestoreOptions::default()).await?;
    etcd.restart_on(data).await?;
    let client = etcd.client().await?;
    client.count("/").await?;
    client.put("/registry/after", "written").await?;
    Ok(())
}

/// Results of one worker.
#[derive(Debug, Default)]
struct Told {
    sound: u64,
    refused: u64,
    tried: u64,
    /// Refused, but started all the same.
    strict: Vec<String>,
    /// Called sound, but does not start.
    wrong: Vec<String>,
    by: BTreeMap<String, u64>,
}

async fn work(folder: &Folder, ground: &Ground, worker: u64) -> Result<Told> {
    let mut etcd = plain(folder, &format!("worker-{worker}")).await?;
    let mut told = Told::default();
    for seed in (worker..DAMAGED).step_by(usize::try_from(WORKERS)?) {
        if seed % 60 == 0 {
            println!("{seed} of {DAMAGED} snapshots damaged");
        }
        let damaged = ground.damage(seed);
        let verdict = judge(&damaged.bytes);
        match &verdict {
            Ok(_) => told.sound += 1,
            Err(error) => {
                told.refused += 1;
                let kind = format!("{error:?}");
                let kind = kind.split([' ', '{']).next().unwrap_or_default();
                *told.by.entry(kind.to_owned()).or_default() += 1;
                if !(seed / WORKERS).is_multiple_of(TRIED) {
                    continue;
                }
                told.tried += 1;
            }
        }
        let file = folder.join(format!("{seed}.db"));
        let data = folder.join(format!("{seed}.etcd"));
        std::fs::write(&file, &damaged.bytes)?;
        let started = starts(&mut etcd, &file, &data).await;
        etcd.kill();
        match (verdict, started) {
            (Ok(_), Err(error)) => {
                told.wrong
                    .push(format!("seed {seed}, {}: {error:?}", damaged.what));
            }
            (Err(error), Ok(())) => {
                told.strict
                    .push(format!("seed {seed}, {}: {error}", damaged.what));
            }
            (Ok(_), Ok(())) | (Err(_), Err(_)) => {}
        }
        std::fs::remove_file(&file)?;
        if data.exists() {
            std::fs::remove_dir_all(&data)?;
        }
    }
    Ok(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_called_sound_starts() -> Result<()> {
    let folder = Folder::new()?;
    let bytes = snapshot(&folder).await?;
    judge(&bytes)?;
    let ground = Ground::new(bytes);
    // All buckets that the damage can meet.
    for bucket in [
        "key",
        "meta",
        "lease",
        "members",
        "cluster",
        "auth",
        "authUsers",
        "authRoles",
        "",
    ] {
        ensure!(
            ground.buckets().iter().any(|found| found == bucket),
            "bucket `{bucket}` is empty"
        );
    }
    let (folder, ground) = (&folder, &ground);
    let workers = (0..WORKERS).map(|worker| work(folder, ground, worker));
    let mut all = Told::default();
    for told in futures::future::try_join_all(workers).await? {
        all.sound += told.sound;
        all.refused += told.refused;
        all.tried += told.tried;
        all.strict.extend(told.strict);
        all.wrong.extend(told.wrong);
        for (kind, count) in told.by {
            *all.by.entry(kind).or_default() += count;
        }
    }
    println!(
        "{} damaged: {} called sound and started, {} refused ({:?}); of {} refused ones that were \
         tried {} started all the same:\n{}",
        DAMAGED,
        all.sound,
        all.refused,
        all.by,
        all.tried,
        all.strict.len(),
        all.strict.join("\n")
    );
    ensure!(
        all.wrong.is_empty(),
        "called sound, and etcd does not start:\n{}",
        all.wrong.join("\n\n")
    );
    // Damage inside of values cannot be detected.
    ensure!(all.sound >= DAMAGED / 20, "hardly anything is called sound");
    ensure!(all.refused >= DAMAGED / 3, "hardly anything is refused");
    Ok(())
}

#[tokio::test]
async fn a_revision_that_was_raised_is_sound() -> Result<()> {
    let folder = Folder::new()?;
    let mut etcd = plain(&folder, "raised").await?;
    etcd.client().await?.put("/registry/a", "x").await?;
    let file = folder.join("before.db");
    etcd.client().await?.snapshot(&file).await?;
    etcd.stop().await?;
    etcd.wipe()?;
    let raised = RestoreOptions {
        bump_revision: Some(1_000),
        ..RestoreOptions::default()
    };
    etcdutl::restore(&file, &etcd, raised).await?;
    etcd.restart().await?;
    let client = etcd.client().await?;
    let last = client.put("/registry/b", "x").await?;
    let file = folder.join("after.db");
    client.snapshot(&file).await?;
    let found = judge(&std::fs::read(&file)?)?;
    ensure!(found.revision == u64::try_from(last)?, "{found:?}");
    ensure!(found.revision > 1_000, "{found:?}");
    Ok(())
}
