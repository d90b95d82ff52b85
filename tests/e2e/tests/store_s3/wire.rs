//! Test of the requests on the wire: one checksummed, conditional put, without anything that some stores
//! refuse.

use anyhow::Result;
use backup_core::digest::Digest;
use backup_core::store::Store;
use backup_core::store::s3::{S3Options, S3Store};
use e2e::proxy::{Fault, Lasting, Proxy};
use http::Method;

use super::shared::{Server, key, put, sample};

#[tokio::test]
async fn puts_are_conditional_and_carry_their_checksum_as_a_header() -> Result<()> {
    let server = Server::start().await?;
    let proxy = Proxy::start(&server.s3.endpoint()).await?;
    let options = S3Options {
        endpoint: Some(proxy.endpoint()),
        ..server.options()
    };
    let store = S3Store::open(options).await?;
    for length in [0, 10, 3 << 20] {
        let bytes = sample(1, length);
        let digest = Digest::of(&bytes);
        put(&store, &format!("packs/{length}"), &bytes).await?;
        let seen = proxy.seen();
        let put = seen.last().unwrap();
        assert_eq!(put.method, Method::PUT);
        let header = |name: &str| put.headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("if-none-match"), Some("*"));
        assert_eq!(header("x-amz-checksum-sha256"), Some(&*digest.to_base64()));
        assert_eq!(header("x-amz-content-sha256"), Some(&*digest.to_string()));
        assert_eq!(header("content-length"), Some(&*length.to_string()));
        for absent in [
            "x-amz-trailer",
            "content-encoding",
            "transfer-encoding",
            "expect",
        ] {
            assert_eq!(header(absent), None, "{absent}");
        }
    }
    let kinds = |name: &str| name.starts_with("x-amz-checksum") || name.contains("crc");
    for put in proxy.seen() {
        let sums: Vec<_> = put
            .headers
            .keys()
            .filter(|name| kinds(name.as_str()))
            .collect();
        assert_eq!(sums, ["x-amz-checksum-sha256"]);
    }
    Ok(())
}

#[tokio::test]
async fn requests_at_once_are_limited() -> Result<()> {
    let server = Server::start().await?;
    let proxy = Proxy::start(&server.s3.endpoint()).await?;
    let options = S3Options {
        endpoint: Some(proxy.endpoint()),
        limit: 3.try_into()?,
        ..server.options()
    };
    let store = S3Store::open(options).await?;
    proxy.on(
        Method::PUT,
        Fault::Answer(503, "SlowDown"),
        Lasting::Times(5),
    );
    let names: Vec<_> = (0..40).map(|n| format!("packs/{n}")).collect();
    let bytes = sample(1, 100_000);
    futures::future::try_join_all(names.iter().map(|name| put(&store, name, &bytes))).await?;
    futures::future::try_join_all(names.iter().map(async |name| store.get(&key(name)).await))
        .await?;
    assert!((2..=3).contains(&proxy.most()), "{} at once", proxy.most());
    Ok(())
}
