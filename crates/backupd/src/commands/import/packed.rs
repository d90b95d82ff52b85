//! Snapshot files that somebody packed: unpacked on the way in, or called by their name.

use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::path::Path;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use flate2::read::MultiGzDecoder;

/// What tells every kind: a tar archive names itself the latest.
const HEAD: usize = 512;

/// A way to pack a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zstd,
    Zip,
    Xz,
    Bzip2,
    Lz4,
    SevenZip,
    Age,
    Pgp,
    Tar,
}

impl Packing {
    fn of(head: &[u8]) -> Option<Self> {
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

    fn name(self) -> &'static str {
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

    /// How it is unpacked.
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
}

type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// The snapshot in `file`, unpacked if it is packed by gzip or zstd.
///
/// # Errors
/// When it cannot be read, or is packed in another way, with the command that unpacks it.
pub(super) fn unpacked(path: &Path, file: File) -> Result<Box<dyn Read + Send>, Failure> {
    let name = path.display();
    let failed =
        |error: io::Error| Failure::from(anyhow::Error::new(error).context(format!("read {name}")));
    let (head, file) = begin(file).map_err(failed)?;
    let inner: Box<dyn Read + Send> = match Packing::of(&head) {
        None => return Ok(Box::new(file)),
        Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(BufReader::new(file))),
        Some(Packing::Zstd) => Box::new(zstd::Decoder::new(file).map_err(failed)?),
        Some(other) => return Err(refused(path, other, false)),
    };
    let (head, inner) = begin(inner).map_err(failed)?;
    match Packing::of(&head) {
        None => Ok(Box::new(inner)),
        Some(inner) => Err(refused(path, inner, true)),
    }
}

/// The first bytes, and all of it.
fn begin<R: Read>(mut from: R) -> io::Result<(Vec<u8>, Whole<R>)> {
    let mut head = Vec::with_capacity(HEAD);
    let limit = u64::try_from(HEAD).unwrap_or(u64::MAX);
    from.by_ref().take(limit).read_to_end(&mut head)?;
    let whole = Cursor::new(head.clone()).chain(from);
    Ok((head, whole))
}

fn refused(path: &Path, what: Packing, is_inside: bool) -> Failure {
    let file = path.display().to_string();
    let (place, hint) = if is_inside {
        let hint = "unpack it until one file of etcd is left, then import that".to_owned();
        (format!("{file} is packed, and what is in it is"), hint)
    } else {
        let command = what.command(&file.replace('\'', r"'\''"));
        let hint = format!("run `{command}`, then import snapshot.db");
        (format!("{file} is"), hint)
    };
    let text = format!("{place} {}, not a snapshot of etcd", what.name());
    Failure::message(Exit::Usage, text).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("it's.db");
        std::fs::write(&path, bytes).unwrap();
        let file = File::open(&path).unwrap();
        let mut read = Vec::new();
        match unpacked(&path, file) {
            Ok(mut from) => from.read_to_end(&mut read).map_err(|e| e.to_string())?,
            Err(failure) => {
                assert_eq!(failure.exit(), Exit::Usage);
                return Err(failure.text());
            }
        };
        Ok(read)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_and_zstd_are_unpacked_and_all_else_comes_as_it_is() {
        let plain: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(read(&plain).unwrap(), plain);
        assert_eq!(read(&gzip(&plain)).unwrap(), plain);
        // As `cat a.gz b.gz` and parallel tools write it.
        let (one, two) = plain.split_at(5_000);
        assert_eq!(read(&[gzip(one), gzip(two)].concat()).unwrap(), plain);
        assert_eq!(read(&zstd::encode_all(&*plain, 1).unwrap()).unwrap(), plain);
        assert_eq!(read(b"").unwrap(), b"");
        // What is cut off is an error, and no shorter snapshot.
        let packed = gzip(&plain);
        assert!(read(&packed[..packed.len() - 9]).is_err());
        let packed = zstd::encode_all(&*plain, 1).unwrap();
        assert!(read(&packed[..packed.len() - 9]).is_err());
    }

    #[test]
    fn other_packings_are_called_by_their_name_with_the_command() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (head, words) in [
            (b"PK\x03\x04".as_slice(), ["a zip archive", "unzip -p"]),
            (b"\xfd7zXZ\0", ["an xz file", "xz -dc"]),
            (b"BZh9", ["a bzip2 file", "bzip2 -dc"]),
            (b"\x04\x22\x4d\x18", ["an lz4 file", "lz4 -dc"]),
            (b"7z\xbc\xaf\x27\x1c", ["a 7z archive", "7z x -so"]),
            (b"age-encryption.org/v1\n", ["age encrypted", "age -d -i"]),
            (b"-----BEGIN PGP MESSAGE-----", ["PGP encrypted", "gpg -d"]),
            (&tar, ["a tar archive", "tar -xOf"]),
            (&gzip(&tar), ["what is in it is a tar archive", "unpack it"]),
        ] {
            let told = read(head).unwrap_err();
            for word in words {
                assert!(told.contains(word), "{word}: {told}");
            }
        }
    }
}
