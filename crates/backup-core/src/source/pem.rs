//! Certificates and keys in PEM.

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// A PEM text holds something else.
pub(super) const NO_CERTIFICATE: &str = "does not hold a certificate in PEM";

/// All certificates of a PEM text, at least one.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| "holds a PEM text that cannot be read".to_owned())?;
    if all.is_empty() {
        return Err(NO_CERTIFICATE.to_owned());
    }
    Ok(all)
}

/// The private key of a PEM text.
///
/// Talos labels an Ed25519 key as `ED25519 PRIVATE KEY` around an ordinary PKCS#8 body, which
/// readers of PEM do not know.
pub(super) fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, String> {
    let relabelled = Zeroizing::new(pem.replace(" ED25519 PRIVATE KEY-----", " PRIVATE KEY-----"));
    PrivateKeyDer::from_pem_slice(relabelled.as_bytes()).map_err(|_| {
        "does not hold a private key in PEM (ED25519 PRIVATE KEY, PRIVATE KEY, EC PRIVATE KEY or \
         RSA PRIVATE KEY; encrypted keys cannot be used)"
            .to_owned()
    })
}
