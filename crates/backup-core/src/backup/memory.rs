//! What a run remembers of earlier ones: the parent, its epochs, and the chunks that are stored.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _};
use zeroize::Zeroizing;

use super::claim::Claimed;
use super::table::Table;
use super::{BackupError, Protection, Run};
use crate::catalog::{Catalog, RestorePoint, list_pages};
use crate::crypt::{Identities, Opener, Recipient, Trust, Verdict};
use crate::digest::Digest;
use crate::format::index;
use crate::format::layout::{self, ObjectKind};
use crate::format::manifest::{Component, Epoch, Finding, Severity, StoredObject};
use crate::id::ComponentName;
use crate::store::{MAX_OBJECT, StoreError};

/// Indexes read at the same time: hides round trips, holds some tens of MiB at most.
const READS: usize = 4;
/// How many restore points are looked at, newest first, for one that can be built upon.
const LOOK_BACK: usize = 50;

/// How many sound restore points are looked at for a kit. Each names the kit of the one before, so
/// the newest mostly decides; one whose run began before the kit was added may lie between.
const KIT_LOOK_BACK: usize = 5;

/// A component of an earlier restore point that this one names as well.
pub(super) struct Carried {
    pub(super) component: Component,
    /// The epochs that its restore point lists: positions in it are of these.
    pub(super) epochs: Vec<Epoch>,
}

/// See the module.
pub(super) struct Memory {
    /// The newest restore point with one of the components, if it can be trusted.
    pub(super) parent: Option<RestorePoint>,
    /// The chunks that earlier packs hold.
    pub(super) table: Table,
    /// The epochs that those packs may be encrypted to.
    pub(super) epochs: Vec<Epoch>,
    /// The index objects that the table was read from.
    pub(super) indexes: Vec<StoredObject>,
    /// The newest kit, if the run takes none: it is named again.
    pub(super) kit: Option<Carried>,
    /// Whom new indexes are encrypted to besides the epoch.
    pub(super) index_recipient: Option<Recipient>,
}

/// The names of the files in the newest kit; empty if there is none.
pub(super) async fn kit_files(run: &Run, claimed: &Claimed) -> Result<Vec<String>, BackupError> {
    let name = ComponentName::kit();
    let found = find_parents(run, claimed, &[&name], &mut Vec::new()).await?;
    let newest = found.parents.into_iter().next();
    let component = newest.and_then(|point| point.manifest.component(&name).cloned());
    let facts = component.and_then(|component| component.archive);
    Ok(facts.map(|facts| facts.files).unwrap_or_default())
}

/// Recalls what a run of `components` can build upon: for each of them the newest restore point
/// that has it, which mostly is one and the same.
pub(super) async fn recall(
    run: &Run,
    claimed: &Claimed,
    components: &[&ComponentName],
    findings: &mut Vec<Finding>,
) -> Result<Memory, BackupError> {
    let reader = IndexReader::new(run, claimed);
    let mut memory = Memory {
        parent: None,
        table: Table::new(reader.chunk_id_key.clone()),
        epochs: Vec::new(),
        indexes: Vec::new(),
        kit: None,
        index_recipient: reader.recipient.clone(),
    };
    let Found {
        parents,
        newest,
        kit,
    } = find_parents(run, claimed, components, findings).await?;
    memory.kit = kit.and_then(|point| carry(run, point, findings));
    for parent in parents.iter().filter(|p| reader.can_read(p)) {
        let packs = parent.manifest.components.iter().flat_map(|c| &c.packs);
        let shared = shared_packs(run, parent);
        if shared.len() < packs.count() {
            run.finding(findings, new_recipient(parent));
        }
        let known: Vec<&StoredObject> = memory.indexes.iter().collect();
        let new = parent.manifest.indexes.iter();
        let new: Vec<&StoredObject> = new.filter(|i| !known.contains(i)).collect();
        match learn(run, &reader, &new, shared, &mut memory.table).await {
            Ok(()) => {
                let new: Vec<StoredObject> = new.into_iter().cloned().collect();
                memory.indexes.extend(new);
                memory.epochs.extend_from_slice(parent.manifest.epochs());
            }
            Err(cause) => {
                run.finding(findings, unread_indexes(parent, &cause));
                memory.table = Table::new(reader.chunk_id_key.clone());
                memory.indexes.clear();
                memory.epochs.clear();
                break;
            }
        }
    }
    // A component that is new here belongs to the same incarnation as all others.
    memory.parent = parents.into_iter().next().or(newest);
    Ok(memory)
}

fn unread_indexes(parent: &RestorePoint, cause: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        object: format!("indexes of {}", parent.entry.id),
        cause: format!("{cause}, so this run stores everything anew"),
        remedy: "run `restore-cli audit`; if the signing key was replaced, this is expected once"
            .to_owned(),
    }
}

/// What was found among earlier restore points.
struct Found {
    /// See [`find_parents`].
    parents: Vec<RestorePoint>,
    /// The newest of all that are sound.
    newest: Option<RestorePoint>,
    /// The newest with a kit.
    kit: Option<RestorePoint>,
}

