//! Filter that trims the credentials of the chain and rejects those that no header can carry.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

/// Error for credentials that cannot be sent: the SDK would panic.
#[derive(Debug, thiserror::Error)]
#[error(
    "the {part} from {origin} holds characters that no access key has: white space inside of it, or \
     other than ASCII"
)]
struct InvalidAccessKey {
    part: &'static str,
    origin: &'static str,
}

/// Provider that trims white space off the ends of the values of `inner`, as in a Secret made with `echo`.
#[derive(Debug)]
pub(super) struct TrimmingProvider {
    pub(super) inner: SharedCredentialsProvider,
}

impl ProvideCredentials for TrimmingProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(
            async move { trimmed(&self.inner.provide_credentials().await?) },
        )
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        trimmed(&self.inner.fallback_on_interrupt()?).ok()
    }
}

fn trimmed(given: &Credentials) -> Result<Credentials, CredentialsError> {
    let told = |part, text: &str| {
        let text = text.trim();
        let sendable = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        let odd = InvalidAccessKey {
            part,
            origin: "the chain of credentials",
        };
        sendable
            .then(|| text.to_owned())
            .ok_or_else(|| CredentialsError::provider_error(odd))
    };
    let token = given
        .session_token()
        .filter(|token| !token.trim().is_empty());
    let mut builder = Credentials::builder()
        .access_key_id(told("access key id", given.access_key_id())?)
        .secret_access_key(told("secret access key", given.secret_access_key())?)
        .provider_name("trimmed");
    builder.set_session_token(
        token
            .map(|token| told("session token", token))
            .transpose()?,
    );
    builder.set_expiry(given.expiry());
    builder.set_account_id(given.account_id().cloned());
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn white_space_goes_and_what_cannot_be_sent_is_told_without_it() {
        let gives = |id: &str, secret: &str, token: Option<&str>| {
            let token = token.map(str::to_owned);
            let given = Credentials::new(id, secret, token, None, "test");
            let inner = SharedCredentialsProvider::new(given);
            async move { TrimmingProvider { inner }.provide_credentials().await }
        };
        let given = gives("AKIA\n", " se/cret\r\n", Some("to+ken=\n"))
            .await
            .unwrap();
        assert_eq!(given.access_key_id(), "AKIA");
        assert_eq!(given.secret_access_key(), "se/cret");
        assert_eq!(given.session_token(), Some("to+ken="));
        assert_eq!(
            gives("a", "b", Some("\n")).await.unwrap().session_token(),
            None
        );
        for (id, secret, token) in [
            ("AK\nIA", "s", None),
            ("ÄKIA", "s", None),
            ("", "s", None),
            ("a", "hid den", None),
            ("a", "s", Some("hid\rden")),
        ] {
            let error = gives(id, secret, token).await.unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(!told.contains("hid"), "{told}");
        }
    }
}
