//! Churn of a cluster over time: leases renewed, events, status updates, changes, compaction.

use anyhow::{Context, Result};
use rand::RngExt;

use super::kinds::{self, Form};
use super::proto::{self, EventSource, ObjectMeta, ObjectReference, Time};
use super::{Cluster, MAX_TXN_BYTES, Object, text};
use crate::etcd::{EtcdClient, MAX_TXN_OPS, delete, put, rpc};

/// Simulated seconds between two rounds of writes; nodes renew their leases this often.
const TICK: i64 = 10;
/// Interval of compactions, as in the API server: every five minutes it compacts to the revision of five
/// minutes ago.
const COMPACT_EVERY: i64 = 300;
/// Time to live of an event, the API server's default.
const EVENT_TTL: i64 = 3_600;
/// Real time to live of leases, longer than any run: the simulated hour ends a lease, not the real one.
const REAL_TTL: i64 = 7 * 86_400;

/// Number of objects for which the rates hold; smaller clusters have proportionally less, bigger ones more.
const RATES_FOR: f64 = 60_000.0;
const EVENTS_PER_SECOND: f64 = 0.4;
const STATUS_PER_SECOND: f64 = 1.0;
const CONFIG_MAPS_PER_SECOND: f64 = 1.0 / 60.0;
const SECRETS_PER_SECOND: f64 = 1.0 / 300.0;
const REPLACED_PER_SECOND: f64 = 1.0 / 60.0;
/// Percentage of status updates that go to the hot twentieth of the objects.
const HOT_PERCENT: u32 = 95;
const HOT_PART: usize = 20;

/// Writes of a run of churn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Churn {
    /// Renewals of leases.
    pub renewals: u64,
    /// Events written.
    pub events: u64,
    /// Status updates.
    pub updates: u64,
    /// ConfigMaps and Secrets written again.
    pub changes: u64,
    /// Objects removed, each with a new one in its place.
    pub replaced: u64,
    /// Compactions.
    pub compactions: u64,
    /// The revision at the end.
    pub revision: i64,
}

/// Events of one simulated minute, which share an etcd lease, as in the API server.
#[derive(Debug)]
pub(super) struct EventMinute {
    minute: i64,
    lease: i64,
}

/// Work that is due a fractional number of times each tick.
struct Due {
    each_tick: f64,
    owed: f64,
}

impl Due {
    fn new(per_second: f64, scale: f64) -> Self {
        Self {
            each_tick: per_second * scale * 10.0,
            owed: 0.0,
        }
    }

    /// Returns the number that is due now; a fraction is kept for the next tick.
    fn now(&mut self) -> u32 {
        self.owed += self.each_tick;
        let mut whole = 0;
        while self.owed >= 1.0 {
            self.owed -= 1.0;
            whole += 1;
        }
        whole
    }
}

/// Writes collected for one transaction, each key once: a second write to a key starts another.
struct Batch<'a> {
    client: &'a EtcdClient,
    keys: std::collections::HashSet<String>,
    operations: Vec<rpc::RequestOp>,
    bytes: usize,
    revision: i64,
}

impl Batch<'_> {
    async fn add(&mut self, key: String, value: Option<Vec<u8>>, lease: i64) -> Result<()> {
        let size = value.as_ref().map_or(0, Vec::len);
        let full = self.operations.len() == MAX_TXN_OPS || self.bytes + size > MAX_TXN_BYTES;
        if full || self.keys.contains(&key) {
            self.flush().await?;
        }
        self.operations.push(match value {
            Some(value) => put(&key, value, lease),
            None => delete(&key),
        });
        self.bytes += size;
        self.keys.insert(key);
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        if !self.operations.is_empty() {
            self.revision = self
                .client
                .txn(std::mem::take(&mut self.operations))
                .await?;
        }
        self.keys.clear();
        self.bytes = 0;
        Ok(())
    }
}

impl Cluster {
    /// Lets `minutes` of simulated time pass: 60 for an hour, 1 440 for a day. A day on 60 000
    /// objects is about 330 000 writes.
    ///
    /// # Errors
    /// etcd refused a write.
    pub async fn churn(&mut self, client: &EtcdClient, minutes: u32) -> Result<Churn> {
        let objects = u32::try_from(self.shape.objects).context("the number of objects")?;
        let scale = f64::from(objects) / RATES_FOR;
        let mut events = Due::new(EVENTS_PER_SECOND, scale);
        let mut status = Due::new(STATUS_PER_SECOND, scale);
        let mut config_maps = Due::new(CONFIG_MAPS_PER_SECOND, scale);
        let mut secrets = Due::new(SECRETS_PER_SECOND, scale);
        let mut replaced = Due::new(REPLACED_PER_SECOND, scale);

        let mut done = Churn::default();
        let mut batch = Batch {
            client,
            keys: std::collections::HashSet::new(),
            operations: Vec::new(),
            bytes: 0,
            revision: 0,
        };
        let end = self.now + i64::from(minutes) * 60;
        while self.now < end {
            self.now += TICK;
            for lease in &self.leases {
                batch
                    .add(lease.key(), Some(lease.value(self.now)), 0)
                    .await?;
                done.renewals += 1;
            }
            self.expire(client).await?;
            for _ in 0..events.now() {
                let lease = self.event_lease(client).await?;
                let (key, value) = self.event();
                batch.add(key, Some(value), lease).await?;
                done.events += 1;
            }
            for _ in 0..status.now() {
                if let Some(object) = self.random_object(None) {
                    object.updates += 1;
                    let object = object.clone();
                    batch
                        .add(object.key(), Some(object.value(self.now)), 0)
                        .await?;
                    done.updates += 1;
                }
            }
            let forms = [
                (Form::ConfigMap, config_maps.now()),
                (Form::Encrypted, secrets.now()),
            ];
            for (form, count) in forms {
                for _ in 0..count {
                    if let Some(object) = self.random_object(Some(form)) {
                        object.generation += 1;
                        let object = object.clone();
                        batch
                            .add(object.key(), Some(object.value(self.now)), 0)
                            .await?;
                        done.changes += 1;
                    }
                }
            }
            for _ in 0..replaced.now() {
                let (old, new) = self.replace()?;
                batch.add(old, None, 0).await?;
                batch.add(new.key(), Some(new.value(self.now)), 0).await?;
                done.replaced += 1;
            }
            batch.flush().await?;
            if self.now % COMPACT_EVERY == 0 {
                self.marks.push_back(batch.revision);
                if self.marks.len() > 1
                    && let Some(revision) = self.marks.pop_front()
                {
                    client.compact(revision).await?;
                    done.compactions += 1;
                }
            }
        }
        done.revision = batch.revision;
        Ok(done)
    }

