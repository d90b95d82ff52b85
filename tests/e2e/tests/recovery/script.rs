//! Tests of restore points from runs, assembled by the script alone.

use anyhow::Result;
use backup_core::backup::Protection;
use e2e::programs::are_there;

use super::prefix::{NEEDED, Prefix, assert_same, snapshots};

#[tokio::test]
async fn every_restore_point_of_two_epochs_comes_back() -> Result<()> {
    if !are_there(&NEEDED)? {
        return Ok(());
    }
    let prefix = Prefix::new().await?;
    let (operations, offline) = (prefix.identity("operations")?, prefix.identity("offline")?);
    let [older, newer] = snapshots();
    let both = Protection::Recipients(vec![operations.clone(), offline]);
    let first = prefix.import(both, &older).await?;
    let one = Protection::Recipients(vec![operations]);
    let second = prefix.import(one, &newer).await?;
    assert_eq!(second.manifest.epochs().len(), 2);
    assert_eq!(second.manifest.components[0].packs.len(), 2);

    for (point, plain) in [(&first, &older), (&second, &newer)] {
        let manifest = Prefix::manifest(point);
        let arguments = format!("copy {manifest} operations.txt out");
        assert_same(&prefix.recover("signing.pub", &arguments)?, plain);
        assert_same(&prefix.recover("", &arguments)?, plain);
    }
    let arguments = format!("copy {} offline.txt out", Prefix::manifest(&first));
    assert_same(&prefix.recover("signing.pub", &arguments)?, &older);
    Ok(())
}

#[tokio::test]
async fn a_prefix_without_encryption_comes_back() -> Result<()> {
    if !are_there(&NEEDED)? {
        return Ok(());
    }
    let prefix = Prefix::new().await?;
    for plain in snapshots() {
        let point = prefix.import(Protection::None, &plain).await?;
        let arguments = format!("copy {} - out", Prefix::manifest(&point));
        assert_same(&prefix.recover("signing.pub", &arguments)?, &plain);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_said_and_nothing_is_written() -> Result<()> {
    if !are_there(&NEEDED)? {
        return Ok(());
    }
    let prefix = Prefix::new().await?;
    let recipient = prefix.identity("right")?;
    let _stranger = prefix.identity("wrong")?;
    let [plain, _] = snapshots();
    let protection = Protection::Recipients(vec![recipient]);
    let point = prefix.import(protection, &plain).await?;
    let manifest = Prefix::manifest(&point);
    let fails = |trust: &str, arguments: &str, words: &str| {
        let error = prefix.recover(trust, arguments).unwrap_err().to_string();
        assert!(error.contains(words), "`{words}` is not in: {error}");
    };
    let right = format!("copy {manifest} right.txt out");
    fails("other.pub", &right, "no signature");
    fails("", &format!("copy {manifest} wrong.txt out"), "age: error");
    fails("", &format!("{right} secrets"), "no component secrets");
    let pack = point.manifest.components[0].packs[0].sha256;
    for (file, words) in [
        (format!("copy/packs/{pack}"), "is missing or was changed"),
        (manifest.clone(), "was changed or renamed"),
    ] {
        let path = prefix.folder.join(&file);
        let sound = std::fs::read(&path)?;
        let mut broken = sound.clone();
        *broken.last_mut().unwrap() ^= 1;
        std::fs::write(&path, broken)?;
        fails("", &right, words);
        std::fs::write(&path, sound)?;
    }
    assert_same(&prefix.recover("signing.pub", &right)?, &plain);
    Ok(())
}
