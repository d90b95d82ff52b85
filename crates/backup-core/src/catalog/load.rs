//! Loader of manifests, which judges their signatures before it parses anything.

use std::cmp::Ordering;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};

use super::{
    Catalog, CatalogEntry, CatalogError, MAX_SIGNATURE, READS, RestorePoint, about_object,
    list_pages,
};
use crate::crypt::{Trust, Verdict};
use crate::digest::Digest;
use crate::format::FormatError;
use crate::format::layout::{self, ObjectKind};
use crate::format::manifest::{MAX_MANIFEST, Manifest, StoredObject};
use crate::id::RestorePointId;
use crate::num::to_u64;
use crate::store::{Key, Page, StoreError};

/// Most signatures listed for a reader without a trust policy.
const MAX_LISTED: usize = 16;

/// Signatures beside a manifest, and the verdict on them.
struct SignatureCheck {
    verdict: Verdict,
    signatures: Vec<StoredObject>,
}

/// Objects beside a manifest that may be signatures, listed as far as needed.
struct SignaturePages<'s> {
    pages: BoxStream<'s, Result<Page, StoreError>>,
    /// Objects of the last page that has any.
    named: Vec<(Key, StoredObject)>,
}

impl SignaturePages<'_> {
    /// Reads the next page that has any; `named` is empty behind the last page.
    async fn more(&mut self) -> Result<(), StoreError> {
        self.named.clear();
        while self.named.is_empty() {
            let Some(page) = self.pages.try_next().await? else {
                return Ok(());
            };
            let named = page.objects.into_iter().filter_map(|object| {
                let sha256 = signature(&object.key, object.size)?;
                let bytes = object.size;
                Some((object.key, StoredObject { sha256, bytes }))
            });
            self.named.extend(named);
        }
        Ok(())
    }
}

impl Catalog {
    /// Reads a restore point if it has a trusted signature.
    ///
    /// # Errors
    /// [`CatalogError::Distrusted`] if it has none: then its manifest was not parsed, and without any
    /// signature not even read. Other errors if the manifest is missing, changed or unreadable.
    pub async fn trusted(
        &self,
        entry: &CatalogEntry,
        trust: &Trust,
    ) -> Result<RestorePoint, CatalogError> {
        self.read(entry, trust, false).await
    }

    /// Reads a restore point with any signatures or none, and judges them first.
    ///
    /// # Errors
    /// If the manifest is missing, changed or unreadable. A bad signature is not an error: the verdict
    /// reports it.
    pub async fn load(
        &self,
        entry: &CatalogEntry,
        trust: &Trust,
    ) -> Result<RestorePoint, CatalogError> {
        self.read(entry, trust, true).await
    }

    /// Reads many restore points as [`Catalog::trusted`] does, a few at a time, in the given order. Each may
    /// fail separately. All of them are held in memory at once.
    pub async fn all_trusted(
        &self,
        entries: &[CatalogEntry],
        trust: &Trust,
    ) -> Vec<Result<RestorePoint, CatalogError>> {
        // Not a closure: the compiler could not prove that the future is `Send`.
        let mut loads = Vec::with_capacity(entries.len());
        for entry in entries {
            loads.push(self.trusted(entry, trust));
        }
        futures::stream::iter(loads).buffered(READS).collect().await
    }

