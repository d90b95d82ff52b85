//! Reader of a tar's members within limits. The bytes are not trusted, and a header may claim any size.
//!
//! Extensions are read here and not by the library, which reads into memory as much as they claim to have.

use std::io::{self, Read};

use tar::{Archive, Entries, Entry, EntryType, PaxExtensions};

/// Largest number of members: Velero has each object twice, and half a million objects are handled.
pub const MAX_MEMBERS: u64 = 2_000_000;
/// Largest size of a member's long name and other extensions, which take some hundred bytes.
pub const MAX_EXTENSION: u64 = 64 << 10;
/// Characters of a member's name in an error.
const SHOWN_NAME: usize = 200;

/// Reason why the members of a tar cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The bytes are not a tar, or they end early.
    #[error("the archive is not a readable tar file")]
    Tar(#[source] io::Error),
    /// The tar is malformed in a way that no tool produces.
    #[error("member {member} of the archive {what}")]
    Hostile {
        /// Name of the member, quoted and cut.
        member: String,
        /// Fault of the member.
        what: &'static str,
    },
}

/// Quotes and cuts a member's name for an error.
pub fn quote_name(name: &str) -> String {
    format!("{:?}", name.chars().take(SHOWN_NAME).collect::<String>())
}

/// Member that is a file, a folder or a link, and never an extension.
pub struct TarMember<'a, R: Read> {
    /// Name of the member; the long one if it has one.
    pub name: String,
    pub kind: EntryType,
    /// Size in bytes that it claims.
    pub size: u64,
    entry: Entry<'a, R>,
}

impl<R: Read> Read for TarMember<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.entry.read(buf)
    }
}

/// See the module.
pub struct TarMembers<'a, R: Read> {
    entries: Entries<'a, R>,
    /// Number of members that may still follow.
    left: u64,
}

impl<'a, R: Read> TarMembers<'a, R> {
    /// Creates the reader of the members of `archive`, from its start.
    ///
    /// # Errors
    /// If the archive was read already.
    pub fn of(archive: &'a mut Archive<R>) -> Result<Self, MemberError> {
        let entries = archive.entries().map_err(MemberError::Tar)?;
        let entries = entries.raw(true);
        Ok(Self {
            entries,
            left: MAX_MEMBERS,
        })
    }

    fn member(&mut self) -> Option<Result<TarMember<'a, R>, MemberError>> {
        let mut long = None;
        loop {
            let mut entry = match self.entries.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(MemberError::Tar(error))),
            };
            let (kind, size) = (entry.header().entry_type(), entry.size());
            let own = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            // Extensions count: a tar of only extensions can be endless too.
            let Some(left) = self.left.checked_sub(1) else {
                return Some(Err(hostile(&own, "is one too many")));
            };
            self.left = left;
            if !is_extension(kind) {
                let name = long.take().unwrap_or(own);
                return Some(Ok(TarMember {
                    name,
                    kind,
                    size,
                    entry,
                }));
            }
            match name_in(&mut entry, kind, size, &own) {
                Ok(name) => long = name.or(long),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<'a, R: Read> Iterator for TarMembers<'a, R> {
    type Item = Result<TarMember<'a, R>, MemberError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.member()
    }
}

fn is_extension(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::XHeader
            | EntryType::XGlobalHeader
            | EntryType::GNULongName
            | EntryType::GNULongLink
    )
}

/// Returns the name that an extension gives to the next member.
fn name_in(
    extension: &mut impl Read,
    kind: EntryType,
    size: u64,
    own: &str,
) -> Result<Option<String>, MemberError> {
    if size > MAX_EXTENSION {
        return Err(hostile(own, "has an oversized extension"));
    }
    let mut bytes = Vec::new();
    extension
        .take(MAX_EXTENSION)
        .read_to_end(&mut bytes)
        .map_err(MemberError::Tar)?;
    match kind {
        EntryType::GNULongName => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(Some(text.trim_end_matches('\0').to_owned()))
        }
        EntryType::XHeader => extended(own, &bytes),
        _ => Ok(None),
    }
}

/// Returns the name in a pax header.
fn extended(own: &str, bytes: &[u8]) -> Result<Option<String>, MemberError> {
    let mut name = None;
    for record in PaxExtensions::new(bytes) {
        let record = record.map_err(MemberError::Tar)?;
        match record.key() {
            Ok("path") => {
                let text = record.value();
                let text = text.map_err(|_| hostile(own, "has a name that is not text"))?;
                name = Some(text.to_owned());
            }
            Ok("size" | "linkpath") => {
                return Err(hostile(own, "has a size or a link in its extension"));
            }
            _ => {}
        }
    }
    Ok(name)
}

fn hostile(member: &str, what: &'static str) -> MemberError {
    MemberError::Hostile {
        member: quote_name(member),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reader that repeats one header without end.
    struct EndlessHeader(Vec<u8>, usize);

    impl Read for EndlessHeader {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let rest = &self.0[self.1..];
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            self.1 = (self.1 + n) % self.0.len();
            Ok(n)
        }
    }

    #[test]
    fn a_tar_without_end_is_refused_be_it_of_members_or_extensions() {
        for kind in [
            EntryType::Directory,
            EntryType::XGlobalHeader,
            EntryType::GNULongName,
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_path("x").unwrap();
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_cksum();
            let mut archive = Archive::new(EndlessHeader(header.as_bytes().to_vec(), 0));
            let mut members = TarMembers::of(&mut archive).unwrap();
            assert_eq!(members.left, MAX_MEMBERS);
            members.left = 1000;
            let error = members.find_map(Result::err).unwrap().to_string();
            assert!(error.contains("one too many"), "{error}");
        }
    }
}
