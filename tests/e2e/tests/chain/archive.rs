//! Tests of packs that a lifecycle rule or a tiering moved to an archive.

use anyhow::Result;
use e2e::proxy::{Fault, Lasting};
use e2e::run::tells;

use super::site::ChainSite;

const ALWAYS: Lasting = Lasting::Times(u32::MAX);

#[tokio::test(flavor = "multi_thread")]
async fn archived_packs_are_no_sound_packs() -> Result<()> {
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    // Listings and heads show the class; only heads show the tier.
    for (class, days) in [("GLACIER", true), ("ARCHIVE_ACCESS", false)] {
        site.proxy.forget();
        site.proxy.on_path(None, "", Fault::Archived(class), ALWAYS);
        let audit = site.audit(4).await?;
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
        let quick = site.restore_cli("verify").args(["latest", "--quick"]);
        let quick = quick.ended_with(4).await?;
        assert!(quick.stdout.contains("is archived"), "{}", quick.stdout);
        let fetch = site.fetch("latest").ended_with(4).await?;
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
        let taken = site.backupd("snapshot").args(["--output", "json"]);
        let taken = taken.ended_with(0).await?;
        let told = format!("{}{}", taken.stdout, taken.stderr);
        assert!(
            told.contains("are archived, so what they hold is stored again"),
            "{told}"
        );
        let id = taken.json()?["restorePoint"].clone();
        site.proxy.forget();
        site.verified(id.as_str().unwrap_or_default()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_is_cut_short_makes_no_older_point_the_latest() -> Result<()> {
    let site = ChainSite::new().await?;
    let mut taken = vec![site.snapshot().await?];
    for _ in 0..2 {
        site.change().await?;
        taken.push(site.snapshot().await?);
    }
    taken.reverse();
    site.proxy.on_path(None, "", Fault::CutList(1), ALWAYS);
    assert_eq!(site.listed().await?, taken);
    site.proxy.forget();
    // If nobody can know what comes after the listing, that is reported.
    site.proxy.on_path(None, "", Fault::CutListDeaf(1), ALWAYS);
    let list = site.restore_cli("list").ended_with(1).await?;
    tells(&list, &["the listing may be incomplete"]);
    Ok(())
}
