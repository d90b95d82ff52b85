//! Tests of access: credentials, rights, buckets and certificates, each with an error of its own.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use backup_core::causes::line;
use backup_core::store::s3::{AccessKey, AccessKeySource, Credentials, S3Options, S3Store};
use backup_core::store::url::StoreUrl;
use backup_core::store::{
    CreateOutcome, OpenOptions, Probe, Store, StoreError, WriteOnceSupport, open,
};
use e2e::s3::Keys;
use e2e::wait;
use tokio::process::Command;

use super::shared::{Server, credentials, key, put, sample};

/// Returns the error of each kind of call on this store.
async fn errors(store: &dyn Store) -> Vec<(&'static str, StoreError)> {
    let object = key("packs/1");
    vec![
        (
            "create",
            put(store, "packs/1", &sample(1, 10)).await.unwrap_err(),
        ),
        ("get", store.get(&object).await.unwrap_err()),
        (
            "get_range",
            store.get_range(&object, 0..5).await.unwrap_err(),
        ),
        ("head", store.head(&object).await.unwrap_err()),
        ("list", store.list("", None).await.unwrap_err()),
        ("delete", store.delete(&object).await.unwrap_err()),
        ("probe", store.probe().await.unwrap_err()),
    ]
}

#[tokio::test]
async fn a_missing_bucket_is_said_to_be_missing() -> Result<()> {
    let server = Server::start().await?;
    let options = S3Options {
        bucket: "not-there".to_owned(),
        ..server.options()
    };
    let store = S3Store::open(options).await?;
    for (call, error) in errors(&store).await {
        assert!(
            matches!(error, StoreError::NoBucket { .. }),
            "{call}: {}",
            line(&error)
        );
        assert!(
            error.to_string().contains("s3://not-there/clusters/test"),
            "{call}: {error}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn wrong_credentials_are_said_to_be_wrong() -> Result<()> {
    let server = Server::start().await?;
    let right = server.s3.keys();
    for (keys, word) in [
        (
            Keys {
                access: "nobody".to_owned(),
                ..right.clone()
            },
            "InvalidAccessKeyId",
        ),
        (
            Keys {
                secret: "hunter2hunter2".to_owned(),
                ..right.clone()
            },
            "SignatureDoesNotMatch",
        ),
    ] {
        let options = S3Options {
            credentials: credentials(&keys),
            ..server.options()
        };
        let store = S3Store::open(options).await?;
        for (call, error) in errors(&store).await {
            let text = line(&error);
            // An answer to HEAD has no body with more than "forbidden".
            if call == "head" {
                assert!(
                    matches!(error, StoreError::Forbidden { .. }),
                    "{call}: {text}"
                );
                continue;
            }
            assert!(
                matches!(error, StoreError::Credentials { .. }),
                "{call}: {text}"
            );
            assert!(text.contains(word), "{call}: {text}");
            assert!(
                !text.contains("hunter2") && !text.contains(&right.secret),
                "{call}: {text}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_user_without_rights_is_forbidden_and_one_who_may_only_put_puts() -> Result<()> {
    let server = Server::start().await?;
    let user = server.s3.user("backup").await?;
    let options = S3Options {
        credentials: credentials(&user),
        ..server.options()
    };
    let store = S3Store::open(options).await?;
    for (call, error) in errors(&store).await {
        let text = line(&error);
        assert!(
            matches!(error, StoreError::Forbidden { .. }),
            "{call}: {text}"
        );
    }

    let bucket = &server.bucket;
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"backup",
            "Action":["s3:PutObject"],"Resource":["arn:aws:s3:::{bucket}/*"]}}]}}"#
    );
    server
        .s3
        .client()?
        .put_bucket_policy()
        .bucket(bucket)
        .policy(policy)
        .send()
        .await?;
    assert_eq!(
        put(&store, "packs/1", &sample(1, 10)).await?,
        CreateOutcome::New
    );
    assert_eq!(
        put(&store, "packs/1", &sample(2, 10)).await?,
        CreateOutcome::Existed
    );
    let expected = Probe {
        write_once: WriteOnceSupport::Honoured,
        records_checksums: false,
    };
    assert_eq!(store.probe().await?, expected);
    let denied = store.get(&key("packs/1")).await;
    assert!(
        matches!(denied, Err(StoreError::Forbidden { .. })),
        "{denied:?}"
    );
    let denied = store.delete(&key("packs/1")).await.unwrap_err();
    let text = line(&denied);
    assert!(matches!(denied, StoreError::Forbidden { .. }), "{text}");
    assert!(text.contains("refused to delete packs/1"), "{text}");
    Ok(())
}

/// Provider that gives a wrong secret until `right_from` queries were made.
struct Rotated {
    keys: Keys,
    asked: AtomicU32,
    right_from: u32,
}

impl AccessKeySource for Rotated {
    fn access_key(&self) -> Result<AccessKey, Box<dyn Error + Send + Sync>> {
        let right = self.asked.fetch_add(1, Ordering::Relaxed) >= self.right_from;
        let secret = if right {
            self.keys.secret.clone()
        } else {
            "old".to_owned()
        };
        Ok(AccessKey {
            id: self.keys.access.clone(),
            secret: secret.into(),
            session_token: None,
        })
    }
}

