//! Tests that etcd, etcdutl, the S3 server and the API server start, work, stop and start again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::Folder;
use e2e::data::Shape;
use e2e::etcd::{Etcd, Options};
use e2e::etcdutl::{self, RestoreOptions};
use e2e::lab::Lab;
use e2e::s3::S3;
use e2e::wait;

#[tokio::test]
async fn a_snapshot_restored_by_etcdutl_brings_the_keys_back() -> Result<()> {
    let folder = Folder::new()?;
    let mut etcd = Etcd::start(&folder, "etcd").await?;
    let client = etcd.client().await?;
    let revision = client.put("/a", "before").await?;

    let file = folder.join("snapshot.db");
    let length = client.snapshot(&file).await?;
    assert_eq!(length, std::fs::metadata(&file)?.len());
    let status = etcdutl::status(&file).await?;
    assert_eq!(status.revision, revision);
    assert_eq!(
        status.total_size + 32,
        length,
        "the trailer is not part of the database"
    );

    client.put("/a", "after").await?;
    etcd.stop().await?;
    let refused = etcdutl::restore(&file, &etcd, RestoreOptions::default()).await;
    assert!(
        refused.is_err(),
        "a data directory that is not empty must be refused"
    );
    etcd.wipe()?;
    etcdutl::restore(&file, &etcd, RestoreOptions::default()).await?;
    etcd.restart().await?;
    let value = etcd.client().await?.get("/a").await?;
    assert_eq!(value.as_deref(), Some(&b"before"[..]));
    Ok(())
}

#[tokio::test]
async fn a_cluster_of_three_survives_the_loss_of_one() -> Result<()> {
    let folder = Folder::new()?;
    let options = Options {
        tls: false,
        members: 3,
        ..Options::default()
    };
    let mut members = Etcd::start_with(&folder, "etcd", options).await?;
    let client = members[0].client().await?;
    client.put("/a", "1").await?;
    members[2].kill();
    // If it was the leader, the others elect one first.
    wait::until("a write by two", Duration::from_secs(60), async || {
        client.put("/a", "2").await
    })
    .await?;
    members[2].restart().await?;
    assert_eq!(
        members[2].client().await?.get("/a").await?.as_deref(),
        Some(&b"2"[..])
    );
    Ok(())
}

#[tokio::test]
async fn without_a_certificate_nobody_gets_into_etcd() -> Result<()> {
    let folder = Folder::new()?;
    let etcd = Etcd::start(&folder, "etcd").await?;
    let files = etcd.client_files().context("no client files")?;
    let ca = std::fs::read_to_string(&files.ca)?;
    let http = e2e::http::HttpClient::new(&ca, None)?;
    assert!(
        http.get(&format!("{}/version", etcd.endpoint()), None)
            .await
            .is_err()
    );
    Ok(())
}

#[tokio::test]
async fn an_object_is_still_in_its_bucket_after_a_restart() -> Result<()> {
    for tls in [false, true] {
        let folder = Folder::new()?;
        let mut s3 = S3::start_with(&folder, "s3", tls).await?;
        let bucket = s3.bucket("smoke").await?;
        assert_ne!(
            bucket,
            s3.bucket("smoke").await?,
            "buckets are never shared"
        );
        let body = aws_sdk_s3::primitives::ByteStream::from_static(b"hello");
        s3.client()?
            .put_object()
            .bucket(&bucket)
            .key("a/b")
            .body(body)
            .send()
            .await?;
        let endpoint = s3.endpoint();
        s3.kill();
        s3.restart().await?;
        assert_eq!(endpoint, s3.endpoint());
        let object = s3
            .client()?
            .get_object()
            .bucket(&bucket)
            .key("a/b")
            .send()
            .await?;
        assert_eq!(object.body.collect().await?.into_bytes(), &b"hello"[..]);
    }
    Ok(())
}

