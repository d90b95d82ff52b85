//! Certificates as Talos makes them: Ed25519 everywhere, roles in O, its own label on keys.

use std::fmt::Write as _;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Authority of one cluster after a rotation: the former one is still accepted.
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    former_pem: String,
    der: CertificateDer<'static>,
    former_der: CertificateDer<'static>,
    now: Timestamp,
}

/// Content of a client certificate.
#[derive(Debug, Clone)]
pub struct ClientSpec {
    /// Values of O; at most two.
    pub roles: Vec<String>,
    /// Begin of its validity, relative to now.
    pub from: SignedDuration,
    /// End of its validity, relative to now.
    pub until: SignedDuration,
    /// Extended key usages.
    pub usages: Vec<ExtendedKeyUsagePurpose>,
}

impl ClientSpec {
    /// Returns the content that Talos issues for `roles`: clientAuth and nothing else, for a year.
    #[must_use]
    pub fn of(roles: &[&str]) -> Self {
        Self {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            from: SignedDuration::from_mins(-10),
            until: SignedDuration::from_hours(365 * 24),
            usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }
}

/// Certificate and its key, as PEM in Talos' form.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub crt: String,
    /// The key, labelled `ED25519 PRIVATE KEY`.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("crt", &self.crt)
            .finish_non_exhaustive()
    }
}

/// Certificate chain and key of a server.
pub(super) struct ServerPair {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Pki {
    /// Makes a new authority beside a former one, both valid around `now`.
    ///
    /// # Errors
    /// When certificates cannot be made.
    pub fn new(now: Timestamp) -> anyhow::Result<Self> {
        let (former, _) = authority(now)?;
        let (current, issuer) = authority(now)?;
        Ok(Self {
            issuer,
            pem: current.pem(),
            former_pem: former.pem(),
            der: current.der().clone(),
            former_der: former.der().clone(),
            now,
        })
    }

    /// Returns both authorities' certificates, the former first, as a talosconfig carries them.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        format!("{}{}", self.former_pem, self.pem)
    }

    pub(super) fn authorities(&self) -> [CertificateDer<'static>; 2] {
        [self.former_der.clone(), self.der.clone()]
    }

    /// Issues a client certificate.
    ///
    /// # Errors
    /// When it has more than two roles, or cannot be made.
    pub fn client(&self, spec: &ClientSpec) -> anyhow::Result<Pair> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = DistinguishedName::new();
        // The library keeps one value for each type, so the second one is added by its number.
        match spec.roles.as_slice() {
            [] => {}
            [one] => params
                .distinguished_name
                .push(DnType::OrganizationName, one),
            [one, two] => {
                params
                    .distinguished_name
                    .push(DnType::OrganizationName, one);
                let by_number = DnType::CustomDnType(vec![2, 5, 4, 10]);
                params.distinguished_name.push(by_number, two);
            }
            _ => bail!("a client certificate of the lab carries at most two roles"),
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages.clone_from(&spec.usages);
        self.validity(&mut params, spec.from, spec.until)?;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            crt: certificate.pem(),
            key: talos_key_pem(&key)?,
        })
    }

    /// Issues a server certificate for names and addresses, valid from and until relative to now.
    pub(super) fn server(
        &self,
        names: &[String],
        from: SignedDuration,
        until: SignedDuration,
    ) -> anyhow::Result<ServerPair> {
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.validity(&mut params, from, until)?;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(ServerPair {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        })
    }

    fn validity(
        &self,
        params: &mut CertificateParams,
        from: SignedDuration,
        until: SignedDuration,
    ) -> anyhow::Result<()> {
        set_validity(params, self.now + from, self.now + until)
    }

    /// Returns a talosconfig with one context that signs in with `pair`.
    #[must_use]
    pub fn talosconfig(
        &self,
        context: &str,
        endpoints: &[String],
        nodes: &[String],
        pair: &Pair,
    ) -> String {
        let list = |items: &[String]| {
            let mut text = String::new();
            for item in items {
                let _ignored = write!(text, "\n      - {item:?}");
            }
            if text.is_empty() {
                " []".to_owned()
            } else {
                text
            }
        };
        format!(
            "context: {context}\ncontexts:\n  {context}:\n    endpoints:{}\n    nodes:{}\n    ca: \
             {}\n    crt: {}\n    key: {}\n",
            list(endpoints),
            list(nodes),
            STANDARD.encode(self.ca_pem()),
            STANDARD.encode(&pair.crt),
            STANDARD.encode(&pair.key),
        )
    }
}

fn authority(now: Timestamp) -> anyhow::Result<(rcgen::Certificate, Issuer<'static, KeyPair>)> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "talos");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
    ];
    let ten_years = SignedDuration::from_hours(10 * 365 * 24);
    set_validity(
        &mut params,
        now - SignedDuration::from_hours(24 * 365),
        now + ten_years,
    )?;
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate, Issuer::new(params, key)))
}

fn set_validity(
    params: &mut CertificateParams,
    from: Timestamp,
    until: Timestamp,
) -> anyhow::Result<()> {
    let date = |at: Timestamp| {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        u64::try_from(at.as_second())
            .map(|seconds| epoch + std::time::Duration::from_secs(seconds))
            .context("a certificate date before 1970")
    };
    params.not_before = date(from)?;
    params.not_after = date(until)?;
    Ok(())
}

/// Returns a key as Talos writes it: PKCS#8 version 1, so without the public half, under its own label.
fn talos_key_pem(key: &KeyPair) -> anyhow::Result<String> {
    // All bytes before the 32 bytes of the key itself.
    const VERSION_1: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let der = key.serialize_der();
    // Up to the key, version 2 differs only in its length and its version number.
    let same = der.get(5..16) == VERSION_1.get(5..16);
    ensure!(
        same,
        "the library encodes Ed25519 keys in another way than expected"
    );
    let seed = der.get(16..48).context("an Ed25519 key of 32 bytes")?;
    let mut version_1 = VERSION_1.to_vec();
    version_1.extend_from_slice(seed);
    // 48 bytes are exactly one line of base64.
    Ok(format!(
        "-----BEGIN ED25519 PRIVATE KEY-----\n{}\n-----END ED25519 PRIVATE KEY-----\n",
        STANDARD.encode(version_1)
    ))
}