/// The kit of `point`, if this run can name it again; else says why not.
fn carry(run: &Run, point: RestorePoint, findings: &mut Vec<Finding>) -> Option<Carried> {
    let mut component = point.manifest.component(&ComponentName::kit())?.clone();
    let epochs = point.manifest.epochs().to_vec();
    let again = |severity, cause: String| Finding {
        severity,
        object: ComponentName::kit().to_string(),
        cause,
        remedy: "add its files again: `backupd kit add --replace FILE…`".to_owned(),
    };
    let recipients = match &run.protection {
        Protection::Recipients(recipients) => recipients.as_slice(),
        Protection::None => &[],
    };
    if recipients.is_empty() != epochs.is_empty() {
        let from = component.carried_from.unwrap_or(point.entry.id);
        let cause = format!(
            "it was stored when encryption was configured otherwise, and is only in restore point \
             {from} and those before this one"
        );
        run.finding(findings, again(Severity::Warning, cause));
        return None;
    }
    let last = u64::try_from(epochs.len().saturating_sub(1)).unwrap_or(0);
    if !epochs.is_empty() {
        component.recipe_epoch.get_or_insert(last);
    }
    let needed = component.packs.iter().map(|pack| pack.epoch);
    let needed = needed.chain(component.recipe_epoch);
    let needed = needed.filter_map(|e| epochs.get(usize::try_from(e).ok()?));
    let needed: Vec<&Epoch> = needed.collect();
    let added = recipients.iter();
    let added = added.filter(|r| needed.iter().any(|e| !e.recipients.contains(r)));
    let added: Vec<String> = added.map(ToString::to_string).collect();
    if !added.is_empty() {
        let cause = format!(
            "it was stored before these became recipients: {}",
            added.join(", ")
        );
        run.finding(findings, again(Severity::Warning, cause));
    }
    component.carried_from.get_or_insert(point.entry.id);
    Some(Carried { component, epochs })
}

/// The newest restore points that together have all components that any has; newest first.
async fn find_parents(
    run: &Run,
    claimed: &Claimed,
    components: &[&ComponentName],
    findings: &mut Vec<Finding>,
) -> Result<Found, BackupError> {
    let mut wanted = components.to_vec();
    let mut parents = Vec::new();
    let mut newest = None;
    let mut kit = None;
    let mut sound = 0_usize;
    let takes_kit = components.contains(&&ComponentName::kit());
    let catalog = Catalog::new(std::sync::Arc::clone(&run.store));
    let trust = match &run.signing_key {
        Some(key) => Trust::Keys(vec![key.public().clone()]),
        None => Trust::Anyone,
    };
    let unreadable = |e: crate::catalog::CatalogError| match e {
        crate::catalog::CatalogError::Store { source, .. } => BackupError::Read {
            what: "the catalogue",
            source,
        },
        other => BackupError::Read {
            what: "the catalogue",
            source: StoreError::Other {
                store: run.store.describe(),
                operation: "read a manifest".to_owned(),
                source: Box::new(other),
            },
        },
    };
    let entries = catalog.list().await.map_err(unreadable)?;
    for entry in entries.iter().rev().take(LOOK_BACK) {
        let point = match catalog.load(entry, &trust).await {
            Ok(point) => point,
            Err(e @ crate::catalog::CatalogError::Store { .. }) => return Err(unreadable(e)),
            Err(e) => {
                run.finding(findings, distrusted(entry.id.as_str(), e.to_string()));
                continue;
            }
        };
        match point.verdict {
            Verdict::Trusted | Verdict::NotChecked => {}
            verdict => {
                let cause = format!("the manifest is {verdict}, so nothing is built upon it");
                run.finding(findings, distrusted(entry.id.as_str(), cause));
                continue;
            }
        }
        // One signing key may serve two clusters, and somebody may have mixed their prefixes.
        if point.manifest.claim != claimed.digest {
            let cause = "it was not made for this prefix's claim, so nothing is built upon it";
            run.finding(findings, distrusted(entry.id.as_str(), cause.to_owned()));
            continue;
        }
        sound = sound.saturating_add(1);
        if newest.is_none() {
            newest = Some(point.clone());
        }
        let seek_kit = !takes_kit && kit.is_none() && sound <= KIT_LOOK_BACK;
        if seek_kit && point.manifest.component(&ComponentName::kit()).is_some() {
            kit = Some(point.clone());
        }
        let before = wanted.len();
        wanted.retain(|name| point.manifest.component(name).is_none());
        if wanted.len() < before {
            parents.push(point);
        }
        if wanted.is_empty() && (takes_kit || kit.is_some() || sound >= KIT_LOOK_BACK) {
            break;
        }
    }
    Ok(Found {
        parents,
        newest,
        kit,
    })
}

fn distrusted(id: &str, cause: String) -> Finding {
    Finding {
        severity: Severity::Warning,
        object: format!("restore point {id}"),
        cause,
        remedy: "find out who wrote or changed it: `restore-cli audit`".to_owned(),
    }
}

/// How indexes are opened, and the key of the ids in them.
struct IndexReader {
    identities: Option<Identities>,
    recipient: Option<Recipient>,
    chunk_id_key: Zeroizing<[u8; 32]>,
    encrypted: bool,
}

