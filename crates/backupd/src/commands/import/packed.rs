//! Reader for packed snapshot files: it unpacks gzip and zstd, and names other formats in the refusal.

use backup_core::num::to_u64;
use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::path::Path;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::packing::{HEAD, Packing};
use flate2::read::MultiGzDecoder;

type RewoundReader<R> = Chain<Cursor<Vec<u8>>, R>;

/// Returns the snapshot in `file`, unpacked if gzip or zstd packed it.
///
/// # Errors
/// Fails when the file cannot be read, or is packed in another format; the error then contains the command
/// that unpacks it.
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

/// Returns the first bytes, and a reader of the whole input.
fn begin<R: Read>(mut from: R) -> io::Result<(Vec<u8>, RewoundReader<R>)> {
    let mut head = Vec::with_capacity(HEAD);
    let limit = to_u64(HEAD);
    from.by_ref().take(limit).read_to_end(&mut head)?;
    let whole = Cursor::new(head.clone()).chain(from);
    Ok((head, whole))
}

fn refused(path: &Path, what: Packing, is_inside: bool) -> Failure {
    if !is_inside {
        return what.refused(path, "import snapshot.db");
    }
    let text = format!(
        "{} is packed, and what is in it is {}, not a snapshot of etcd",
        path.display(),
        what.name()
    );
    let hint = "unpack it until one file of etcd is left, then import that";
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
        // Two gzip members, as `cat a.gz b.gz` and parallel tools write them.
        let (one, two) = plain.split_at(5_000);
        assert_eq!(read(&[gzip(one), gzip(two)].concat()).unwrap(), plain);
        assert_eq!(read(&zstd::encode_all(&*plain, 1).unwrap()).unwrap(), plain);
        assert_eq!(read(b"").unwrap(), b"");
        // A truncated file is an error, not a shorter snapshot.
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
