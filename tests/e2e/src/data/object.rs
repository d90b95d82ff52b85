//! Object with its key, and its bytes at any time of its life.

use std::collections::BTreeMap;

use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::Kind;
use super::kinds::Form;
use super::proto::{self, Fields, Filler, ManagedFields, ObjectMeta, Time};
use super::{secretbox, text};

/// Object. Its bytes follow from these fields, so that a cluster of any size fits in memory.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) kind: &'static Kind,
    /// Namespace; empty for objects without one.
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// Seed of the parts that never change.
    pub(super) seed: u64,
    /// Number of writes of the spec.
    pub(super) generation: u32,
    /// Number of writes of the status.
    pub(super) updates: u32,
    /// Creation time in simulated seconds since 1970.
    pub(super) created: i64,
}

impl Object {
    /// Returns the key in etcd.
    pub(super) fn key(&self) -> String {
        let Self {
            kind,
            namespace,
            name,
            ..
        } = self;
        match namespace.as_str() {
            "" => format!("/registry/{}/{name}", kind.path),
            _ => format!("/registry/{}/{namespace}/{name}", kind.path),
        }
    }

    /// Returns the value in etcd when it is written at `now`.
    pub(super) fn value(&self, now: i64) -> Vec<u8> {
        match self.kind.form {
            Form::Namespace => self.enveloped(&proto::Namespace {
                metadata: Some(self.metadata(now)),
                spec: Some(proto::NamespaceSpec {
                    finalizers: vec!["kubernetes".to_owned()],
                }),
                status: Some(proto::NamespaceStatus {
                    phase: "Active".to_owned(),
                }),
            }),
            Form::ConfigMap => self.enveloped(&proto::ConfigMap {
                metadata: Some(self.metadata(now)),
                data: BTreeMap::from([("config.yaml".to_owned(), self.spec_text())]),
            }),
            Form::Lease => self.enveloped(&proto::Lease {
                metadata: Some(self.metadata(now)),
                spec: Some(proto::LeaseSpec {
                    holder_identity: self.name.clone(),
                    lease_duration_seconds: 40,
                    acquire_time: Some(at(self.created)),
                    renew_time: Some(at(now)),
                }),
            }),
            Form::Protobuf => self.enveloped(&proto::Outline {
                metadata: Some(self.metadata(now)),
                spec: Some(Filler {
                    text: lines(&self.spec_text()),
                    at: None,
                }),
                status: Some(Filler {
                    text: lines(&self.status_text()),
                    at: Some(at(now)),
                }),
            }),
            Form::Json => self.json(now),
            Form::Encrypted => self.encrypted(now),
        }
    }

    fn enveloped(&self, object: &impl Message) -> Vec<u8> {
        proto::enveloped(self.kind.api_version, self.kind.name, object)
    }

    /// Returns the object encrypted at rest: no part stays the same when it is written again.
    fn encrypted(&self, now: i64) -> Vec<u8> {
        let mut random = self.random(u64::from(self.generation) << 32);
        let length = random.random_range(self.kind.size.clone());
        let secret = proto::Secret {
            metadata: Some(self.metadata(now)),
            data: BTreeMap::from([("value".to_owned(), text::random_bytes(&mut random, length))]),
            r#type: "Opaque".to_owned(),
        };
        secretbox::seal(&self.enveloped(&secret), &mut random)
    }

    fn json(&self, now: i64) -> Vec<u8> {
        let mut metadata = json!({
            "name": self.name,
            "uid": self.uid,
            "generation": self.generation,
            "creationTimestamp": rfc3339(self.created),
            "labels": self.labels(),
            "managedFields": [{
                "apiVersion": self.kind.api_version,
                "fieldsType": "FieldsV1",
                "fieldsV1": { "f:status": { "f:conditions": {}, "f:phase": {} } },
                "manager": "butler-controller",
                "operation": "Update",
                "subresource": "status",
                "time": rfc3339(now),
            }],
        });
        if let Some(fields) = metadata
            .as_object_mut()
            .filter(|_| !self.namespace.is_empty())
        {
            fields.insert("namespace".to_owned(), json!(self.namespace));
        }
        let object = json!({
            "apiVersion": self.kind.api_version,
            "kind": self.kind.name,
            "metadata": metadata,
            "spec": { "template": self.spec_text(), "replicas": self.generation },
            "status": {
                "observedGeneration": self.generation,
                "phase": "Ready",
                "conditions": [{
                    "type": "Ready",
                    "status": "True",
                    "lastTransitionTime": rfc3339(now),
                    "message": self.status_text(),
                }],
            },
        });
        object.to_string().into_bytes()
    }

    fn metadata(&self, now: i64) -> ObjectMeta {
        ObjectMeta {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            uid: self.uid.clone(),
            generation: i64::from(self.generation),
            creation_timestamp: Some(at(self.created)),
            labels: self.labels(),
            annotations: BTreeMap::new(),
            managed_fields: vec![ManagedFields {
                manager: "kube-controller-manager".to_owned(),
                operation: "Update".to_owned(),
                api_version: self.kind.api_version.to_owned(),
                time: Some(at(now)),
                fields_type: "FieldsV1".to_owned(),
                fields: Some(Fields {
                    raw: br#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{}}"#.to_vec(),
                }),
                subresource: String::new(),
            }],
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let app = self
            .name
            .rsplit_once('-')
            .map_or(self.name.as_str(), |(app, _)| app);
        BTreeMap::from([
            (
                "app.kubernetes.io/managed-by".to_owned(),
                "butler".to_owned(),
            ),
            ("app.kubernetes.io/name".to_owned(), app.to_owned()),
        ])
    }

    /// Returns most of the object: the same until its spec is written again, and then mostly the same.
    fn spec_text(&self) -> String {
        let mut random = self.random(0);
        let length = random.random_range(self.kind.size.clone());
        let text = text::prose(&mut random, length);
        match self.generation {
            0 | 1 => text,
            _ => text + &text::prose(&mut self.random(u64::from(self.generation) << 32), 120),
        }
    }

    /// Returns a fifth of the object: new with each update.
    fn status_text(&self) -> String {
        let length = self.kind.size.start / 5;
        text::prose(&mut self.random(u64::from(self.updates) + 1), length)
    }

    fn random(&self, salt: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

fn at(seconds: i64) -> Time {
    Time { seconds, nanos: 0 }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_string()
}