#[tokio::test]
async fn refused_credentials_are_asked_for_anew_once() -> Result<()> {
    let server = Server::start().await?;
    for (right_from, goes_well) in [(0, true), (1, true), (2, false)] {
        let keys = server.s3.keys().clone();
        let rotated = Arc::new(Rotated {
            keys,
            asked: AtomicU32::new(0),
            right_from,
        });
        let options = S3Options {
            credentials: Credentials::Given(Arc::<Rotated>::clone(&rotated)),
            ..server.options()
        };
        let store = S3Store::open(options).await?;
        // Many at once: one of them asks for credentials, and all go on with the result.
        let names: Vec<_> = (0..8)
            .map(|n| format!("rotated/{right_from}/{n}"))
            .collect();
        let bytes = sample(1, 10);
        let results =
            futures::future::join_all(names.iter().map(|name| put(&store, name, &bytes))).await;
        for result in results {
            match result {
                Ok(created) => assert!(goes_well && created == CreateOutcome::New),
                Err(error) => {
                    let text = line(&error);
                    assert!(!goes_well, "{text}");
                    assert!(matches!(error, StoreError::Credentials { .. }), "{text}");
                }
            }
        }
        assert_eq!(rotated.asked.load(Ordering::Relaxed), right_from.min(1) + 1);
    }
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_told_at_once_with_what_to_do() -> Result<()> {
    let server = Server::start_with(true).await?;
    let store = server.store().await?;
    let error = put(&store, "packs/1", &sample(1, 10)).await.unwrap_err();
    let text = line(&error);
    assert!(matches!(error, StoreError::Other { .. }), "{text}");
    assert!(
        text.contains("ca=FILE") && text.contains("UnknownIssuer"),
        "{text}"
    );

    // With the file in the URL it works.
    let ca = server.s3.ca().context("no CA")?;
    let url = format!("{}&ca={}", server.s3.url(&server.bucket, "x"), ca.display());
    let url: StoreUrl = url.parse()?;
    let options = OpenOptions {
        credentials: credentials(server.s3.keys()),
        ..OpenOptions::default()
    };
    let store = open(&url, options).await?;
    assert_eq!(
        put(&*store, "packs/1", &sample(1, 10)).await?,
        CreateOutcome::New
    );
    Ok(())
}

#[tokio::test]
async fn tls_to_a_server_without_it_is_told_at_once() -> Result<()> {
    let server = Server::start().await?;
    let endpoint = server.s3.endpoint().replace("http://", "https://");
    let store = S3Store::open(S3Options {
        endpoint: Some(endpoint),
        ..server.options()
    })
    .await?;
    let error = store.list("", None).await.unwrap_err();
    assert!(line(&error).contains("http://"), "{}", line(&error));
    Ok(())
}

#[tokio::test]
async fn the_usual_chain_is_used_and_read_anew() -> Result<()> {
    let server = Server::start().await?;
    let child = |variables: &[(&str, String)]| {
        let mut child = Command::new(std::env::current_exe()?);
        child
            .args([
                "--exact",
                "store_s3::access::child_of_the_usual_chain",
                "--ignored",
                "--nocapture",
            ])
            .env_clear()
            .env("HOME", server.folder.path())
            .env("CHILD_FOLDER", server.folder.path())
            .env(
                "CHILD_URL",
                server
                    .s3
                    .url(&server.bucket, "x")
                    .replace("region=us-east-1&", ""),
            )
            .env("CHILD_SECRET", &server.s3.keys().secret)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true);
        anyhow::Ok(child)
    };
    let file = server.folder.join("credentials");
    let cases: [(&str, Vec<(&str, String)>); 3] = [
        ("variables", server.s3.keys().env().to_vec()),
        (
            "file",
            vec![("AWS_SHARED_CREDENTIALS_FILE", file.display().to_string())],
        ),
        ("nothing", Vec::new()),
    ];
    for (case, variables) in cases {
        std::fs::write(&file, profile(&server.s3.keys().access, "outdated"))?;
        let output = child(&variables)?.env("CHILD_CASE", case).output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{case}: {text}"
        );
    }
    Ok(())
}

fn profile(id: &str, secret: &str) -> String {
    format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")
}

#[tokio::test]
#[ignore = "started by the_usual_chain_is_used_and_read_anew, with variables of its own"]
async fn child_of_the_usual_chain() -> Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("no {name}"));
    let url: StoreUrl = variable("CHILD_URL")?.parse()?;
    let store = open(&url, OpenOptions::default()).await?;
    match variable("CHILD_CASE")?.as_str() {
        "variables" => {
            store.list("", None).await?;
        }
        "file" => {
            let error = store.list("", None).await.unwrap_err();
            ensure!(
                matches!(error, StoreError::Credentials { .. }),
                "{}",
                line(&error)
            );
            let file = std::path::Path::new(&variable("CHILD_FOLDER")?).join("credentials");
            std::fs::write(&file, profile("lab-root", &variable("CHILD_SECRET")?))?;
            // The store asks for new credentials only every few seconds.
            wait::until(
                "a listing with the new file",
                Duration::from_secs(60),
                async || {
                    store.list("", None).await?;
                    Ok(())
                },
            )
            .await?;
        }
        _ => {
            let error = store.list("", None).await.unwrap_err();
            ensure!(
                matches!(error, StoreError::NoCredentials { .. }),
                "{}",
                line(&error)
            );
        }
    }
    Ok(())
}
