//! Test that a lost etcd really comes back over the Talos API, under the same kube-apiserver.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use e2e::data::Shape;
use e2e::lab::{Lab, NODES};
use e2e::talos::connect::{ClientTls, channel};
use e2e::talos::proto::common::Data;
use e2e::talos::proto::machine::BootstrapRequest;
use e2e::talos::proto::machine::machine_service_client::MachineServiceClient;
use e2e::talos::{ClientSpec, ServiceState};
use e2e::wait;
use http::StatusCode;
use serde_json::json;

/// Time limit. etcd starts in a second, and slower where something compiles beside it.
const LIMIT: Duration = Duration::from_secs(60);

fn shape() -> Shape {
    Shape {
        objects: 300,
        ..Shape::small()
    }
}

async fn make_namespace(lab: &Lab, name: &str) -> Result<()> {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name },
    });
    let made = lab.kube_apiserver.create("/api/v1/namespaces", &namespace);
    made.await.map(drop)
}

async fn status_of(lab: &Lab, name: &str) -> Result<StatusCode> {
    let path = format!("/api/v1/namespaces/{name}");
    Ok(lab.kube_apiserver.get(&path).await?.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_etcd_is_brought_back_under_the_api_server_by_any_node() -> Result<()> {
    let mut lab = Lab::start(shape(), &e2e::tools::say_on_stderr).await?;
    make_namespace(&lab, "before").await?;
    let file = lab.core.folder.join("snapshot.db");
    lab.core.etcd.client().await?.snapshot(&file).await?;
    make_namespace(&lab, "after").await?;

    lab.kube_apiserver.kill();
    lab.core.talos.reset().await?;
    assert!(!lab.core.etcd.is_running());
    assert!(!lab.core.talos.etcd_runs());

    // This is not the node on which etcd was: the etcd that runs afterwards was restored on this one.
    let node = NODES[1];
    let pair = lab
        .core
        .talos
        .pki()
        .client(&ClientSpec::of(&["os:admin"]))?;
    let tls = ClientTls {
        ca: lab.core.talos.pki().ca_pem(),
        crt: pair.crt,
        key: pair.key,
    };
    let endpoint = lab.core.talos.endpoint(node)?;
    let mut api = MachineServiceClient::new(channel(&endpoint, Some(&tls))?);
    let bytes = std::fs::read(&file)?;
    let parts = bytes.chunks(32 << 10).map(|part| Data {
        metadata: None,
        bytes: Bytes::copy_from_slice(part),
    });
    let parts: Vec<_> = parts.collect();
    api.etcd_recover(futures::stream::iter(parts)).await?;
    let request = BootstrapRequest {
        recover_etcd: true,
        recover_skip_hash_check: false,
    };
    api.bootstrap(request).await?;
    wait::until("etcd on all nodes", LIMIT, async || {
        for node in NODES {
            let (state, healthy, text) = lab.core.talos.node(node)?.etcd_state();
            let there = state == ServiceState::Running && healthy;
            ensure!(there, "{node} is {state:?}: {text}");
        }
        Ok(())
    })
    .await?;
    lab.kube_apiserver.restart().await?;

    assert_eq!(status_of(&lab, "before").await?, StatusCode::OK);
    assert_eq!(status_of(&lab, "after").await?, StatusCode::NOT_FOUND);
    make_namespace(&lab, "later").await?;
    let var_lib = lab.core.talos.node(node)?.var_lib();
    let var_lib = var_lib.context("a node without a disk")?;
    assert_eq!(lab.core.etcd.data_dir(), var_lib.join("etcd"));

    // Where members are, another bootstrap is refused.
    for other in NODES {
        let endpoint = lab.core.talos.endpoint(other)?;
        let mut api = MachineServiceClient::new(channel(&endpoint, Some(&tls))?);
        let refused = api.bootstrap(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::AlreadyExists, "{refused}");
    }
    Ok(())
}
