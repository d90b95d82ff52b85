//! Quoting of shell words. Text from a store is never more than one word of a command.

use std::fmt::Write as _;

use backup_cli::clean::is_harmful;

/// Returns `text` as one word of bash, on one line.
pub(super) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text.to_owned();
    }
    if !text.contains(is_harmful) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut quoted = "$'".to_owned();
    for c in text.chars() {
        match c {
            '\\' | '\'' => quoted.extend(['\\', c]),
            c if is_harmful(c) => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        for text in [
            "10.5.0.2",
            "s3://b/p?endpoint=http://h:1&region=r",
            "",
            "-n",
            "a b",
            "it's; rm -rf `x` $(y) \"$HOME\"",
            "two\nlines\\ and 'more'\u{1b}[2J\u{85}",
            "Zürich",
            "gr\u{202e}nepo",
        ] {
            let quoted = word(text);
            assert!(!quoted.contains(is_harmful), "{quoted}");
            let said = Command::new("bash")
                .args(["-c", &format!("printf %s {quoted}")])
                .env("LC_ALL", "C.UTF-8")
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), text, "{quoted}");
        }
    }
}
