//! Leaf field of a DataStore: a value, or a reference to a key of a Secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::secret::{SecretSource, SecretValue};

/// Leaf field. Not `Debug`: the content may be a private key.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LeafField {
    #[serde(deserialize_with = "zeroizing")]
    content: Option<Zeroizing<String>>,
    secret_reference: Option<SecretKeyReference>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SecretKeyReference {
    name: String,
    namespace: String,
    key_path: String,
}

fn zeroizing<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Zeroizing::new))
}

/// Reader of leaf fields.
pub(super) struct LeafReader<'s> {
    secrets: &'s dyn SecretSource,
}

impl<'s> LeafReader<'s> {
    pub(super) fn new(secrets: &'s dyn SecretSource) -> Self {
        Self { secrets }
    }

    /// Returns the text of the leaf at `field`, which is not secret.
    pub(super) async fn text(&self, field: &str, leaf: &LeafField) -> Result<String, String> {
        let bytes = self.bytes(field, leaf).await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| not_text(field))?;
        Ok(text.to_owned())
    }

    /// Returns the text of the leaf at `field` as a secret.
    pub(super) async fn secret(
        &self,
        field: &str,
        leaf: &LeafField,
    ) -> Result<SecretString, String> {
        let bytes = self.bytes(field, leaf).await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| not_text(field))?;
        Ok(SecretString::from(text))
    }

    async fn bytes(&self, field: &str, leaf: &LeafField) -> Result<Zeroizing<Vec<u8>>, String> {
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
        let SecretKeyReference {
            name,
            namespace,
            key_path,
        } = reference;
        let which = format!("Secret {namespace}/{name}, which `{field}` refers to,");
        match self.secrets.value(namespace, name, key_path).await {
            Err(why) => Err(format!("{which} cannot be read: {why}")),
            Ok(SecretValue::NoSecret) => Err(format!("{which} is missing")),
            Ok(SecretValue::Value(value)) if value.is_empty() => {
                Err(format!("{which} has nothing in `{key_path}`"))
            }
            Ok(SecretValue::Value(value)) => Ok(value),
            Ok(SecretValue::NoKey(keys)) => {
                let has = match keys.as_slice() {
                    [] => "no key at all".to_owned(),
                    keys => keys.join(", "),
                };
                Err(format!("{which} has no key `{key_path}`, it has {has}"))
            }
        }
    }
}

fn not_text(field: &str) -> String {
    format!("`{field}` is not text")
}