impl IndexReader {
    fn new(run: &Run, claimed: &Claimed) -> Self {
        let encrypted = matches!(run.protection, Protection::Recipients(_));
        let (identities, recipient) = run
            .signing_key
            .as_ref()
            .and_then(crate::crypt::SigningKey::index_identity)
            .map_or((None, None), |(identities, recipient)| {
                (Some(identities), Some(recipient))
            });
        let chunk_id_key = match &run.signing_key {
            Some(key) => key.chunk_id_key(),
            // Without a secret of its own, a run that encrypts can never read its indexes again,
            // and one that does not encrypt has nothing to hide: any stable key does.
            None => Zeroizing::new(blake3::derive_key(
                "butler-backup v1 chunk ids of an unsigned prefix",
                claimed.claim.id.as_bytes(),
            )),
        };
        Self {
            identities,
            recipient,
            chunk_id_key,
            encrypted,
        }
    }

    /// Whether the parent's indexes are in a form that this run can use: encrypted as it would
    /// encrypt them. A change from or to no encryption begins anew.
    fn can_read(&self, parent: &RestorePoint) -> bool {
        let parent_encrypted = !parent.manifest.epochs().is_empty();
        parent_encrypted == self.encrypted && (!self.encrypted || self.identities.is_some())
    }

    fn opener(&self) -> Opener<'_> {
        match &self.identities {
            Some(identities) if self.encrypted => Opener::with(identities),
            _ => Opener::plain(),
        }
    }
}

/// The parent's packs that every recipient of this run can read. Who was added later cannot
/// unwrap older epochs, and a restore point that needs one would be closed to them.
fn shared_packs(run: &Run, parent: &RestorePoint) -> Vec<(Digest, u64)> {
    let recipients = match &run.protection {
        Protection::Recipients(recipients) => recipients.as_slice(),
        Protection::None => &[],
    };
    let shared: Vec<bool> = parent
        .manifest
        .epochs()
        .iter()
        .map(|e| recipients.iter().all(|r| e.recipients.contains(r)))
        .collect();
    let packs = parent.manifest.components.iter().flat_map(|c| &c.packs);
    packs
        .filter(|p| {
            let epoch = usize::try_from(p.epoch).ok().and_then(|e| shared.get(e));
            epoch.copied().unwrap_or(shared.is_empty())
        })
        .map(|p| (p.sha256, p.bytes))
        .collect()
}

fn new_recipient(parent: &RestorePoint) -> Finding {
    Finding {
        severity: Severity::Info,
        object: format!("packs of {}", parent.entry.id),
        cause: "a recipient was added that cannot read them, so what they hold is stored anew"
            .to_owned(),
        remedy: "nothing; restore points from before can be read by the earlier recipients alone"
            .to_owned(),
    }
}

async fn learn(
    run: &Run,
    reader: &IndexReader,
    indexes: &[&StoredObject],
    shared: Vec<(Digest, u64)>,
    table: &mut Table,
) -> Result<(), String> {
    let mut wanted: HashMap<Digest, u64> = shared.into_iter().collect();
    // What another restore point told already would get a second number.
    wanted.retain(|digest, _| !table.has_pack(digest));
    let present = present_packs(run, &wanted)
        .await
        .map_err(|e| e.to_string())?;
    wanted.retain(|digest, _| present.contains_key(digest));
    let store = run.store.as_ref();
    // Not the references: the compiler could not see that the whole may cross threads.
    let digests: Vec<Digest> = indexes.iter().map(|object| object.sha256).collect();
    let mut indexes = futures::stream::iter(digests)
        .map(|digest| async move {
            let bytes = store
                .get(&layout::index(digest))
                .await
                .map_err(|e| e.to_string())?;
            if Digest::of(&bytes) != digest {
                return Err(format!("index {digest} was changed"));
            }
            let opened = reader
                .opener()
                .open(&bytes, MAX_OBJECT)
                .map_err(|e| e.to_string())?;
            index::decode(&opened).map_err(|e| e.to_string())
        })
        .buffered(READS);
    while let Some(packs) = indexes.try_next().await? {
        // A pack that is gone, or that the parent no longer refers to, must not be built upon.
        for pack in packs
            .iter()
            .filter(|p| wanted.get(&p.pack) == Some(&p.stored_bytes))
        {
            table.learn(pack);
        }
    }
    Ok(())
}

/// Those of `wanted` that the store has at the size they should have.
async fn present_packs(
    run: &Run,
    wanted: &HashMap<Digest, u64>,
) -> Result<HashMap<Digest, u64>, StoreError> {
    let mut present = HashMap::new();
    let mut pages = std::pin::pin!(list_pages(run.store.as_ref(), "packs/"));
    while let Some(page) = pages.try_next().await? {
        for object in page.objects {
            if let Some(ObjectKind::Pack(digest)) = ObjectKind::of(&object.key)
                && wanted.get(&digest) == Some(&object.size)
            {
                present.insert(digest, object.size);
            }
        }
    }
    Ok(present)
}
