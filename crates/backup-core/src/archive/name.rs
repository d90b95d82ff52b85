//! Names as parts of a path in an archive: characters that a path cannot have are escaped, and names that are
//! too long for one file are split.
//!
//! The API server accepts almost any text as the name of a RoleBinding, but no `/` or `%` in it, and not `.`
//! or `..` as the whole name. So `%` is free for escapes, and a path that was written without escapes is read
//! unchanged.

/// Largest length of a name part in bytes: a file's name may have 255, and `.json` and a `%` are added.
const LONGEST: usize = 240;

/// Returns the written form of a name. A control character, `\` and `%` become `%` and two hexadecimal digits
/// for each byte. After each [`LONGEST`] bytes comes `%/`: the name continues in a folder.
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

/// Returns the parts of a path, and joins those that belong to one name.
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
        // The path ends where the name should continue.
        parts.push(String::new());
    }
    parts
}

/// Returns the name from its written form; `None` if it cannot be a part of a path.
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
