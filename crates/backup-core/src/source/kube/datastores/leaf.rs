//! A leaf of a DataStore: its content, or the place in a Secret where it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use secrecy::SecretString;
use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

use super::{CALL_TIMEOUT, late, said};

/// Not `Debug`: the content may be a private key.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Leaf {
    #[serde(deserialize_with = "wiped")]
    content: Option<Zeroizing<String>>,
    secret_reference: Option<Reference>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    name: String,
    namespace: String,
    key_path: String,
}

fn wiped<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Zeroizing::new))
}

/// Reads leaves.
pub(super) struct Leaves {
    client: kube::Client,
}

impl Leaves {
    pub(super) fn new(client: &kube::Client) -> Self {
        Self {
            client: client.clone(),
        }
    }

    /// The text of the leaf at `field`, which is no secret.
    pub(super) async fn text(&self, field: &str, leaf: &Leaf) -> Result<String, String> {
        let bytes = self.bytes(field, leaf).await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| no_text(field))?;
        Ok(text.to_owned())
    }

    /// The text of the leaf at `field`.
    pub(super) async fn secret(&self, field: &str, leaf: &Leaf) -> Result<SecretString, String> {
        let bytes = self.bytes(field, leaf).await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| no_text(field))?;
        Ok(SecretString::from(text))
    }

    async fn bytes(&self, field: &str, leaf: &Leaf) -> Result<Zeroizing<Vec<u8>>, String> {
        if let Some(content) = leaf.content.as_ref().filter(|content| !content.is_empty()) {
            let decoded = STANDARD.decode(content.as_bytes());
            return decoded
                .map(Zeroizing::new)
                .map_err(|_| format!("`{field}.content` is not standard base64"));
        }
        let Some(reference) = &leaf.secret_reference else {
            return Err(format!(
                "`{field}` has neither `content` nor `secretReference`: give one of them"
            ));
        };
        let Reference {
            name,
            namespace,
            key_path,
        } = reference;
        let which = format!("Secret {namespace}/{name}, which `{field}` refers to,");
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let got = match tokio::time::timeout(CALL_TIMEOUT, api.get_opt(name)).await {
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => None,
            Ok(got) => got.map_err(|error| format!("{which} cannot be read: {}", said(&error)))?,
            Err(_) => return Err(format!("{which} cannot be read: {}", late())),
        };
        let Some(secret) = got else {
            return Err(format!("{which} is missing"));
        };
        let mut data = secret.data.unwrap_or_default();
        let wanted = data.remove(key_path).map(|value| Zeroizing::new(value.0));
        let keys: Vec<String> = data.keys().cloned().collect();
        for value in data.values_mut() {
            value.0.zeroize();
        }
        match wanted {
            Some(value) if value.is_empty() => Err(format!("{which} has nothing in `{key_path}`")),
            Some(value) => Ok(value),
            None => {
                let has = match keys.as_slice() {
                    [] => "no key at all".to_owned(),
                    keys => keys.join(", "),
                };
                Err(format!("{which} has no key `{key_path}`, it has {has}"))
            }
        }
    }
}

fn no_text(field: &str) -> String {
    format!("`{field}` is no text")
}
