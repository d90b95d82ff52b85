//! Parser of certificates and keys in PEM.

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

/// Problem of a text that is not a certificate in PEM.
pub(super) const NO_CERTIFICATE: &str = "does not hold a certificate in PEM";

/// Returns the certificates of authorities in a PEM text, at least one. Skips unreadable ones, as
/// other clients do: any of the others can verify a server.
pub(super) fn authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = |der: &CertificateDer<'_>| X509Certificate::from_der(der).is_ok();
    let readable = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok);
    let readable: Vec<_> = readable.filter(read).collect();
    if readable.is_empty() {
        certificates(pem)?;
        return Err(NO_CERTIFICATE.to_owned());
    }
    Ok(readable)
}

/// Returns all certificates of a PEM text, at least one.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| "holds a PEM text that cannot be read".to_owned())?;
    if all.is_empty() {
        return Err(NO_CERTIFICATE.to_owned());
    }
    Ok(all)
}

/// OID of the curve secp521r1.
const P521: &str = "1.3.132.0.35";

/// Returns the problem of a client certificate whose key TLS cannot use here.
pub(super) fn unusable_key(der: &CertificateDer<'_>) -> Option<&'static str> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let algorithm = &certificate.public_key().algorithm;
    let curve = algorithm.parameters.as_ref()?.as_oid().ok()?;
    (curve.to_id_string() == P521).then_some(
        "has a key on the curve P-521, which this program's TLS cannot use: make a new one with P-256, \
         P-384, Ed25519 or RSA",
    )
}

/// Returns the private key of a PEM text.
///
/// Talos labels an Ed25519 key as `ED25519 PRIVATE KEY` around an ordinary PKCS#8 body; PEM parsers do
/// not know this label.
pub(super) fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, String> {
    let relabelled = Zeroizing::new(pem.replace(" ED25519 PRIVATE KEY-----", " PRIVATE KEY-----"));
    PrivateKeyDer::from_pem_slice(relabelled.as_bytes()).map_err(|_| {
        "does not hold a private key in PEM (ED25519 PRIVATE KEY, PRIVATE KEY, EC PRIVATE KEY or \
         RSA PRIVATE KEY; encrypted keys cannot be used)"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_on_p_521_is_told() {
        // Made with `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-521`.
        let pem = include_str!("pem/p521.crt");
        let chain = certificates(pem).unwrap();
        assert!(unusable_key(&chain[0]).unwrap().contains("P-521"));
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::default();
        let good = params.self_signed(&key).unwrap();
        assert_eq!(unusable_key(good.der()), None);
    }

    #[test]
    fn what_cannot_be_read_costs_no_other_authority() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::default();
        let good = params.self_signed(&key).unwrap().pem();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let torn = "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n";
        for bundle in [
            format!("{broken}{good}"),
            format!("{good}{torn}"),
            format!("{torn}{good}"),
        ] {
            assert_eq!(authorities(&bundle).unwrap().len(), 1, "{bundle}");
        }
        for none in ["", broken, torn, "text"] {
            assert!(authorities(none).is_err(), "{none}");
        }
    }
}
