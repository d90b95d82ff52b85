//! Tests that an etcd that cannot be read gives the reason, and what to do.

use anyhow::{Context as _, Result};
use backup_core::causes::line;
use backup_core::source::{SnapshotSource as _, SourceError};
use cluster_client::etcd::{EtcdLogin, EtcdOptions};
use e2e::Folder;
use e2e::pki::Authority;

use super::tenants::{source, with_tenants};

/// Returns the error of taking a snapshot, from listing the members or from opening one.
async fn refusal(options: EtcdOptions) -> SourceError {
    let source = source(options);
    let candidates = match source.members().await {
        Ok(members) => members.candidates,
        Err(error) => return error,
    };
    match source.open(&candidates[0]).await {
        Ok(_) => panic!("it gave a snapshot"),
        Err(error) => error,
    }
}

fn tells(error: &SourceError, words: &[&str]) {
    let text = line(error);
    println!("--- {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_without_the_right_are_told_what_is_needed() -> Result<()> {
    let folder = Folder::new()?;
    let etcd = with_tenants(&folder).await?;
    let error = refusal(etcd.options("one_cp")?).await;
    tells(
        &error,
        &[
            "DataStore `default`",
            "user `one_cp`",
            "role `root`",
            "permission denied",
        ],
    );
    assert!(!error.try_other_member);

    // A name that no user has.
    let error = refusal(etcd.options("stranger")?).await;
    tells(
        &error,
        &[
            "DataStore `default`",
            "has no user `stranger`",
            "common name",
        ],
    );

    // A user without a password, and one who does not exist.
    for user in ["root", "stranger"] {
        let mut login = etcd.options("root")?;
        login.login = Some(EtcdLogin {
            user: user.to_owned(),
            password: "wrong-password-canary".to_owned().into(),
        });
        let error = refusal(login).await;
        tells(&error, &["user or password is wrong", "basicAuth"]);
        assert!(!line(&error).contains("canary"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_fit_are_told_apart() -> Result<()> {
    let folder = Folder::new()?;
    let etcd = with_tenants(&folder).await?;
    let other = Authority::new("other-ca")?;
    let own = etcd.authority().context("etcd has no authority")?;

    let stranger = etcd.options_with(own.pem(), Some(other.client("root", None)?));
    let error = refusal(stranger).await;
    tells(&error, &["client certificate"]);

    let nobody = etcd.options_with(own.pem(), None);
    tells(&refusal(nobody).await, &["client certificate"]);

    let impostor = etcd.options_with(other.pem(), Some(own.client("root", None)?));
    tells(
        &refusal(impostor).await,
        &["certificate is not trusted", "certificateAuthority"],
    );

    let mut elsewhere = etcd.options("root")?;
    // No server listens there.
    for endpoint in &mut elsewhere.endpoints {
        *endpoint = endpoint.replace("127.0.0.1", "127.0.0.2");
    }
    let error = refusal(elsewhere).await;
    tells(&error, &["not reachable"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_down_is_told_and_another_member_is_taken() -> Result<()> {
    let folder = Folder::new()?;
    let mut etcd = with_tenants(&folder).await?;
    let mut two = etcd.options("root")?;
    two.endpoints.insert(0, "127.0.0.1:1".to_owned());
    let source = source(two);
    let members = source.members().await?;
    let candidates = members.candidates;
    assert_eq!(candidates.len(), 1);
    assert_eq!(members.unwell[0].node, "127.0.0.1:1");
    assert!(source.open(&candidates[0]).await.is_ok());

    etcd.stop().await?;
    let error = refusal(etcd.options("root")?).await;
    tells(
        &error,
        &[
            "DataStore `default` has no member",
            "not reachable",
            "refused",
        ],
    );
    Ok(())
}
