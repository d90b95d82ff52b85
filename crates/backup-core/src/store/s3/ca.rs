//! Certificates of a `ca=` file, in the form that TLS needs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::text;

/// Error for a file of certificates that cannot be used. Never shows the file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseCaError {
    /// It contains no certificates.
    #[error("no CA certificates in PEM; give a file of one or more `BEGIN CERTIFICATE` blocks")]
    None,
    /// A block is not a valid certificate.
    #[error("one of its `CERTIFICATE` blocks cannot be read; copy the file again")]
    Broken,
}

/// Returns the certificates in `file` as PEM and nothing else. Accepts text in UTF-16 or with a byte order
/// mark, and blocks that OpenSSL calls `TRUSTED CERTIFICATE`.
///
/// # Errors
/// [`ParseCaError`] if it contains no certificate or one that does not parse.
pub fn read_ca(file: &[u8]) -> Result<Vec<u8>, ParseCaError> {
    let text = text::decode(file).map_err(|_| ParseCaError::None)?;
    let text = text.replace(" TRUSTED CERTIFICATE-----", " CERTIFICATE-----");
    let mut roots = rustls::RootCertStore::empty();
    let mut pem = String::new();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let block = certificate.map_err(|_| ParseCaError::Broken)?;
        // OpenSSL appends the uses that it trusts the certificate for.
        let (rest, _) = X509Certificate::from_der(&block).map_err(|_| ParseCaError::Broken)?;
        let length = block.len().saturating_sub(rest.len());
        let der = block.get(..length).unwrap_or_default();
        let added = roots.add(CertificateDer::from(der));
        added.map_err(|_| ParseCaError::Broken)?;
        let body = STANDARD.encode(der);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in body.as_bytes().chunks(64) {
            pem.push_str(std::str::from_utf8(line).unwrap_or_default());
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    if pem.is_empty() {
        return Err(ParseCaError::None);
    }
    Ok(pem.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> rcgen::Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::default();
        params.self_signed(&key).unwrap()
    }

    #[test]
    fn a_file_is_read_however_it_was_saved() {
        let certificate = certificate();
        let pem = certificate.pem();
        let wanted = read_ca(pem.as_bytes()).unwrap();
        let der = CertificateDer::from_pem_slice(&wanted).unwrap();
        assert_eq!(&der, certificate.der());
        // Output of `openssl x509 -trustout`: trusted uses follow the certificate.
        let aux = [certificate.der().as_ref(), &[0x30, 0x02, 0x0c, 0x00]].concat();
        let trusted = format!(
            "-----BEGIN TRUSTED CERTIFICATE-----\n{}\n-----END TRUSTED CERTIFICATE-----\n",
            STANDARD.encode(aux)
        );
        let wide = std::iter::once(0xfeff).chain(pem.encode_utf16());
        for file in [
            format!("\u{feff}{pem}").into_bytes(),
            wide.flat_map(u16::to_le_bytes).collect(),
            pem.replace('\n', "\r\n").into_bytes(),
            format!("# ours\n{pem}").into_bytes(),
            trusted.into_bytes(),
        ] {
            assert_eq!(read_ca(&file).unwrap(), wanted);
        }
        assert_eq!(
            read_ca(&[pem.as_str(), &pem].concat().into_bytes())
                .unwrap()
                .len(),
            2 * wanted.len()
        );
    }

    #[test]
    fn what_is_wrong_is_told_without_the_text() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let begin = "-----BEGIN CERTIFICATE-----\nhidden\n";
        for (file, error) in [
            ("", ParseCaError::None),
            ("hidden", ParseCaError::None),
            (key.as_str(), ParseCaError::None),
            (begin, ParseCaError::Broken),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                ParseCaError::Broken,
            ),
        ] {
            assert_eq!(read_ca(file.as_bytes()), Err(error));
        }
        assert_eq!(read_ca(b"\xff\xff"), Err(ParseCaError::None));
    }
}
