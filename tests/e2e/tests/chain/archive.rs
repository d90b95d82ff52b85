//! Tests of packs that a lifecycle rule or a tiering moved to an archive.

use anyhow::Result;
use e2e::proxy::{Fault, Lasting};

use super::bed::{Bed, tells};

const ALWAYS: Lasting = Lasting::Times(u32::MAX);

#[tokio::test(flavor = "multi_thread")]
async fn archived_packs_are_no_sound_packs() -> Result<()> {
    let bed = Bed::new().await?;
    bed.snapshot().await?;
    // Listings and heads show the class; only heads show the tier.
    for (class, days) in [("GLACIER", true), ("ARCHIVE_ACCESS", false)] {
        bed.proxy.forget();
        bed.proxy.on_path(None, "", Fault::Archived(class), ALWAYS);
        let audit = bed.audit(4).await?;
        let errors: Vec<_> = audit
            .iter()
            .filter(|finding| finding["severity"] == "error")
            .collect();
        assert!(!errors.is_empty(), "{audit:?}");
        for finding in errors {
            let object = finding["object"].as_str().unwrap_or_default();
            assert!(object.starts_with("packs/"), "{finding}");
            let remedy = finding["remedy"].as_str().unwrap_or_default();
            assert!(
                remedy.contains("restore the object first: `aws s3api"),
                "{remedy}"
            );
            assert!(remedy.contains(object), "{remedy}");
            assert_eq!(remedy.contains("\"Days\""), days, "{remedy}");
        }
        let quick = bed.restore_cli("verify").args(["latest", "--quick"]);
        let quick = quick.output().await?.ended_with(4)?;
        assert!(quick.stdout.contains("is archived"), "{}", quick.stdout);
        let fetch = bed.fetch("latest").output().await?.ended_with(4)?;
        tells(
            &fetch,
            &[
                "is archived",
                class,
                "restore the object first",
                "restore-object",
            ],
        );
        assert!(
            !fetch.stderr.contains("grant these credentials"),
            "{}",
            fetch.stderr
        );
        // The next run does not build on them, and reports that.
        let taken = bed.backupd("snapshot").args(["--output", "json"]);
        let taken = taken.output().await?.ended_with(0)?;
        let told = format!("{}{}", taken.stdout, taken.stderr);
        assert!(
            told.contains("are archived, so what they hold is stored again"),
            "{told}"
        );
        let id = taken.json()?["restorePoint"].clone();
        bed.proxy.forget();
        bed.verified(id.as_str().unwrap_or_default()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_is_cut_short_makes_no_older_point_the_latest() -> Result<()> {
    let bed = Bed::new().await?;
    let mut taken = vec![bed.snapshot().await?];
    for _ in 0..2 {
        bed.change().await?;
        taken.push(bed.snapshot().await?);
    }
    taken.reverse();
    bed.proxy.on_path(None, "", Fault::CutList(1), ALWAYS);
    assert_eq!(bed.listed().await?, taken);
    bed.proxy.forget();
    // If nobody can know what comes after the listing, that is reported.
    bed.proxy.on_path(None, "", Fault::CutListDeaf(1), ALWAYS);
    let list = bed.restore_cli("list").output().await?.ended_with(1)?;
    tells(&list, &["the listing may be incomplete"]);
    Ok(())
}
