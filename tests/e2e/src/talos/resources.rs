//! API of a node's resources, as far as a backup reads them: the machine configuration, which is sensitive
//! and therefore for administrators alone.

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::answer::{Api, admit, roles_of};
use super::fault::CallFault;
use super::node::Node;
use super::proto::cosi::resource as api;
use super::proto::cosi::resource::state_server::State;
use super::route::Route;

/// Type of the resource that describes the clock.
const TIME: &str = "TimeStatuses.v1alpha1.talos.dev";

fn time(node: &Node) -> api::GetResponse {
    let synced = !node.faults().time_unsynced;
    let spec = api::TimeStatusSpec {
        synced,
        sync_disabled: false,
    };
    api::GetResponse {
        resource: Some(api::Resource {
            spec: Some(api::Spec {
                proto_spec: spec.encode_to_vec().into(),
                yaml_spec: format!("synced: {synced}\nepoch: 0\nsyncDisabled: false\n"),
            }),
        }),
    }
}

#[tonic::async_trait]
impl State for Api {
    async fn get(
        &self,
        request: Request<api::GetRequest>,
    ) -> Result<Response<api::GetResponse>, Status> {
        let (headers, extensions, body) = request.into_parts();
        let roles = roles_of(&extensions);
        let method = if body.r#type == TIME {
            "TimeStatus"
        } else {
            "MachineConfig"
        };
        let route = self
            .cluster
            .route(&self.endpoint, method, &headers, &roles)?;
        let Route::One(node) = route else {
            return Err(Status::unimplemented("resources of several nodes"));
        };
        if node.faults().frozen {
            return std::future::pending().await;
        }
        admit(&node, method, &roles)?;
        match node.faults().calls.get(method) {
            Some(CallFault::Hang) => std::future::pending().await,
            Some(CallFault::Refuse(code, text) | CallFault::InBand(code, text)) => {
                return Err(Status::new(*code, text));
            }
            None => {}
        }
        let asked = (
            body.namespace.as_str(),
            body.r#type.as_str(),
            body.id.as_str(),
        );
        if asked == ("runtime", TIME, "node") {
            return Ok(Response::new(time(&node)));
        }
        let there = asked == ("config", "MachineConfigs.config.talos.dev", "v1alpha1");
        let config = node.spec.machine_config.clone().filter(|_| there);
        let yaml = config.ok_or_else(|| Status::not_found("resource doesn't exist"))?;
        let spec = api::MachineConfigSpec {
            yaml_marshalled: yaml.clone().into(),
        };
        Ok(Response::new(api::GetResponse {
            resource: Some(api::Resource {
                spec: Some(api::Spec {
                    proto_spec: spec.encode_to_vec().into(),
                    yaml_spec: yaml,
                }),
            }),
        }))
    }
}