    /// Ends the leases of events older than an hour; etcd removes their events.
    async fn expire(&mut self, client: &EtcdClient) -> Result<()> {
        while let Some(oldest) = self.events.front() {
            if (oldest.minute + 1) * 60 + EVENT_TTL > self.now {
                break;
            }
            let request = rpc::LeaseRevokeRequest { id: oldest.lease };
            client
                .leases()
                .lease_revoke(request)
                .await
                .context("ending a lease of events")?;
            self.events.pop_front();
        }
        Ok(())
    }

    /// Returns the lease for events of this minute.
    async fn event_lease(&mut self, client: &EtcdClient) -> Result<i64> {
        let minute = self.now / 60;
        if let Some(newest) = self.events.back().filter(|newest| newest.minute == minute) {
            return Ok(newest.lease);
        }
        let request = rpc::LeaseGrantRequest {
            ttl: REAL_TTL,
            id: 0,
        };
        let reply = client
            .leases()
            .lease_grant(request)
            .await
            .context("asking for a lease")?;
        let lease = reply.into_inner().id;
        self.events.push_back(EventMinute { minute, lease });
        Ok(lease)
    }

    fn event(&mut self) -> (String, Vec<u8>) {
        let node = kinds::node(self.random.random_range(0..self.shape.nodes.max(1)));
        let suffix = text::hex_word(&mut self.random, 8);
        let uid = text::uid(&mut self.random);
        let reason = text::pick(
            &mut self.random,
            &["Pulled", "Created", "Started", "Unhealthy"],
        );
        let length = self.random.random_range(60..300);
        let message = text::prose(&mut self.random, length);
        let now = Time {
            seconds: self.now,
            nanos: 0,
        };
        let index = self.random.random_range(0..self.objects.len().max(1));
        let (kind, namespace, name, about) = match self.objects.get(index) {
            Some(object) => (object.kind, &*object.namespace, &*object.name, &*object.uid),
            None => return (format!("/registry/events/default/{suffix}"), Vec::new()),
        };
        let event = proto::Event {
            metadata: Some(ObjectMeta {
                name: format!("{name}.{suffix}"),
                namespace: namespace.to_owned(),
                uid,
                creation_timestamp: Some(now),
                ..ObjectMeta::default()
            }),
            involved_object: Some(ObjectReference {
                kind: kind.name.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: about.to_owned(),
                api_version: kind.api_version.to_owned(),
            }),
            reason: reason.to_owned(),
            message,
            source: Some(EventSource {
                component: "kubelet".to_owned(),
                host: node,
            }),
            first_timestamp: Some(now),
            last_timestamp: Some(now),
            count: 1,
            r#type: "Normal".to_owned(),
        };
        let key = format!("/registry/events/{namespace}/{name}.{suffix}");
        (key, proto::enveloped("v1", "Event", &event))
    }

    /// Returns an object of the wanted form, or, without one, an object for a status update: mostly a hot
    /// one.
    fn random_object(&mut self, form: Option<Form>) -> Option<&mut Object> {
        let count = self.objects.len();
        let hot = form.is_none() && self.random.random_ratio(HOT_PERCENT, 100);
        let range = if hot { count.div_ceil(HOT_PART) } else { count };
        let start = if range == 0 {
            return None;
        } else {
            self.random.random_range(0..range)
        };
        let wanted = |object: &Object| match form {
            Some(form) => object.kind.form == form,
            // Neither form has a status.
            None => !matches!(object.kind.form, Form::ConfigMap | Form::Encrypted),
        };
        let index = (start..count).chain(0..start);
        let mut index = index.filter(|index| self.objects.get(*index).is_some_and(wanted));
        let found = index.next()?;
        self.objects.get_mut(found)
    }

    /// Replaces an object by a new one; returns the old one's key, and the new one.
    fn replace(&mut self) -> Result<(String, Object)> {
        self.made += 1;
        let number = usize::try_from(self.made).context("the number of objects")?;
        let mut new = kinds::one_of_the_mix(self.shape, number, &mut self.random);
        new.created = self.now;
        let index = self.random.random_range(0..self.objects.len().max(1));
        let place = self
            .objects
            .get_mut(index)
            .context("a cluster without objects")?;
        let old = std::mem::replace(place, new.clone());
        Ok((old.key(), new))
    }
}