    async fn read(
        &self,
        entry: &CatalogEntry,
        trust: &Trust,
        anyone: bool,
    ) -> Result<RestorePoint, CatalogError> {
        let distrusted = |verdict| CatalogError::Distrusted {
            id: entry.id.clone(),
            verdict,
        };
        let folder = layout::signatures_of(entry.digest);
        let mut beside = SignaturePages {
            pages: Box::pin(list_pages(self.store.as_ref(), &folder)),
            named: Vec::new(),
        };
        beside.more().await.map_err(|e| self.failed(e))?;
        let judges = matches!(trust, Trust::Keys(_));
        if judges && !anyone && beside.named.is_empty() {
            return Err(distrusted(Verdict::Unsigned));
        }
        let unreadable = |source| CatalogError::Manifest {
            id: entry.id.clone(),
            source,
        };
        let limit = to_u64(MAX_MANIFEST);
        if entry.bytes > limit {
            return Err(unreadable(too_large()));
        }
        let bytes = self.store.get(&entry.key).await;
        let bytes = bytes.map_err(|e| self.failed(e))?;
        if bytes.len() > MAX_MANIFEST {
            return Err(unreadable(too_large()));
        }
        let SignatureCheck {
            verdict,
            signatures,
        } = self.judge(beside, &bytes, trust).await?;
        let found = Digest::of(&bytes);
        // Bytes that a trusted key signed, but whose name has another digest, were changed in the store.
        if found != entry.digest && !matches!(verdict, Verdict::Unsigned | Verdict::Untrusted) {
            let (id, expected) = (entry.id.clone(), entry.digest);
            return Err(CatalogError::Changed {
                id,
                expected,
                found,
            });
        }
        if found != entry.digest || !anyone && !verdict.is_believed() {
            return Err(distrusted(verdict));
        }
        let manifest = Manifest::parse(&bytes).map_err(unreadable)?;
        // A signature covers only the content, so the content must confirm the time in the name.
        let real = RestorePointId::new(manifest.began, found);
        if real != entry.id {
            let id = entry.id.clone();
            return Err(CatalogError::Renamed { id, real });
        }
        Ok(RestorePoint {
            entry: entry.clone(),
            manifest,
            verdict,
            signatures,
        })
    }

    /// Judges the signatures beside a manifest one by one, until one is by a trusted key: anyone with write
    /// access can add any number of false ones.
    async fn judge(
        &self,
        mut beside: SignaturePages<'_>,
        bytes: &Bytes,
        trust: &Trust,
    ) -> Result<SignatureCheck, CatalogError> {
        let mut judged = SignatureCheck {
            verdict: trust.judge(bytes, &[]),
            signatures: Vec::new(),
        };
        let mut unread: Option<StoreError> = None;
        while !beside.named.is_empty() {
            for (key, named) in std::mem::take(&mut beside.named) {
                if matches!(trust, Trust::Anyone) {
                    judged.signatures.push(named);
                    if judged.signatures.len() >= MAX_LISTED {
                        return Ok(judged);
                    }
                    continue;
                }
                let text = match self.store.get(&key).await {
                    Ok(text) => String::from_utf8_lossy(&text).into_owned(),
                    Err(error) if about_object(&error) => {
                        unread.get_or_insert(error);
                        continue;
                    }
                    Err(error) => return Err(self.failed(error)),
                };
                let verdict = trust.judge(bytes, &[text]);
                if verdict == Verdict::Trusted {
                    judged.verdict = verdict;
                    judged.signatures = vec![named];
                    return Ok(judged);
                }
                if worse(verdict, judged.verdict) == Ordering::Greater {
                    judged.verdict = verdict;
                }
            }
            beside.more().await.map_err(|e| self.failed(e))?;
        }
        match unread {
            // The signature that cannot be read may be the trusted one.
            Some(error) if !judged.verdict.is_believed() => Err(self.failed(error)),
            _ => Ok(judged),
        }
    }
}

fn too_large() -> FormatError {
    FormatError::damaged("manifest", "it is above 4 MiB")
}

/// Returns the digest of an object that may be a signature, by its name and size.
fn signature(key: &Key, size: u64) -> Option<Digest> {
    match ObjectKind::of(key)? {
        ObjectKind::Signature { digest, .. } if size <= MAX_SIGNATURE => Some(digest),
        _ => None,
    }
}

/// Compares two verdicts by how much they report against a manifest.
fn worse(one: Verdict, other: Verdict) -> Ordering {
    let rank = |verdict| match verdict {
        Verdict::Trusted | Verdict::NotChecked => 0_u8,
        Verdict::Unsigned => 1,
        Verdict::Untrusted => 2,
        Verdict::Forged => 3,
    };
    rank(one).cmp(&rank(other))
}
