//! Tests of FORMAT.md's statements on single objects, with the stock programs.

use anyhow::Result;
use backup_core::backup::Protection;
use backup_core::digest::Digest;
use e2e::programs::are_there;

use super::prefix::{NEEDED, Prefix, snapshots};

#[tokio::test]
async fn names_signatures_and_packs_can_be_checked_by_hand() -> Result<()> {
    if !are_there(&NEEDED)? {
        return Ok(());
    }
    let prefix = Prefix::new().await?;
    let recipient = prefix.identity("right")?;
    let [plain, _] = snapshots();
    let protection = Protection::Recipients(vec![recipient]);
    let point = prefix.import(protection, &plain).await?;
    let (manifest, digest) = (Prefix::manifest(&point), point.digest);

    // Every name is the digest of its bytes; the claim's is in the manifest.
    let sums = prefix.says("find copy -type f -exec sha256sum {} +")?;
    let sums = String::from_utf8(sums)?;
    assert!(sums.lines().count() >= 8, "{sums}");
    for line in sums.lines() {
        let (sum, path) = line.split_once("  ").unwrap();
        let named = path.contains(sum);
        let claim = path == "copy/claim.json" && sum == point.manifest.claim.to_string();
        assert!(named || claim, "{line}");
    }

    let signature = format!("copy/signatures/{digest}/*.minisig");
    let said = prefix.says(&format!(
        "minisign -Vm {manifest} -x {signature} -p signing.pub"
    ))?;
    let said = String::from_utf8(said)?;
    assert!(
        said.contains(&format!("restore point {}", point.id)),
        "{said}"
    );
    let other = prefix.shell(&format!(
        "minisign -Vm {manifest} -x {signature} -p other.pub"
    ))?;
    assert!(!other.status.success());

    let key = point.manifest.epochs()[0].key.sha256;
    prefix.says(&format!("age -d -i right.txt copy/keys/{key}.age > e.key"))?;
    let component = &point.manifest.components[0];
    for pack in &component.packs {
        let opened = prefix.says(&format!(
            "age -d -i e.key copy/packs/{} | zstd -dq",
            pack.sha256
        ))?;
        assert_eq!(u64::try_from(opened.len())?, pack.plain_bytes);
    }
    for recipe in &component.recipes {
        let opened = prefix.says(&format!(
            "age -d -i e.key copy/recipes/{} | zstd -dq",
            recipe.sha256
        ))?;
        assert!(opened.starts_with(b"BBR1"));
    }
    for index in &point.manifest.indexes {
        let opened = prefix.says(&format!(
            "age -d -i e.key copy/indexes/{} | zstd -dq",
            index.sha256
        ))?;
        assert!(opened.starts_with(b"BBX1"));
    }
    assert_eq!(component.plain_sha256, Digest::of(&plain));
    Ok(())
}
