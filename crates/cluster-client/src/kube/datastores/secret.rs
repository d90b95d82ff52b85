//! Sources of the Secrets that DataStores refer to: a cluster or a restore point.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::{CALL_TIMEOUT, error_text, timeout_text};

/// Value at a key of a Secret. Not `Debug`: it is secret.
pub enum SecretValue {
    /// The Secret does not exist.
    NoSecret,
    /// The Secret does not have the key, but has these.
    NoKey(Vec<String>),
    /// The value of the key.
    Value(Zeroizing<Vec<u8>>),
}

impl SecretValue {
    /// Returns the value at `key` of the Secret `object`.
    #[must_use]
    pub fn of(object: &Value, key: &str) -> Self {
        let part = |part: &str| object.get(part).and_then(Value::as_object);
        let (data, plain) = (part("data"), part("stringData"));
        let text = |part: Option<&serde_json::Map<String, Value>>| {
            let held = part?.get(key)?.as_str()?;
            Some(Zeroizing::new(held.to_owned()))
        };
        let decoded = text(data).and_then(|text| STANDARD.decode(text.as_bytes()).ok());
        let value = decoded
            .map(Zeroizing::new)
            .or_else(|| text(plain).map(|text| Zeroizing::new(text.as_bytes().to_vec())));
        match value {
            Some(value) => Self::Value(value),
            None => {
                let keys = [data, plain].into_iter().flatten();
                Self::NoKey(keys.flat_map(|part| part.keys().cloned()).collect())
            }
        }
    }
}

/// Source of Secrets.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// Returns the value at `key` of Secret `namespace`/`name`.
    ///
    /// # Errors
    /// When the Secret cannot be read; the error is a readable reason.
    async fn value(&self, namespace: &str, name: &str, key: &str) -> Result<SecretValue, String>;
}

/// Source that reads Secrets directly from a cluster.
pub(super) struct ClusterSecrets<'c>(pub(super) &'c kube::Client);

#[async_trait]
impl SecretSource for ClusterSecrets<'_> {
    async fn value(&self, namespace: &str, name: &str, key: &str) -> Result<SecretValue, String> {
        let api: Api<Secret> = Api::namespaced(self.0.clone(), namespace);
        let got = match tokio::time::timeout(CALL_TIMEOUT, api.get_opt(name)).await {
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => None,
            Ok(got) => got.map_err(|error| error_text(&error))?,
            Err(_) => return Err(timeout_text()),
        };
        let Some(secret) = got else {
            return Ok(SecretValue::NoSecret);
        };
        let mut data = secret.data.unwrap_or_default();
        let wanted = data.remove(key).map(|value| Zeroizing::new(value.0));
        let keys: Vec<String> = data.keys().cloned().collect();
        for value in data.values_mut() {
            value.0.zeroize();
        }
        Ok(wanted.map_or(SecretValue::NoKey(keys), SecretValue::Value))
    }
}
