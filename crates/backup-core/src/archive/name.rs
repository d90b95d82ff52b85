//! A name as a part of a path in an archive: what a path cannot hold is escaped, and what is too long
//! for one file is cut.
//!
//! The API server takes almost any text as the name of a RoleBinding; `/`, `%`, `.` and `..` alone it
//! takes nowhere. So `%` is free for escapes, and a path that was written without them is read as it is.

/// A file's name may have 255 bytes, and `.json` and a `%` are added.
const LONGEST: usize = 240;

/// The name as it is written. A control character, `\` and `%` are `%` and two hexadecimal digits for
/// each byte. After each [`LONGEST`] bytes comes `%/`: the name goes on in a folder.
pub(super) fn written(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut begun = 0_usize;
    for c in name.chars() {
        let mut piece = String::new();
        if c.is_control() || c == '\\' || c == '%' {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                piece.push_str(&format!("%{byte:02X}"));
            }
        } else {
            piece.push(c);
        }
        let held = text.len().saturating_sub(begun);
        if held.saturating_add(piece.len()) > LONGEST {
            text.push_str("%/");
            begun = text.len();
        }
        text.push_str(&piece);
    }
    text
}

/// The parts of a path, with those together that are one name.
pub(super) fn joined(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut goes_on = false;
    for part in path.split('/') {
        let (text, more) = match part.strip_suffix('%') {
            Some(text) => (text, true),
            None => (part, false),
        };
        match parts.last_mut() {
            Some(last) if goes_on => last.push_str(text),
            _ => parts.push(text.to_owned()),
        }
        goes_on = more;
    }
    if goes_on {
        // It goes on nowhere.
        parts.push(String::new());
    }
    parts
}

/// The name of a part that was written; none if it is no name that can be part of a path.
pub(super) fn unescaped(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *byte == b'%');
        let code = code.and_then(|code| hex::decode(code).ok());
        match code.as_deref() {
            Some([code]) => {
                bytes.push(*code);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    let is_name = !matches!(name.as_str(), "" | "." | "..") && !name.contains('/');
    is_name.then_some(name)
}
