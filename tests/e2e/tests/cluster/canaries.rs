//! Tests that no secret of the cluster is in clear text except where it was requested.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::site;

/// Returns the forms of a canary: as it is, and in base64 at each of the three alignments.
fn guises(canary: &str) -> Vec<String> {
    let aligned = (0..3).map(|offset| {
        let text = STANDARD_NO_PAD.encode(format!("{}{canary}", &"xxx"[..offset]));
        // The ends depend on the neighbouring bytes.
        text[4..text.len() - 3].to_owned()
    });
    std::iter::once(canary.to_owned()).chain(aligned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_canary_leaves_its_secret() -> Result<()> {
    let site = site("canaries").await?;
    let guises: Vec<String> = site
        .shared
        .butler
        .canaries()
        .iter()
        .flat_map(|c| guises(c))
        .collect();
    assert!(guises.len() > 100);
    let quiet = |what: &str, text: &[u8]| {
        for guise in &guises {
            let found = text.windows(guise.len()).any(|w| w == guise.as_bytes());
            assert!(!found, "a canary is in {what}");
        }
    };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let snapshot = site.backupd("snapshot").args(["--output", "json"]);
        let taken = snapshot.args(["--log-level", "trace"]).output().await?;
        quiet("what backupd prints", taken.stdout.as_bytes());
        quiet("its log at TRACE", taken.stderr.as_bytes());
        assert!(
            taken.stderr.contains("TRACE"),
            "there is no TRACE in the log"
        );
        let taken = taken.ended_with(0)?.json()?;
        ids.push(
            taken["restorePoint"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
    }
    let one = [
        vec!["list"],
        vec!["show", "latest"],
        vec!["show", "latest", "--output", "json"],
        vec!["audit"],
        vec!["verify", "latest"],
        vec!["diff", &ids[0], &ids[1], "--patch"],
        vec!["resources", "ls"],
        vec!["resources", "ls", "secrets"],
        vec![
            "resources",
            "get",
            "secret",
            "nutanix-credentials",
            "-n",
            "infrastructure-credentials",
        ],
        vec![
            "resources",
            "get",
            "datastore",
            "default",
            "--output",
            "json",
        ],
    ];
    for args in one {
        let run = site.restore_cli(args[0]).args(&args[1..]);
        let run = run.args(["--log-level", "trace"]).output().await?;
        quiet(&format!("what {args:?} prints"), run.stdout.as_bytes());
        quiet(&format!("the log of {args:?}"), run.stderr.as_bytes());
        run.ended_with(0)?;
    }
    // With the flag for it the canary is shown, so the test above would see it.
    let get = site
        .restore_cli("resources")
        .args(["get", "secret", "nutanix-credentials"]);
    let get = get.args(["-n", "infrastructure-credentials", "--show-secrets"]);
    let shown = get.ended_with(0).await?.stdout;
    assert!(
        guises.iter().any(|guise| shown.contains(guise.as_str())),
        "{shown}"
    );

    let mut folders = vec![site.objects()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                quiet(&path.display().to_string(), &std::fs::read(&path)?);
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen} objects");
    Ok(())
}
