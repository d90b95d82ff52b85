//! Text of files that people wrote with any editor on any system.

use zeroize::Zeroizing;

/// Error for a file that is not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not text: neither UTF-8 nor UTF-16 with a byte order mark")]
pub struct NotTextError;

impl From<NotTextError> for std::io::Error {
    fn from(error: NotTextError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Decodes UTF-8, with or without a byte order mark, or UTF-16 with one. The result has no mark.
///
/// # Errors
/// [`NotTextError`].
pub fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, NotTextError> {
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, odd) = rest.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(NotTextError);
        }
        let units: Zeroizing<Vec<u16>> = Zeroizing::new(pairs.iter().map(|p| unit(*p)).collect());
        String::from_utf16(&units).map_err(|_| NotTextError)
    };
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes)?,
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => {
            let text = std::str::from_utf8(rest).map_err(|_| NotTextError)?;
            text.to_owned()
        }
    };
    Ok(Zeroizing::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_off_and_wide_text_is_read() {
        let text = "key: ü\r\n";
        let wide = |unit: fn(u16) -> [u8; 2], mark: u16| -> Vec<u8> {
            let units = std::iter::once(mark).chain(text.encode_utf16());
            units.flat_map(unit).collect()
        };
        let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
        for bytes in [
            text.as_bytes().to_vec(),
            marked,
            wide(u16::to_le_bytes, 0xfeff),
            wide(u16::to_be_bytes, 0xfeff),
        ] {
            assert_eq!(decode(&bytes).unwrap().as_str(), text);
        }
        assert_eq!(decode(b"").unwrap().as_str(), "");
        assert_eq!(decode(b"\xff\xfea"), Err(NotTextError));
        assert_eq!(decode(b"\xff\xfe\x00\xd8"), Err(NotTextError));
        assert_eq!(decode(b"a\xff"), Err(NotTextError));
    }
}
