//! Methods of the API at one endpoint, with the route and the answer of each call.

use std::path::{Component, Path};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::answer::{Api, DataStream, admit, frames, marked, roles_of, services};
use super::node::Node;
use super::proto::common::Data;
use super::proto::machine as api;
use super::proto::machine::machine_service_server::MachineService;
use super::recover;
use super::route::{Route, Target};

#[tonic::async_trait]
impl MachineService for Api {
    async fn bootstrap(
        &self,
        request: Request<api::BootstrapRequest>,
    ) -> Result<Response<api::BootstrapResponse>, Status> {
        let (headers, extensions, body) = request.into_parts();
        let nodes = &self.cluster.nodes;
        let work = |node: Arc<Node>| async move {
            recover::bootstrap(&node, nodes, body).await?;
            Ok(api::Bootstrap::default())
        };
        let messages = self.unary("Bootstrap", &headers, &extensions, work).await?;
        Ok(Response::new(api::BootstrapResponse { messages }))
    }

    async fn etcd_alarm_list(
        &self,
        request: Request<()>,
    ) -> Result<Response<api::EtcdAlarmListResponse>, Status> {
        let (headers, extensions, ()) = request.into_parts();
        let work = |node: Arc<Node>| async move {
            let member_alarms = self.alarms(&node).await?;
            Ok(api::EtcdAlarm {
                metadata: None,
                member_alarms,
            })
        };
        let messages = self
            .unary("EtcdAlarmList", &headers, &extensions, work)
            .await?;
        Ok(Response::new(api::EtcdAlarmListResponse { messages }))
    }

    async fn etcd_member_list(
        &self,
        request: Request<api::EtcdMemberListRequest>,
    ) -> Result<Response<api::EtcdMemberListResponse>, Status> {
        let (headers, extensions, _) = request.into_parts();
        let work = |node: Arc<Node>| async move {
            let members = self.members(&node).await?;
            Ok(api::EtcdMembers {
                members,
                ..api::EtcdMembers::default()
            })
        };
        let messages = self
            .unary("EtcdMemberList", &headers, &extensions, work)
            .await?;
        Ok(Response::new(api::EtcdMemberListResponse { messages }))
    }

    async fn etcd_recover(
        &self,
        request: Request<Streaming<Data>>,
    ) -> Result<Response<api::EtcdRecoverResponse>, Status> {
        let (headers, extensions, upload) = request.into_parts();
        // An upload cannot be read twice, so this lab does not support `nodes` for it.
        let upload = Mutex::new(Some(upload));
        let work = |node: Arc<Node>| {
            let upload = upload.lock().ok().and_then(|mut upload| upload.take());
            async move {
                let upload = upload.ok_or_else(|| Status::unimplemented("one upload, one node"))?;
                recover::recover(&node, upload).await?;
                Ok(api::EtcdRecover::default())
            }
        };
        let messages = self
            .unary("EtcdRecover", &headers, &extensions, work)
            .await?;
        Ok(Response::new(api::EtcdRecoverResponse { messages }))
    }

    type EtcdSnapshotStream = DataStream;

    async fn etcd_snapshot(
        &self,
        request: Request<api::EtcdSnapshotRequest>,
    ) -> Result<Response<DataStream>, Status> {
        let (headers, extensions, _) = request.into_parts();
        let roles = roles_of(&extensions);
        match self
            .cluster
            .route(&self.endpoint, "EtcdSnapshot", &headers, &roles)?
        {
            Route::One(node) => Ok(Response::new(Self::snapshot_of(node, &roles).await?)),
            Route::Many(targets) => {
                let mut streams = Vec::new();
                for Target { hostname, node } in targets {
                    let stream = match node {
                        Ok(node) => Self::snapshot_of(node, &roles).await,
                        Err(status) => Err(status),
                    };
                    let stream = stream
                        .unwrap_or_else(|status| futures::stream::iter([Err(status)]).boxed());
                    streams.push(match hostname {
                        Some(hostname) => marked(stream, hostname),
                        None => stream,
                    });
                }
                Ok(Response::new(futures::stream::select_all(streams).boxed()))
            }
        }
    }

    async fn etcd_status(
        &self,
        request: Request<()>,
    ) -> Result<Response<api::EtcdStatusResponse>, Status> {
        let (headers, extensions, ()) = request.into_parts();
        let work = |node: Arc<Node>| async move {
            let member_status = Some(self.status(&node).await?);
            Ok(api::EtcdStatus {
                metadata: None,
                member_status,
            })
        };
        let messages = self
            .unary("EtcdStatus", &headers, &extensions, work)
            .await?;
        Ok(Response::new(api::EtcdStatusResponse { messages }))
    }

    async fn hostname(
        &self,
        request: Request<()>,
    ) -> Result<Response<api::HostnameResponse>, Status> {
        let (headers, extensions, ()) = request.into_parts();
        let work = |node: Arc<Node>| async move {
            let hostname = node.spec.hostname.clone();
            Ok(api::Hostname {
                metadata: None,
                hostname,
            })
        };
        let messages = self.unary("Hostname", &headers, &extensions, work).await?;
        Ok(Response::new(api::HostnameResponse { messages }))
    }

    type ListStream = BoxStream<'static, Result<api::FileInfo, Status>>;

