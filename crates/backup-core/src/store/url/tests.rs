//! Tests of valid and invalid store URLs, and of the errors about them.

use proptest::prelude::*;

use super::*;

fn error(text: &str) -> String {
    text.parse::<StoreUrl>().unwrap_err().to_string()
}

#[test]
fn s3_with_all_parts() {
    let url = "s3://backups/prod/eu?endpoint=https://s3.example.net:9000/&region=eu-1\
               &path-style=false&ca=/etc/ca.pem";
    let StoreUrl::S3(s3) = url.parse().unwrap() else {
        panic!("not S3");
    };
    assert_eq!(
        s3,
        S3Url {
            bucket: "backups".into(),
            prefix: "prod/eu".into(),
            endpoint: Some("https://s3.example.net:9000".into()),
            region: Some("eu-1".into()),
            path_style: false,
            ca: Some("/etc/ca.pem".into()),
        }
    );
}

#[test]
fn path_style_follows_the_endpoint_unless_it_is_given() {
    for (text, expected) in [
        ("s3://abc", false),
        ("s3://abc/?path-style=true", true),
        ("s3://abc?endpoint=http://h", true),
        ("s3://abc?endpoint=http://h&path-style=false", false),
    ] {
        let StoreUrl::S3(s3) = text.parse().unwrap() else {
            panic!("not S3");
        };
        assert_eq!(s3.path_style, expected, "{text}");
        assert_eq!(s3.prefix, "", "{text}");
    }
}

#[test]
fn folders() {
    let folder = |text: &str| text.parse::<StoreUrl>().unwrap();
    assert_eq!(
        folder("file:///srv/my%20backups/"),
        StoreUrl::Folder("/srv/my backups".into())
    );
    assert_eq!(
        folder("file:///srv/my%20backups").to_string(),
        "file:///srv/my%20backups"
    );
}

#[test]
fn errors_name_the_part_and_what_is_allowed() {
    for (text, part, allowed) in [
        ("backups", "the text", "s3://BUCKET"),
        ("gs://backups", "`gs`", "s3://BUCKET"),
        ("s3://", "the bucket", "s3://BUCKET/PREFIX"),
        ("s3:///prefix", "the bucket", "s3://BUCKET/PREFIX"),
        ("s3://ab", "`ab`", "3 to 255"),
        ("s3://host:9000/x", "port", "endpoint=https://HOST:PORT"),
        ("s3://abc/a//b", "the prefix", "single slashes"),
        ("s3://abc/a%20b", "the prefix", "letters, digits"),
        ("s3://abc/a/../b", "the path", "the whole path"),
        ("s3://abc?endpont=http://h", "`endpont`", "endpoint=URL"),
        ("s3://abc?region=a&region=b", "`region`", "twice"),
        ("s3://abc?region=", "`region`", "region=NAME"),
        ("s3://abc?region=a/b", "`region`", "eu-central-1"),
        ("s3://abc?path-style=yes", "`path-style`", "true or false"),
        ("s3://abc?endpoint=h:9000", "`endpoint`", "https://"),
        ("s3://abc?endpoint=ftp://h", "`endpoint`", "https://"),
        ("s3://abc#x", "`#`", "%23"),
        ("file://srv/backups", "the folder", "file:///FOLDER"),
        ("file:///", "the folder", "file:///FOLDER"),
        ("file:///srv?region=a", "`?`", "file:///FOLDER"),
    ] {
        let error = error(text);
        assert!(error.contains(part), "{text}: {error}");
        assert!(error.contains(allowed), "{text}: {error}");
    }
}

#[test]
fn secrets_are_refused_and_not_repeated() {
    for text in [
        "s3://AKIA:hunter2@backups/x",
        "s3://abc?endpoint=https://AKIA:hunter2@h",
        "file://AKIA:hunter2@localhost/srv",
    ] {
        let error = error(text);
        assert!(error.contains("user name or password"), "{text}: {error}");
        assert!(
            !error.contains("hunter2") && !error.contains("AKIA"),
            "{error}"
        );
    }
}

fn any_url() -> impl Strategy<Value = StoreUrl> {
    let name = "[a-z0-9][a-z0-9._-]{2,20}[a-z0-9]";
    let s3 = (
        name,
        proptest::option::of("[A-Za-z0-9_=+@-]{1,9}(/[A-Za-z0-9_=+@-]{1,9}){0,3}"),
        proptest::option::of("https?://[a-z]{1,9}(:[1-9][0-9]{3})?"),
        proptest::option::of("[a-z0-9-]{1,12}"),
        any::<bool>(),
        proptest::option::of("/[a-zA-Z0-9 +&=%#?]{1,20}"),
    )
        .prop_map(|(bucket, prefix, endpoint, region, path_style, ca)| {
            StoreUrl::S3(S3Url {
                bucket,
                prefix: prefix.unwrap_or_default(),
                endpoint,
                region,
                path_style,
                ca: ca.map(PathBuf::from),
            })
        });
    let folder = "/[a-zA-Z0-9 #?%]{1,9}(/[a-zA-Z0-9 #?%]{1,9}){0,3}"
        .prop_map(|path| StoreUrl::Folder(path.into()));
    prop_oneof![s3, folder]
}

proptest! {
    #[test]
    fn text_and_back(url in any_url()) {
        prop_assert_eq!(url.to_string().parse::<StoreUrl>(), Ok(url));
    }

    #[test]
    fn no_text_panics(text in "(s3|file)://[ -~]{0,40}") {
        // Any URL that parses also round-trips through its own text.
        if let Ok(url) = text.parse::<StoreUrl>() {
            prop_assert_eq!(url.to_string().parse::<StoreUrl>(), Ok(url));
        }
    }
}
