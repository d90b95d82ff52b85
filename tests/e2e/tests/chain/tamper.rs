//! Tests of objects that somebody with rights to the bucket changed, and of keys that do not fit.

use anyhow::{Context as _, Result};
use e2e::run::Output;
use sha2::{Digest as _, Sha256};

use super::bed::{Bed, tells};

/// Returns the only key that begins with `folder`.
async fn key(bed: &Bed, folder: &str) -> Result<String> {
    let keys = bed.keys().await?.into_iter();
    let mut keys = keys.filter(|key| key.starts_with(folder));
    let key = keys
        .next()
        .with_context(|| format!("nothing in {folder}"))?;
    assert!(keys.next().is_none(), "several in {folder}");
    Ok(key)
}

/// Checks that a fetch ends with `code`, and leaves no file.
async fn no_fetch(bed: &Bed, code: i32) -> Result<Output> {
    let output = bed.fetch("latest").output().await?.ended_with(code)?;
    assert!(!bed.folder.join("etcd.db").exists());
    assert_eq!(bed.half_files()?, Vec::<String>::new());
    Ok(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_identity_is_told_before_anything_large_is_read() -> Result<()> {
    let bed = Bed::new().await?;
    bed.snapshot().await?;
    let other = bed.backupd("keygen").args(["--out", "other"]);
    other.output().await?.ended_with(0)?;
    bed.proxy.forget();
    for command in [bed.fetch("latest"), bed.restore_cli("verify").arg("latest")] {
        let output = command.args(["--identity", "other/identity.key"]);
        let output = output.output().await?.ended_with(2)?;
        tells(&output, &[&bed.ground.recipient, "--identity"]);
    }
    assert!(!bed.gets("/manifests/").is_empty(), "the proxy saw nothing");
    for part in ["/packs/", "/recipes/", "/indexes/"] {
        assert_eq!(bed.gets(part), Vec::<String>::new());
    }
    assert!(!bed.folder.join("etcd.db").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_edited_by_one_byte_is_found_by_its_name() -> Result<()> {
    let bed = Bed::new().await?;
    let id = bed.snapshot().await?;
    let key = key(&bed, "manifests/").await?;
    let mut bytes = bed.get(&key).await?;
    let at = bytes
        .windows(8)
        .position(|text| text == b"revision")
        .unwrap();
    bytes[at] ^= 1;
    bed.put(&key, bytes).await?;

    let output = no_fetch(&bed, 4).await?;
    tells(&output, &[&id, "was changed", "do not restore"]);
    let list = bed.restore_cli("list").output().await?.ended_with(4)?;
    assert!(list.stdout.contains("was changed"), "{}", list.stdout);
    let findings = bed.audit(4).await?;
    assert!(
        findings
            .iter()
            .any(|finding| finding["severity"] == "error")
    );
    // A run goes on in spite of it, and the new restore point is sound.
    bed.snapshot().await?;
    bed.verified("latest").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_edited_and_renamed_is_found_by_its_signature() -> Result<()> {
    let bed = Bed::new().await?;
    bed.snapshot().await?;
    let old = key(&bed, "manifests/").await?;
    let signature = key(&bed, "signatures/").await?;
    let text = String::from_utf8(bed.get(&old).await?)?;
    let forged = text.replacen("\"pinned\": false", "\"pinned\": true ", 1);
    let forged = if forged == text {
        text.replacen("\"pinned\":false", "\"pinned\":true", 1)
    } else {
        forged
    };
    assert_ne!(forged, text);
    let digest = hex::encode(Sha256::digest(&forged));
    let time = old.rsplit('/').next().unwrap().split('-').next().unwrap();
    bed.put(
        &format!("manifests/{time}-{digest}.json"),
        forged.into_bytes(),
    )
    .await?;
    let id = format!("{time}-{}", &digest[..12]);

    // Without a signature, and with the signature of the true manifest.
    let fetch = bed.fetch(&id).output().await?.ended_with(6)?;
    tells(&fetch, &["not trusted", "no signature", "--trust"]);
    assert!(!fetch.stderr.contains("--trust none"), "{}", fetch.stderr);
    let stolen = bed.get(&signature).await?;
    let name = signature.rsplit('/').next().unwrap();
    bed.put(&format!("signatures/{digest}/{name}"), stolen)
        .await?;
    let fetch = bed.fetch(&id).output().await?.ended_with(6)?;
    tells(&fetch, &["not trusted", "signed other bytes"]);
    let findings = bed.audit(4).await?;
    assert!(
        findings
            .iter()
            .any(|finding| { finding["severity"] == "error" && finding["object"] == id.as_str() }),
        "{findings:?}"
    );
    let verify = bed.restore_cli("verify").arg(&id).output().await?;
    verify.ended_with(4)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_point_by_another_signer_is_refused() -> Result<()> {
    let bed = Bed::new().await?;
    bed.snapshot().await?;
    let other = bed.backupd("keygen").args(["--out", "other"]);
    other.output().await?.ended_with(0)?;
    let fetch = bed.fetch("latest").args(["--trust", "other/signing.pub"]);
    let output = fetch.output().await?.ended_with(6)?;
    tells(&output, &["no restore point", "is trusted", "--trust"]);
    assert!(!output.stderr.contains("--trust none"), "{}", output.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_swapped_for_another_is_found() -> Result<()> {
    let bed = Bed::new().await?;
    bed.snapshot().await?;
    bed.change().await?;
    bed.snapshot().await?;
    let packs: Vec<_> = bed
        .keys()
        .await?
        .into_iter()
        .filter(|key| key.starts_with("packs/"))
        .collect();
    assert!(packs.len() >= 2, "{packs:?}");
    let (one, other) = (bed.get(&packs[0]).await?, bed.get(&packs[1]).await?);
    assert_ne!(one, other);
    bed.put(&packs[0], other).await?;

    let output = no_fetch(&bed, 4).await?;
    tells(&output, &[&packs[0], "changed or damaged"]);
    let verify = bed.restore_cli("verify").arg("latest");
    let verify = verify.output().await?.ended_with(4)?;
    assert!(verify.stdout.contains(&packs[0]), "{}", verify.stdout);
    let findings = bed.audit(4).await?;
    assert!(
        findings
            .iter()
            .any(|finding| finding["object"] == packs[0].as_str()),
        "{findings:?}"
    );

    // After the object is put back, the fetch succeeds, and uses the other pack's download.
    bed.put(&packs[0], one).await?;
    bed.fetch("latest").output().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_gone_is_found() -> Result<()> {
    let bed = Bed::new().await?;
    bed.snapshot().await?;
    let pack = key(&bed, "packs/").await?;
    let object = format!("{}/{pack}", super::bed::PREFIX);
    bed.s3()?
        .delete_object()
        .bucket(&bed.bucket)
        .key(object)
        .send()
        .await?;
    let output = no_fetch(&bed, 4).await?;
    tells(&output, &[&pack]);
    let findings = bed.audit(4).await?;
    assert!(
        findings
            .iter()
            .any(|finding| finding["object"] == pack.as_str()),
        "{findings:?}"
    );
    // The next run must not rely on the missing object.
    bed.snapshot().await?;
    let verify = bed.restore_cli("verify").arg("latest").output().await?;
    assert_eq!(verify.code, Some(0), "{}{}", verify.stdout, verify.stderr);
    Ok(())
}