#[tokio::test]
async fn a_user_of_the_s3_server_may_do_only_what_the_policy_says() -> Result<()> {
    let folder = Folder::new()?;
    let s3 = S3::start(&folder).await?;
    let bucket = s3.bucket("policy").await?;
    let user = s3.user("writer").await?;
    let policy = serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "AWS": ["writer"] },
            "Action": ["s3:PutObject"],
            "Resource": [format!("arn:aws:s3:::{bucket}/*")],
        }],
    });
    let root = s3.client()?;
    root.put_bucket_policy()
        .bucket(&bucket)
        .policy(policy.to_string())
        .send()
        .await?;
    let writer = s3.client_as(&user)?;
    let body = aws_sdk_s3::primitives::ByteStream::from_static(b"x");
    writer
        .put_object()
        .bucket(&bucket)
        .key("a")
        .body(body)
        .send()
        .await?;
    assert!(
        writer
            .get_object()
            .bucket(&bucket)
            .key("a")
            .send()
            .await
            .is_err()
    );
    assert!(
        writer
            .delete_object()
            .bucket(&bucket)
            .key("a")
            .send()
            .await
            .is_err()
    );
    Ok(())
}

#[tokio::test]
async fn the_api_server_reads_what_was_filled_in() -> Result<()> {
    let shape = Shape {
        objects: 400,
        ..Shape::small()
    };
    let lab = Lab::start(shape, &e2e::tools::say_on_stderr).await?;
    let uid = lab.core.data.kube_system_uid();
    let (status, body) = lab
        .kube_apiserver
        .get("/api/v1/namespaces/kube-system")
        .await?;
    let text = String::from_utf8_lossy(&body);
    assert!(
        status.is_success() && text.contains(&uid),
        "{status}: {text}"
    );

    for (path, prefix) in [
        ("/api/v1/pods", "/registry/pods/"),
        ("/api/v1/secrets", "/registry/secrets/"),
        ("/api/v1/configmaps", "/registry/configmaps/"),
        ("/api/v1/services", "/registry/services/specs/"),
        ("/api/v1/nodes", "/registry/minions/"),
        ("/apis/apps/v1/deployments", "/registry/deployments/"),
        ("/apis/coordination.k8s.io/v1/leases", "/registry/leases/"),
        (
            "/apis/rbac.authorization.k8s.io/v1/rolebindings",
            "/registry/rolebindings/",
        ),
        (
            "/apis/discovery.k8s.io/v1/endpointslices",
            "/registry/endpointslices/",
        ),
    ] {
        // In its first seconds the server adds objects of its own between the two counts.
        wait::until("equal counts", Duration::from_secs(60), async || {
            let (status, body) = lab.kube_apiserver.get(path).await?;
            let list: serde_json::Value = serde_json::from_slice(&body)?;
            ensure!(status.is_success(), "{path}: {list}");
            let listed = list["items"].as_array().map_or(0, Vec::len);
            let stored = lab.core.etcd.client().await?.count(prefix).await?;
            ensure!(
                listed > 0 && i64::try_from(listed)? == stored,
                "{path}: {listed} listed, {stored} stored"
            );
            Ok(())
        })
        .await?;
    }

    // Secrets that the server itself writes are encrypted under the same key.
    let secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "mine" }, "stringData": { "password": "in plain sight" },
    });
    lab.kube_apiserver
        .create("/api/v1/namespaces/default/secrets", &secret)
        .await?;
    let raw = lab
        .core
        .etcd
        .client()
        .await?
        .get("/registry/secrets/default/mine")
        .await?;
    assert!(
        raw.context("no such key")?
            .starts_with(b"k8s:enc:secretbox:v1:key2:")
    );

    // A user without rights gets no Secrets.
    let url = format!("{}/api/v1/secrets", lab.kube_apiserver.url());
    let anonymous = e2e::http::HttpClient::new(lab.kube_apiserver.ca(), None)?;
    assert_eq!(
        anonymous.get(&url, None).await?.0,
        http::StatusCode::FORBIDDEN
    );
    Ok(())
}
