//! Tests of certificates: which ones the client trusts, and which one it shows.

use backup_core::causes::line;
use backup_core::clock::{Clock as _, SystemClock};
use backup_core::source::SnapshotSource as _;
use cluster_client::talos::ConfigSearch;
use e2e::talos::{ClientSpec, Pki};
use jiff::{SignedDuration, Timestamp};
use rcgen::ExtendedKeyUsagePurpose;

use super::lab::{Lab, NODES, source, take};

#[tokio::test]
async fn an_expired_certificate_is_refused_before_any_call() {
    let lab = Lab::start().await;
    let spec = ClientSpec {
        from: SignedDuration::from_hours(-8),
        until: SignedDuration::from_hours(-2),
        ..ClientSpec::of(&["os:etcd:backup"])
    };
    let options = lab.options_of(&lab.cluster.talosconfig(&spec).unwrap());
    let error = source(options).members().await.unwrap_err();
    let text = line(&error);
    for part in [
        "context \"lab\"",
        "`crt`",
        "expired on 20",
        "talosctl config new",
    ] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    assert!(!error.try_other_member);
    assert!(lab.cluster.seen().is_empty());
}

#[tokio::test]
async fn a_renewed_talosconfig_is_used_by_the_next_run() {
    let lab = Lab::start().await;
    let short = ClientSpec {
        until: SignedDuration::from_mins(20),
        ..ClientSpec::of(&["os:etcd:backup"])
    };
    let source = source(lab.options_of(&lab.cluster.talosconfig(&short).unwrap()));
    let members = source.members().await.unwrap();
    assert!(members.warnings.join("\n").contains("expires soon"));
    lab.write(
        &lab.cluster
            .talosconfig(&ClientSpec::of(&["os:operator"]))
            .unwrap(),
    );
    let members = source.members().await.unwrap();
    assert_eq!(members.warnings, Vec::<String>::new());
    assert!(
        lab.cluster
            .seen()
            .last()
            .unwrap()
            .roles
            .contains("os:operator")
    );
}

#[tokio::test]
async fn a_certificate_that_the_server_refuses_says_why_it_may_be() {
    let lab = Lab::start().await;
    let spec = ClientSpec {
        usages: vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ],
        ..ClientSpec::of(&["os:admin"])
    };
    let options = lab.options_of(&lab.cluster.talosconfig(&spec).unwrap());
    let text = line(&source(options).members().await.unwrap_err());
    assert!(text.contains("refuses the client certificate"), "{text}");
    assert!(
        text.contains("more extended key usages than clientAuth"),
        "{text}"
    );
    assert!(lab.cluster.seen().is_empty());
}

#[tokio::test]
async fn a_server_that_has_another_authority_or_is_out_of_date_is_not_trusted() {
    let lab = Lab::start().await;
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let stranger = Pki::new(now).unwrap();
    let pair = lab
        .cluster
        .pki()
        .client(&ClientSpec::of(&["os:admin"]))
        .unwrap();
    let endpoints = lab.cluster.endpoints();
    let text = stranger.talosconfig("lab", &endpoints, &[NODES[0].to_owned()], &pair);
    let text = line(&source(lab.options_of(&text)).members().await.unwrap_err());
    assert!(
        text.contains("not signed by the authority in `ca`"),
        "{text}"
    );
    assert!(!text.contains("firewall"), "{text}");
    assert!(lab.cluster.seen().is_empty());

    let lab =
        Lab::start_changed(|spec| spec.server_valid_for = SignedDuration::from_hours(-1)).await;
    let text = line(&lab.source().members().await.unwrap_err());
    assert!(text.to_lowercase().contains("expired"), "{text}");
    assert!(text.contains("Check the clocks"), "{text}");
    assert!(!text.contains("firewall"), "{text}");
}

#[tokio::test]
async fn a_client_certificate_of_another_cluster_and_a_name_without_address_are_told() {
    let lab = Lab::start().await;
    let stranger = Pki::new(SystemClock.now()).unwrap();
    let pair = stranger.client(&ClientSpec::of(&["os:admin"])).unwrap();
    let endpoints = lab.cluster.endpoints();
    let text = lab
        .cluster
        .pki()
        .talosconfig("lab", &endpoints, &[NODES[0].to_owned()], &pair);
    let refused = source(lab.options_of(&text)).members().await.unwrap_err();
    let text = line(&refused);
    assert!(text.contains("refuses the client certificate"), "{text}");

    let mut options = lab.options("os:operator");
    options.endpoints = vec!["no-such-node.invalid:50000".to_owned()];
    let text = line(&source(options).members().await.unwrap_err());
    assert!(text.contains("name has no address"), "{text}");
    assert!(!text.contains("firewall"), "{text}");
}

#[tokio::test]
async fn the_server_is_checked_against_the_host_as_written() {
    let lab = Lab::start().await;
    let mut options = lab.options("os:operator");
    let by_name = lab
        .cluster
        .endpoint(NODES[0])
        .unwrap()
        .replace("127.0.0.1", "localhost");
    options.endpoints = vec![by_name.clone()];
    let text = line(&source(options).members().await.unwrap_err());
    assert!(text.contains("machine.certSANs"), "{text}");
    assert!(!text.contains("firewall"), "{text}");

    let lab = Lab::start_changed(|spec| spec.extra_names = vec!["localhost".to_owned()]).await;
    let mut options = lab.options("os:operator");
    let by_name = lab
        .cluster
        .endpoint(NODES[0])
        .unwrap()
        .replace("127.0.0.1", "localhost");
    options.endpoints = vec![format!("https://{by_name}")];
    let (bytes, error) = take(&source(options)).await;
    assert!(error.is_none());
    assert_eq!(bytes, lab.snapshot);
}

#[tokio::test]
async fn a_key_of_another_certificate_is_named() {
    let lab = Lab::start().await;
    let mut pair = lab
        .cluster
        .pki()
        .client(&ClientSpec::of(&["os:admin"]))
        .unwrap();
    pair.key = lab
        .cluster
        .pki()
        .client(&ClientSpec::of(&["os:admin"]))
        .unwrap()
        .key;
    let text = lab
        .cluster
        .pki()
        .talosconfig("lab", &lab.cluster.endpoints(), &[], &pair);
    let text = line(&source(lab.options_of(&text)).members().await.unwrap_err());
    assert!(text.contains("`crt` and `key`"), "{text}");
}

#[tokio::test]
async fn a_talosconfig_that_is_not_there_is_not_created() {
    let lab = Lab::start().await;
    let mut options = lab.options("os:admin");
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("sub").join("config");
    options.search = ConfigSearch::at(&missing);
    let text = line(&source(options).members().await.unwrap_err());
    assert!(text.contains(&missing.display().to_string()), "{text}");
    assert!(!folder.path().join("sub").exists());
}

#[tokio::test]
async fn neither_errors_nor_debug_show_the_key() {
    let lab = Lab::start().await;
    let pair = lab
        .cluster
        .pki()
        .client(&ClientSpec::of(&["os:admin"]))
        .unwrap();
    let text = lab
        .cluster
        .pki()
        .talosconfig("lab", &lab.cluster.endpoints(), &[], &pair);
    let source = source(lab.options_of(&text));
    source.members().await.unwrap();
    let secret = pair.key.lines().nth(1).unwrap();
    assert!(!format!("{source:?}").contains(secret));
    assert!(!format!("{pair:?}").contains(secret));
}
