//! Recognition of packed files by their first bytes, with the command that unpacks each format.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::exit::Exit;
use crate::failure::Failure;
use backup_core::num::to_u64;

/// Number of leading bytes that identify every format; a tar archive has its mark furthest back.
pub const HEAD: usize = 512;

/// Format of a packed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// `gzip`.
    Gzip,
    /// `zstd`.
    Zstd,
    /// A zip archive.
    Zip,
    /// `xz`.
    Xz,
    /// `bzip2`.
    Bzip2,
    /// `lz4`.
    Lz4,
    /// A 7z archive.
    SevenZip,
    /// Encrypted by `age`.
    Age,
    /// Encrypted by PGP.
    Pgp,
    /// A tar archive.
    Tar,
}

impl Packing {
    /// Returns the format of a file that begins with `head`; `None` if it is not a known one.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        Some(match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [b'P', b'K', 3 | 5, 4 | 6, ..] => Self::Zip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Lz4,
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Self::SevenZip,
            _ if head.starts_with(b"age-encryption.org/v1")
                || head.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----") =>
            {
                Self::Age
            }
            _ if head.starts_with(b"-----BEGIN PGP MESSAGE-----") => Self::Pgp,
            _ if head.get(257..262) == Some(b"ustar".as_slice()) => Self::Tar,
            _ => return None,
        })
    }

    /// Returns the format of a file; `None` if it is not a known one, or the file cannot be read.
    #[must_use]
    pub fn of_file(path: &Path) -> Option<Self> {
        let mut head = Vec::with_capacity(HEAD);
        let file = File::open(path).ok()?;
        let limit = to_u64(HEAD);
        file.take(limit).read_to_end(&mut head).ok()?;
        Self::of(&head)
    }

    /// Returns the name, as in "a gzip file".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "a gzip file",
            Self::Zstd => "a zstd file",
            Self::Zip => "a zip archive",
            Self::Xz => "an xz file",
            Self::Bzip2 => "a bzip2 file",
            Self::Lz4 => "an lz4 file",
            Self::SevenZip => "a 7z archive",
            Self::Age => "a file that age encrypted",
            Self::Pgp => "a file that PGP encrypted",
            Self::Tar => "a tar archive",
        }
    }

    /// Returns the command that unpacks the file.
    fn command(self, file: &str) -> String {
        match self {
            Self::Gzip => format!("gzip -dc '{file}' > snapshot.db"),
            Self::Zstd => format!("zstd -dc '{file}' > snapshot.db"),
            Self::Zip => format!("unzip -p '{file}' > snapshot.db"),
            Self::Xz => format!("xz -dc '{file}' > snapshot.db"),
            Self::Bzip2 => format!("bzip2 -dc '{file}' > snapshot.db"),
            Self::Lz4 => format!("lz4 -dc '{file}' > snapshot.db"),
            Self::SevenZip => format!("7z x -so '{file}' > snapshot.db"),
            Self::Age => format!("age -d -i identity.key '{file}' > snapshot.db"),
            Self::Pgp => format!("gpg -d '{file}' > snapshot.db"),
            Self::Tar => format!("tar -xOf '{file}' > snapshot.db"),
        }
    }

    /// Makes the refusal of a packed file, with the command that unpacks it. `next` is the step after that,
    /// as in "import snapshot.db".
    #[must_use]
    pub fn refused(self, path: &Path, next: &str) -> Failure {
        let file = path.display().to_string();
        let command = self.command(&file.replace('\'', r"'\''"));
        let text = format!("{file} is {}, not a snapshot of etcd", self.name());
        Failure::message(Exit::Usage, text).hint(format!("run `{command}`, then {next}"))
    }
}
