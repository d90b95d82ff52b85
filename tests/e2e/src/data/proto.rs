//! Parts of Kubernetes' own protobuf storage form that the lab writes, so that a real API server can read
//! them. Field numbers are those of Kubernetes.

use std::collections::BTreeMap;

use prost::Message;

/// Start of each protobuf value in etcd.
const MAGIC: &[u8] = b"k8s\0";

#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
    #[prost(string, tag = "3")]
    content_encoding: String,
    #[prost(string, tag = "4")]
    content_type: String,
}

#[derive(Clone, PartialEq, Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

/// Seconds since 1970.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Time {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ObjectMeta {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
    #[prost(string, tag = "5")]
    pub(super) uid: String,
    #[prost(int64, tag = "7")]
    pub(super) generation: i64,
    #[prost(message, optional, tag = "8")]
    pub(super) creation_timestamp: Option<Time>,
    #[prost(btree_map = "string, string", tag = "11")]
    pub(super) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    pub(super) annotations: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "17")]
    pub(super) managed_fields: Vec<ManagedFields>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ManagedFields {
    #[prost(string, tag = "1")]
    pub(super) manager: String,
    #[prost(string, tag = "2")]
    pub(super) operation: String,
    #[prost(string, tag = "3")]
    pub(super) api_version: String,
    #[prost(message, optional, tag = "4")]
    pub(super) time: Option<Time>,
    #[prost(string, tag = "6")]
    pub(super) fields_type: String,
    #[prost(message, optional, tag = "7")]
    pub(super) fields: Option<Fields>,
    #[prost(string, tag = "8")]
    pub(super) subresource: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Fields {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) raw: Vec<u8>,
}

/// Outline of most kinds. Spec and status carry their text in a field that no kind has, which a reader skips;
/// `phase` of a namespace is the first field of status.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Outline {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    pub(super) spec: Option<Filler>,
    #[prost(message, optional, tag = "3")]
    pub(super) status: Option<Filler>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Filler {
    #[prost(string, repeated, tag = "1000")]
    pub(super) text: Vec<String>,
    #[prost(message, optional, tag = "1001")]
    pub(super) at: Option<Time>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Namespace {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    pub(super) spec: Option<NamespaceSpec>,
    #[prost(message, optional, tag = "3")]
    pub(super) status: Option<NamespaceStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NamespaceSpec {
    #[prost(string, repeated, tag = "1")]
    pub(super) finalizers: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NamespaceStatus {
    #[prost(string, tag = "1")]
    pub(super) phase: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfigMap {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ObjectMeta>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(super) data: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Secret {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ObjectMeta>,
    #[prost(btree_map = "string, bytes", tag = "2")]
    pub(super) data: BTreeMap<String, Vec<u8>>,
    #[prost(string, tag = "3")]
    pub(super) r#type: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Lease {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    pub(super) spec: Option<LeaseSpec>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LeaseSpec {
    #[prost(string, tag = "1")]
    pub(super) holder_identity: String,
    #[prost(int32, tag = "2")]
    pub(super) lease_duration_seconds: i32,
    #[prost(message, optional, tag = "3")]
    pub(super) acquire_time: Option<Time>,
    #[prost(message, optional, tag = "4")]
    pub(super) renew_time: Option<Time>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    pub(super) involved_object: Option<ObjectReference>,
    #[prost(string, tag = "3")]
    pub(super) reason: String,
    #[prost(string, tag = "4")]
    pub(super) message: String,
    #[prost(message, optional, tag = "5")]
    pub(super) source: Option<EventSource>,
    #[prost(message, optional, tag = "6")]
    pub(super) first_timestamp: Option<Time>,
    #[prost(message, optional, tag = "7")]
    pub(super) last_timestamp: Option<Time>,
    #[prost(int32, tag = "8")]
    pub(super) count: i32,
    #[prost(string, tag = "9")]
    pub(super) r#type: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ObjectReference {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) namespace: String,
    #[prost(string, tag = "3")]
    pub(super) name: String,
    #[prost(string, tag = "4")]
    pub(super) uid: String,
    #[prost(string, tag = "5")]
    pub(super) api_version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EventSource {
    #[prost(string, tag = "1")]
    pub(super) component: String,
    #[prost(string, tag = "2")]
    pub(super) host: String,
}

/// Returns the value as etcd holds it: the magic, then the object in its envelope.
pub(super) fn enveloped(api_version: &str, kind: &str, object: &impl Message) -> Vec<u8> {
    let unknown = Unknown {
        type_meta: Some(TypeMeta {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        }),
        raw: object.encode_to_vec(),
        content_encoding: String::new(),
        content_type: String::new(),
    };
    [MAGIC, &unknown.encode_to_vec()].concat()
}
