//! Tests of objects that somebody with rights to the bucket changed, and of keys that do not fit.

use anyhow::{Context as _, Result};
use e2e::run::{Output, tells};
use sha2::{Digest as _, Sha256};

use super::site::ChainSite;

/// Returns the only key that begins with `folder`.
async fn key(site: &ChainSite, folder: &str) -> Result<String> {
    let keys = site.keys().await?.into_iter();
    let mut keys = keys.filter(|key| key.starts_with(folder));
    let key = keys
        .next()
        .with_context(|| format!("nothing in {folder}"))?;
    assert!(keys.next().is_none(), "several in {folder}");
    Ok(key)
}

/// Checks that a fetch ends with `code`, and leaves no file.
async fn no_fetch(site: &ChainSite, code: i32) -> Result<Output> {
    let output = site.fetch("latest").ended_with(code).await?;
    assert!(!site.folder.join("etcd.db").exists());
    assert_eq!(site.half_files()?, Vec::<String>::new());
    Ok(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_identity_is_told_before_anything_large_is_read() -> Result<()> {
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    let other = site.backupd("keygen").args(["--out", "other"]);
    other.ended_with(0).await?;
    site.proxy.forget();
    for command in [
        site.fetch("latest"),
        site.restore_cli("verify").arg("latest"),
    ] {
        let output = command.args(["--identity", "other/identity.key"]);
        let output = output.ended_with(2).await?;
        tells(&output, &[&site.recipient, "--identity"]);
    }
    assert!(
        !site.gets("/manifests/").is_empty(),
        "the proxy saw nothing"
    );
    for part in ["/packs/", "/recipes/", "/indexes/"] {
        assert_eq!(site.gets(part), Vec::<String>::new());
    }
    assert!(!site.folder.join("etcd.db").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_edited_by_one_byte_is_found_by_its_name() -> Result<()> {
    let site = ChainSite::new().await?;
    let id = site.snapshot().await?;
    let key = key(&site, "manifests/").await?;
    let mut bytes = site.get(&key).await?;
    let at = bytes
        .windows(8)
        .position(|text| text == b"revision")
        .unwrap();
    bytes[at] ^= 1;
    site.put(&key, bytes).await?;

    let output = no_fetch(&site, 4).await?;
    tells(&output, &[&id, "was changed", "do not restore"]);
    let list = site.restore_cli("list").ended_with(4).await?;
    assert!(list.stdout.contains("was changed"), "{}", list.stdout);
    let findings = site.audit(4).await?;
    assert!(
        findings
            .iter()
            .any(|finding| finding["severity"] == "error")
    );
    // A run goes on in spite of it, and the new restore point is sound.
    site.snapshot().await?;
    site.verified("latest").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_edited_and_renamed_is_found_by_its_signature() -> Result<()> {
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    let old = key(&site, "manifests/").await?;
    let signature = key(&site, "signatures/").await?;
    let text = String::from_utf8(site.get(&old).await?)?;
    let forged = text.replacen("\"pinned\": false", "\"pinned\": true ", 1);
    let forged = if forged == text {
        text.replacen("\"pinned\":false", "\"pinned\":true", 1)
    } else {
        forged
    };
    assert_ne!(forged, text);
    let digest = hex::encode(Sha256::digest(&forged));
    let time = old.rsplit('/').next().unwrap().split('-').next().unwrap();
    site.put(
        &format!("manifests/{time}-{digest}.json"),
        forged.into_bytes(),
    )
    .await?;
    let id = format!("{time}-{}", &digest[..12]);

    // Without a signature, and with the signature of the true manifest.
    let fetch = site.fetch(&id).ended_with(6).await?;
    tells(&fetch, &["not trusted", "no signature", "--trust"]);
    assert!(!fetch.stderr.contains("--trust none"), "{}", fetch.stderr);
    let stolen = site.get(&signature).await?;
    let name = signature.rsplit('/').next().unwrap();
    site.put(&format!("signatures/{digest}/{name}"), stolen)
        .await?;
    let fetch = site.fetch(&id).ended_with(6).await?;
    tells(&fetch, &["not trusted", "signed other bytes"]);
    let findings = site.audit(4).await?;
    assert!(
        findings
            .iter()
            .any(|finding| { finding["severity"] == "error" && finding["object"] == id.as_str() }),
        "{findings:?}"
    );
    site.restore_cli("verify").arg(&id).ended_with(4).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_point_by_another_signer_is_refused() -> Result<()> {
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    let other = site.backupd("keygen").args(["--out", "other"]);
    other.ended_with(0).await?;
    let fetch = site.fetch("latest").args(["--trust", "other/signing.pub"]);
    let output = fetch.ended_with(6).await?;
    tells(&output, &["no restore point", "is trusted", "--trust"]);
    assert!(!output.stderr.contains("--trust none"), "{}", output.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_swapped_for_another_is_found() -> Result<()> {
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    site.change().await?;
    site.snapshot().await?;
    let packs: Vec<_> = site
        .keys()
        .await?
        .into_iter()
        .filter(|key| key.starts_with("packs/"))
        .collect();
    assert!(packs.len() >= 2, "{packs:?}");
    let (one, other) = (site.get(&packs[0]).await?, site.get(&packs[1]).await?);
    assert_ne!(one, other);
    site.put(&packs[0], other).await?;

    let output = no_fetch(&site, 4).await?;
    tells(&output, &[&packs[0], "changed or damaged"]);
    let verify = site.restore_cli("verify").arg("latest");
    let verify = verify.ended_with(4).await?;
    assert!(verify.stdout.contains(&packs[0]), "{}", verify.stdout);
    let findings = site.audit(4).await?;
    assert!(
        findings
            .iter()
            .any(|finding| finding["object"] == packs[0].as_str()),
        "{findings:?}"
    );

    // After the object is put back, the fetch succeeds, and uses the other pack's download.
    site.put(&packs[0], one).await?;
    site.fetch("latest").ended_with(0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_gone_is_found() -> Result<()> {
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    let pack = key(&site, "packs/").await?;
    let object = format!("{}/{pack}", super::site::PREFIX);
    site.client()?
        .delete_object()
        .bucket(&site.bucket)
        .key(object)
        .send()
        .await?;
    let output = no_fetch(&site, 4).await?;
    tells(&output, &[&pack]);
    let findings = site.audit(4).await?;
    assert!(
        findings
            .iter()
            .any(|finding| finding["object"] == pack.as_str()),
        "{findings:?}"
    );
    // The next run must not rely on the missing object.
    site.snapshot().await?;
    let verify = site.restore_cli("verify").arg("latest").output().await?;
    assert_eq!(verify.code, Some(0), "{}{}", verify.stdout, verify.stderr);
    Ok(())
}
