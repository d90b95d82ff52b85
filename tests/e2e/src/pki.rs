//! Certificates of the lab: one authority, server and client certificates for 127.0.0.1.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::folder::{make_private, write_private};

/// Certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// Certificate with its key, as PEM.
pub struct Identity {
    /// The certificate alone.
    pub certificate: String,
    /// Its key as PKCS#8.
    pub key: String,
}

/// PEM files on the disk, as programs want them.
#[derive(Debug, Clone)]
pub struct Files {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key, mode 0600.
    pub key: PathBuf,
}

impl Authority {
    /// Makes a new authority (ECDSA P-256).
    ///
    /// # Errors
    /// The key or the certificate cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate().context("making the key of an authority")?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params
            .self_signed(&key)
            .context("making the certificate of an authority")?;
        Ok(Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Returns its certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns its key as PKCS#8, for its owners: as a Secret of a cluster holds it.
    #[must_use]
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Makes a certificate for a server on 127.0.0.1 and localhost, and by names below `lab.test`, which only
    /// a proxy resolves. It is valid for a client too, because etcd's gateway calls etcd itself with it.
    ///
    /// # Errors
    /// The key or the certificate cannot be made.
    pub fn server(&self, name: &str) -> Result<Identity> {
        let mut params =
            CertificateParams::new(["127.0.0.1", "localhost", "*.lab.test"].map(str::to_owned))
                .context("naming 127.0.0.1 in a certificate")?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.issue(params, name, None)
    }

    /// Makes a certificate for a client: `name` is its CN, `group` its O (Kubernetes' user and group).
    ///
    /// # Errors
    /// The key or the certificate cannot be made.
    pub fn client(&self, name: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, name, group)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        name: &str,
        group: Option<&str>,
    ) -> Result<Identity> {
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().with_context(|| format!("making a key for {name}"))?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("making a certificate for {name}"))?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Writes `identity` and this authority's certificate into `folder` as `NAME.crt`, `NAME.key`
    /// and `ca.crt`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path, name: &str, identity: &Identity) -> Result<Files> {
        make_private(folder)?;
        let files = Files {
            ca: folder.join("ca.crt"),
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        write_private(&files.ca, self.pem.as_bytes())?;
        write_private(&files.certificate, identity.certificate.as_bytes())?;
        write_private(&files.key, identity.key.as_bytes())?;
        Ok(files)
    }
}