    async fn list(
        &self,
        request: Request<api::ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let (headers, extensions, body) = request.into_parts();
        let roles = roles_of(&extensions);
        let Route::One(node) = self
            .cluster
            .route(&self.endpoint, "List", &headers, &roles)?
        else {
            return Err(Status::unimplemented("List of several nodes"));
        };
        admit(&node, "List", &roles)?;
        if node.faults().calls.contains_key("List") {
            return std::future::pending().await;
        }
        let entries = list(&node, &body.root).map_err(Status::unknown)?;
        let entries = entries.into_iter().map(Ok);
        Ok(Response::new(futures::stream::iter(entries).boxed()))
    }

    type ReadStream = DataStream;

    async fn read(
        &self,
        request: Request<api::ReadRequest>,
    ) -> Result<Response<DataStream>, Status> {
        let (headers, extensions, body) = request.into_parts();
        let roles = roles_of(&extensions);
        let Route::One(node) = self
            .cluster
            .route(&self.endpoint, "Read", &headers, &roles)?
        else {
            return Err(Status::unimplemented("Read of several nodes"));
        };
        admit(&node, "Read", &roles)?;
        let relative = Path::new(&body.path)
            .strip_prefix("/")
            .map_err(|_| Status::unknown("path must be absolute"))?;
        let inside = relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let root = node.spec.root.as_ref().filter(|_| inside);
        let root = root.ok_or_else(|| Status::unknown("no such file or directory"))?;
        let bytes = tokio::fs::read(root.join(relative))
            .await
            .map_err(|error| Status::unknown(error.to_string()))?;
        Ok(Response::new(
            futures::stream::iter(frames(bytes.into())).boxed(),
        ))
    }

    async fn service_list(
        &self,
        request: Request<()>,
    ) -> Result<Response<api::ServiceListResponse>, Status> {
        let (headers, extensions, ()) = request.into_parts();
        let work = |node: Arc<Node>| async move {
            Ok(api::ServiceList {
                metadata: None,
                services: services(&node),
            })
        };
        let messages = self
            .unary("ServiceList", &headers, &extensions, work)
            .await?;
        Ok(Response::new(api::ServiceListResponse { messages }))
    }

    async fn service_restart(
        &self,
        request: Request<api::ServiceRestartRequest>,
    ) -> Result<Response<api::ServiceRestartResponse>, Status> {
        let (headers, extensions, body) = request.into_parts();
        let work = |node: Arc<Node>| {
            let id = body.id.clone();
            async move {
                match id.as_str() {
                    "kubelet" => {}
                    "apid" | "cri" | "etcd" | "machined" => {
                        let text =
                            format!("service {id:?} doesn't support restart operation via API");
                        return Err(Status::unknown(text));
                    }
                    _ => return Err(Status::unknown(format!("service {id:?} not defined"))),
                }
                let resp = format!("Service {id:?} restarted");
                let restarted = node.restarted.lock();
                restarted
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .push(id);
                Ok(api::ServiceRestart {
                    metadata: None,
                    resp,
                })
            }
        };
        let messages = self
            .unary("ServiceRestart", &headers, &extensions, work)
            .await?;
        Ok(Response::new(api::ServiceRestartResponse { messages }))
    }

    async fn version(
        &self,
        request: Request<()>,
    ) -> Result<Response<api::VersionResponse>, Status> {
        let (headers, extensions, ()) = request.into_parts();
        let work = |node: Arc<Node>| async move {
            Ok(api::Version {
                metadata: None,
                version: Some(api::VersionInfo {
                    tag: node.spec.version.to_string(),
                    os: "linux".to_owned(),
                    arch: "amd64".to_owned(),
                    ..api::VersionInfo::default()
                }),
                platform: Some(api::PlatformInfo {
                    name: "stand-in".to_owned(),
                    mode: "container".to_owned(),
                }),
                features: Some(api::FeaturesInfo { rbac: true }),
            })
        };
        let messages = self.unary("Version", &headers, &extensions, work).await?;
        Ok(Response::new(api::VersionResponse { messages }))
    }
}

/// Lists a folder and its first level, or a file, below the node's root.
fn list(node: &Node, root: &str) -> Result<Vec<api::FileInfo>, String> {
    let absent = || format!("lstat {root}: no such file or directory");
    let relative = Path::new(root).strip_prefix("/").map_err(|_| absent())?;
    let inside = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let base = node.spec.root.as_ref().filter(|_| inside);
    let path = base.ok_or_else(absent)?.join(relative);
    let info = |path: &Path, name: String, relative_name: String| {
        let metadata = path.symlink_metadata().map_err(|_| absent())?;
        Ok::<_, String>(api::FileInfo {
            name,
            relative_name,
            size: i64::try_from(metadata.len()).unwrap_or(i64::MAX),
            is_dir: metadata.is_dir(),
            ..api::FileInfo::default()
        })
    };
    let name_of = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    if !path.is_dir() {
        return Ok(vec![info(&path, root.to_owned(), name_of(&path))?]);
    }
    let mut entries = vec![info(&path, root.to_owned(), ".".to_owned())?];
    for entry in std::fs::read_dir(&path).map_err(|_| absent())? {
        let entry = entry.map_err(|error| error.to_string())?.path();
        let name = name_of(&entry);
        // The real server reports an entry that disappears meanwhile as an error of the entry; here it is
        // left out.
        if let Ok(entry) = info(&entry, format!("{root}/{name}"), name) {
            entries.push(entry);
        }
    }
    Ok(entries)
}
